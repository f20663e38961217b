/* Rings, counters, metrics.db: what is written is exact, what is not is counted, nobody waits. */
#define _GNU_SOURCE 1 /* pthread_tryjoin_np */
#include "base/clock.h"
#include "base/log.h"
#include "metric/db.h"
#include "metric/metric.h"
#include "metric/ring.h"
#include "tables/errors.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <sqlite3.h>

#define ROWS 1000000

static char dir[64], path[80];

/* ---- help ---- */

static int fresh_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sq-metric-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/metrics.db", dir);
	return 0;
}

static int remove_dir(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static sqlite3 *open_db(void)
{
	sqlite3 *sql;

	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	return sql;
}

static void exec_db(const char *text)
{
	sqlite3 *sql = open_db();

	assert_int_equal(sqlite3_exec(sql, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
}

/* The columns of the first row, joined by '|', in a buffer that the next call reuses. */
static const char *ask_db(const char *text)
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

static uint64_t number_db(const char *text)
{
	return strtoull(ask_db(text), NULL, 10);
}

static size_t set_aside_files(void)
{
	char pattern[128];
	glob_t g;
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s.corrupt-*Z", path);
	n = glob(pattern, 0, NULL, &g) == 0 ? g.gl_pathc : 0;
	globfree(&g);
	return n;
}

static struct sq_metrics_conf conf_of(unsigned loops, size_t ring_rows)
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

static struct sq_metrics *start(const struct sq_metrics_conf *conf)
{
	struct sq_error e = {""};
	struct sq_metrics *m = sq_metrics_start(conf, &e);

	if (!m)
		fail_msg("%s", e.text);
	return m;
}

static struct sq_metric_invocation invocation(uint64_t n)
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

/* ---- the ring ---- */

static void *produce(void *arg)
{
	struct sq_ring *r = arg;
	uint64_t dropped = 0;
	struct sq_row *row;

	for (uint64_t n = 0; n < ROWS; n++) {
		if (n % 2048 == 0)
			usleep(50); /* lets the consumer in, also on one core */
		row = sq_ring_claim(r);
		if (!row) {
			dropped++;
			continue;
		}
		row->kind = SQ_ROW_ARRIVAL;
		row->arrival.wall_ns = (int64_t)n;
		row->arrival.body_bytes = ~n;
		sq_ring_publish(r);
	}
	return (void *)(uintptr_t)dropped;
}

static uint64_t consume(struct sq_ring *r, int64_t *last)
{
	size_t n = sq_ring_ready(r);

	for (size_t i = 0; i < n; i++) {
		const struct sq_row *row = sq_ring_at(r, i);

		assert_true(row->arrival.wall_ns > *last);
		assert_true(row->arrival.body_bytes == ~(uint64_t)row->arrival.wall_ns);
		*last = row->arrival.wall_ns;
	}
	sq_ring_release(r, n);
	return n;
}

static void test_ring_order(void **state)
{
	struct sq_ring *r = aligned_alloc(SQ_CACHE_LINE, sizeof(*r));
	int64_t last = -1;
	uint64_t got = 0;
	pthread_t thread;
	void *dropped;

	(void)state;
	memset(r, 0, sizeof(*r));
	assert_int_equal(sq_ring_init(r, 1000), 0);
	assert_int_equal(r->capacity, 1024);
	pthread_create(&thread, NULL, produce, r);
	while (last < ROWS - 1 && pthread_tryjoin_np(thread, &dropped) == EBUSY)
		got += consume(r, &last);
	if (last >= ROWS - 1)
		pthread_join(thread, &dropped);
	got += consume(r, &last);
	assert_int_equal(got + (uintptr_t)dropped, ROWS);
	printf("ring: %d rows pushed, %" PRIu64 " passed in order\n", ROWS, got);
	sq_ring_free(r);
	free(r);
}

static void test_ring_full(void **state)
{
	struct sq_ring *r = aligned_alloc(SQ_CACHE_LINE, sizeof(*r));
	int halves = 0;

	(void)state;
	memset(r, 0, sizeof(*r));
	assert_int_equal(sq_ring_init(r, 8), 0);
	for (int i = 0; i < 8; i++) {
		assert_non_null(sq_ring_claim(r));
		halves += sq_ring_publish(r);
	}
	assert_int_equal(halves, 1);
	assert_null(sq_ring_claim(r));
	sq_ring_release(r, 3);
	assert_int_equal(sq_ring_ready(r), 5);
	for (int i = 0; i < 3; i++) {
		assert_non_null(sq_ring_claim(r));
		assert_false(sq_ring_publish(r));
	}
	assert_null(sq_ring_claim(r));
	sq_ring_free(r);
	free(r);
}

/* ---- through the metric thread ---- */

struct load {
	struct sq_metrics *m;
	unsigned loop;
	uint64_t rows;
	pthread_t thread;
};

static void *write_rows(void *arg)
{
	struct load *l = arg;
	struct sq_metric_invocation row;

	for (uint64_t n = 0; n < l->rows; n++) {
		row = invocation(n);
		row.node = (uint16_t)l->loop;
		sq_metrics_invocation(l->m, l->loop, &row);
		sq_metrics_count(l->m, l->loop, SQ_COUNT_INVOCATIONS, 1);
		if (n % 512 == 0)
			usleep(1000); /* a loop that does other things too */
	}
	return NULL;
}

static void test_concurrent_rows(void **state)
{
	struct sq_metrics_conf conf = conf_of(2, 0);
	struct sq_metrics *m = start(&conf);
	struct load load[2];
	uint64_t dropped;
	int64_t begun = sq_clock_ns();

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		load[i] = (struct load){.m = m, .loop = i, .rows = ROWS / 2};
		pthread_create(&load[i].thread, NULL, write_rows, &load[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(load[i].thread, NULL);
	assert_int_equal(sq_metrics_read(m, SQ_COUNT_INVOCATIONS), ROWS);
	dropped = sq_metrics_read(m, SQ_COUNT_ROWS_DROPPED);
	sq_metrics_stop(m);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), ROWS - dropped);
	assert_int_equal(
		number_db("SELECT count(DISTINCT node || '/' || queue_ns) FROM invocations"),
		ROWS - dropped);
	/* In the order of each ring. */
	assert_int_equal(
		number_db("SELECT count(*) FROM (SELECT queue_ns, lag(queue_ns, 1, -1) "
			  "OVER (PARTITION BY node ORDER BY id) AS before FROM invocations)"
			  " WHERE queue_ns <= before"),
		0);
	printf("metrics.db: %d rows of 2 loops in %.1f s, %" PRIu64 " dropped\n", ROWS,
	       (double)(sq_clock_ns() - begun) / 1e9, dropped);
}

static size_t sample(void *arg, struct sq_metric_gauge *rows, size_t cap)
{
	sq_name_t scope = *(_Atomic sq_name_t *)arg;

	assert_true(cap >= 1);
	rows[0] = (struct sq_metric_gauge){.scope = scope, .limit = 64, .used = 3, .waiting = 9};
	return scope ? 1 : 0;
}

static void write_one_of_each(struct sq_metrics *m)
{
	struct sq_metric_arrival a = {
		.wall_ns = 1700000000123000000,
		.run = {0x0123456789abcdef, 0xfedcba9876543210},
		.chain = sq_metrics_name(m, "thumbs"),
		.function = sq_metrics_name(m, "resize"),
		.trigger = 1,
		.fault = SQ_FAULT_RATE,
		.priority_class = 90,
		.generation = 4,
		.body_bytes = 12345,
	};
	struct sq_metric_invocation i = {
		.queued_wall_ns = 1700000000123000000,
		.run = a.run,
		.chain = a.chain,
		.function = a.function,
		.tenant = sq_metrics_name(m, "gold"),
		.backend = sq_metrics_name(m, "faas"),
		.node = 2,
		.attempt = 3,
		.status = 502,
		.fault = SQ_FAULT_BACKEND_BROKEN,
		.overrun = true,
		.generation = 4,
		.queue_ns = 1500000,
		.service_ns = 2500000,
		.function_ns = -1,
		.in_bytes = 1,
		.out_bytes = UINT32_MAX + 1ull,
	};

	sq_metrics_arrival(m, 0, &a);
	sq_metrics_invocation(m, 0, &i);
}

static void test_contents(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	_Atomic sq_name_t scope = 0;
	struct sq_metrics *m;

	(void)state;
	conf.sample = sample;
	conf.sample_arg = &scope;
	m = start(&conf);
	write_one_of_each(m);
	sq_metrics_stop(m);
	m = start(&conf); /* the same names, with other numbers in this process */
	assert_int_equal(sq_metrics_name(m, NULL), 0);
	assert_int_equal(sq_metrics_name(m, "gold"), sq_metrics_name(m, "gold"));
	write_one_of_each(m);
	sq_metrics_stop(m);

	assert_string_equal(ask_db("SELECT * FROM arrivals_named"),
			    "2023-11-14T22:13:20.123Z|0123456789abcdeffedcba9876543210|thumbs|"
			    "resize|-|async|rate_limited|-10|4|12345|7");
	assert_string_equal(ask_db("SELECT * FROM invocations_named"),
			    "2023-11-14T22:13:20.123Z|0123456789abcdeffedcba9876543210|2|3|thumbs|"
			    "resize|gold|faas|1.5|2.5|-|502|backend_broken|1|0|4|1|4294967296|7");
	assert_string_equal(ask_db("SELECT count(*), count(DISTINCT function) FROM invocations"),
			    "2|1");
	assert_string_equal(ask_db("SELECT count(*) FROM names WHERE name = 'gold'"), "1");
	assert_string_equal(ask_db("SELECT * FROM function_1m"),
			    "resize|2023-11-14T22:13Z|2|2|1.5|2.5|2.5|2.5");
}

static void test_quantiles(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_metrics *m = start(&conf);
	struct sq_metric_invocation i;

	(void)state;
	for (uint64_t n = 1; n <= 200; n++) {
		i = invocation(n);
		i.queued_wall_ns = 1700000000000000000;
		i.function = sq_metrics_name(m, n % 2 ? "odd" : "even");
		i.service_ns = (int64_t)n * SQ_MS;
		sq_metrics_invocation(m, 0, &i);
	}
	sq_metrics_stop(m);
	assert_string_equal(ask_db("SELECT function, calls, failed, p50_ms, p99_ms FROM function_1m"
				   " WHERE function = 'even'"),
			    "even|100|0|100.0|198.0");
}

static bool wait_for(uint64_t (*probe)(void), uint64_t at_least)
{
	for (int i = 0; i < 1000; i++) {
		if (probe() >= at_least)
			return true;
		usleep(10000);
	}
	return false;
}

static uint64_t count_invocations(void)
{
	return number_db("SELECT count(*) FROM invocations");
}

static uint64_t count_gauges(void)
{
	return number_db("SELECT count(*) FROM gauges");
}

static void test_wakes(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 1024);
	struct sq_metric_invocation row = invocation(1);
	struct sq_buf text = {0};
	_Atomic sq_name_t scope = 0;
	struct sq_metrics *m;
	int64_t begun;

	(void)state;
	conf.sample = sample;
	conf.sample_arg = &scope;
	m = start(&conf);
	scope = sq_metrics_name(m, "policy:a\"b\\c\n/tenant=x");
	assert_true(wait_for(count_gauges, 1));
	begun = sq_clock_ns();
	for (int i = 0; i < 512; i++)
		sq_metrics_invocation(m, 0, &row);
	assert_true(wait_for(count_invocations, 512));
	/* Woken by the half-full ring, not by the second, which had just begun. */
	assert_true(sq_clock_ns() - begun < 900 * SQ_MS);

	sq_metrics_count(m, 0, SQ_COUNT_REQUESTS, 41);
	sq_metrics_count(m, 0, SQ_COUNT_REQUESTS, 1);
	assert_int_equal(sq_metrics_prometheus(m, &text), 0);
	assert_non_null(strstr(text.data, "# TYPE sequoia_requests_total counter\n"
					  "sequoia_requests_total 42\n"));
	assert_non_null(strstr(text.data, "# TYPE sequoia_cap_used gauge\nsequoia_cap_used{scope="
					  "\"policy:a\\\"b\\\\c\\n/tenant=x\"} 3\n"));
	sq_buf_free(&text);
	sq_metrics_stop(m);
	assert_string_equal(ask_db("SELECT cap, used, waiting, instance FROM gauges_named"),
			    "64|3|9|7");
}

/* ---- counters ---- */

static void *count_much(void *arg)
{
	struct load *l = arg;

	for (uint64_t n = 0; n < l->rows; n++)
		sq_metrics_count(l->m, l->loop, SQ_COUNT_REQUESTS, l->loop + 1);
	return NULL;
}

static void test_counters(void **state)
{
	struct sq_metrics_conf conf = {.loops = 4};
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m = start(&conf);
	struct load load[4];
	uint64_t before = 0, now;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		load[i] = (struct load){.m = m, .loop = i, .rows = 200000};
		pthread_create(&load[i].thread, NULL, count_much, &load[i]);
	}
	while (before < 1000000) {
		now = sq_metrics_read(m, SQ_COUNT_REQUESTS);
		assert_true(now >= before);
		before = now;
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(load[i].thread, NULL);
	assert_int_equal(sq_metrics_read(m, SQ_COUNT_REQUESTS), 2000000);
	assert_int_equal(sq_metrics_read(m, SQ_COUNT_ACCEPTED), 0);
	/* Without a database rows go nowhere, and are not missed. */
	sq_metrics_invocation(m, 0, &row);
	assert_int_equal(sq_metrics_read(m, SQ_COUNT_ROWS_DROPPED), 0);
	assert_int_equal(access(path, F_OK), -1);
	sq_metrics_stop(m);
	sq_metrics_stop(NULL);
}

/* ---- retention ---- */

static struct sq_metric_db *open_metric_db(struct sq_names *names)
{
	struct sq_error e = {""};
	struct sq_metric_db *db = sq_metric_db_open(path, 1, names, &e);

	if (!db)
		fail_msg("%s", e.text);
	return db;
}

static void fill(struct sq_metric_db *db, int64_t wall_s, unsigned rows)
{
	struct sq_ring *r = aligned_alloc(SQ_CACHE_LINE, sizeof(*r));
	struct sq_ring_span span = {.ring = r, .n = rows};
	struct sq_metric_gauge g = {.limit = 1};
	struct sq_row *row;

	memset(r, 0, sizeof(*r));
	assert_int_equal(sq_ring_init(r, rows), 0);
	for (unsigned i = 0; i < rows; i++) {
		row = sq_ring_claim(r);
		row->kind = SQ_ROW_INVOCATION;
		row->invocation = invocation(i);
		sq_ring_publish(r);
	}
	assert_int_equal(sq_metric_db_begin(db, wall_s * SQ_S), 0);
	assert_int_equal(sq_metric_db_rows(db, &span, 1), 0);
	sq_ring_free(r);
	free(r);
	assert_int_equal(sq_metric_db_gauge(db, &g), 0);
	assert_int_equal(sq_metric_db_commit(db), 0);
}

static int retain_all(struct sq_metric_db *db, int64_t now_s, int64_t raw_s, uint64_t bytes)
{
	int rc, slices = 0;

	do {
		rc = sq_metric_db_retain(db, now_s * SQ_S, raw_s * SQ_S, bytes);
		slices++;
		assert_true(slices < 10000);
	} while (rc == 1);
	assert_int_equal(rc, 0);
	return slices;
}

#define T0 1700000040LL /* a full minute */

static void test_retention_by_age(void **state)
{
	struct sq_names *names = sq_names_new();
	struct sq_metric_db *db = open_metric_db(names);

	(void)state;
	for (int second = 0; second < 300; second += 10)
		fill(db, T0 + second, 1000);
	/* At 4:35, two minutes are kept: minutes 0 and 1 go, 2 stays whole. */
	assert_true(retain_all(db, T0 + 275, 120, 1u << 30) >= 3);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), 18000);
	assert_int_equal(number_db("SELECT count(*) FROM gauges"), 18);
	assert_int_equal(number_db("SELECT min(id) >> 24 FROM invocations"), T0 + 120);
	assert_int_equal(retain_all(db, T0 + 275, 120, 1u << 30), 1);
	/* The wall clock fell by a day: rows are still appended, nothing is lost or stuck. */
	fill(db, T0 - 86400, 10);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), 18010);
	retain_all(db, T0 + 86400, 120, 1u << 30);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), 0);
	sq_metric_db_close(db);
	sq_names_free(names);
}

static void test_retention_by_size(void **state)
{
	struct sq_names *names = sq_names_new();
	struct sq_metric_db *db = open_metric_db(names);
	uint64_t full, limit;
	struct stat st;

	(void)state;
	for (int minute = 0; minute < 20; minute++)
		fill(db, T0 + 60 * minute, 5000);
	full = number_db("PRAGMA page_count") * 4096;
	limit = full / 2;
	retain_all(db, T0 + 20 * 60, 86400, limit);
	assert_true(number_db("SELECT count(*) FROM invocations") >= 45000);
	assert_int_equal(number_db("SELECT count(*) % 5000 FROM invocations"), 0);
	assert_true(number_db("PRAGMA page_count") * 4096 <= limit);
	/* A limit below one minute: seconds go, and what was just written may. */
	fill(db, T0 + 20 * 60 + 5, 5000);
	retain_all(db, T0 + 20 * 60 + 5, 86400, 64 * 1024);
	sq_metric_db_close(db);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= 64 * 1024);
	assert_int_equal(number_db("PRAGMA freelist_count"), 0);
	sq_names_free(names);
}

/* ---- trouble ---- */

static uint64_t count_dropped(struct sq_metrics *m)
{
	return sq_metrics_read(m, SQ_COUNT_ROWS_DROPPED);
}

static void test_disk_full(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 4096);
	struct rlimit before, small = {.rlim_cur = 128 * 1024};
	struct sq_metric_invocation row;
	struct sq_metrics *m = start(&conf);

	(void)state;
	/* The kernel refuses to make files larger, as it does on a full disk. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	for (uint64_t n = 0; n < 5000; n++) {
		row = invocation(n);
		row.function = sq_metrics_name(m, n % 2 ? "odd" : "even");
		sq_metrics_invocation(m, 0, &row);
		/* Half the ring: it is tried and fails. Then the rest, so that it overflows. */
		if (n == 2047)
			usleep(300000);
	}
	assert_int_equal(count_dropped(m), 5000 - 4096);
	setrlimit(RLIMIT_FSIZE, &before);
	/* Room again: what was kept is written, exactly once, with its names. */
	assert_true(wait_for(count_invocations, 4096));
	sq_metrics_stop(m);
	assert_string_equal(ask_db("SELECT count(*), count(DISTINCT run), max(queue_ms) * 1e6 "
				   "FROM invocations_named WHERE function IN ('odd', 'even')"),
			    "4096|4096|4095.0");
	assert_int_equal(set_aside_files(), 0);
}

static void test_locked(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 64);
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m = start(&conf);
	sqlite3 *sql = open_db();

	(void)state;
	assert_int_equal(sqlite3_exec(sql, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (int i = 0; i < 64; i++)
		sq_metrics_invocation(m, 0, &row);
	usleep(400000); /* the half-full ring woke the thread, which found the lock */
	assert_int_equal(count_dropped(m), 0);
	sq_metrics_invocation(m, 0, &row);
	assert_int_equal(count_dropped(m), 1);
	assert_int_equal(sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
	assert_true(wait_for(count_invocations, 64));
	sq_metrics_stop(m);
	assert_int_equal(count_invocations(), 64);
}

static void write_file(const char *text, size_t at, size_t times)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t i = 0; i < times; i++)
		assert_int_equal(pwrite(fd, text, strlen(text), (off_t)(at + i * strlen(text))),
				 strlen(text));
	close(fd);
}

static void test_corrupt_at_start(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m;

	(void)state;
	write_file("this is no database ", 0, 1000);
	m = start(&conf);
	sq_metrics_invocation(m, 0, &row);
	sq_metrics_stop(m);
	assert_int_equal(set_aside_files(), 1);
	assert_int_equal(count_invocations(), 1);
	/* A table is missing: as bad. */
	exec_db("DROP TABLE gauges");
	sleep(1); /* the names of set-aside files are of the second */
	m = start(&conf);
	sq_metrics_stop(m);
	assert_int_equal(set_aside_files(), 2);
	assert_int_equal(count_invocations(), 0);
}

static void test_corrupt_while_running(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m = start(&conf);

	(void)state;
	for (int i = 0; i < 1000; i++)
		sq_metrics_invocation(m, 0, &row);
	assert_true(wait_for(count_invocations, 1000));
	/* Everything into the file itself, and then all but page 1 is spoilt. */
	exec_db("PRAGMA wal_checkpoint(TRUNCATE)");
	write_file("spoilt! ", 4096, 20 * 4096 / 8);
	exec_db("PRAGMA user_version = 1"); /* a change, so that pages are read anew */
	for (int i = 0; i < 10; i++)
		sq_metrics_invocation(m, 0, &row);
	sq_metrics_stop(m);
	assert_int_equal(set_aside_files(), 1);
	assert_int_equal(count_invocations(), 10);
}

static void expect_refusal(const char *words)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_error e = {""};

	assert_null(sq_metrics_start(&conf, &e));
	if (!strstr(e.text, words) || !strstr(e.text, conf.path))
		fail_msg("expected \"%s\" in: %s", words, e.text);
}

static void test_refused(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);

	(void)state;
	sq_metrics_stop(start(&conf));
	exec_db("PRAGMA user_version = 2");
	expect_refusal("written by another version of Sequoia (schema 2, this one knows 1)");
	unlink(path);
	exec_db("CREATE TABLE dear(letter TEXT)");
	expect_refusal("not of Sequoia's metrics");
	assert_int_equal(set_aside_files(), 0);
	snprintf(path, sizeof(path), "%s/none/metrics.db", dir);
	expect_refusal("unable to open");
}

/* ---- cost ---- */

static void test_cost(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 1u << 16);
	struct sq_metrics *m = start(&conf);
	struct sq_metric_invocation row = invocation(1);
	int64_t begun, best = INT64_MAX;

	(void)state;
	/* Less than half the ring at a time: the call is measured, not the writer. */
	for (int round = 0; round < 5; round++) {
		begun = sq_clock_ns();
		for (int i = 0; i < 30000; i++)
			sq_metrics_invocation(m, 0, &row);
		begun = sq_clock_ns() - begun;
		best = begun < best ? begun : best;
		assert_true(wait_for(count_invocations, (uint64_t)(round + 1) * 30000));
	}
	printf("sq_metrics_invocation: %.1f ns\n", (double)best / 30000);
	begun = sq_clock_ns();
	for (int i = 0; i < 1000000; i++)
		sq_metrics_count(m, 0, SQ_COUNT_REQUESTS, 1);
	printf("sq_metrics_count: %.1f ns\n", (double)(sq_clock_ns() - begun) / 1000000);
	assert_int_equal(count_dropped(m), 0);
	sq_metrics_stop(m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ring_order),
		TEST(test_ring_full),
		TEST(test_counters),
		TEST(test_contents),
		TEST(test_quantiles),
		TEST(test_wakes),
		TEST(test_concurrent_rows),
		TEST(test_retention_by_age),
		TEST(test_retention_by_size),
		TEST(test_disk_full),
		TEST(test_locked),
		TEST(test_corrupt_at_start),
		TEST(test_corrupt_while_running),
		TEST(test_refused),
		TEST(test_cost),
	};

	sq_log_set_level(SQ_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
