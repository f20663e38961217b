#include "worker/request_writer.h"

#include "worker/http_text.h"

#include <errno.h>
#include <string.h>

#define OURS_MAX 512u /* our fields without the host: three ids, four numbers and their names */

bool sq_request_idempotent(const char *method)
{
	static const char *const safe[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
	size_t i;

	for (i = 0; i < sizeof(safe) / sizeof(safe[0]); i++) {
		if (strcmp(method, safe[i]) == 0)
			return true;
	}
	return false;
}

bool sq_request_next_field(const char **p, const char *end, struct sq_bytes *name,
			   struct sq_bytes *value)
{
	const char *line = *p, *colon, *stop;

	if (line >= end)
		return false;
	stop = memchr(line, '\n', (size_t)(end - line));
	stop = stop ? stop : end;
	*p = stop < end ? stop + 1 : end;
	if (stop > line && stop[-1] == '\r')
		stop--;
	colon = memchr(line, ':', (size_t)(stop - line));
	colon = colon ? colon : stop;
	*name = (struct sq_bytes){line, (size_t)(colon - line)};
	*value = sq_http_trim(colon < stop ? colon + 1 : stop, stop);
	return true;
}

static char *put(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}

#define PUT(p, literal) put(p, literal, sizeof(literal) - 1)

static char *put_number(char *p, uint64_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	return put(p, digits + i, sizeof(digits) - i);
}

/* Written by us, or not of this hop: the guard keeps the latter away, but a mistake would be dear.
 */
static bool is_ours(struct sq_bytes name)
{
	switch (name.len) {
	case 4:
		return SQ_HTTP_IS(name, "Host");
	case 9:
		return SQ_HTTP_IS(name, "X-Call-Id");
	case 10:
		return SQ_HTTP_IS(name, "Connection");
	case 13:
		return SQ_HTTP_IS(name, "X-Sequoia-Run");
	case 14:
		return SQ_HTTP_IS(name, "Content-Length") || SQ_HTTP_IS(name, "X-Sequoia-Node");
	case 17:
		return SQ_HTTP_IS(name, "X-Sequoia-Attempt") ||
		       SQ_HTTP_IS(name, "Transfer-Encoding");
	default:
		return false;
	}
}

/* The client's fields but ours; tells whether an Idempotency-Key is among them. */
static char *put_fields(char *p, const struct sq_request *rq, bool *has_key)
{
	const char *at, *end, *from, *line;
	struct sq_bytes name, value;

	*has_key = false;
	if (rq->headers_len == 0)
		return p;
	at = from = line = rq->headers;
	end = at + rq->headers_len;
	while (sq_request_next_field(&at, end, &name, &value)) {
		if (SQ_HTTP_IS(name, "Idempotency-Key"))
			*has_key = true;
		if (is_ours(name)) {
			p = put(p, from, (size_t)(line - from));
			from = at;
		}
		line = at;
	}
	return put(p, from, (size_t)(end - from));
}

/* The function's path under the backend's, or a route's own. */
static char *put_path(char *p, const struct sq_invocation *inv, const struct sq_target *t)
{
	const struct sq_request *rq = inv->request;

	p = put(p, t->base, strlen(t->base));
	if (inv->raw_path) {
		p = put(p, inv->raw_path, strlen(inv->raw_path));
	} else {
		p = PUT(p, "/function/");
		p = put(p, inv->function, strlen(inv->function));
		p = put(p, rq->path, strlen(rq->path));
	}
	if (rq->query) {
		*p++ = '?';
		p = put(p, rq->query, strlen(rq->query));
	}
	return p;
}

/* Without a body: 0 where the method leads one to expect a body, else nothing (RFC 9110 8.6). */
static char *put_length(char *p, const struct sq_request *rq)
{
	const char *m = rq->method;

	if (!rq->body && strcmp(m, "POST") != 0 && strcmp(m, "PUT") != 0 && strcmp(m, "PATCH") != 0)
		return p;
	p = PUT(p, "Content-Length: ");
	p = put_number(p, rq->body ? sq_blob_size(rq->body) : 0);
	return PUT(p, "\r\n");
}

static char *put_ours(char *p, const struct sq_invocation *inv, bool has_key)
{
	char run[SQ_ID_HEX];

	sq_id_show(run, inv->id);
	p = PUT(p, "X-Call-Id: ");
	p = put(p, run, SQ_ID_HEX - 1);
	p = PUT(p, "\r\nX-Sequoia-Run: ");
	p = put(p, run, SQ_ID_HEX - 1);
	p = PUT(p, "\r\nX-Sequoia-Node: ");
	p = put_number(p, inv->node);
	p = PUT(p, "\r\nX-Sequoia-Attempt: ");
	p = put_number(p, inv->attempt);
	if (!has_key) {
		p = PUT(p, "\r\nIdempotency-Key: ");
		p = put(p, run, SQ_ID_HEX - 1);
		*p++ = '/';
		p = put_number(p, inv->node);
	}
	return PUT(p, "\r\n\r\n");
}

static size_t size_of(const struct sq_invocation *inv, const struct sq_target *t)
{
	const struct sq_request *rq = inv->request;
	size_t n = strlen(rq->method) + strlen(t->base) + strlen(t->host) + rq->headers_len;

	n += inv->raw_path ? strlen(inv->raw_path) : strlen(inv->function) + strlen(rq->path);
	n += rq->query ? strlen(rq->query) : 0;
	return n + OURS_MAX;
}

int sq_request_write(struct sq_buf *out, const struct sq_invocation *inv,
		     const struct sq_target *target)
{
	const struct sq_request *rq = inv->request;
	bool has_key;
	char *p;

	if (sq_buf_reserve(out, size_of(inv, target)) < 0)
		return -ENOMEM;
	p = out->data + out->len;
	p = put(p, rq->method, strlen(rq->method));
	*p++ = ' ';
	p = put_path(p, inv, target);
	p = PUT(p, " HTTP/1.1\r\nHost: ");
	p = put(p, target->host, strlen(target->host));
	p = PUT(p, "\r\n");
	p = put_fields(p, rq, &has_key);
	p = put_length(p, rq);
	p = put_ours(p, inv, has_key);
	*p = '\0';
	out->len = (size_t)(p - out->data);
	return 0;
}
