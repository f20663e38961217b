/*
 * The answer reader: a table of answers, each read whole, byte by byte and split at every position,
 * with the same result; and many mutations of them, compared with an independent parser: what we
 * accept, it must accept, with the same status and body.
 */
#include "base/clock.h"
#include "worker/answer_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#ifdef HAVE_HTTP_PARSER
#include <http_parser.h>
#endif

#define BODY_MAX 4096

/* All that a reading tells. */
struct result {
	enum sq_read end; /* END, BAD or MORE (not complete, the connection still open) */
	int status;
	bool keep;
	int64_t length;
	size_t used; /* input bytes up to the end of the answer */
	size_t body_len;
	char body[BODY_MAX];
	char headers[2048]; /* "name=value|..." */
	char reason[80];
};

static struct sq_arena_pool *pool;

static void note_headers(struct result *res, const struct sq_answer *a)
{
	size_t at = 0, i;

	res->headers[0] = '\0';
	for (i = 0; i < a->n_headers; i++) {
		const struct sq_header *h = &a->headers[i];

		assert_int_equal(strlen(h->name), h->name_len);
		assert_int_equal(strlen(h->value), h->value_len);
		if (at < sizeof(res->headers))
			at += (size_t)snprintf(res->headers + at, sizeof(res->headers) - at,
					       "%s=%s|", h->name, h->value);
	}
}

static bool step(struct sq_answer_reader *r, struct sq_bytes *in, struct result *res)
{
	struct sq_bytes body;

	for (;;) {
		res->end = sq_answer_read(r, in, &body);
		switch (res->end) {
		case SQ_READ_HEAD:
			note_headers(res, r->answer);
			res->length = r->answer->length;
			break;
		case SQ_READ_BODY:
			assert_true(body.len > 0);
			if (res->body_len + body.len <= BODY_MAX)
				memcpy(res->body + res->body_len, body.data, body.len);
			res->body_len += body.len;
			break;
		case SQ_READ_MORE:
			assert_int_equal(in->len, 0);
			return true;
		default:
			return false;
		}
	}
}

/*
 * Reads the bytes in pieces that end at cut, cut + every, ...; each piece in memory of its own, so
 * that a read past it is found.
 */
static void read_answer(const char *text, size_t n, size_t cut, size_t every, bool head,
			struct result *res)
{
	static struct sq_answer_reader r;
	struct sq_arena *arena = sq_arena_new(pool);
	struct sq_answer a = {.length = -1};
	size_t at = 0;
	bool more = true;

	memset(res, 0, offsetof(struct result, body));
	res->headers[0] = res->reason[0] = '\0';
	sq_answer_reader_begin(&r, &a, arena, head);
	while (more && at < n) {
		size_t end = at < cut ? cut : at + every;
		struct sq_bytes in = {NULL, (end < n ? end : n) - at};
		char *piece = malloc(in.len);

		memcpy(piece, text + at, in.len);
		in.data = piece;
		at += in.len;
		more = step(&r, &in, res);
		res->used = at - in.len;
		free(piece);
	}
	if (more)
		res->end = sq_answer_closed(&r);
	res->status = a.status;
	res->keep = r.keep;
	if (res->end == SQ_READ_BAD)
		snprintf(res->reason, sizeof(res->reason), "%s", r.reason);
	sq_answer_reader_free(&r);
	sq_arena_free(arena);
}

static void assert_same(const struct result *a, const struct result *b)
{
	assert_int_equal(a->end, b->end);
	assert_string_equal(a->reason, b->reason);
	if (a->end == SQ_READ_BAD)
		return;
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->keep, b->keep);
	assert_int_equal(a->length, b->length);
	assert_int_equal(a->used, b->used);
	assert_string_equal(a->headers, b->headers);
	assert_int_equal(a->body_len, b->body_len);
	assert_memory_equal(a->body, b->body, a->body_len < BODY_MAX ? a->body_len : BODY_MAX);
}

/* --- the table --- */

struct row {
	const char *text;
	size_t len;
	int status;       /* 0: refused */
	const char *body; /* or the reason's beginning */
	bool keep;
	const char *headers; /* NULL: whatever */
	bool head;           /* answer to HEAD */
	size_t pad;          /* so many 'a' at the '@' */
};

#define T(text) text, sizeof(text) - 1
#define H "HTTP/1.1 200 OK\r\n"
#define CL2 "Content-Length: 2\r\n"
#define TE "Transfer-Encoding: chunked\r\n"
#define I1 "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
#define I8 I1 I1 I1 I1 I1 I1 I1 I1
#define I32 I8 I8 I8 I8

static const struct row good[] = {
	{T(H CL2 "\r\nok"), 200, "ok", true, "", 0, 0},
	{T(H "Content-Length: 0\r\n\r\n"), 200, "", true, "", 0, 0},
	{T(H "content-length:2\r\nX-A:  b c \t\r\nX-Empty:\r\n\r\nok"), 200, "ok", true,
	 "X-A=b c|X-Empty=|", 0, 0},
	{T("HTTP/1.1 200\r\n" CL2 "\r\nok"), 200, "ok", true, "", 0, 0},
	{T("HTTP/1.1 200 \r\n" CL2 "\r\nok"), 200, "ok", true, "", 0, 0},
	{T("HTTP/1.1 599 Caf\xe9\r\n" CL2 "\r\nok"), 599, "ok", true, "", 0, 0},
	{T("HTTP/1.1 999 Denied\r\n" CL2 "\r\nok"), 999, "ok", true, "", 0, 0},
	{T(H "\r\nuntil close"), 200, "until close", false, "", 0, 0},
	{T("HTTP/1.0 200 OK\r\n\r\nold"), 200, "old", false, "", 0, 0},
	{T("HTTP/1.0 200 OK\r\n" CL2 "\r\nok"), 200, "ok", false, "", 0, 0},
	{T("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" CL2 "\r\nok"), 200, "ok", true, "", 0,
	 0},
	{T(H "Connection: close\r\n" CL2 "\r\nok"), 200, "ok", false, "", 0, 0},
	{T(H "Connection: keep-alive, CLOSE\r\n" CL2 "\r\nok"), 200, "ok", false, "", 0, 0},
	{T(H "Connection: x-secret, ,close\r\nX-Secret: 1\r\nX-Secrets: 2\r\n" CL2 "\r\nok"), 200,
	 "ok", false, "X-Secrets=2|", 0, 0},
	{T(H "X-Secret: 1\r\nConnection: x-a\r\nConnection: x-secret\r\nx-A: 3\r\n" CL2 "\r\nok"),
	 200, "ok", true, "", 0, 0},
	{T(H "Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: x\r\nTrailer: x\r\nUpgrade: x\r\n"
	     "Proxy-Authenticate: x\r\nDate: now\r\n" CL2 "\r\nok"),
	 200, "ok", true, "Date=now|", 0, 0},
	{T(H TE "\r\n2\r\nok\r\n0\r\n\r\n"), 200, "ok", true, "", 0, 0},
	{T(H "TRANSFER-encoding:chunked \r\n\r\n000A\r\n0123456789\r\n1;a=\"b\";c\r\n!\r\n"
	     "00\r\nX-T: 1\r\nX-U: 2\r\n\r\n"),
	 200, "0123456789!", true, "", 0, 0},
	{T(H TE "Connection: close\r\n\r\n0\r\n\r\n"), 200, "", false, "", 0, 0},
	{T("HTTP/1.1 100 Continue\r\n\r\n" H CL2 "\r\nok"), 200, "ok", true, "", 0, 0},
	{T("HTTP/1.1 103 E\r\nConnection: close\r\nX: 1\r\n\r\n" H CL2 "\r\nok"), 200, "ok", true,
	 "", 0, 0},
	{T(I32 H CL2 "\r\nok"), 200, "ok", true, "", 0, 0},
	{T("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"), 204, "", true, "X=y|", 0, 0},
	{T("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), 204, "", true, "", 0, 0},
	{T("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"), 204, "", false, "", 0, 0},
	{T("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: e\r\n\r\n"), 304, "", true,
	 "ETag=e|", 0, 0},
	{T("HTTP/1.1 304 Not Modified\r\n" TE "\r\n"), 304, "", true, "", 0, 0},
	{T(H "Content-Length: 123456789012\r\n\r\n"), 200, "", true, "", true, 0},
	{T(H TE "\r\n"), 200, "", true, "", true, 0},
	{T(H "\r\n"), 200, "", true, "", true, 0},
	{T("HTTP/1.7 200 OK\r\n" CL2 "\r\nok"), 200, "ok", true, "", 0, 0},
	{T(H CL2 "\r\nokHTTP/1.1 200 OK\r\n"), 200, "ok", true, "", 0, 0},
	{T(H "X: \xc3\xa9\t\xff\r\n" CL2 "\r\nok"), 200, "ok", true, "X=\xc3\xa9\t\xff|", 0, 0},
	{T(H "X: @\r\n" CL2 "\r\nok"), 200, "ok", true, NULL, 0, 60000},
	{T(H TE "\r\n1;@\r\na\r\n0\r\n\r\n"), 200, "a", true, "", 0, 1000},
};

static const struct row bad[] = {
	{T(""), 0, "closed before the answer's head", 0, 0, 0, 0},
	{T("HTTP/1.1 2"), 0, "closed before the answer's head", 0, 0, 0, 0},
	{T(H "Content-Le"), 0, "closed before the answer's head", 0, 0, 0, 0},
	{T("HTTP/1.1 100 Continue\r\n\r\n"), 0, "closed before the answer's head", 0, 0, 0, 0},
	{T(H CL2 "\r\n"), 0, "closed before the answer's body", 0, 0, 0, 0},
	{T(H CL2 "\r\no"), 0, "closed before the answer's body", 0, 0, 0, 0},
	{T(H TE "\r\n3\r\nok\n\r\n"), 0, "closed before the answer's body", 0, 0, 0, 0},
	{T(H TE "\r\n3\r\nok\n\r\n0\r\n"), 0, "closed before the answer's body", 0, 0, 0, 0},
	{T("\x16\x03\x01 lorem"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("ICY 200 OK\r\n"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("\r\n" H CL2 "\r\nok"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("http/1.1 200 OK\r\n\r\n"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("HTTP/3.1 200 OK\r\n\r\n"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("HTTP/2 200 OK\r\n\r\n"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("<html>hello</html>\n"), 0, "not an HTTP/1.x", 0, 0, 0, 0},
	{T("HTTP/1.1 OK\r\n\r\n"), 0, "malformed status line", 0, 0, 0, 0},
	{T("HTTP/1.11 200 OK\r\n\r\n"), 0, "malformed status line", 0, 0, 0, 0},
	{T("HTTP/1.1  200 OK\r\n\r\n"), 0, "malformed status code", 0, 0, 0, 0},
	{T("HTTP/1.1\t200 OK\r\n\r\n"), 0, "malformed status line", 0, 0, 0, 0},
	{T("HTTP/1.1 20 OK\r\n\r\n"), 0, "malformed status code", 0, 0, 0, 0},
	{T("HTTP/1.1 2000 OK\r\n\r\n"), 0, "malformed status code", 0, 0, 0, 0},
	{T("HTTP/1.1 2x0 OK\r\n\r\n"), 0, "malformed status code", 0, 0, 0, 0},
	{T("HTTP/1.1 099 OK\r\n\r\n"), 0, "status code below 100", 0, 0, 0, 0},
	{T("HTTP/1.1 200 O\0K\r\n\r\n"), 0, "control character in the status line", 0, 0, 0, 0},
	{T("HTTP/1.1 200 O\rK\r\n\r\n"), 0, "control character in the status line", 0, 0, 0, 0},
	{T("HTTP/1.1 200 OK\n" CL2 "\r\nok"), 0, "line ended by a bare LF", 0, 0, 0, 0},
	{T(H "X: a\n" CL2 "\r\nok"), 0, "line ended by a bare LF", 0, 0, 0, 0},
	{T(H CL2 "\nok"), 0, "line ended by a bare LF", 0, 0, 0, 0},
	{T(H "X: a\rb\r\n\r\n"), 0, "control character in a header", 0, 0, 0, 0},
	{T(H "X: a\0b\r\n\r\n"), 0, "control character in a header", 0, 0, 0, 0},
	{T(H "X: a long line, longer than eight\x7f\r\n\r\n"), 0, "control character in a header",
	 0, 0, 0, 0},
	{T(H "X\0Y: a\r\n\r\n"), 0, "header name is not a token", 0, 0, 0, 0},
	{T(H "X Y: a\r\n\r\n"), 0, "header name is not a token", 0, 0, 0, 0},
	{T(H "X\xc3\xa9: a\r\n\r\n"), 0, "header name is not a token", 0, 0, 0, 0},
	{T(H "Content-Length : 2\r\n\r\nok"), 0, "header name is not a token", 0, 0, 0, 0},
	{T(H ": x\r\n\r\n"), 0, "header name is not a token", 0, 0, 0, 0},
	{T(H "nonsense\r\n\r\n"), 0, "header line without a colon", 0, 0, 0, 0},
	{T(H "X: a\r\n b\r\n\r\n"), 0, "folded header line", 0, 0, 0, 0},
	{T(H "X: a\r\n\t\r\n\r\n"), 0, "folded header line", 0, 0, 0, 0},
	{T(H " X: a\r\n\r\n"), 0, "folded header line", 0, 0, 0, 0},
	{T(H CL2 CL2 "\r\nok"), 0, "Content-Length twice", 0, 0, 0, 0},
	{T(H CL2 "Content-Length: 3\r\n\r\nok"), 0, "Content-Length twice", 0, 0, 0, 0},
	{T(H "Content-Length: 2, 2\r\n\r\nok"), 0, "malformed Content-Length", 0, 0, 0, 0},
	{T(H "Content-Length:\r\n\r\nok"), 0, "malformed Content-Length", 0, 0, 0, 0},
	{T(H "Content-Length: -2\r\n\r\nok"), 0, "malformed Content-Length", 0, 0, 0, 0},
	{T(H "Content-Length: +2\r\n\r\nok"), 0, "malformed Content-Length", 0, 0, 0, 0},
	{T(H "Content-Length: 0x2\r\n\r\nok"), 0, "malformed Content-Length", 0, 0, 0, 0},
	{T(H "Content-Length: 2 2\r\n\r\nok"), 0, "malformed Content-Length", 0, 0, 0, 0},
	{T(H "Content-Length: 9223372036854775808\r\n\r\n"), 0, "Content-Length overflows", 0, 0, 0,
	 0},
	{T(H "Content-Length: 99999999999999999999999\r\n\r\n"), 0, "Content-Length overflows", 0,
	 0, 0, 0},
	{T(H "Content-Length:\t2\r\n\r\nok"), 0, "tab in a framing field", 0, 0, 0, 0},
	{T(H "Transfer-Encoding: chunked\t\r\n\r\nok"), 0, "tab in a framing field", 0, 0, 0, 0},
	{T(H CL2 TE "\r\n2\r\nok\r\n0\r\n\r\n"), 0, "Transfer-Encoding where none", 0, 0, 0, 0},
	{T(H TE CL2 "\r\n2\r\nok\r\n0\r\n\r\n"), 0, "Transfer-Encoding where none", 0, 0, 0, 0},
	{T("HTTP/1.0 200 OK\r\n" TE "\r\n0\r\n\r\n"), 0, "Transfer-Encoding where none", 0, 0, 0,
	 0},
	{T("HTTP/1.1 204 No\r\n" TE "\r\n0\r\n\r\n"), 0, "Transfer-Encoding where none", 0, 0, 0,
	 0},
	{T(H TE TE "\r\n0\r\n\r\n"), 0, "Transfer-Encoding other", 0, 0, 0, 0},
	{T(H "Transfer-Encoding: gzip, chunked\r\n\r\n"), 0, "Transfer-Encoding other", 0, 0, 0, 0},
	{T(H "Transfer-Encoding: identity\r\n\r\n"), 0, "Transfer-Encoding other", 0, 0, 0, 0},
	{T(H "Transfer-Encoding: \x0b"
	     "chunked\r\n\r\n"),
	 0, "control character in a header", 0, 0, 0, 0},
	{T(H "Transfer-Encoding:\r\n\r\n"), 0, "Transfer-Encoding other", 0, 0, 0, 0},
	{T("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nraw"), 0, "101 that nobody", 0, 0, 0, 0},
	{T("HTTP/1.1 100 C\r\n" CL2 "\r\nok" H CL2 "\r\nok"), 0, "an interim answer with", 0, 0, 0,
	 0},
	{T(I32 I1 H CL2 "\r\nok"), 0, "too many interim answers", 0, 0, 0, 0},
	{T(H TE "\r\nzz\r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\n\r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\n-2\r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\n0x2\r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\n 2\r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\n2 \r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\n;a\r\nok"), 0, "malformed chunk size", 0, 0, 0, 0},
	{T(H TE "\r\nffffffffffffffff\r\nok"), 0, "chunk size overflows", 0, 0, 0, 0},
	{T(H TE "\r\n0000000000000002\r\nok"), 0, "chunk size overflows", 0, 0, 0, 0},
	{T(H TE "\r\n2;a\x01\r\nok"), 0, "control character in a chunk", 0, 0, 0, 0},
	{T(H TE "\r\n2\nok\r\n0\r\n\r\n"), 0, "line ended by a bare LF", 0, 0, 0, 0},
	{T(H TE "\r\n2\r\nok!\r\n0\r\n\r\n"), 0, "chunk not ended by CRLF", 0, 0, 0, 0},
	{T(H TE "\r\n2\r\nok\n0\r\n\r\n"), 0, "line ended by a bare LF", 0, 0, 0, 0},
	{T(H TE "\r\n0\r\nX-T 1\r\n\r\n"), 0, "header line without a colon", 0, 0, 0, 0},
	{T(H TE "\r\n0\r\nContent-Length: 1\r\n\r\n"), 0, "framing field in the trailers", 0, 0, 0,
	 0},
	{T(H TE "\r\n0\r\n" TE "\r\n"), 0, "framing field in the trailers", 0, 0, 0, 0},
	{T(H "X: @\r\n" CL2 "\r\nok"), 0, "head larger than 64 KiB", 0, 0, 0, 70000},
	{T(H "X: @"), 0, "head larger than 64 KiB", 0, 0, 0, 300000},
	{T("HTTP/1.1 200 @\r\n\r\n"), 0, "head larger than 64 KiB", 0, 0, 0, 70000},
	{T(H TE "\r\n0\r\nX: @\r\n\r\n"), 0, "head larger than 64 KiB", 0, 0, 0, 70000},
	{T(H TE "\r\n1;@\r\na\r\n"), 0, "chunk size line too long", 0, 0, 0, 2000},
};

/* The row's bytes, padded; the caller frees. */
static char *bytes_of(const struct row *row, size_t *n)
{
	const char *at = row->pad ? memchr(row->text, '@', row->len) : NULL;
	size_t before = at ? (size_t)(at - row->text) : row->len;
	char *p = malloc(row->len + row->pad + 1);

	memcpy(p, row->text, before);
	*n = before;
	if (at) {
		memset(p + before, 'a', row->pad);
		memcpy(p + before + row->pad, at + 1, row->len - before - 1);
		*n = row->len - 1 + row->pad;
	}
	return p;
}

static void check_row(const struct row *row)
{
	static struct result whole, other;
	size_t n, cut;
	char *p = bytes_of(row, &n);

	read_answer(p, n, n, n, row->head, &whole);
	if (row->status == 0) {
		assert_int_equal(whole.end, SQ_READ_BAD);
		if (strncmp(whole.reason, row->body, strlen(row->body)) != 0)
			fail_msg("\"%s\" but \"%s\"", row->body, whole.reason);
	} else {
		if (whole.end != SQ_READ_END)
			fail_msg("%.60s: %s", row->text, whole.reason);
		assert_int_equal(whole.status, row->status);
		assert_int_equal(whole.body_len, strlen(row->body));
		assert_memory_equal(whole.body, row->body, whole.body_len);
		assert_int_equal(whole.keep, row->keep);
		if (row->headers)
			assert_string_equal(whole.headers, row->headers);
	}
	read_answer(p, n, 1, 1, row->head, &other);
	assert_same(&whole, &other);
	for (cut = 1; cut < n; cut += row->pad ? n / 50 : 1) {
		read_answer(p, n, cut, n, row->head, &other);
		assert_same(&whole, &other);
	}
	free(p);
}

static void test_good(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check_row(&good[i]);
}

static void test_bad(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_row(&bad[i]);
}

/* --- bounds that a table cannot show --- */

static void test_many_headers(void **state)
{
	static struct result res;
	char text[8192];
	size_t n = 0, i, count;

	(void)state;
	for (count = SQ_ANSWER_HEADERS_MAX; count <= SQ_ANSWER_HEADERS_MAX + 1; count++) {
		n = (size_t)sprintf(text, "HTTP/1.1 204 No\r\n");
		for (i = 0; i < count; i++)
			n += (size_t)sprintf(text + n, "a%zu: %zu\r\n", i, i);
		n += (size_t)sprintf(text + n, "\r\n");
		read_answer(text, n, n, n, false, &res);
		assert_int_equal(res.end,
				 count > SQ_ANSWER_HEADERS_MAX ? SQ_READ_BAD : SQ_READ_END);
	}
	assert_string_equal(res.reason, "too many headers");
}

static void test_many_named(void **state)
{
	static struct result res;
	char text[4096];
	size_t n = (size_t)sprintf(text, "HTTP/1.1 204 No\r\nConnection: "), i;

	(void)state;
	for (i = 0; i <= SQ_ANSWER_NAMED_MAX; i++)
		n += (size_t)sprintf(text + n, "x%zu,", i);
	n += (size_t)sprintf(text + n, "\r\n\r\n");
	read_answer(text, n, n, n, false, &res);
	assert_string_equal(res.reason, "Connection names too many headers");
}

/* Chunks of one byte with long extensions: more wrapping than content. */
static void test_extensions(void **state)
{
	static struct sq_answer_reader r;
	struct sq_arena *arena = sq_arena_new(pool);
	struct sq_answer a = {.length = -1};
	static const char head[] = H TE "\r\n";
	struct sq_bytes in = {head, sizeof(head) - 1}, body;
	char chunk[1024];
	int i, n = snprintf(chunk, sizeof(chunk), "1;%0900d\r\na\r\n", 0);
	enum sq_read got;

	(void)state;
	sq_answer_reader_begin(&r, &a, arena, false);
	assert_int_equal(sq_answer_read(&r, &in, &body), SQ_READ_HEAD);
	for (i = 0; i < 100; i++) {
		in = (struct sq_bytes){chunk, (size_t)n};
		while ((got = sq_answer_read(&r, &in, &body)) == SQ_READ_BODY)
			;
		if (got == SQ_READ_BAD)
			break;
	}
	assert_int_equal(i, 72);
	assert_string_equal(r.reason, "chunk extensions larger than 64 KiB");
	sq_answer_reader_free(&r);
	sq_arena_free(arena);
}

static void test_event_stream(void **state)
{
	static const struct {
		const char *type;
		bool is;
	} rows[] = {
		{"text/event-stream", true},
		{"Text/Event-Stream; charset=utf-8", true},
		{"text/event-streams", false},
		{"text/plain", false},
	};
	struct sq_answer_reader r = {0};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sq_arena *arena = sq_arena_new(pool);
		struct sq_answer a = {.length = -1};
		struct sq_bytes in, body;
		char text[200];

		in.len = (size_t)snprintf(
			text, sizeof(text),
			H "Content-Type: %s\r\nKeep-Alive: timeout=7, max=3\r\n\r\n", rows[i].type);
		in.data = text;
		sq_answer_reader_begin(&r, &a, arena, false);
		assert_int_equal(sq_answer_read(&r, &in, &body), SQ_READ_HEAD);
		assert_int_equal(a.event_stream, rows[i].is);
		assert_int_equal(r.keep_alive_s, 7);
		assert_int_equal(a.length, -1);
		sq_arena_free(arena);
	}
	sq_answer_reader_free(&r);
}

/* --- mutations, against http_parser --- */

#ifdef HAVE_HTTP_PARSER
struct theirs {
	int status;
	size_t body_len;
	bool complete, head;
	char body[BODY_MAX];
};

static int on_headers(http_parser *p)
{
	struct theirs *t = p->data;

	t->status = p->status_code;
	/* 1: no body follows (it would read one after a 204). */
	return t->head || p->status_code == 204 || p->status_code == 304;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct theirs *t = p->data;

	if (t->body_len + n <= BODY_MAX)
		memcpy(t->body + t->body_len, at, n);
	t->body_len += n;
	return 0;
}

static int on_complete(http_parser *p)
{
	struct theirs *t = p->data;

	if (t->status < 200) {
		t->body_len = 0;
		return 0;
	}
	t->complete = true;
	http_parser_pause(p, 1); /* what follows is not of this answer */
	return 0;
}

static bool they_accept(const char *text, size_t n, bool head, struct theirs *t)
{
	static const http_parser_settings settings = {
		.on_headers_complete = on_headers,
		.on_body = on_body,
		.on_message_complete = on_complete,
	};
	http_parser p;

	memset(t, 0, offsetof(struct theirs, body));
	t->head = head;
	http_parser_init(&p, HTTP_RESPONSE);
	p.data = t;
	http_parser_execute(&p, &settings, text, n);
	if (!t->complete && HTTP_PARSER_ERRNO(&p) == HPE_OK)
		http_parser_execute(&p, &settings, "", 0);
	return t->complete;
}

static uint64_t seed = 1;

static size_t random_below(size_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (size_t)(seed % n);
}

/* One to three changes: a byte set, left out, put in, or a piece of another row pasted. */
static size_t mutate(char *p, size_t n, size_t cap)
{
	static const char likely[] = "\r\n\t :;,0123456789abcfx\0\x7f\xff=-HTP/.";
	size_t times = 1 + random_below(3);

	while (times-- > 0 && n > 1) {
		size_t at = random_below(n), k;
		const struct row *other = &good[random_below(sizeof(good) / sizeof(good[0]))];
		char c = likely[random_below(sizeof(likely) - 1)];

		switch (random_below(5)) {
		case 0:
			p[at] = c;
			break;
		case 1:
			memmove(p + at, p + at + 1, --n - at);
			break;
		case 2:
			if (n + 1 < cap) {
				memmove(p + at + 1, p + at, n++ - at);
				p[at] = c;
			}
			break;
		case 3:
			p[at] = (char)(p[at] ^ (1 << random_below(8)));
			break;
		default:
			k = other->pad ? 0 : random_below(other->len);
			k = other->len - k < 30 ? other->len - k : 30;
			if (n + k < cap && !other->pad) {
				memmove(p + at + k, p + at, n - at);
				memcpy(p + at, other->text + random_below(other->len - k + 1), k);
				n += k;
			}
			break;
		}
	}
	return n;
}

static const struct row *any_row(void)
{
	size_t n_good = sizeof(good) / sizeof(good[0]), n_bad = sizeof(bad) / sizeof(bad[0]);
	size_t i = random_below(n_good * 3 + n_bad);

	return i < n_good * 3 ? &good[i % n_good] : &bad[i - n_good * 3];
}

/*
 * http_parser 2.9.4 notes a Transfer-Encoding before it has seen the name's end: X in
 * "Transfer-EncodingX: chunked" comes too late, and a Content-Length beside it is an error.
 */
static bool is_their_fault(const char *text, size_t n)
{
	static const char name[] = "Transfer-Encoding";
	size_t i, k = sizeof(name) - 1;

	for (i = 0; i + k < n; i++) {
		if (strncasecmp(text + i, name, k) == 0 && text[i + k] != ':')
			return true;
	}
	return false;
}

static void test_mutations(void **state)
{
	static struct result ours, cut;
	static struct theirs theirs;
	const char *count = getenv("SQ_MUTATIONS");
	long i, n_tries = count ? atol(count) : 300000, both = 0, stricter = 0;
	char text[BODY_MAX];

	(void)state;
	for (i = 0; i < n_tries; i++) {
		const struct row *row = any_row();
		uint64_t at_seed = seed;
		size_t n;
		bool accepted;

		if (row->pad || row->len == 0 || row->len > 1500)
			continue;
		memcpy(text, row->text, row->len);
		n = mutate(text, row->len, 2000);
		read_answer(text, n, n, n, row->head, &ours);
		read_answer(text, n, 1 + random_below(n), 1 + random_below(n), row->head, &cut);
		assert_same(&ours, &cut);
		accepted = they_accept(text, n, row->head, &theirs);
		if (ours.end != SQ_READ_END) {
			stricter += accepted;
			continue;
		}
		if (is_their_fault(text, n))
			continue;
		both++;
		if (!accepted || theirs.status != ours.status || theirs.body_len != ours.body_len ||
		    memcmp(theirs.body, ours.body, ours.body_len) != 0) {
			fwrite(text, 1, n, stderr);
			fail_msg("seed %llu: they say %d, status %d, body %zu; we %d, %zu",
				 (unsigned long long)at_seed, accepted, theirs.status,
				 theirs.body_len, ours.status, ours.body_len);
		}
	}
	print_message("mutations: %ld tried, %ld accepted by both, %ld by http_parser alone\n",
		      n_tries, both, stricter);
	assert_true(both > n_tries / 20);
}
#endif

/* --- speed --- */

static void test_speed(void **state)
{
	static const char text[] =
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
		"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-Call-Id: 0123456789\r\n"
		"X-Duration-Seconds: 0.001234\r\nContent-Length: 13\r\n\r\n"
		"Hello, world\n";
	static struct sq_answer_reader r;
	int64_t best = SQ_NEVER;
	int round, i;

	(void)state;
	for (round = 0; round < 20; round++) {
		int64_t from = sq_clock_ns(), ns;

		for (i = 0; i < 1000; i++) {
			struct sq_arena *arena = sq_arena_new(pool);
			struct sq_answer a = {.length = -1};
			struct sq_bytes in = {text, sizeof(text) - 1}, body;

			sq_answer_reader_begin(&r, &a, arena, false);
			while (sq_answer_read(&r, &in, &body) != SQ_READ_END)
				;
			sq_arena_free(arena);
		}
		ns = (sq_clock_ns() - from) / 1000;
		best = ns < best ? ns : best;
	}
	print_message("an answer of %zu bytes, 5 headers: %lld ns\n", sizeof(text) - 1,
		      (long long)best);
}

static int set_up(void **state)
{
	(void)state;
	pool = sq_arena_pool_new(4096, 16);
	return pool ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	sq_arena_pool_free(pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),         cmocka_unit_test(test_bad),
		cmocka_unit_test(test_many_headers), cmocka_unit_test(test_many_named),
		cmocka_unit_test(test_extensions),   cmocka_unit_test(test_event_stream),
#ifdef HAVE_HTTP_PARSER
		cmocka_unit_test(test_mutations),
#endif
		cmocka_unit_test(test_speed),
	};

	return cmocka_run_group_tests_name("answer_reader", tests, set_up, tear_down);
}
