/* What test_metric.c and test_metric_db.c share: a folder per test, questions to its metrics.db. */
#ifndef SQ_TEST_METRIC_HELP_H
#define SQ_TEST_METRIC_HELP_H

#include "base/clock.h"
#include "metric/metric.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <sqlite3.h>

static char dir[64], path[80];

static inline int fresh_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sq-metric-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/metrics.db", dir);
	return 0;
}

static inline int remove_dir(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static inline sqlite3 *open_db(void)
{
	sqlite3 *sql;

	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	return sql;
}

static inline void exec_db(const char *text)
{
	sqlite3 *sql = open_db();

	assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
}

/* The columns of the first row, joined by '|', in a buffer that the next call reuses. */
static inline const char *ask_db(const char *text)
{
	static char out[1024];
	sqlite3 *sql = open_db();
	sqlite3_stmt *st;
	size_t len = 0;

	sqlite3_busy_timeout(sql, 5000);
	out[0] = '\0';
	if (sqlite3_prepare_v2(sql, text, -1, &st, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(sql));
	if (sqlite3_step(st) == SQLITE_ROW)
		for (int i = 0; i < sqlite3_column_count(st); i++)
			len += (size_t)snprintf(out + len, sizeof(out) - len, "%s%s", i ? "|" : "",
						sqlite3_column_type(st, i) == SQLITE_NULL
							? "-"
							: (const char *)sqlite3_column_text(st, i));
	sqlite3_finalize(st);
	sqlite3_close(sql);
	return out;
}

static inline uint64_t number_db(const char *text)
{
	return strtoull(ask_db(text), NULL, 10);
}

static inline struct sq_metrics_conf conf_of(unsigned loops, size_t ring_rows)
{
	return (struct sq_metrics_conf){
		.enabled = true,
		.path = path,
		.raw_ns = 3600 * SQ_S,
		.bytes = 1u << 30,
		.loops = loops,
		.instance = 7,
		.ring_rows = ring_rows,
	};
}

static inline struct sq_metrics *start(const struct sq_metrics_conf *conf)
{
	struct sq_error e = {""};
	struct sq_metrics *m = sq_metrics_start(conf, &e);

	if (!m)
		fail_msg("%s", e.text);
	return m;
}

static inline struct sq_metric_invocation invocation(uint64_t n)
{
	return (struct sq_metric_invocation){
		.queued_wall_ns = sq_clock_wall_ns(),
		.run = {1, n},
		.attempt = 1,
		.status = 200,
		.queue_ns = (int64_t)n,
		.service_ns = SQ_MS,
		.function_ns = -1,
	};
}

static inline bool wait_for(uint64_t (*probe)(void), uint64_t at_least)
{
	for (int i = 0; i < 1000; i++) {
		if (probe() >= at_least)
			return true;
		usleep(10000);
	}
	return false;
}

static inline uint64_t count_invocations(void)
{
	return number_db("SELECT count(*) FROM invocations");
}

static inline uint64_t count_dropped(struct sq_metrics *m)
{
	return sq_metrics_read(m, SQ_COUNT_ROWS_DROPPED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_dir, remove_dir)

#endif
