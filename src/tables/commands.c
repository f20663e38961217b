#include "tables/commands.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct sq_command_row rows[SQ_COMMAND_COUNT] = {
#define SQ_COMMAND(id, name, access, help) [SQ_COMMAND_##id] = {name, help, SQ_ACCESS_##access},
#include "tables/commands.tbl"
};

static const struct sq_command_arg args[] = {
#define SQ_COMMAND_OPTION(id, arg, value, type, help)                                              \
	{SQ_COMMAND_##id, arg, value, help, SQ_ARG_##type, false},
#define SQ_COMMAND_OPERAND(id, arg, value, type, help)                                             \
	{SQ_COMMAND_##id, arg, value, help, SQ_ARG_##type, true},
#include "tables/commands.tbl"
};

#define N_ARGS (sizeof(args) / sizeof(args[0]))

const struct sq_command_row *sq_command_row(enum sq_command c)
{
	assert(c < SQ_COMMAND_COUNT);
	return &rows[c];
}

enum sq_command sq_command_find(const char *name)
{
	int c = 0;

	while (c < SQ_COMMAND_COUNT && strcmp(rows[c].name, name) != 0)
		c++;
	return (enum sq_command)c;
}

const struct sq_command_arg *sq_command_arg_next(enum sq_command c,
						 const struct sq_command_arg *previous)
{
	const struct sq_command_arg *a;

	for (a = previous ? previous + 1 : args; a < args + N_ARGS; a++)
		if (a->command == c)
			return a;
	return NULL;
}

const struct sq_command_arg *sq_command_arg_find(enum sq_command c, const char *name)
{
	const struct sq_command_arg *a = NULL;

	while ((a = sq_command_arg_next(c, a)) && strcmp(a->name, name) != 0)
		;
	return a;
}

static bool among(const char *words, const char *text)
{
	size_t len = strlen(text), word;

	for (; *words; words += word + (words[word] == '|')) {
		word = strcspn(words, "|");
		if (word == len && strncmp(words, text, len) == 0)
			return true;
	}
	return false;
}

static bool is_count(const char *text, long long *count)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*count = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' && *count > 0;
}

bool sq_command_arg_takes(const struct sq_command_arg *a, const char *text, long long *count)
{
	switch (a->type) {
	case SQ_ARG_COUNT:
		return is_count(text, count);
	case SQ_ARG_CHOICE:
		return among(a->value, text);
	case SQ_ARG_TEXT:
		break;
	}
	return true;
}
