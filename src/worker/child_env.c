/*
 * Names as Go's watchdog makes them: the header's name in its canonical case (a capital after each
 * dash, the rest small), then dashes to underscores. Every name of a client's header begins with
 * Http_, so no client can set PATH or LD_PRELOAD; what is set here first is not set again.
 */
#include "worker/child_env.h"

#include "worker/http_text.h"
#include "worker/request_writer.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct builder {
	struct sq_buf *text;
	size_t n;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct builder *b, const char *fmt, ...);

static void end_variable(struct builder *b)
{
	if (!b->failed && sq_buf_add(b->text, "", 1) < 0)
		b->failed = true;
	b->n++;
}

static void add(struct builder *b, const char *fmt, ...)
{
	char value[600];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(value) || sq_buf_add(b->text, value, (size_t)n) < 0)
		b->failed = true;
	end_variable(b);
}

/* Of any length. */
static void add_long(struct builder *b, const char *name, const char *value)
{
	if (sq_buf_addf(b->text, "%s=%s", name, value) < 0)
		b->failed = true;
	end_variable(b);
}

static void add_header(struct builder *b, struct sq_bytes name, struct sq_bytes value)
{
	bool capital = true;
	size_t i, at = b->text->len;

	if (sq_buf_add(b->text, "Http_", 5) < 0 || sq_buf_add(b->text, name.data, name.len) < 0 ||
	    sq_buf_add(b->text, "=", 1) < 0 || sq_buf_add(b->text, value.data, value.len) < 0)
		b->failed = true;
	for (i = at + 5; !b->failed && i < at + 5 + name.len; i++) {
		char *c = &b->text->data[i];
		bool dash = *c == '-';

		*c = (char)(dash ? '_' : capital ? toupper(*c) : tolower(*c));
		capital = dash;
	}
	end_variable(b);
}

static bool is_set(const struct builder *b, size_t at)
{
	const char *name = b->text->data + at, *eq = strchr(name, '='), *p = b->text->data;
	size_t n = (size_t)(eq - name) + 1;

	for (; p < name; p += strlen(p) + 1) {
		if (strncmp(p, name, n) == 0)
			return true;
	}
	return false;
}

/*
 * Of headers that repeat the first counts, as with the watchdog; what is ours nobody overrides.
 * Proxy is left out: libraries take Http_Proxy for the proxy of their own calls (CVE-2016-5385).
 */
static void add_headers(struct builder *b, const struct sq_request *rq)
{
	const char *p = rq->headers ? rq->headers : "", *end = p + rq->headers_len;
	struct sq_bytes name, value;

	while (!b->failed && sq_request_next_field(&p, end, &name, &value)) {
		size_t at = b->text->len;

		if (sq_http_same(name, "Proxy", 5))
			continue;
		add_header(b, name, value);
		if (!b->failed && is_set(b, at)) {
			b->text->len = at;
			b->n--;
		}
	}
}

static bool has_field(const struct sq_request *rq, const char *name)
{
	const char *p = rq->headers ? rq->headers : "", *end = p + rq->headers_len;
	struct sq_bytes n, v;

	while (sq_request_next_field(&p, end, &n, &v)) {
		if (sq_http_same(n, name, strlen(name)))
			return true;
	}
	return false;
}

static void add_ours(struct builder *b, const struct sq_invocation *inv)
{
	char run[SQ_ID_HEX];

	sq_id_show(run, inv->id);
	add(b, "Http_X_Call_Id=%s", run);
	add(b, "Http_X_Sequoia_Run=%s", run);
	add(b, "Http_X_Sequoia_Node=%u", inv->node);
	add(b, "Http_X_Sequoia_Attempt=%u", inv->attempt);
	if (!has_field(inv->request, "Idempotency-Key"))
		add(b, "Http_Idempotency_Key=%s/%u", run, inv->node);
}

static void add_call(struct builder *b, const struct sq_invocation *inv)
{
	const struct sq_request *rq = inv->request;
	const char *path = inv->raw_path ? inv->raw_path : rq->path;
	unsigned long long length = rq->body ? sq_blob_size(rq->body) : 0;

	add_long(b, "Http_Method", rq->method);
	add_long(b, "Http_Path", *path ? path : "/");
	if (rq->query)
		add_long(b, "Http_Query", rq->query);
	add(b, "Http_ContentLength=%llu", length);
	add(b, "Http_Content_Length=%llu", length);
	add_ours(b, inv);
	add_headers(b, rq);
}

static int make_list(struct sq_child_env *env, size_t n)
{
	char *p = env->text.data, **list;
	size_t i;

	if (env->cap < n + 1) {
		list = realloc(env->list, (n + 1) * sizeof(*list));
		if (!list)
			return -ENOMEM;
		env->list = list;
		env->cap = n + 1;
	}
	for (i = 0; i < n; i++, p += strlen(p) + 1)
		env->list[i] = p;
	env->list[n] = NULL;
	return 0;
}

int sq_child_env_build(struct sq_child_env *env, const struct sq_invocation *inv, const char *home)
{
	struct builder b = {.text = &env->text};

	env->text.len = 0;
	add_long(&b, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	add_long(&b, "HOME", home);
	add_long(&b, "LANG", "C.UTF-8");
	add_call(&b, inv);
	return b.failed ? -ENOMEM : make_list(env, b.n);
}

void sq_child_env_free(struct sq_child_env *env)
{
	sq_buf_free(&env->text);
	free(env->list);
	*env = (struct sq_child_env){0};
}
