/*
 * Making answers, piece by piece. The rule that makes the counts exact: the piece that ends the
 * call is made here, and the call leaves the count here, before anybody can write that piece.
 */
#include "mock.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 8192u

static const char plain[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
			    "Content-Length: 3\r\n\r\nok\n";

struct out {
	char *p;
	size_t n, cap;
};

const char *mock_answer_plain(size_t *n)
{
	*n = sizeof(plain) - 1;
	return plain;
}

void mock_answer_text(struct mock_call *call, unsigned status, const char *text)
{
	struct mock_plan *p = &call->plan;
	uint64_t close = p->close;

	memset(p, 0, sizeof(*p));
	p->status = status;
	p->close = close;
	call->plain = false;
	free(call->body);
	call->body = strdup(text);
	call->body_len = call->body ? strlen(text) : 0;
}

/* What is still on its way must not turn the close into a reset that eats the answer. */
void mock_answer_refuse(struct mock_call *call, const char *text)
{
	mock_count_bad();
	mock_count_leave(&call->seat, false);
	call->plan.close = 1;
	mock_answer_text(call, 400, text);
	call->plan.linger = true;
}

/* Lines that do not fit are left out whole. */
__attribute__((format(printf, 2, 3))) static void put(struct out *o, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(o->p + o->n, o->cap - o->n, format, args);
	va_end(args);
	if (n > 0 && (size_t)n < o->cap - o->n)
		o->n += (size_t)n;
}

static int nibble(char ch)
{
	return ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10;
}

/* hdr=Name:Value, percent-decoded: any header a test wants to see dropped or passed. */
static void put_wanted(struct out *o, struct mock_slice query)
{
	struct mock_slice key, v;
	char line[4096];

	for (size_t at = 0; mock_query_next(query, &at, &key, &v);) {
		size_t n = 0;

		if (!mock_slice_is(key, "hdr"))
			continue;
		for (size_t i = 0; i < v.n && n < sizeof(line) - 1; i++) {
			if (v.p[i] == '%' && i + 2 < v.n) {
				line[n++] = (char)(nibble(v.p[i + 1]) * 16 + nibble(v.p[i + 2]));
				i += 2;
			} else {
				line[n++] = v.p[i];
			}
		}
		put(o, "%.*s\r\n", (int)n, line);
	}
}

static void put_echo(struct out *o, const struct mock_call *call)
{
	struct mock_head h;
	struct mock_slice name, value;

	if (!call->head || mock_head_parse(call->head, call->head_bytes, &h) != 0)
		return;
	put(o, "X-Echo-Method: %.*s\r\n", (int)h.method.n, h.method.p);
	put(o, "X-Echo-Path: %.*s\r\n", (int)h.path.n, h.path.p);
	put(o, "X-Echo-Query: %.*s\r\n", (int)h.query.n, h.query.p);
	put(o, "X-Echo-Bytes: %lu\r\n", call->got_bytes);
	put(o, "X-Echo-Framing: %s\r\n", h.chunked ? "chunked" : h.has_length ? "length" : "none");
	for (size_t at = 0; mock_head_next(call->head, call->head_bytes, &at, &name, &value);)
		put(o, "X-Echo-H-%.*s: %.*s\r\n", (int)name.n, name.p, (int)value.n, value.p);
}

static const char *reason(uint64_t status)
{
	switch (status) {
	case 200:
		return "OK";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 304:
		return "Not Modified";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 429:
		return "Too Many Requests";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	default:
		return "Mock";
	}
}

static bool no_body(uint64_t status)
{
	return status < 200 || status == 204 || status == 304;
}

static void put_head(struct out *o, const struct mock_call *call)
{
	const struct mock_plan *p = &call->plan;

	put(o, "HTTP/1.1 %lu %s\r\n", p->status, reason(p->status));
	put(o, "Content-Type: %s\r\n", call->type ? call->type : "text/plain");
	if (call->seat.call)
		put(o, "X-Mock-Call: %lu\r\n", call->seat.call);
	if (p->chunked && !no_body(p->status))
		put(o, "Transfer-Encoding: chunked\r\n");
	else if (!no_body(p->status))
		put(o, "Content-Length: %lu\r\n", call->answer_bytes);
	if (p->close)
		put(o, "Connection: close\r\n");
	if (p->status == 429)
		put(o, "Retry-After: 1\r\n");
	if (p->echo)
		put_echo(o, call);
	put_wanted(o, p->query);
	put(o, "\r\n");
}

/* Bytes [at, at + n) of the answer's body: its own, or the alphabet over and over. */
static void copy_body(const struct mock_call *call, uint64_t at, char *to, size_t n)
{
	if (call->body) {
		memcpy(to, call->body + at, n);
		return;
	}
	if (!call->plan.sized && call->plan.fault == FAULT_NONE) {
		memcpy(to, &"ok\n"[at], n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		to[i] = (char)('a' + (at + i) % 26);
}

static void put_body(struct out *o, struct mock_call *call)
{
	uint64_t left = call->stop_bytes - call->sent_bytes;
	size_t room = o->cap - o->n > 64 ? o->cap - o->n - 64 : 0;
	size_t n = left < room ? (size_t)left : room;

	if (call->plan.dribble_ns && n > 1)
		n = 1;
	if (call->framed && n > CHUNK_BYTES)
		n = CHUNK_BYTES;
	if (call->framed && n)
		put(o, "%zx\r\n", n);
	copy_body(call, call->sent_bytes, o->p + o->n, n);
	o->n += n;
	call->sent_bytes += n;
	if (call->framed && n)
		put(o, "\r\n");
	if (call->sent_bytes < call->stop_bytes)
		return;
	call->phase = PHASE_OVER;
	if (call->framed && call->stop_bytes == call->answer_bytes)
		put(o, "0\r\n\r\n");
}

static enum mock_more give(struct mock_conn *c, const char *p, size_t n)
{
	if (c->call.phase == PHASE_OVER && c->call.end != END_HANG)
		mock_count_leave(&c->call.seat, false);
	c->out = p;
	c->out_len = n;
	c->out_off = 0;
	return MORE_PIECE;
}

static enum mock_more later(struct mock_conn *c, uint64_t ns)
{
	mock_loop_arm(c, mock_now_ns() + ns);
	return MORE_LATER;
}

enum mock_more mock_answer_next(struct mock_conn *c)
{
	static const char early[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct mock_call *call = &c->call;
	struct out o = {c->made, 0, MOCK_MADE_BYTES};
	bool ticked = call->ticked;

	call->ticked = false;
	switch (call->phase) {
	case PHASE_EARLY:
		if (!ticked)
			return later(c, call->plan.every_ns);
		if (--call->early_left == 0)
			call->phase = PHASE_HEAD;
		return give(c, early, sizeof(early) - 1);
	case PHASE_HEAD:
		call->phase = PHASE_BODY;
		put_head(&o, call);
		if (!call->plan.dribble_ns || call->stop_bytes == 0)
			put_body(&o, call);
		return give(c, o.p, o.n);
	case PHASE_BODY:
		if (call->plan.dribble_ns && !ticked)
			return later(c, call->plan.dribble_ns);
		put_body(&o, call);
		return give(c, o.p, o.n);
	case PHASE_OVER:
	default:
		return MORE_END;
	}
}

/* Garbage: the text of the table, with its padding, as a body without a head. */
static void begin_garbage(struct mock_call *call, const struct mock_garbage *g)
{
	const char *mark = g->pad ? memchr(g->bytes, '@', g->len) : NULL;
	size_t before = mark ? (size_t)(mark - g->bytes) : g->len;
	size_t skip = mark ? 1 : 0;

	free(call->body);
	call->body_len = g->len - skip + g->pad;
	call->body = malloc(call->body_len);
	if (!call->body)
		abort();
	memcpy(call->body, g->bytes, before);
	memset(call->body + before, 'a', g->pad);
	memcpy(call->body + before + g->pad, g->bytes + before + skip, g->len - before - skip);
	call->answer_bytes = call->stop_bytes = call->body_len;
	call->plan.dribble_ns = 0;
	call->framed = false;
	call->phase = PHASE_BODY;
	call->end = g->end;
}

static void begin_fault(struct mock_call *call)
{
	static const enum mock_end ends[FAULT_COUNT] = {
		[FAULT_RESET] = END_RST, [FAULT_RESETHALF] = END_RST, [FAULT_CLOSE] = END_FIN,
		[FAULT_HALF] = END_FIN,  [FAULT_HANGHALF] = END_HANG, [FAULT_HANG] = END_HANG,
	};
	enum mock_fault f = call->plan.fault;

	if (ends[f] != END_KEEP)
		call->end = ends[f];
	if (f == FAULT_RESET || f == FAULT_CLOSE || f == FAULT_HANG)
		call->phase = PHASE_OVER;
	if (f == FAULT_HALF || f == FAULT_RESETHALF || f == FAULT_HANGHALF)
		call->stop_bytes /= 2;
	if (f == FAULT_SLOW100 && call->plan.n) {
		call->phase = PHASE_EARLY;
		call->early_left = call->plan.n;
	}
	if (call->phase == PHASE_OVER && call->end != END_HANG)
		mock_count_leave(&call->seat, false);
}

static void begin_sizes(struct mock_call *call)
{
	const struct mock_plan *p = &call->plan;
	bool bare = call->is_head || no_body(p->status);

	call->framed = p->chunked && !bare;
	if (call->body || p->echo)
		call->answer_bytes = call->body_len;
	else
		call->answer_bytes = p->sized ? p->size : p->fault ? 100 : 3;
	call->stop_bytes = bare ? 0 : call->answer_bytes;
}

void mock_answer_begin(struct mock_conn *c)
{
	struct mock_call *call = &c->call;
	struct mock_plan *p = &call->plan;
	const struct mock_garbage *g = mock_garbage_get(p->garbage);

	if (!c->made && !(c->made = malloc(MOCK_MADE_BYTES)))
		abort();
	if (p->echo_head && call->head) {
		free(call->body);
		call->body = call->head; /* plan.query still points into it */
		call->body_len = call->head_bytes;
		call->head = NULL;
	}
	call->phase = PHASE_HEAD;
	call->end = p->linger ? END_LINGER : p->close ? END_FIN : END_KEEP;
	begin_sizes(call);
	if (g)
		begin_garbage(call, g);
	else
		begin_fault(call);
}
