#include "base/clock.h"
#include "worker/http_text.h"
#include "worker/request_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUN "0123456789abcdef0000000000000007"
#define OURS                                                                                       \
	"X-Call-Id: " RUN "\r\nX-Sequoia-Run: " RUN                                                \
	"\r\nX-Sequoia-Node: 2\r\nX-Sequoia-Attempt: 3\r\n"
#define KEY "Idempotency-Key: " RUN "/2\r\n"
#define HOST "Host: gw:81\r\n"

struct row {
	const char *method, *path, *query, *raw_path, *headers;
	int body; /* bytes, or -1: none */
	const char *base, *want;
};

static const struct row rows[] = {
	{"GET", "", NULL, NULL, "", -1, "", "GET /function/fn HTTP/1.1\r\n" HOST OURS KEY "\r\n"},
	{"GET", "/a%2Fb/%C3%A9", "q=%20&x=;", NULL, "A: b\r\n", -1, "/base",
	 "GET /base/function/fn/a%2Fb/%C3%A9?q=%20&x=; HTTP/1.1\r\n" HOST "A: b\r\n" OURS KEY
	 "\r\n"},
	{"GET", "", "", NULL, "", -1, "", "GET /function/fn? HTTP/1.1\r\n" HOST OURS KEY "\r\n"},
	{"GET", "/x", "q", "/api//v1/../y", "", -1, "",
	 "GET /api//v1/../y?q HTTP/1.1\r\n" HOST OURS KEY "\r\n"},
	{"POST", "", NULL, NULL, "", -1, "",
	 "POST /function/fn HTTP/1.1\r\n" HOST "Content-Length: 0\r\n" OURS KEY "\r\n"},
	{"PATCH", "", NULL, NULL, "", 0, "",
	 "PATCH /function/fn HTTP/1.1\r\n" HOST "Content-Length: 0\r\n" OURS KEY "\r\n"},
	{"DELETE", "", NULL, NULL, "", -1, "",
	 "DELETE /function/fn HTTP/1.1\r\n" HOST OURS KEY "\r\n"},
	{"GET", "", NULL, NULL, "", 1234, "",
	 "GET /function/fn HTTP/1.1\r\n" HOST "Content-Length: 1234\r\n" OURS KEY "\r\n"},
	{"PUT", "", NULL, NULL, "idempotency-KEY: mine\r\n", -1, "",
	 "PUT /function/fn HTTP/1.1\r\n" HOST "idempotency-KEY: mine\r\nContent-Length: 0\r\n" OURS
	 "\r\n"},
	/* What is ours is not taken from the client; what only looks so is. */
	{"GET", "", NULL, NULL,
	 "host: evil\r\nA: 1\r\nX-SEQUOIA-run: evil\r\nx-sequoia-node: 9\r\nB: 2\r\n"
	 "X-Sequoia-Attempt: 9\r\ncontent-length: 9\r\nTransfer-Encoding: chunked\r\n"
	 "X-Call-Id: x\r\nConnection: close\r\nX-Call-Ids: 1\r\nX-Sequoia-Plan: y\r\n",
	 -1, "",
	 "GET /function/fn HTTP/1.1\r\n" HOST
	 "A: 1\r\nB: 2\r\nX-Call-Ids: 1\r\nX-Sequoia-Plan: y\r\n" OURS KEY "\r\n"},
};

static struct sq_blob *blob_of(struct sq_blob_store *store, int n)
{
	struct sq_blob *b = sq_blob_new(store, 0);
	char bytes[2000] = {0};

	if (n > 0)
		assert_int_equal(sq_blob_append(b, bytes, (size_t)n), 0);
	sq_blob_seal(b);
	return b;
}

static void check(const struct row *row, struct sq_buf *out)
{
	const struct sq_target target = {.host = "gw:81", .base = row->base};
	struct sq_blob_store *store = sq_blob_store_new("/tmp", 1 << 20);
	const struct sq_request rq = {
		.method = row->method,
		.path = row->path,
		.query = row->query,
		.headers = row->headers,
		.headers_len = strlen(row->headers),
		.body = row->body >= 0 ? blob_of(store, row->body) : NULL,
	};
	const struct sq_invocation inv = {
		.function = "fn",
		.request = &rq,
		.raw_path = row->raw_path,
		.id = {0x0123456789abcdef, 7},
		.node = 2,
		.attempt = 3,
	};

	out->len = 0;
	assert_int_equal(sq_request_write(out, &inv, &target), 0);
	assert_string_equal(out->data, row->want);
	assert_int_equal(out->len, strlen(row->want));
	sq_blob_unref(rq.body);
	sq_blob_store_free(store);
}

static void test_heads(void **state)
{
	struct sq_buf out = {0};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&rows[i], &out);
	sq_buf_free(&out);
}

/* The buffer grows to what is needed, whatever the sizes. */
static void test_long(void **state)
{
	const struct sq_target target = {.host = "h", .base = ""};
	struct sq_request rq = {.method = "GET", .path = ""};
	struct sq_invocation inv = {
		.function = "f", .request = &rq, .attempt = UINT32_MAX, .node = UINT32_MAX};
	size_t n;

	(void)state;
	for (n = 1; n < 20000; n = n * 2 + 1) {
		struct sq_buf out = {0};
		char *path = malloc(n + 1);

		memset(path, 'a', n);
		path[n] = '\0';
		rq.path = rq.query = path;
		assert_int_equal(sq_request_write(&out, &inv, &target), 0);
		assert_int_equal(strlen(out.data), out.len);
		assert_true(out.len > 2 * n);
		sq_buf_free(&out);
		free(path);
	}
}

static void test_idempotent(void **state)
{
	(void)state;
	assert_true(sq_request_idempotent("GET"));
	assert_true(sq_request_idempotent("DELETE"));
	assert_false(sq_request_idempotent("POST"));
	assert_false(sq_request_idempotent("PATCH"));
	assert_false(sq_request_idempotent("get")); /* methods have case */
}

static void test_fields(void **state)
{
	static const char block[] = "A: 1\r\nB:\t 2 \t\r\nC:\r\nD";
	const char *p = block, *end = block + sizeof(block) - 1;
	struct sq_bytes name, value;
	char all[64] = "";

	(void)state;
	while (sq_request_next_field(&p, end, &name, &value))
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%.*s=%.*s|", (int)name.len,
			 name.data, (int)value.len, value.data);
	assert_string_equal(all, "A=1|B=2|C=|D=|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_idempotent),
		cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests_name("request_writer", tests, NULL, NULL);
}
