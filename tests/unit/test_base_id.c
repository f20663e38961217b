#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/id.h"

#include <errno.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

/* The first outputs of xoshiro256** from the state 1, 2, 3, 4: known vectors. */
static void random_is_xoshiro(void **state)
{
	static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
	struct sq_random r = {{1, 2, 3, 4}};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(expected); i++)
		assert_int_equal(sq_random_next(&r), expected[i]);
}

static void random_streams_differ(void **state)
{
	struct sq_random a, b;

	(void)state;
	sq_random_init(&a);
	sq_random_init(&b);
	assert_memory_not_equal(&a, &b, sizeof(a));
	assert_true(sq_random_next(&a) != sq_random_next(&b));
}

static void fields(void **state)
{
	struct sq_random r;
	struct sq_id id, back;
	char hex[SQ_ID_HEX];

	(void)state;
	sq_random_init(&r);
	id = sq_id_make(&r, 0x123456789abLL * SQ_MS + 999999, 0xbeef, 0xc7);
	assert_int_equal(id.hi, 0x0123456789abbeef);
	assert_int_equal(sq_id_home(id), 0xc7);
	sq_id_show(hex, id);
	assert_int_equal(strlen(hex), 32);
	assert_memory_equal(hex, "0123456789abbeefc7", 18);
	assert_int_equal(sq_id_parse(hex, 32, &back), 0);
	assert_int_equal(back.hi, id.hi);
	assert_int_equal(back.lo, id.lo);
}

static void ids_sort_by_time(void **state)
{
	struct sq_random r;
	char before[SQ_ID_HEX], after[SQ_ID_HEX];
	int64_t t = 1700000000 * SQ_S;
	int i;

	(void)state;
	sq_random_init(&r);
	sq_id_show(before, sq_id_make(&r, t, 0xffff, 255));
	for (i = 0; i < 1000; i++) {
		t += SQ_MS;
		sq_id_show(after, sq_id_make(&r, t, (uint16_t)i, (uint8_t)i));
		assert_true(strcmp(before, after) < 0);
		memcpy(before, after, sizeof(before));
	}
}

static void parse_is_strict(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		"0123456789abcdef0123456789abcde",
		"0123456789abcdef0123456789abcdef0",
		"0123456789ABCDEF0123456789abcdef",
		"0123456789abcdeg0123456789abcdef",
		"0x23456789abcdef0123456789abcdef",
		" 123456789abcdef0123456789abcdef",
		"0123456789abcdef0123456789abcde\n",
	};
	struct sq_id id = {1, 2};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(sq_id_parse(bad[i], strlen(bad[i]), &id), -EINVAL);
	assert_int_equal(sq_id_parse("0123456789abcdef\0"
				     "123456789abcdef",
				     32, &id),
			 -EINVAL);
	assert_int_equal(id.hi, 1);
	assert_int_equal(id.lo, 2);
}

static void check_shape(const char *out)
{
	assert_int_equal(strlen(out), SQ_TRACEPARENT - 1);
	assert_memory_equal(out, "00-", 3);
	assert_int_equal(out[35], '-');
	assert_int_equal(out[52], '-');
	assert_int_equal(strspn(out, "0123456789abcdef-"), SQ_TRACEPARENT - 1);
}

static void trace_is_continued(void **state)
{
	static const struct {
		const char *in, *flags;
	} rows[] = {
		{"00-" TRACE "-" PARENT "-01", "01"},
		{"00-" TRACE "-" PARENT "-00", "00"},
		{"00-" TRACE "-" PARENT "-03", "01"}, /* unknown flags are not passed on */
		{"00-" TRACE "-" PARENT "-fe", "00"},
		{"01-" TRACE "-" PARENT "-01", "01"},
		{"cc-" TRACE "-" PARENT "-01-what-the-future-will-be-like", "01"},
		{"fe-" TRACE "-" PARENT "-01-", "01"},
	};
	struct sq_id run = {0x1111111111111111, 0x2222222222222222};
	char out[SQ_TRACEPARENT];
	struct sq_random r;
	size_t i;

	(void)state;
	sq_random_init(&r);
	for (i = 0; i < COUNT(rows); i++) {
		sq_traceparent(out, rows[i].in, strlen(rows[i].in), run, &r);
		check_shape(out);
		assert_memory_equal(out + 3, TRACE, 32);
		assert_memory_not_equal(out + 36, PARENT, 16);
		assert_string_equal(out + 53, rows[i].flags);
	}
}

static void trace_begins_anew(void **state)
{
	static const char *const bad[] = {
		"",
		"00",
		"00-" TRACE "-" PARENT "-0",
		"00-" TRACE "-" PARENT "-011",
		"00-" TRACE "-" PARENT "-01-more",
		"01-" TRACE "-" PARENT "-01more",
		"ff-" TRACE "-" PARENT "-01",
		"FE-" TRACE "-" PARENT "-01",
		"0g-" TRACE "-" PARENT "-01",
		"00-00000000000000000000000000000000-" PARENT "-01",
		"00-" TRACE "-0000000000000000-01",
		"00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
		"00-" TRACE "-B7AD6B7169203331-01",
		"00-" TRACE "-" PARENT "-0G",
		"00_" TRACE "-" PARENT "-01",
		"00-" TRACE "_" PARENT "-01",
		"00-" TRACE "-" PARENT "_01",
		" 0-" TRACE "-" PARENT "-01",
	};
	struct sq_id run = {0x1111111111111111, 0x2222222222222222};
	char out[SQ_TRACEPARENT], again[SQ_TRACEPARENT];
	struct sq_random r;
	size_t i;

	(void)state;
	sq_random_init(&r);
	for (i = 0; i < COUNT(bad); i++) {
		sq_traceparent(out, bad[i], strlen(bad[i]), run, &r);
		check_shape(out);
		assert_memory_equal(out + 3, "11111111111111112222222222222222", 32);
		assert_string_equal(out + 53, "01");
	}
	sq_traceparent(out, NULL, 0, run, &r);
	sq_traceparent(again, NULL, 0, run, &r);
	check_shape(out);
	assert_memory_equal(out, again, 35);
	assert_memory_not_equal(out + 36, again + 36, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_is_xoshiro),
		cmocka_unit_test(random_streams_differ),
		cmocka_unit_test(fields),
		cmocka_unit_test(ids_sort_by_time),
		cmocka_unit_test(parse_is_strict),
		cmocka_unit_test(trace_is_continued),
		cmocka_unit_test(trace_begins_anew),
	};

	return cmocka_run_group_tests_name("base/id", tests, NULL, NULL);
}
