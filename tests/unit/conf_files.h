#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* memmem, nftw */
#endif
/* For the tests of settings and policies: files in a fresh folder, and what a reader said of them.
 */
#ifndef SQ_TESTS_CONF_FILES_H
#define SQ_TESTS_CONF_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "conf/report.h"
#include "conf/settings.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char conf_folder[] = "/tmp/sq-conf-XXXXXX";

/* A group's setup: the present folder is a new one, so that faults name files without a folder. */
static int conf_enter(void **state)
{
	(void)state;
	return mkdtemp(conf_folder) && chdir(conf_folder) == 0 && mkdir("policies", 0777) == 0 ? 0
											       : -1;
}

static int conf_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int conf_leave(void **state)
{
	(void)state;
	return chdir("/") == 0 ? nftw(conf_folder, conf_remove, 8, FTW_DEPTH | FTW_PHYS) : -1;
}

static void put_bytes(const char *name, const void *data, size_t len)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void put(const char *name, const char *text)
{
	put_bytes(name, text, strlen(text));
}

/* Of the report only the lines that say what is wrong where, not those that show it. */
static void keep_headlines(char *report)
{
	char *out = report;

	for (char *line = report, *next; *line; line = next) {
		next = strchr(line, '\n');
		next = next ? next + 1 : line + strlen(line);
		if (memmem(line, (size_t)(next - line), ": error: ", 9) ||
		    memmem(line, (size_t)(next - line), ": warning: ", 11) ||
		    memmem(line, (size_t)(next - line), " further faults ", 16)) {
			memmove(out, line, (size_t)(next - line));
			out += next - line;
		}
	}
	*out = '\0';
}

/* The settings of a file, or NULL; *report is what was said, to be freed. */
static struct sq_settings *settings_of(const char *file, char **report)
{
	size_t len;
	FILE *out = open_memstream(report, &len);
	struct sq_settings *s = sq_settings_read(file, &(struct sq_faults){.out = out});

	assert_int_equal(fclose(out), 0);
	return s;
}

#endif
