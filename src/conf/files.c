#define _GNU_SOURCE 1 /* asprintf */

#include "conf/files.h"

#include "conf/settings_impl.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

struct found {
	const struct sq_settings *s;
	struct sq_faults *faults;
	const char *key;
	size_t n;
	struct sq_file *files;
};

/* "conf/policies/gold.yaml" when the settings were called conf/sequoia.yaml: a link for editors. */
static char *name_of(const struct sq_settings *s, const char *path)
{
	const char *slash = strrchr(s->file, '/'), *rest = path;
	size_t len = strcmp(s->dir, "/") == 0 ? 0 : strlen(s->dir);
	char *name = NULL;

	if (strncmp(path, s->dir, len) != 0 || path[len] != '/')
		return strdup(path);
	rest = path + len + 1;
	if (asprintf(&name, "%.*s%s", slash ? (int)(slash + 1 - s->file) : 0, s->file, rest) < 0)
		return NULL;
	return name;
}

static void no_memory(struct found *f)
{
	sq_faults_add(f->faults, f->key, "out of memory");
}

static void add_file(struct found *f, const char *path)
{
	struct sq_file file, *grown;

	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->files[i].path, path) == 0)
			return;
	grown = reallocarray(f->files, f->n + 1, sizeof(*grown));
	if (!grown) {
		no_memory(f);
		return;
	}
	f->files = grown;
	file.path = strdup(path);
	file.name = name_of(f->s, path);
	if (file.path && file.name) {
		f->files[f->n++] = file;
		return;
	}
	no_memory(f);
	free(file.path);
	free(file.name);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Where the settings name the globs, as far as is known: "sequoia.yaml:12". */
static void fault_at_key(struct found *f, const char *what, const char *glob)
{
	uint32_t line = sq_origins_line(f->s->origins, f->key);
	char place[512];

	if (line > 0)
		snprintf(place, sizeof(place), "%s:%u", f->s->file, line);
	else
		snprintf(place, sizeof(place), "%s", f->key);
	sq_faults_add(f->faults, place, "%s: %s: %s", f->key, what, glob);
}

/* A folder that is not there holds no files; one that may not be read may hold some. */
static int is_fatal(const char *path, int err)
{
	(void)path;
	return err != ENOENT && err != ENOTDIR;
}

static void find_one(struct found *f, const char *pattern)
{
	glob_t g = {0};
	int err = glob(pattern, GLOB_NOSORT, is_fatal, &g);

	if (err == 0) {
		qsort(g.gl_pathv, g.gl_pathc, sizeof(char *), by_bytes);
		for (size_t i = 0; i < g.gl_pathc; i++)
			add_file(f, g.gl_pathv[i]);
	} else if (err != GLOB_NOMATCH) {
		fault_at_key(f, err == GLOB_NOSPACE ? "out of memory" : "cannot be read", pattern);
	} else if (!strpbrk(pattern, "*?[")) {
		fault_at_key(f, "there is no such file", pattern);
	}
	globfree(&g);
}

size_t sq_files_find(const struct sq_settings *s, const char *key, char *const *globs,
		     size_t n_globs, struct sq_file **files, struct sq_faults *faults)
{
	struct found f = {.s = s, .faults = faults, .key = key};

	for (size_t i = 0; i < n_globs; i++)
		find_one(&f, globs[i]);
	*files = f.files;
	return f.n;
}

void sq_files_free(struct sq_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(files[i].path);
		free(files[i].name);
	}
	free(files);
}
