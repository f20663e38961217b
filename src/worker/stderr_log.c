#include "worker/stderr_log.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

static void put_line(struct sq_stderr_log *l)
{
	char quoted[SQ_STDERR_LINE * 2 + 3], run[SQ_ID_HEX];

	l->line[l->len] = '\0';
	sq_log_limited(SQ_LOG_INFO, "function-stderr", "run=%s function=%s text=%s%s",
		       sq_id_show(run, l->run), l->function,
		       sq_log_quote(quoted, sizeof(quoted), l->line), l->cut ? " cut=1" : "");
	l->len = 0;
	l->cut = false;
}

void sq_stderr_begin(struct sq_stderr_log *l, const char *function, struct sq_id run)
{
	snprintf(l->function, sizeof(l->function), "%s", function);
	l->run = run;
	l->len = 0;
	l->cut = false;
}

static void keep(struct sq_stderr_log *l, const char *data, size_t n)
{
	size_t room = SQ_STDERR_LINE - l->len;

	if (n > room) {
		n = room;
		l->cut = true;
	}
	memcpy(l->line + l->len, data, n);
	l->len += n;
}

void sq_stderr_add(struct sq_stderr_log *l, const char *data, size_t n)
{
	while (n > 0) {
		const char *lf = memchr(data, '\n', n);
		size_t part = lf ? (size_t)(lf - data) : n;

		keep(l, data, part);
		if (lf)
			put_line(l);
		part += lf ? 1 : 0;
		data += part;
		n -= part;
	}
}

void sq_stderr_end(struct sq_stderr_log *l)
{
	if (l->len > 0)
		put_line(l);
}
