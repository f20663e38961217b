/*
 * The dialect of the OpenFaaS gateway:
 *
 *	ANY /function/NAME[/path][?query]         the function's answer
 *	ANY /async-function/NAME[/path][?query]   202 with X-Call-Id; the result is kept, see
 *	/v1/runs
 */
#include "front/conn.h"

#include <stdio.h>
#include <string.h>

#define NAME_SHOWN 64

/* Does the name hold an encoded slash? Then what a function is called by differs between readers. */
static bool hides_slash(const char *s, size_t len)
{
	for (size_t i = 0; i + 2 < len; i++)
		if (s[i] == '%' && s[i + 1] == '2' && (s[i + 2] | 0x20) == 'f')
			return true;
	return false;
}

/* What the error says beside its message; NULL: no memory, then it is without. */
static const char *detail_of(struct request *rq, const char *name, size_t len)
{
	char text[NAME_SHOWN + 16];

	snprintf(text, sizeof(text), "function '%.*s'", (int)(len < NAME_SHOWN ? len : NAME_SHOWN),
		 name);
	return sq_arena_strndup(rq->arena, text, strlen(text));
}

static enum sq_fault take_name(struct request *rq, const char *name)
{
	size_t len = strcspn(name, "/");

	if (hides_slash(name, len)) {
		rq->detail = "the function's name has an encoded slash";
		return SQ_FAULT_BAD_REQUEST;
	}
	if (!request_is_name(name, len)) {
		rq->detail = detail_of(rq, name, len);
		return SQ_FAULT_NO_FUNCTION;
	}
	rq->function = sq_arena_strndup(rq->arena, name, len);
	rq->rest = name + len;
	return rq->function ? SQ_FAULT_NONE : SQ_FAULT_MEMORY;
}

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool claim(struct conn *c, enum sq_fault *fault)
{
	struct request *rq = &c->rq;

	if (starts_with(rq->path, "/function/")) {
		rq->trigger = SQ_TRIGGER_SYNC;
		*fault = take_name(rq, rq->path + 10);
		return true;
	}
	if (!starts_with(rq->path, "/async-function/"))
		return false;
	rq->trigger = SQ_TRIGGER_ASYNC;
	*fault = take_name(rq, rq->path + 16);
	if (!*fault && rq->callback) {
		rq->detail = "callbacks are not supported yet (X-Callback-Url)";
		*fault = SQ_FAULT_BAD_DOCUMENT;
	}
	return true;
}

static void serve(struct conn *c)
{
	char text[96], hex[SQ_ID_HEX];
	int len;

	conn_call(c);
	if (c->rq.trigger != SQ_TRIGGER_ASYNC || !c->rq.run)
		return;
	len = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"durable\":false}\n",
		       sq_id_show(hex, c->rq.id));
	conn_answer(c, 202, "application/json", text, (size_t)len);
}

const struct dialect dialect_openfaas = {.claim = claim, .serve = serve};
