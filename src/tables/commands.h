/* The admin commands; one row of commands.tbl each. */
#ifndef SQ_TABLES_COMMANDS_H
#define SQ_TABLES_COMMANDS_H

#include <stdbool.h>

enum sq_command {
#define SQ_COMMAND(id, name, access, help) SQ_COMMAND_##id,
#include "tables/commands.tbl"
	SQ_COMMAND_COUNT /* none */
};

enum sq_command_access { SQ_ACCESS_READ, SQ_ACCESS_CONTROL, SQ_ACCESS_LOCAL };

struct sq_command_row {
	const char *name, *help;
	enum sq_command_access access;
};

enum sq_arg_type { SQ_ARG_TEXT, SQ_ARG_COUNT, SQ_ARG_CHOICE };

struct sq_command_arg {
	enum sq_command command;
	const char *name, *value, *help; /* value: as help shows it; CHOICE: the words, by '|' */
	enum sq_arg_type type;
	bool operand;
};

const struct sq_command_row *sq_command_row(enum sq_command c);
enum sq_command sq_command_find(const char *name); /* SQ_COMMAND_COUNT: no such command */

/* The command's arguments, one after the other: begins with NULL, ends with NULL. */
const struct sq_command_arg *sq_command_arg_next(enum sq_command c,
						 const struct sq_command_arg *previous);
const struct sq_command_arg *sq_command_arg_find(enum sq_command c, const char *name);
/* Is this text a value of the argument? Of a COUNT, sets *count. */
bool sq_command_arg_takes(const struct sq_command_arg *a, const char *text, long long *count);

#endif
