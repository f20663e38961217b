/* The command line, read by the command table: nothing here knows a command. */
#include "ctl/ctl.h"

#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define ARGS_MAX 16
#define LONG_BASE 256 /* long options are numbered from here */

static int usage(const char *fmt, const char *word)
{
	char what[256];

	snprintf(what, sizeof(what), fmt, word);
	return sq_ctl_fail(SQ_CTL_USAGE, "%s; try: sequoiactl help", what);
}

/* -h anywhere is the help command. */
static int to_help(struct sq_ctl *c, const char *command)
{
	json_decref(c->args);
	c->args = command ? json_pack("{s:s}", "command", command) : json_object();
	c->command = SQ_COMMAND_help;
	return SQ_CTL_DONE;
}

static int set_arg(struct sq_ctl *c, const struct sq_command_arg *a, const char *text)
{
	long long count;

	if (!sq_command_arg_takes(a, text, &count))
		return sq_ctl_fail(SQ_CTL_USAGE, "%s: %s is not %s; try: sequoiactl help %s",
				   a->name, text,
				   a->type == SQ_ARG_COUNT ? "a whole number above 0" : a->value,
				   sq_command_row(c->command)->name);
	json_object_set_new(c->args, a->name,
			    a->type == SQ_ARG_COUNT ? json_integer(count) : json_string(text));
	return json_object_get(c->args, a->name) ? SQ_CTL_DONE : usage("%s: not UTF-8", a->name);
}

/* The options of the command, numbered by their place, and those that every command takes. */
static void long_options(enum sq_command command, struct option *out)
{
	const struct sq_command_arg *a = NULL;
	int n = 0;

	while ((a = sq_command_arg_next(command, a)) && n < ARGS_MAX)
		if (!a->operand)
			out[n] = (struct option){a->name, required_argument, NULL, LONG_BASE + n},
			n++;
	out[n++] = (struct option){"json", no_argument, NULL, 'j'};
	out[n++] = (struct option){"socket", required_argument, NULL, 's'};
	out[n++] = (struct option){"help", no_argument, NULL, 'h'};
	out[n] = (struct option){0};
}

static int operands(struct sq_ctl *c, int argc, char **argv)
{
	const struct sq_command_arg *a = NULL;
	int code = SQ_CTL_DONE;

	while (optind < argc && code == SQ_CTL_DONE) {
		do
			a = sq_command_arg_next(c->command, a);
		while (a && !a->operand);
		code = a ? set_arg(c, a, argv[optind])
			 : usage("%s: one word too many", argv[optind]);
		optind++;
	}
	return code;
}

/* What follows the command; argv[0] is its name. */
static int parse_command(struct sq_ctl *c, int argc, char **argv)
{
	struct option options[ARGS_MAX + 4];
	int o, code = SQ_CTL_DONE;

	c->args = json_object();
	long_options(c->command, options);
	optind = 0; /* glibc: start anew */
	while (code == SQ_CTL_DONE && (o = getopt_long(argc, argv, ":s:jh", options, NULL)) != -1) {
		if (o == 'j')
			c->json = true;
		else if (o == 's')
			c->socket = optarg;
		else if (o == 'h')
			return to_help(c, argv[0]);
		else if (o == ':')
			code = usage("%s needs a value", argv[optind - 1]);
		else if (o == '?')
			code = usage("%s: no such option", argv[optind - 1]);
		else
			code = set_arg(c,
				       sq_command_arg_find(c->command, options[o - LONG_BASE].name),
				       optarg);
	}
	return code == SQ_CTL_DONE ? operands(c, argc, argv) : code;
}

int sq_ctl_parse(struct sq_ctl *c, int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int o;

	opterr = 0;
	c->command = SQ_COMMAND_COUNT;
	while ((o = getopt_long(argc, argv, "+:s:jhV", options, NULL)) != -1) {
		if (o == 'j')
			c->json = true;
		else if (o == 's')
			c->socket = optarg;
		else if (o == 'h')
			return to_help(c, NULL);
		else if (o == 'V')
			return printf("%s\n", PACKAGE_STRING) > 0 ? SQ_CTL_DONE : SQ_CTL_REFUSED;
		else
			return usage(o == ':' ? "%s needs a value" : "%s: no such option",
				     argv[optind - 1]);
	}
	if (optind == argc)
		return usage("a command is missing%s", "");
	c->command = sq_command_find(argv[optind]);
	if (c->command == SQ_COMMAND_COUNT)
		return usage("%s: no such command", argv[optind]);
	return parse_command(c, argc - optind, argv + optind);
}
