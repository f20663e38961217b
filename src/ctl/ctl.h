/* What the files of sequoiactl share. A command is one file, cmd_NAME.c, that shows its data. */
#ifndef SQ_CTL_CTL_H
#define SQ_CTL_CTL_H

#include "tables/commands.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit codes; the man page has them. */
enum {
	SQ_CTL_DONE = 0,
	SQ_CTL_REFUSED = 1,
	SQ_CTL_NO_DAEMON = 2,
	SQ_CTL_NOT_FOUND = 3,
	SQ_CTL_USAGE = 64,
	SQ_CTL_BAD_FILE = 78,
};

struct sq_ctl {
	const char *socket; /* NULL: the usual places */
	bool json;
	enum sq_command command;
	json_t *args;
};

/* "sequoiactl: ..." and newline on stderr; returns code, to end a function with. */
int sq_ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* ---- args.c ---- */

/* The whole command line: fills c, which is zeroed; c->args is the caller's. An exit code. */
int sq_ctl_parse(struct sq_ctl *c, int argc, char **argv) __attribute__((warn_unused_result));

/* ---- client.c ---- */

/* Asks the daemon. DONE with *data, the caller's; otherwise an exit code, after saying why. */
int sq_ctl_ask(const struct sq_ctl *c, json_t **data) __attribute__((warn_unused_result));

/* ---- table.c ---- */

enum sq_cell { SQ_CELL_TEXT, SQ_CELL_COUNT, SQ_CELL_DURATION, SQ_CELL_TIME };

struct sq_column {
	const char *head; /* as people see it */
	const char *key;  /* in the JSON rows; null and "" are shown as "-" */
	enum sq_cell cell;
};

#define SQ_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* Prints the rows, an array of objects, as an aligned table; of none, the line `empty`. */
void sq_ctl_table(const struct sq_column *columns, size_t n, const json_t *rows, const char *empty);

/* ---- cmd_*.c: shows the data of a command to a person ---- */

typedef void sq_ctl_show(const json_t *data);
sq_ctl_show sq_ctl_show_status, sq_ctl_show_queue, sq_ctl_show_runs, sq_ctl_show_backends,
	sq_ctl_show_settings, sq_ctl_show_metrics;
/* command: its name, or NULL for the list of all. An exit code. */
int sq_ctl_help(const char *command);

#endif
