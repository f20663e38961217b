#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/units.h"

#include <errno.h>
#include <math.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void bytes(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{"0", 0},
		{"512", 512},
		{"512B", 512},
		{"64KiB", 65536},
		{"1.5KiB", 1536},
		{"6MiB", 6u << 20},
		{"1GiB", 1u << 30},
		{"5kB", 5000},
		{"2MB", 2000000},
		{"0.1KiB", 102}, /* what is finer than a byte is dropped */
		{"2TiB", 2ull << 40},
		{"16383.999PiB", 18446742947809644773ull},
		{"18446744073709551615", UINT64_MAX},
		{"00012kB", 12000},
	};
	static const char *const bad[] = {
		"",
		"-1",
		"+1",
		" 1",
		"1 ",
		"1 KiB",
		"KiB",
		".5KiB",
		"5.",
		"5.KiB",
		"1.5",
		"1.5.5KiB",
		"1e3",
		"0x10",
		"1KB",
		"1kib",
		"1Kib",
		"1K",
		"1M",
		"1KiBx",
		"NaN",
		"inf",
		"1KiB\n",
		"18446744073709551616",
		"16384PiB",
		"99999999999999999999999GiB",
		"1.0000000000000000001KiB",
	};
	uint64_t v;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(good); i++) {
		if (sq_units_bytes(good[i].text, &v) != 0 || v != good[i].value)
			fail_msg("%s", good[i].text);
	}
	for (i = 0; i < COUNT(bad); i++) {
		v = 42;
		if (sq_units_bytes(bad[i], &v) != -EINVAL || v != 42)
			fail_msg("\"%s\" was accepted", bad[i]);
	}
}

static void duration(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {
		{"0", 0},
		{"0s", 0},
		{"1ns", 1},
		{"20us", 20000},
		{"100ms", 100 * SQ_MS},
		{"30s", 30 * SQ_S},
		{"1.5s", 1500 * SQ_MS},
		{"0.000000001s", 1},
		{"1.000000000000000001s", SQ_S},
		{"2m", 120 * SQ_S},
		{"1h", 3600 * SQ_S},
		{"0.5d", 12 * 3600 * SQ_S},
		{"30d", 30 * 86400 * SQ_S},
		{"9223372036854775806ns", INT64_MAX - 1},
	};
	static const char *const bad[] = {
		"",
		"1",
		"30",
		"-1s",
		"1.s",
		".5s",
		"1,5s",
		"1s ",
		" 1s",
		"1 s",
		"1S",
		"1min",
		"1w",
		"1h30m",
		"00",
		"0.0",
		"1e3s",
		"9223372036854775807ns",
		"9223372037s",
		"106752d",
		"99999999999999999999s",
	};
	int64_t v;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(good); i++) {
		if (sq_units_duration(good[i].text, &v) != 0 || v != good[i].value)
			fail_msg("%s", good[i].text);
	}
	for (i = 0; i < COUNT(bad); i++) {
		v = 42;
		if (sq_units_duration(bad[i], &v) != -EINVAL || v != 42)
			fail_msg("\"%s\" was accepted", bad[i]);
	}
}

static void rate(void **state)
{
	static const struct {
		const char *text;
		double value;
	} good[] = {
		{"100/s", 100}, {"30/m", 0.5}, {"1000/h", 1000 / 3600.0},
		{"0.5/s", 0.5}, {"0/s", 0},
	};
	static const char *const bad[] = {"",      "100",  "/s",    "100/",   "100/d", "100 /s",
					  "100/S", "-1/s", "1e3/s", "100/s ", "100/ss"};
	double v;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(good); i++) {
		assert_int_equal(sq_units_rate(good[i].text, &v), 0);
		assert_true(fabs(v - good[i].value) < 1e-12);
	}
	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(sq_units_rate(bad[i], &v), -EINVAL);
}

static void percent(void **state)
{
	static const char *const bad[] = {"", "90", "%", "-1%", "101%", "100.1%", "90 %", "90%%"};
	double v;
	size_t i;

	(void)state;
	assert_int_equal(sq_units_percent("90%", &v), 0);
	assert_true(fabs(v - 0.9) < 1e-12);
	assert_int_equal(sq_units_percent("12.5%", &v), 0);
	assert_true(fabs(v - 0.125) < 1e-12);
	assert_int_equal(sq_units_percent("100%", &v), 0);
	assert_true(fabs(v - 1) < 1e-12);
	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(sq_units_percent(bad[i], &v), -EINVAL);
}

static void show_duration(void **state)
{
	static const struct {
		int64_t value;
		const char *text;
	} rows[] = {
		{0, "0"},
		{1, "1ns"},
		{999, "999ns"},
		{1500, "1500ns"},
		{15000500, "15ms"},
		{1234567, "1.235ms"},
		{100 * SQ_MS, "100ms"},
		{1500 * SQ_MS, "1500ms"},
		{1050 * SQ_MS, "1050ms"},
		{12500 * SQ_MS, "12.5s"},
		{30 * SQ_S, "30s"},
		{60 * SQ_S, "1m"},
		{61 * SQ_S, "61s"},
		{75 * SQ_S, "75s"},
		{90 * SQ_S, "90s"},
		{3600 * SQ_S, "1h"},
		{36 * 3600 * SQ_S, "36h"},
		{30 * 86400 * SQ_S, "30d"},
		{-1500 * SQ_MS, "-1500ms"},
		{SQ_NEVER, "never"},
		{SQ_NEVER - 1, "106752d"},
		{INT64_MIN, "-106752d"},
	};
	char buf[32];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		assert_string_equal(sq_units_show_duration(buf, rows[i].value), rows[i].text);
}

static void show_bytes(void **state)
{
	static const struct {
		uint64_t value;
		const char *text;
	} rows[] = {
		{0, "0B"},
		{512, "512B"},
		{1000, "1000B"},
		{1536, "1.5KiB"},
		{262144, "256KiB"},
		{2000000, "2MB"},
		{1234567, "1.177MiB"},
		{6u << 20, "6MiB"},
		{1u << 30, "1GiB"},
		{UINT64_MAX, "16384PiB"},
	};
	char buf[32];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		assert_string_equal(sq_units_show_bytes(buf, rows[i].value), rows[i].text);
}

/* What is shown can be read again, and is off by less than 0.1 %. */
static void round_trip(void **state)
{
	uint64_t x = 88172645463325252u, back_bytes;
	int64_t back_ns;
	char buf[32];
	int i;

	(void)state;
	for (i = 0; i < 20000; i++) {
		uint64_t v;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		v = x >> (2 + i % 61);
		sq_units_show_duration(buf, (int64_t)v);
		assert_int_equal(sq_units_duration(buf, &back_ns), 0);
		assert_true(fabs((double)back_ns - (double)v) <= (double)v * 1e-3);
		sq_units_show_bytes(buf, v);
		assert_int_equal(sq_units_bytes(buf, &back_bytes), 0);
		assert_true(fabs((double)back_bytes - (double)v) <= (double)v * 1e-3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes),         cmocka_unit_test(duration),
		cmocka_unit_test(rate),          cmocka_unit_test(percent),
		cmocka_unit_test(show_duration), cmocka_unit_test(show_bytes),
		cmocka_unit_test(round_trip),
	};

	return cmocka_run_group_tests_name("base/units", tests, NULL, NULL);
}
