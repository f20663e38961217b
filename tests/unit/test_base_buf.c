#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void empty_is_valid(void **state)
{
	struct sq_buf b = {0};

	(void)state;
	sq_buf_consume(&b, 0);
	assert_int_equal(sq_buf_add(&b, NULL, 0), 0);
	assert_null(b.data);
	assert_int_equal(sq_buf_addf(&b, "%s", ""), 0);
	assert_int_equal(b.len, 0);
	sq_buf_free(&b);
	sq_buf_free(&b);
	assert_null(b.data);
}

/* Every length around every capacity, so that the terminating NUL never falls outside. */
static void addf_at_every_length(void **state)
{
	static char text[700];
	int start, len;

	(void)state;
	memset(text, 'x', sizeof(text));
	for (start = 0; start < 140; start += 3) {
		for (len = 0; len < 600; len += 7) {
			struct sq_buf b = {0};

			assert_int_equal(sq_buf_add(&b, text, (size_t)start), 0);
			assert_int_equal(sq_buf_addf(&b, "%.*s|%d", len, text, len), 0);
			assert_true(b.len < b.cap);
			assert_int_equal(strlen(b.data), b.len);
			assert_int_equal(b.data[start + len], '|');
			assert_int_equal(atoi(b.data + start + len + 1), len);
			sq_buf_free(&b);
		}
	}
}

static void consume(void **state)
{
	struct sq_buf b = {0};

	(void)state;
	assert_int_equal(sq_buf_add(&b, "hello world", 11), 0);
	sq_buf_consume(&b, 6);
	assert_string_equal(b.data, "world");
	assert_int_equal(b.len, 5);
	sq_buf_consume(&b, 5);
	assert_string_equal(b.data, "");
	assert_int_equal(sq_buf_add(&b, "again", 5), 0);
	assert_string_equal(b.data, "again");
	sq_buf_free(&b);
}

static void impossible_sizes_change_nothing(void **state)
{
	struct sq_buf b = {0}, before;

	(void)state;
	assert_int_equal(sq_buf_reserve(&b, SIZE_MAX), -ENOMEM);
	assert_null(b.data);
	assert_int_equal(sq_buf_add(&b, "abc", 3), 0);
	before = b;
	assert_int_equal(sq_buf_reserve(&b, SIZE_MAX), -ENOMEM);
	assert_int_equal(sq_buf_reserve(&b, SIZE_MAX - 3), -ENOMEM);
	assert_memory_equal(&b, &before, sizeof(b));
	assert_string_equal(b.data, "abc");
	sq_buf_free(&b);
}

static void reserve_makes_adds_free(void **state)
{
	struct sq_buf b = {0};
	char *data;
	int i;

	(void)state;
	assert_int_equal(sq_buf_reserve(&b, 1000), 0);
	assert_string_equal(b.data, "");
	data = b.data;
	for (i = 0; i < 1000; i++)
		assert_int_equal(sq_buf_add(&b, "x", 1), 0);
	assert_ptr_equal(b.data, data);
	sq_buf_free(&b);
}

static void errors_are_joined(void **state)
{
	static struct sq_error e;
	int i;

	(void)state;
	assert_int_equal(sq_error_set(NULL, EINVAL, "%d", 1), -EINVAL);
	assert_int_equal(sq_error_set(&e, ENOENT, "%s:%d: error", "a.yaml", 3), -ENOENT);
	assert_string_equal(e.text, "a.yaml:3: error");
	assert_int_equal(sq_error_set(&e, EINVAL, "second"), -EINVAL);
	assert_string_equal(e.text, "a.yaml:3: error\nsecond");
	for (i = 0; i < 500; i++)
		assert_int_equal(sq_error_set(&e, EINVAL, "line %d", i), -EINVAL);
	assert_true(strlen(e.text) < sizeof(e.text));
	assert_true(strlen(e.text) > sizeof(e.text) - 16);
}

static void time_saturates(void **state)
{
	(void)state;
	assert_int_equal(sq_time_add(5, 7), 12);
	assert_int_equal(sq_time_add(5, SQ_NEVER), SQ_NEVER);
	assert_int_equal(sq_time_add(SQ_NEVER, 1), SQ_NEVER);
	assert_int_equal(sq_time_add(SQ_NEVER - 5, 4), SQ_NEVER - 1);
	assert_int_equal(sq_time_add(SQ_NEVER - 5, 5), SQ_NEVER);
	assert_true(sq_clock_ns() <= sq_clock_ns());
	assert_true(sq_clock_wall_ns() > 1600000000 * SQ_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_is_valid),
		cmocka_unit_test(addf_at_every_length),
		cmocka_unit_test(consume),
		cmocka_unit_test(impossible_sizes_change_nothing),
		cmocka_unit_test(reserve_makes_adds_free),
		cmocka_unit_test(errors_are_joined),
		cmocka_unit_test(time_saturates),
	};

	return cmocka_run_group_tests_name("base/buf, error, clock", tests, NULL, NULL);
}
