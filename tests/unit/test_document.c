/* Documents as such: how values are read, and what strangers may send. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "conf/document.h"
#include "conf/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text of a value, as YAML 1.2.2 has it: quotes are read here, not by the library. */
static void test_scalars(void **state)
{
	static const struct {
		const char *yaml, *text;
	} cases[] = {
		{"'it''s'", "it's"},
		{"''''", "'"},
		{"'a\n  b'", "a b"},
		{"'a  \n\n\n \tb'", "a\n\nb"},
		{"' a '", " a "},
		{"'a\n '", "a "},
		{"'\n a'", " a"},
		{"'a\r\n\r\n b'", "a\nb"},
		{"'null'", "null"},
		{"'  \n a'", " a"},
		{"\"\\u00e9\\ud83d\\ude00\"", "é😀"},
		{"|\n  a\n   b\n", "a\n b\n"},
		{">-\n  a\n  b\n", "a b"},
		{"a b # c", "a b"},
	};
	struct sq_faults faults = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[100];
		struct sq_doc *d;
		struct sq_value *v;

		snprintf(text, sizeof(text), "k: %s\n", cases[i].yaml);
		d = sq_doc_parse("x", text, strlen(text), &faults);
		assert_non_null(d);
		v = sq_get(sq_as_map(sq_doc_first(d)), "k");
		assert_int_equal(v->kind, SQ_VALUE_SCALAR);
		assert_string_equal(v->text, cases[i].text);
		assert_true(sq_doc_close(d));
	}
	assert_int_equal(faults.errors, 0);
}

/* Asked is known; what was never asked is a fault, wherever it is. */
static void test_unasked(void **state)
{
	static const char text[] = "a: { b: 1, c: 2 }\nl: [ { d: 1, e: 2 } ]\nm: { n: { o: 1 } }\n";
	char *report;
	size_t len;
	struct sq_faults faults = {.out = open_memstream(&report, &len)};
	struct sq_doc *d = sq_doc_parse("x", text, strlen(text), &faults);
	struct sq_value *top = sq_as_map(sq_doc_first(d)), *list;
	int64_t n = 0;

	(void)state;
	assert_true(sq_read_count(sq_get(sq_as_map(sq_get(top, "a")), "b"), 0, 9, &n));
	assert_int_equal(n, 1);
	list = sq_as_list(sq_get(top, "l"));
	for (struct sq_value *v = sq_first(list); v; v = v->next)
		sq_get(sq_as_map(v), "d");
	sq_first(sq_as_map(sq_get(top, "m")));
	assert_null(sq_get(top, "zzz"));
	assert_null(sq_get(NULL, "a"));
	assert_false(sq_read_count(NULL, 0, 9, &n));
	assert_false(sq_doc_close(d));
	fclose(faults.out);
	assert_int_equal(faults.errors, 3);
	assert_string_equal(report, "x:1:12: error: unknown key 'c'\n"
				    "a: { b: 1, c: 2 }\n"
				    "           ^\n"
				    "x:2:14: error: unknown key 'e'\n"
				    "l: [ { d: 1, e: 2 } ]\n"
				    "             ^\n"
				    "x:3:11: error: unknown key 'o'\n"
				    "m: { n: { o: 1 } }\n"
				    "          ^\n");
	free(report);
}

static void test_closest(void **state)
{
	static const char *const names[] = {"wait", "queue", "max-wait", "to"};
	static const struct {
		const char *word, *closest;
	} cases[] = {
		{"wiat", "wait"},
		{"wait", "wait"},
		{"max_wait", "max-wait"},
		{"quue", "queue"},
		{"ot", "to"},
		{"x", NULL},
		{"elephants", NULL},
		{"", NULL},
		{"a-word-that-is-longer-than-any-key-that-we-have", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = sq_closest(cases[i].word, names, 4);

		if (!cases[i].closest)
			assert_null(got);
		else
			assert_string_equal(got, cases[i].closest);
	}
}

/* ---- documents of strangers ---- */

static char *repeat(const char *before, const char *part, size_t n, const char *after)
{
	size_t len = strlen(part), first = strlen(before);
	char *text = malloc(first + n * len + strlen(after) + 1);

	assert_non_null(text);
	memcpy(text, before, first);
	for (size_t i = 0; i < n; i++)
		memcpy(text + first + i * len, part, len);
	strcpy(text + first + n * len, after);
	return text;
}

static const struct {
	const char *before, *part;
	size_t n;
	const char *after, *fault; /* the first line of the report; "": none */
} huge[] = {
	{"", " ", 1024 * 1024 + 1, "", "x: error: larger than 1048576 bytes\n"},
	{"", " ", 2000000, "", "x: error: larger than 1048576 bytes\n"},
	{"version: ", "[", 33, "", "x:1:41: error: nested deeper than 32\n"},
	{"version: ", "{a: ", 33, "", "x:1:134: error: nested deeper than 32\n"},
	{"", "- ", 400000, "", "x:1:65: error: nested deeper than 32\n"},
	{"", "[", 150000, "", "x:1:33: error: nested deeper than 32\n"},
	{"", "[", 1000000, "", "x:1:200001: error: more than 200000 of [ { , : in one document\n"},
	{"[", "1,", 150000, "1]", "x:1:200000: error: the document has more than 100000 values\n"},
	{"", "- 1\n", 150000, "", "x:100000:3: error: the document has more than 100000 values\n"},
	{"", "---\n", 150000, "", "x:100001:1: error: the document has more than 100000 values\n"},
	{"", "- *a\n", 90000, "", "x:1:3: error: aliases are not supported\n"},
	{"'", "''", 400000, "'", ""},
	{"- '", "'' ''", 4000, "'\n", ""},
};

static void test_huge(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		char *text = repeat(huge[i].before, huge[i].part, huge[i].n, huge[i].after);
		char *report;
		size_t len;
		struct sq_faults faults = {.out = open_memstream(&report, &len)};
		struct sq_doc *d = sq_doc_parse("x", text, strlen(text), &faults);
		bool good = sq_doc_close(d);

		assert_int_equal(fclose(faults.out), 0);
		assert_int_equal(good, faults.errors == 0);
		if (strchr(report, '\n'))
			*(strchr(report, '\n') + 1) = '\0';
		assert_string_equal(report, huge[i].fault);
		free(report);
		free(text);
	}
}

/* 31 levels below the top are well. */
static void test_depth_allowed(void **state)
{
	struct sq_faults faults = {0};
	struct sq_doc *d;
	char *text = repeat("", "[", 32, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");

	(void)state;
	d = sq_doc_parse("x", text, strlen(text), &faults);
	assert_true(sq_doc_close(d));
	free(text);
	assert_false(sq_doc_close(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),       cmocka_unit_test(test_unasked),
		cmocka_unit_test(test_closest),       cmocka_unit_test(test_huge),
		cmocka_unit_test(test_depth_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
