/* Rings, counters and rows: what is written is exact, what is not is counted, nobody waits. */
#define _GNU_SOURCE 1 /* pthread_tryjoin_np */
#include "base/log.h"
#include "metric/ring.h"
#include "metric_help.h"
#include "tables/errors.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>

#define ROWS 1000000

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ring_order),      TEST(test_ring_full), TEST(test_counters),
		TEST(test_contents),        TEST(test_quantiles), TEST(test_wakes),
		TEST(test_concurrent_rows), TEST(test_cost),
	};

	sq_log_set_level(SQ_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
