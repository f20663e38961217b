/* The request guard by table: heads as the HTTP library gives them, and the verdict on each. */
#include "front/error.h"
#include "front/guard.h"
#include "front/json_span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct vector {
	const char *name;
	const char *method, *target, *version;
	const char *fields; /* "Name:value" lines, '\n' between; the value as it stands */
	enum sq_fault want;
};

#define H "Host:a"
#define OK SQ_FAULT_NONE
#define BAD SQ_FAULT_BAD_REQUEST
#define GET(name, target, want) {name, "GET", target, "HTTP/1.1", H, want}
#define FIELDS(name, fields, want) {name, "POST", "/function/f", "HTTP/1.1", fields, want}
#define METHOD(name, method, want) {name, method, "/function/f", "HTTP/1.1", H, want}

static const struct vector vectors[] = {
	/* targets */
	GET("plain", "/function/f", OK),
	GET("query", "/function/f?a=1&b=%zz%00%0d%0a..//", OK),
	GET("query with a second ?", "/f?x=?y", OK),
	GET("escapes of the path untouched", "/function/f/a%20b%2Fc", OK),
	GET("dots in names", "/function/f/..a/b../...", OK),
	GET("one dot", "/function/f/./a", OK),
	GET("utf-8 escapes", "/function/f/%c3%a9", OK),
	GET("nothing", "", BAD),
	GET("asterisk", "*", BAD),
	GET("absolute", "http://a/function/f", BAD),
	GET("absolute in capitals", "HTTP://a/", BAD),
	GET("authority", "a:80", BAD),
	GET("blank", "/a b", BAD),
	GET("tab", "/a\tb", BAD),
	GET("bare CR", "/a\rb", BAD),
	GET("DEL", "/a\x7f", BAD),
	GET("raw byte", "/a\xff", BAD),
	GET("raw byte in the query", "/a?\xc3\xa9", BAD),
	GET("control in the query", "/a?\x01", BAD),
	GET("fragment", "/a#b", BAD),
	GET("backslash", "/a\\b", BAD),
	GET("parent", "/function/f/../g", BAD),
	GET("parent at the end", "/function/..", BAD),
	GET("parent encoded", "/function/f/%2e%2e/g", BAD),
	GET("parent half encoded", "/function/f/.%2E/g", BAD),
	GET("parent before an encoded slash", "/function/f/..%2fg", BAD),
	GET("parent after an encoded slash", "/function/f/a%2F..", BAD),
	GET("parent after an encoded backslash", "/function/f/a%5c..", BAD),
	GET("parent before an encoded backslash", "/function/f/..%5Cx", BAD),
	GET("parent with parameters", "/function/f/..;a=b/c", BAD),
	GET("parent and a query", "/function/f/..?x", BAD),
	GET("encoded NUL", "/function/f/%00", BAD),
	GET("encoded CR LF", "/function/f/%0d%0aX:1", BAD),
	GET("encoded LF", "/function/f%0A", BAD),
	GET("encoded DEL", "/function/f/%7f", BAD),
	GET("broken escape", "/function/f/%zz", BAD),
	GET("escape cut off", "/function/f/%4", BAD),
	GET("escape of one sign", "/function/f/%", BAD),
	/* methods */
	METHOD("patch", "PATCH", OK),
	METHOD("with a dash", "M-SEARCH", OK),
	METHOD("small letters", "get", BAD),
	METHOD("not a token", "GE(T", BAD),
	METHOD("no method", "", BAD),
	METHOD("a very long one", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ", BAD),
	METHOD("connect", "CONNECT", SQ_FAULT_METHOD),
	METHOD("trace", "TRACE", SQ_FAULT_METHOD),
	METHOD("track", "TRACK", SQ_FAULT_METHOD),
	/* versions */
	{"1.0 without host", "GET", "/a", "HTTP/1.0", "", OK},
	{"1.2 is like 1.1", "GET", "/a", "HTTP/1.2", H, OK},
	{"0.9", "GET", "/a", "", H, BAD},
	{"2.0", "GET", "/a", "HTTP/2.0", H, BAD},
	{"1.10", "GET", "/a", "HTTP/1.10", H, BAD},
	{"small letters", "GET", "/a", "http/1.1", H, BAD},
	{"1.0 with a coding", "POST", "/a", "HTTP/1.0", H "\nTransfer-Encoding:chunked", BAD},
	/* host */
	FIELDS("port", "Host:a.b:80", OK),
	FIELDS("IPv6", "Host:[::1]:80", OK),
	FIELDS("blank behind", "Host:a ", OK),
	FIELDS("missing", "X:1", BAD),
	FIELDS("twice", H "\n" H, BAD),
	FIELDS("twice, by case", H "\nhOST:b", BAD),
	FIELDS("empty", "Host:", BAD),
	FIELDS("list", "Host:a, b", BAD),
	FIELDS("with a path", "Host:a/b", BAD),
	FIELDS("with credentials", "Host:x@a", BAD),
	/* framing */
	FIELDS("length", H "\nContent-Length:5", OK),
	FIELDS("zero", H "\nContent-Length:0", OK),
	FIELDS("chunked", H "\nTransfer-Encoding:chunked", OK),
	FIELDS("chunked in capitals", H "\nTransfer-Encoding:CHUNKED", OK),
	FIELDS("both", H "\nContent-Length:5\nTransfer-Encoding:chunked", BAD),
	FIELDS("both, the other way", H "\nTransfer-Encoding:chunked\nContent-Length:5", BAD),
	FIELDS("two lengths", H "\nContent-Length:5\nContent-Length:6", BAD),
	FIELDS("two equal lengths", H "\nContent-Length:5\ncontent-length:5", BAD),
	FIELDS("a list of lengths", H "\nContent-Length:5, 5", BAD),
	FIELDS("plus", H "\nContent-Length:+5", BAD),
	FIELDS("minus", H "\nContent-Length:-1", BAD),
	FIELDS("hexadecimal", H "\nContent-Length:0x10", BAD),
	FIELDS("a blank within", H "\nContent-Length:5 5", BAD),
	FIELDS("no number", H "\nContent-Length:", BAD),
	FIELDS("a fraction", H "\nContent-Length:1.0", BAD),
	FIELDS("huge", H "\nContent-Length:99999999999999999999", BAD),
	FIELDS("a blank behind a length", H "\nContent-Length:5 ", BAD),
	FIELDS("coding twice", H "\nTransfer-Encoding:chunked\nTransfer-Encoding:chunked", BAD),
	FIELDS("coding list", H "\nTransfer-Encoding:gzip, chunked", BAD),
	FIELDS("identity", H "\nTransfer-Encoding:identity", BAD),
	FIELDS("xchunked", H "\nTransfer-Encoding:xchunked", BAD),
	FIELDS("chunked and a blank", H "\nTransfer-Encoding:chunked ", BAD),
	FIELDS("chunked and VT", H "\nTransfer-Encoding:\vchunked", BAD),
	FIELDS("chunked in quotes", H "\nTransfer-Encoding:\"chunked\"", BAD),
	FIELDS("no coding", H "\nTransfer-Encoding:", BAD),
	/* names and values */
	FIELDS("blank before the colon", H "\nContent-Length :5", BAD),
	FIELDS("tab before the colon", H "\nTransfer-Encoding\t:chunked", BAD),
	FIELDS("blank in front", H "\n X:1", BAD),
	FIELDS("no name", H "\n:1", BAD),
	FIELDS("name not a token", H "\nX(y):1", BAD),
	FIELDS("name beyond ASCII", H "\nX\xe9:1", BAD),
	FIELDS("utf-8 in a value", H "\nX:\xc3\xa9", OK),
	FIELDS("tab in a value", H "\nX:a\tb", OK),
	FIELDS("control in a value", H "\nX:a\x01", BAD),
	FIELDS("bare CR in a value", H "\nX:a\rb", BAD),
	FIELDS("ESC in a value", H "\nX:\x1b[0m", BAD),
	FIELDS("DEL in a value", H "\nX:\x7f", BAD),
	FIELDS("underscore, harmless", H "\nx_y:1", OK),
	FIELDS("alias of ours", H "\nX_Sequoia_Run:1", BAD),
	FIELDS("alias by dots", H "\nX.Sequoia.Run:1", BAD),
	FIELDS("alias of ours, long", H "\nx_sequoia_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1", BAD),
	FIELDS("alias of a length", H "\nContent_Length:5", BAD),
	FIELDS("alias of a coding", H "\nTransfer_Encoding:chunked", BAD),
	FIELDS("alias of an address", H "\nX_Forwarded_For:1.2.3.4", BAD),
	FIELDS("alias of a key", H "\nx-api_key:k", BAD),
	FIELDS("ours is dropped, not refused", H "\nX-Sequoia-Run:1", OK),
	/* the rest */
	FIELDS("continue", H "\nExpect:100-Continue", OK),
	FIELDS("another expectation", H "\nExpect:200-ok", SQ_FAULT_EXPECTATION),
	FIELDS("an expectation and more", H "\nExpect:100-continue, x", SQ_FAULT_EXPECTATION),
	FIELDS("connection", H "\nConnection:close, X-Foo", OK),
	FIELDS("connection with no token", H "\nConnection:a b", BAD),
	FIELDS("connection with many", H "\nConnection:a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", BAD),
	FIELDS("upgrade", H "\nConnection:Upgrade\nUpgrade:websocket", OK),
};

static size_t split(char *text, struct sq_field *out, size_t cap)
{
	size_t n = 0;

	for (char *line = strtok(text, "\n"); line && n < cap; line = strtok(NULL, "\n")) {
		char *colon = strchr(line, ':');

		assert_non_null(colon);
		out[n++] = (struct sq_field){
			.name = line,
			.name_len = (size_t)(colon - line),
			.value = colon + 1,
			.value_len = strlen(colon + 1),
		};
	}
	return n;
}

static struct sq_guard_verdict judge(const char *method, const char *target, const char *version,
				     struct sq_field *fields, size_t n)
{
	struct sq_guard_verdict v;

	sq_guard_check(&(struct sq_guard_head){.method = method,
					       .target = target,
					       .target_len = strlen(target),
					       .version = version,
					       .fields = fields,
					       .n_fields = n,
					       .max_bytes = 16384},
		       &v);
	return v;
}

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
		const struct vector *x = &vectors[i];
		char *text = strdup(x->fields);
		struct sq_field fields[32];
		size_t n = split(text, fields, 32);
		struct sq_guard_verdict v = judge(x->method, x->target, x->version, fields, n);

		if (v.fault != x->want)
			fail_msg("%s: %s (%s), not %s", x->name, sq_fault_row(v.fault)->code,
				 v.reason ? v.reason : "", sq_fault_row(x->want)->code);
		free(text);
	}
	print_message("%zu vectors\n", sizeof(vectors) / sizeof(*vectors));
}

static void test_verdict(void **state)
{
	char text[] = "host:b \nContent-Length:123456789012345678";
	struct sq_field f[2];
	struct sq_guard_verdict v;

	(void)state;
	split(text, f, 2);
	v = judge("PUT", "/", "HTTP/1.1", f, 2);
	assert_int_equal(v.fault, OK);
	assert_int_equal(v.length, 123456789012345678);
	assert_false(v.chunked);
	assert_ptr_equal(v.host, &f[0]);
	assert_int_equal(f[1].kind, SQ_FIELD_CONTENT_LENGTH);
	v = judge("GET", "/", "HTTP/1.0", f, 0);
	assert_int_equal(v.fault, OK);
	assert_int_equal(v.length, -1);
	assert_true(v.http_1_0);
	assert_null(v.host);
}

static void test_sizes(void **state)
{
	struct sq_field f[SQ_GUARD_FIELDS + 1];
	static char big[20000];

	(void)state;
	for (size_t i = 0; i < SQ_GUARD_FIELDS + 1; i++)
		f[i] = (struct sq_field){.name = "x", .name_len = 1, .value = "", .value_len = 0};
	f[0] = (struct sq_field){.name = "Host", .name_len = 4, .value = "a", .value_len = 1};
	assert_int_equal(judge("GET", "/", "HTTP/1.1", f, SQ_GUARD_FIELDS).fault, OK);
	assert_int_equal(judge("GET", "/", "HTTP/1.1", f, SQ_GUARD_FIELDS + 1).fault,
			 SQ_FAULT_HEADERS_TOO_LARGE);
	memset(big, 'a', sizeof(big) - 1);
	f[1].value = big;
	f[1].value_len = 16000;
	assert_int_equal(judge("GET", "/", "HTTP/1.1", f, 2).fault, OK);
	f[1].value_len = 16384;
	assert_int_equal(judge("GET", "/", "HTTP/1.1", f, 2).fault, SQ_FAULT_HEADERS_TOO_LARGE);
}

/* ---- gaps: what the library has made of a head, in place ---- */

struct parsed {
	char *bytes;
	struct sq_field fields[8];
	struct sq_guard_place place;
};

/* As MHD 0.9 does it: LF ends a line, with a CR before it or not; strlen ends all else. */
static char *end_line(char *line)
{
	char *lf = strchr(line, '\n');

	assert_non_null(lf);
	if (lf > line && lf[-1] == '\r')
		lf[-1] = '\0';
	*lf = '\0';
	return lf + 1;
}

static void parse(struct parsed *p, const char *raw, size_t len)
{
	char *line, *next, *sp;

	p->bytes = malloc(len + 1);
	memcpy(p->bytes, raw, len);
	p->bytes[len] = '\0';
	line = p->bytes;
	p->place = (struct sq_guard_place){.method = line, .fields = p->fields};
	next = memchr(line, '\n', len);
	sp = strchr(line, ' ');
	*sp++ = '\0';
	while (*sp == ' ')
		sp++;
	p->place.target = sp;
	next = end_line(sp);
	sp = strrchr(sp, ' ');
	*sp = '\0';
	p->place.target_len = strlen(p->place.target);
	p->place.version = sp + 1;
	for (line = next; *line != '\r' && *line != '\n'; line = next) {
		struct sq_field *f = &p->fields[p->place.n_fields++];
		/* The line's end is found in the bytes, even behind a NUL. */
		char *lf = memchr(line, '\n', len - (size_t)(line - p->bytes)), *colon;

		lf[lf[-1] == '\r' ? -1 : 0] = '\0';
		*lf = '\0';
		next = lf + 1;
		colon = strchr(line, ':');
		*colon = '\0';
		f->name = line;
		f->name_len = strlen(line);
		f->value = colon + 1 + strspn(colon + 1, " \t");
		f->value_len = strlen(f->value);
	}
	p->place.end = line + (*line == '\r' ? 2 : 1);
}

static void test_gaps(void **state)
{
#define RAW(s) s, sizeof(s) - 1
	static const struct {
		const char *raw;
		size_t len;
		bool ok;
	} heads[] = {
		{RAW("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true},
		{RAW("GET / HTTP/1.1\r\nHost:a\r\nX: \t b c \r\nY:\r\n\r\n"), true},
		{RAW("GET / HTTP/1.0\r\n\r\n"), true},
		{RAW("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), false},
		{RAW("GET / HTTP/1.1\nHost: a\r\n\r\n"), false},
		{RAW("GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"), false},
		{RAW("GET / HTTP/1.1\r\nHost: a\n\r\n"), false},
		{RAW("GET / HTTP/1.1\r\nHost: a\r\n\n"), false},
		{RAW("GET / HTTP/1.0\n\r\n"), false},
		{RAW("GET / HTTP/1.1\r\nX: 1\0Y\r\nHost: a\r\n\r\n"), false},
		{RAW("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), false},
		{RAW("GET / HTTP/1.1\r\nHost: \0\r\n\r\n"), false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		struct parsed p = {0};
		const char *why;

		parse(&p, heads[i].raw, heads[i].len);
		why = sq_guard_gaps(&p.place);
		if (!why != heads[i].ok)
			fail_msg("%s: %s", heads[i].raw, why ? why : "taken");
		free(p.bytes);
	}
	/* A folded line: the library moves the name elsewhere and glues the rest to it. */
	struct parsed p = {0};

	parse(&p, RAW("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"));
	p.fields[1].name = "Xfolded";
	p.fields[1].name_len = 7;
	assert_non_null(sq_guard_gaps(&p.place));
	free(p.bytes);
#undef RAW
}

/* ---- the small ones beside it ---- */

static void test_error_text(void **state)
{
	char buf[SQ_FRONT_ERROR_MAX], detail[4000];
	struct sq_id none = {0, 0}, id = {1, 2};

	(void)state;
	sq_front_error(buf, SQ_FAULT_NO_RUN, NULL, none);
	assert_string_equal(buf,
			    "{\"error\":{\"code\":\"no_run\",\"message\":\"No run has this id, or "
			    "its result is no longer kept\",\"run\":null}}\n");
	sq_front_error(buf, SQ_FAULT_RATE, "a\"b\\\n\xc3\xa9\xff", id);
	assert_string_equal(
		buf, "{\"error\":{\"code\":\"rate_limited\",\"message\":\"A policy's rate is "
		     "used up: a\\\"b\\\\\\u000a\xc3\xa9\\ufffd\",\"run\":"
		     "\"00000000000000010000000000000002\"}}\n");
	memset(detail, '"', sizeof(detail) - 1);
	detail[sizeof(detail) - 1] = '\0';
	assert_true(sq_front_error(buf, SQ_FAULT_RATE, detail, id) < SQ_FRONT_ERROR_MAX);
	assert_string_equal(buf + strlen(buf) - 4, "\"}}\n");
}

#define OUT 2048

/* The members as "key=value;", then what ended it: "." the end, "!" not JSON. */
static void read_members(const char *text, size_t len, char out[OUT])
{
	char *copy = malloc(len + 1); /* of its size, for AddressSanitizer */
	struct sq_json_reader r = {.at = copy, .end = copy + len};
	struct sq_json_span k, v;
	int rc, n = 0;

	memcpy(copy, text, len);
	while ((rc = sq_json_next(&r, &k, &v)) > 0)
		n += snprintf(out + n, OUT - (size_t)n, "%.*s=%.*s;", (int)k.len, k.at, (int)v.len,
			      v.at);
	snprintf(out + n, OUT - (size_t)n, "%s", rc == 0 ? "." : "!");
	free(copy);
}

static void test_json_members(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"{\"input\":1.50}", "\"input\"=1.50;."},
		{" { \"a\" : {\"b\": 2} , \"c\" : [ 1, \"]}\\\"\" , {} ] }\n",
		 "\"a\"={\"b\": 2};\"c\"=[ 1, \"]}\\\"\" , {} ];."},
		{"{\"\\u0061\":\"\\u00e9\\\\\",\"x\":null }",
		 "\"\\u0061\"=\"\\u00e9\\\\\";\"x\"=null;."},
		{"{\"a\":-0.5e+10,\"b\":true,\"c\":false,\"d\":1E9,\"e\":-0}",
		 "\"a\"=-0.5e+10;\"b\"=true;\"c\"=false;\"d\"=1E9;\"e\"=-0;."},
		{"{\"a\":[[],[],{\"b\":[{}]}]}", "\"a\"=[[],[],{\"b\":[{}]}];."},
		{"{}", "."},
		{"", "!"},
		{"[]", "!"},
		{"1", "!"},
		{"{", "!"},
		{"{} x", "!"},
		{"{,}", "!"},
		{"{\"a\"}", "!"},
		{"{\"a\":}", "!"},
		{"{\"a\":1", "\"a\"=1;!"},
		{"{\"a\":1,}", "\"a\"=1;!"},
		{"{\"a\":1 \"b\":2}", "\"a\"=1;!"},
		{"{\"a\":1}}", "\"a\"=1;!"},
		{"{a:1}", "!"},
		{"{'a':1}", "!"},
		{"{\"a\":[1,]}", "!"},
		{"{\"a\":[1}}", "!"},
		{"{\"a\":[1 2]}", "!"},
		{"{\"a\":[,1]}", "!"},
		{"{\"a\":{\"b\":1]}", "!"},
		{"{\"a\":{\"b\"}}", "!"},
		{"{\"a\":{1:2}}", "!"},
		{"{\"a\":{\"b\":1,}}", "!"},
		{"{\"a\":[", "!"},
		{"{\"a\":01}", "\"a\"=0;!"},
		{"{\"a\":1.}", "!"},
		{"{\"a\":.5}", "!"},
		{"{\"a\":-}", "!"},
		{"{\"a\":+1}", "!"},
		{"{\"a\":1e}", "!"},
		{"{\"a\":tru}", "!"},
		{"{\"a\":truex}", "\"a\"=true;!"},
		{"{\"a\":NaN}", "!"},
		{"{\"a\":\"\n\"}", "!"},
		{"{\"a\":\"\\x\"}", "!"},
		{"{\"a\":\"\\u12g4\"}", "!"},
		{"{\"a\":\"\\u12", "!"},
		{"{\"a\":\"\\", "!"},
		{"{\"a\":\"b", "!"},
	};
	char got[OUT];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		read_members(cases[i].text, strlen(cases[i].text), got);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: %s, not %s", cases[i].text, got, cases[i].want);
	}
	read_members("{\"a\":\0001}", 8, got);
	assert_string_equal(got, "!");
}

static void test_json_depth(void **state)
{
	char text[2 * (SQ_JSON_DEPTH + 1) + 6], got[OUT];

	(void)state;
	for (size_t depth = SQ_JSON_DEPTH; depth <= SQ_JSON_DEPTH + 1; depth++) {
		memcpy(text, "{\"a\":", 5);
		memset(text + 5, '[', depth);
		memset(text + 5 + depth, ']', depth);
		text[5 + 2 * depth] = '}';
		read_members(text, 6 + 2 * depth, got);
		assert_int_equal(got[strlen(got) - 1] == '!', depth > SQ_JSON_DEPTH);
	}
}

static void test_fields_kept_back(void **state)
{
	(void)state;
	assert_int_equal(sq_field_kind("Proxy", 5), SQ_FIELD_HOP); /* httpoxy */
	assert_int_equal(sq_field_kind("Proxy-Status", 12), SQ_FIELD_PLAIN);
	assert_int_equal(sq_field_kind("X-Proxy", 7), SQ_FIELD_PLAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),	   cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_sizes),	   cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_error_text), cmocka_unit_test(test_json_members),
		cmocka_unit_test(test_json_depth), cmocka_unit_test(test_fields_kept_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
