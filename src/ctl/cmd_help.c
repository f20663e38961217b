/* Help, from the command table. */
#include "ctl/ctl.h"

#include <ctype.h>
#include <stdio.h>

static void show_value(const struct sq_command_arg *a)
{
	if (a->type == SQ_ARG_CHOICE) /* too long for the line: the words follow below it */
		for (const char *c = a->name; *c; c++)
			putchar(toupper((unsigned char)*c));
	else
		fputs(a->value, stdout);
}

static void show_usage(enum sq_command c)
{
	const struct sq_command_arg *a = NULL;

	printf("Usage: sequoiactl [-s SOCKET] [-j] %s", sq_command_row(c)->name);
	while ((a = sq_command_arg_next(c, a))) {
		fputs(a->operand ? " [" : " [--", stdout);
		if (!a->operand)
			printf("%s ", a->name);
		show_value(a);
		putchar(']');
	}
	putchar('\n');
}

static void show_words(const char *words)
{
	for (; *words; words++) {
		if (*words == '|')
			fputs(", ", stdout);
		else
			putchar(*words);
	}
}

static int show_one(const char *command)
{
	enum sq_command c = sq_command_find(command);
	const struct sq_command_arg *a = NULL;

	if (c == SQ_COMMAND_COUNT)
		return sq_ctl_fail(SQ_CTL_USAGE, "%s: no such command; try: sequoiactl help",
				   command);
	show_usage(c);
	printf("\nShows %s.\n", sq_command_row(c)->help);
	while ((a = sq_command_arg_next(c, a))) {
		printf("  %s%s  %s", a->operand ? "" : "--", a->operand ? a->value : a->name,
		       a->help);
		if (a->type == SQ_ARG_CHOICE) {
			fputs(": ", stdout);
			show_words(a->value);
		}
		putchar('\n');
	}
	return SQ_CTL_DONE;
}

int sq_ctl_help(const char *command)
{
	if (command)
		return show_one(command);
	puts("Usage: sequoiactl [-s SOCKET] [-j] COMMAND [ARGS]\n\nCommands:");
	for (int c = 0; c < SQ_COMMAND_COUNT; c++)
		printf("  %-10s %s\n", sq_command_row((enum sq_command)c)->name,
		       sq_command_row((enum sq_command)c)->help);
	puts("\nOptions:\n"
	     "  -s SOCKET  the daemon's admin socket; default: $SEQUOIA_SOCKET, run/sequoia.sock "
	     "if it\n"
	     "             is there, /run/sequoia/sequoia.sock\n"
	     "  -j         the data as JSON, with stable names\n"
	     "  -h, -V     this help, the version\n\n"
	     "Exit: 0 done, 1 refused, 2 no daemon, 3 not found, 64 usage, 78 bad file.");
	return SQ_CTL_DONE;
}
