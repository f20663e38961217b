/* stderr is a pipe in packet mode here, in which each read returns what one write wrote. */
#define _GNU_SOURCE 1

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int pipe_fd = -1, real_stderr = -1;
static char line[8192];

static int capture(void **state)
{
	int fds[2];

	(void)state;
	if (pipe2(fds, O_CLOEXEC | O_DIRECT | O_NONBLOCK) < 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	pipe_fd = fds[0];
	sq_log_set_level(SQ_LOG_INFO);
	return 0;
}

static int release(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(pipe_fd);
	return 0;
}

/* The next line without its newline, or NULL. */
static const char *next_line(void)
{
	ssize_t n = read(pipe_fd, line, sizeof(line) - 1);

	if (n <= 0)
		return NULL;
	assert_int_equal(line[n - 1], '\n');
	line[n - 1] = '\0';
	assert_null(strchr(line, '\n'));
	return line;
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;
	int rc;

	assert_non_null(text);
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	rc = regexec(&re, text, 0, NULL, 0);
	regfree(&re);
	if (rc != 0)
		fail_msg("\"%s\" does not match %s", text, pattern);
}

static void shape(void **state)
{
	(void)state;
	errno = ENOENT;
	sq_log(SQ_LOG_WARN, "backend-down", "backend=%s failed=%d", "faas", 3);
	assert_int_equal(errno, ENOENT);
	assert_matches(next_line(),
		       "^ts=20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
		       "\\.[0-9]{3}Z level=warn event=backend-down backend=faas failed=3$");
	sq_log(SQ_LOG_INFO, "started", "%s", "");
	assert_matches(next_line(), " event=started $");
	assert_null(next_line());
}

static void levels(void **state)
{
	enum sq_log_level l = SQ_LOG_ERROR;

	(void)state;
	sq_log(SQ_LOG_DEBUG, "x", "a=1");
	assert_null(next_line());
	assert_true(sq_log_level_parse("debug", &l));
	assert_int_equal(l, SQ_LOG_DEBUG);
	assert_false(sq_log_level_parse("Debug", &l));
	assert_false(sq_log_level_parse("", &l));
	sq_log_set_level(l);
	sq_log(SQ_LOG_DEBUG, "x", "a=1");
	assert_matches(next_line(), "level=debug");
	sq_log_set_level(SQ_LOG_ERROR);
	assert_false(sq_log_enabled(SQ_LOG_WARN));
	assert_true(sq_log_enabled(SQ_LOG_ERROR));
}

static void one_line_whatever_comes(void **state)
{
	static char big[6000];

	(void)state;
	sq_log(SQ_LOG_ERROR, "forged", "a=%s", "1\nts=2020 level=info event=fake\r\033[2J");
	assert_matches(next_line(), " a=1\\?ts=2020 level=info event=fake\\?\\?\\[2J$");
	memset(big, 'x', sizeof(big) - 1);
	sq_log(SQ_LOG_ERROR, "long", "a=%s b=1", big);
	assert_int_equal(strlen(next_line()), 4095 - 1);
	sq_log(SQ_LOG_ERROR, big, "a=1");
	assert_non_null(next_line());
	assert_null(next_line());
}

static void quoting(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"plain-1.2/x:y", "plain-1.2/x:y"},
		{"", "\"\""},
		{NULL, "-"},
		{"two words", "\"two words\""},
		{"a=b", "\"a=b\""},
		{"say \"hi\"", "\"say \\\"hi\\\"\""},
		{"back\\slash", "\"back\\\\slash\""},
		{"a\nb\r\t\033\x7f", "\"a\\nb\\r\\t\\x1b\\x7f\""},
		{"m\xc3\xbcller \xe2\x82\xac \xf0\x9f\x90\xb1",
		 "\"m\xc3\xbcller \xe2\x82\xac \xf0\x9f\x90\xb1\""},
		{"\xc0\xaf", "\"\\xc0\\xaf\""},                   /* overlong */
		{"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},          /* surrogate */
		{"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""}, /* beyond U+10FFFF */
		{"\xc2\x9b"
		 "2J",
		 "\"\\xc2\\x9b2J\""},           /* a C1 control */
		{"\xe2\x82", "\"\\xe2\\x82\""}, /* cut off */
		{"\xff", "\"\\xff\""},
	};
	char buf[128];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		assert_string_equal(sq_log_quote(buf, sizeof(buf), rows[i].in), rows[i].out);
}

/* Cut at any size, a value is still whole: no half escape, no half character, both quotes. */
static void quoting_cut_short(void **state)
{
	static const char in[] = "a \"\n\x01\xe2\x82\xac\xff end";
	static const char full[] = "\"a \\\"\\n\\x01\xe2\x82\xac\\xff end\"";
	static const size_t ends[] = {1, 2, 3, 5, 7, 11, 14, 18, 19, 20, 21, 22};
	char buf[64];
	size_t cap, i;

	(void)state;
	for (cap = 0; cap < sizeof(buf); cap++) {
		size_t n = 0;

		memset(buf, '#', sizeof(buf));
		sq_log_quote(buf, cap, in);
		for (i = cap; i < sizeof(buf); i++)
			assert_int_equal(buf[i], '#');
		if (cap == 0)
			continue;
		if (cap < 3) {
			assert_string_equal(buf, "");
			continue;
		}
		for (i = 0; i < COUNT(ends) && ends[i] + 2 <= cap; i++)
			n = ends[i];
		assert_int_equal(strlen(buf), n + 1);
		assert_memory_equal(buf, full, n);
		assert_int_equal(buf[n], '"');
	}
}

static void limit_per_second(void **state)
{
	struct sq_log_limit l = {0};
	uint32_t dropped = 0, told = 0;
	int allowed = 0, i;

	(void)state;
	for (i = 0; i < 100000; i++) {
		if (sq_log_allow(&l, &dropped)) {
			allowed++;
			told += dropped;
		}
	}
	/* The clock may pass from one second to the next meanwhile. */
	assert_true(allowed == 10 || allowed == 20);
	assert_int_equal(told + l.dropped + (unsigned)allowed, 100000);
	/* A second later the count of what was left out is told. */
	if (l.dropped > 0) {
		l.window_s--;
		assert_true(sq_log_allow(&l, &dropped));
		assert_int_equal(dropped + told + (unsigned)allowed, 100000);
	}
	for (i = 0; i < 3; i++)
		sq_log_limited(SQ_LOG_INFO, "limited", "n=%d", i);
	assert_matches(next_line(), "event=limited n=0 left_out=0$");
	assert_matches(next_line(), "event=limited n=1 left_out=0$");
}

static void *log_much(void *arg)
{
	int i;

	for (i = 0; i < 200; i++)
		sq_log(SQ_LOG_INFO, "thread", "id=%d i=%03d end=1", *(int *)arg, i);
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	pthread_t threads[4];
	int ids[4], i, lines = 0;

	(void)state;
	fcntl(STDERR_FILENO, F_SETFL, O_DIRECT); /* blocking */
	fcntl(STDERR_FILENO, F_SETPIPE_SZ, 1 << 20);
	for (i = 0; i < 4; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, log_much, &ids[i]), 0);
	}
	while (lines < 800) {
		const char *text = next_line();

		if (text) {
			assert_matches(text, "event=thread id=[0-3] i=[0-9]{3} end=1$");
			lines++;
		}
	}
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, capture, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(shape),
		TEST(levels),
		TEST(one_line_whatever_comes),
		TEST(quoting),
		TEST(quoting_cut_short),
		TEST(limit_per_second),
		TEST(lines_of_threads_do_not_mix),
	};

	return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
