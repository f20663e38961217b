/* sequoiactl: looks into a running sequoiad, through its admin socket. */
#include "ctl/ctl.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static sq_ctl_show *const shows[SQ_COMMAND_COUNT] = {
	[SQ_COMMAND_status] = sq_ctl_show_status,     [SQ_COMMAND_queue] = sq_ctl_show_queue,
	[SQ_COMMAND_runs] = sq_ctl_show_runs,         [SQ_COMMAND_backends] = sq_ctl_show_backends,
	[SQ_COMMAND_settings] = sq_ctl_show_settings, [SQ_COMMAND_metrics] = sq_ctl_show_metrics,
};

int sq_ctl_fail(int code, const char *fmt, ...)
{
	va_list args;

	fputs("sequoiactl: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

static int ask_and_show(const struct sq_ctl *c)
{
	json_t *data;
	int code = sq_ctl_ask(c, &data);

	if (code != SQ_CTL_DONE)
		return code;
	assert(shows[c->command]);
	if (!c->json)
		shows[c->command](data);
	else if (json_dumpf(data, stdout, JSON_INDENT(2)) == 0)
		putchar('\n');
	json_decref(data);
	return SQ_CTL_DONE;
}

int main(int argc, char **argv)
{
	struct sq_ctl c = {0};
	int code;

	setlocale(LC_ALL, "");
	code = sq_ctl_parse(&c, argc, argv);
	if (code == SQ_CTL_DONE && c.command == SQ_COMMAND_help)
		code = sq_ctl_help(json_string_value(json_object_get(c.args, "command")));
	else if (code == SQ_CTL_DONE && c.command != SQ_COMMAND_COUNT)
		code = ask_and_show(&c);
	json_decref(c.args);
	if (fflush(stdout) != 0 || ferror(stdout))
		return sq_ctl_fail(SQ_CTL_REFUSED, "cannot write: %s", strerror(errno));
	return code;
}
