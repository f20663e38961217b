#include "admin/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sq_admin_view *const views[SQ_COMMAND_COUNT] = {
	[SQ_COMMAND_status] = sq_admin_view_status,
	[SQ_COMMAND_queue] = sq_admin_view_queue,
	[SQ_COMMAND_runs] = sq_admin_view_runs,
	[SQ_COMMAND_backends] = sq_admin_view_backends,
	[SQ_COMMAND_settings] = sq_admin_view_settings,
	[SQ_COMMAND_metrics] = sq_admin_view_metrics,
};

__attribute__((format(printf, 3, 4))) static int refuse(struct sq_admin_request *q,
							const char *code, const char *fmt, ...)
{
	va_list args;

	q->code = code;
	va_start(args, fmt);
	vsnprintf(q->message, sizeof(q->message), fmt, args);
	va_end(args);
	return -EINVAL;
}

/* ---- in ---- */

static int check_value(struct sq_admin_request *q, const struct sq_command_arg *a,
		       const json_t *value)
{
	long long count;

	if (a->type == SQ_ARG_COUNT && json_is_integer(value) && json_integer_value(value) > 0)
		return 0;
	if (a->type != SQ_ARG_COUNT && json_is_string(value) &&
	    sq_command_arg_takes(a, json_string_value(value), &count))
		return 0;
	return refuse(q, "bad_argument", "%s: expected %s", a->name,
		      a->type == SQ_ARG_COUNT    ? "a whole number above 0"
		      : a->type == SQ_ARG_CHOICE ? a->value
						 : "a string");
}

static int check_args(struct sq_admin_request *q, enum sq_command c)
{
	const struct sq_command_arg *a;
	const char *name;
	json_t *value;
	int err = 0;

	if (!q->args)
		return 0;
	if (!json_is_object(q->args))
		return refuse(q, "bad_request", "\"args\" is not an object");
	json_object_foreach(q->args, name, value)
	{
		a = sq_command_arg_find(c, name);
		err = a ? check_value(q, a, value)
			: refuse(q, "bad_argument", "%s takes no argument %.64s",
				 sq_command_row(c)->name, name);
		if (err < 0)
			break;
	}
	return err;
}

static int check_access(struct sq_admin_request *q, enum sq_command c)
{
	const struct sq_command_row *row = sq_command_row(c);

	if (row->access == SQ_ACCESS_CONTROL && q->peer != 0 && q->peer != geteuid())
		return refuse(q, "forbidden", "%s is for the daemon's user and root", row->name);
	return 0;
}

/* The command, or SQ_COMMAND_COUNT after refusing. */
static enum sq_command find_command(struct sq_admin_request *q, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "command"));
	enum sq_command c;

	if (!name) {
		refuse(q, "bad_request", "The line is no object with a \"command\"");
		return SQ_COMMAND_COUNT;
	}
	c = sq_command_find(name);
	if (c == SQ_COMMAND_COUNT || !views[c]) {
		refuse(q, "unknown_command", "This daemon knows no command %.64s", name);
		return SQ_COMMAND_COUNT;
	}
	q->args = json_object_get(request, "args");
	return check_access(q, c) < 0 || check_args(q, c) < 0 ? SQ_COMMAND_COUNT : c;
}

/* ---- out ---- */

static int add_bytes(const char *data, size_t len, void *out)
{
	return sq_buf_add(out, data, len);
}

/* Takes the answer (NULL: no memory). */
static int write_line(struct sq_buf *out, json_t *answer)
{
	size_t before = out->len;
	int err = answer && json_dump_callback(answer, add_bytes, out, JSON_COMPACT) == 0
			  ? sq_buf_add(out, "\n", 1)
			  : -ENOMEM;

	json_decref(answer);
	if (err < 0)
		out->len = before;
	return err;
}

json_t *sq_admin_text(const char *s)
{
	json_t *value = s ? json_string(s) : json_null();
	char *copy;

	if (value)
		return value;
	copy = strdup(s);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

int sq_admin_refuse(struct sq_buf *out, const char *code, const char *message)
{
	return write_line(out, json_pack("{s:b, s:s, s:o}", "ok", 0, "code", code, "message",
					 sq_admin_text(message)));
}

static int run(struct sq_admin_request *q, enum sq_command c, struct sq_buf *out)
{
	json_t *data = views[c](q);

	if (data)
		return write_line(out, json_pack("{s:b, s:o}", "ok", 1, "data", data));
	return q->code ? sq_admin_refuse(out, q->code, q->message)
		       : sq_admin_refuse(out, "no_memory",
					 "The daemon has no memory for the answer");
}

int sq_admin_answer(struct sq_admin_request *q, const char *line, size_t len, struct sq_buf *out)
{
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	enum sq_command c = SQ_COMMAND_COUNT;
	int err;

	q->code = NULL;
	q->args = NULL;
	if (request)
		c = find_command(q, request);
	else
		refuse(q, "bad_request", "column %d: %s", error.column, error.text);
	err = c == SQ_COMMAND_COUNT ? sq_admin_refuse(out, q->code, q->message) : run(q, c, out);
	json_decref(request);
	return err;
}
