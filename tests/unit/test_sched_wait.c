/* sched: each rule of DESIGN.md by name: WAKE, any-of, AGE, EXPIRE, the kinds of caps. */
#include "sched_fixture.h"

#include <errno.h>

/* ---- WAKE ---- */

static void test_park_and_wake(void **state)
{
	struct sq_item hold = {0}, items[3] = {0};
	struct sq_grant *g;
	struct sq_cap *c;
	struct fix f;

	(void)state;
	fix_open(&f, 4);
	c = fix_cap(&f, SQ_CAP_SEATS, 1);
	fix_put(&f, fix_lane(&f, 0, "x", c, NULL), &hold);
	g = fix_expect(&f, &hold);
	fix_put(&f, fix_lane(&f, -1, "low", c, NULL), &items[0]);
	fix_put(&f, fix_lane(&f, 0, "mid", c, NULL), &items[1]);
	fix_put(&f, fix_lane(&f, 1, "high", c, NULL), &items[2]);
	fix_none(&f);
	assert_int_equal(fix_waiters(&f, c), 3);
	for (int i = 2; i >= 0; i--) { /* the best waiter first: by class */
		fix_done(&f, g);
		g = fix_expect(&f, &items[i]);
		fix_none(&f);
		assert_int_equal(fix_waiters(&f, c), i);
	}
	fix_done(&f, g);
	fix_close(&f);
}

/*
 * The best waiter of a freed cap cannot use it, for want of another one: the next waiter gets it.
 */
static void test_baton(void **state)
{
	struct sq_item hold[2] = {0}, items[2] = {0};
	struct sq_grant *g[2];
	struct sq_cap *c, *d;
	struct fix f;

	(void)state;
	fix_open(&f, 4);
	c = fix_cap(&f, SQ_CAP_SEATS, 1);
	d = fix_cap(&f, SQ_CAP_SEATS, 1);
	fix_put(&f, fix_lane(&f, 9, "c", c, NULL), &hold[0]);
	fix_put(&f, fix_lane(&f, 9, "d", d, NULL), &hold[1]);
	g[0] = fix_expect(&f, &hold[0]);
	g[1] = fix_expect(&f, &hold[1]);
	fix_put(&f, fix_lane(&f, 1, "best", c, d), &items[0]);
	fix_put(&f, fix_lane(&f, 0, "next", c, NULL), &items[1]);
	fix_none(&f);
	assert_int_equal(fix_waiters(&f, c), 2);
	fix_done(&f, g[0]);
	g[0] = fix_expect(&f, &items[1]);
	assert_int_equal(fix_waiters(&f, d), 1);
	fix_done(&f, g[1]);
	fix_none(&f); /* now c is missing */
	assert_int_equal(fix_waiters(&f, c), 1);
	fix_done(&f, g[0]);
	fix_done(&f, fix_expect(&f, &items[0]));
	fix_close(&f);
}

/* The waiter that was woken is cancelled before the decision: the next one must be found. */
static void test_cancel_between_wake_and_take(void **state)
{
	struct sq_item hold = {0}, items[2] = {0};
	struct sq_grant *g;
	struct sq_cap *c;
	struct fix f;

	(void)state;
	fix_open(&f, 4);
	c = fix_cap(&f, SQ_CAP_SEATS, 1);
	fix_put(&f, fix_lane(&f, 0, "x", c, NULL), &hold);
	g = fix_expect(&f, &hold);
	fix_put(&f, fix_lane(&f, 0, "a", c, NULL), &items[0]);
	fix_put(&f, fix_lane(&f, 0, "b", c, NULL), &items[1]);
	fix_none(&f);
	fix_done(&f, g);
	sq_sched_cancel(f.s, &items[0]);
	assert_true(sq_item_idle(&items[0]));
	fix_done(&f, fix_expect(&f, &items[1]));
	fix_close(&f);
}

static struct sq_lane *any_lane(struct fix *f, const char *share, struct sq_cap *a,
				struct sq_cap *b, enum sq_placement placement)
{
	const struct sq_flow_key key = {.share = share};
	const struct sq_candidate any[2] = {{a, 3}, {b, 5}};
	const struct sq_capset set = {.any = any, .n_any = 2, .placement = placement};

	return fix_lane_of(f, &key, &set, SQ_CRQ);
}

static void test_any_of(void **state)
{
	struct sq_item items[4] = {0};
	struct sq_grant *g[4];
	struct sq_cap *a, *b;
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	a = fix_cap(&f, SQ_CAP_SEATS, 1);
	b = fix_cap(&f, SQ_CAP_SEATS, 1);
	l = any_lane(&f, "x", a, b, SQ_PLACE_SPILL);
	for (int i = 0; i < 4; i++)
		fix_put(&f, l, &items[i]);
	g[0] = fix_expect(&f, &items[0]);
	g[1] = fix_expect(&f, &items[1]);
	assert_int_equal(g[0]->backend, 3);
	assert_int_equal(g[1]->backend, 5);
	fix_none(&f);
	assert_int_equal(fix_waiters(&f, a), 1); /* on every candidate */
	assert_int_equal(fix_waiters(&f, b), 1);
	fix_done(&f, g[1]);
	g[1] = fix_expect(&f, &items[2]);
	assert_int_equal(g[1]->backend, 5);
	assert_int_equal(fix_waiters(&f, a), 0); /* left all on wake */
	assert_int_equal(fix_waiters(&f, b), 0);
	fix_done(&f, g[0]);
	g[0] = fix_expect(&f, &items[3]);
	assert_int_equal(g[0]->backend, 3);
	fix_done(&f, g[0]);
	fix_done(&f, g[1]);
	fix_close(&f);
}

static void test_placement(void **state)
{
	static const struct {
		enum sq_placement placement;
		int backends[6];
	} rows[] = {
		{SQ_PLACE_SPILL, {3, 3, 3, 3, 5, 5}},
		{SQ_PLACE_LEAST, {3, 5, 3, 3, 5, 3}}, /* limits 4 and 2 */
	};

	(void)state;
	for (size_t r = 0; r < 2; r++) {
		struct sq_item items[6] = {0};
		struct sq_grant *g[6];
		struct sq_lane *l;
		struct fix f;

		fix_open(&f, 9);
		l = any_lane(&f, "x", fix_cap(&f, SQ_CAP_SEATS, 4), fix_cap(&f, SQ_CAP_SEATS, 2),
			     rows[r].placement);
		for (int i = 0; i < 6; i++) {
			fix_put(&f, l, &items[i]);
			g[i] = fix_expect(&f, &items[i]);
			assert_int_equal(g[i]->backend, rows[r].backends[i]);
		}
		for (int i = 0; i < 6; i++)
			fix_done(&f, g[i]);
		fix_close(&f);
	}
}

/* Many lanes must move before one can be granted: the call ends, says so, and goes on. */
static void test_move_budget(void **state)
{
	static struct sq_item items[200];
	struct sq_cap *closed;
	struct sq_item last = {0};
	char share[16];
	struct sq_grant *g;
	unsigned calls = 0;
	bool again = true;
	struct fix f;

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 1);
	closed = fix_cap(&f, SQ_CAP_SEATS, 0);
	for (int i = 0; i < 200; i++) {
		struct sq_lane *l;

		snprintf(share, sizeof(share), "%d", i);
		l = fix_lane(&f, 1, share, closed, NULL);
		fix_put(&f, l, &items[i]);
		sq_lane_put(l); /* its item holds it */
		f.n_lanes--;
	}
	fix_put(&f, fix_lane(&f, 0, "last", NULL, NULL), &last);
	do {
		g = sq_sched_take(f.s, f.now, &again);
		calls++;
	} while (!g && again);
	assert_int_equal(calls, 200 / 64 + 1);
	assert_int_equal(fix_stats(&f).parks, 200);
	assert_ptr_equal(g->item, &last);
	fix_done(&f, g);
	fix_cancel(&f, items, 200);
	fix_close(&f);
}

/* ---- AGE ---- */

static void test_every_16th_grant_to_the_aged(void **state)
{
	static struct sq_item high[64];
	struct sq_item low[3] = {{.max_wait_ns = 5 * MS}, {.max_wait_ns = 5 * MS}, {0}};
	struct sq_item blocked = {.max_wait_ns = 1};
	struct sq_lane *l[3];
	struct fix f;

	(void)state;
	memset(high, 0, sizeof(high));
	fix_open(&f, 1);
	l[0] = fix_lane(&f, 10, NULL, NULL, NULL);
	l[1] = fix_lane(&f, 0, NULL, NULL, NULL);
	l[2] = fix_lane(&f, 0, "blocked", fix_cap(&f, SQ_CAP_SEATS, 0), NULL);
	for (int i = 0; i < 64; i++)
		fix_put(&f, l[0], &high[i]);
	fix_put(&f, l[2], &blocked); /* aged first, but without room */
	for (int i = 0; i < 3; i++)
		fix_put(&f, l[1], &low[i]);
	for (int i = 1; i <= 64; i++) {
		struct sq_grant *g;

		f.now += i == 16 ? 0 : 1 * MS;
		if (i == 16)
			f.now += 5 * MS;
		g = fix_take(&f);
		assert_int_equal(g->aged, i == 16 || i == 32); /* the third can never age */
		if (g->aged)
			assert_ptr_equal(g->item, &low[i / 16 - 1]);
		fix_done(&f, g);
	}
	assert_int_equal(fix_stats(&f).grants_aged, 2);
	fix_cancel(&f, high, 64);
	fix_cancel(&f, low, 3);
	fix_cancel(&f, &blocked, 1);
	fix_close(&f);
}

/* Waited exactly max-wait is not yet aged; the aged lane gives its oldest, not its first by key. */
static void test_aged_is_oldest_first(void **state)
{
	static const struct {
		int64_t waited;
		bool aged;
	} rows[] = {{5 * MS, false}, {5 * MS + 1, true}};

	(void)state;
	for (size_t r = 0; r < 2; r++) {
		const struct sq_flow_key key = {.order = 1};
		const struct sq_capset none = {0};
		struct sq_item items[17] = {0};
		struct sq_grant *g;
		struct sq_lane *l;
		struct fix f;

		fix_open(&f, 1);
		l = fix_lane_of(&f, &key, &none, SQ_CRQ);
		for (int i = 0; i < 17; i++) {
			items[i].key = -i;
			items[i].max_wait_ns = 5 * MS;
			fix_put(&f, l, &items[i]);
		}
		f.now += rows[r].waited;
		for (int i = 16; i > 1; i--)
			fix_done(&f, fix_expect(&f, &items[i]));
		g = fix_take(&f); /* the 16th */
		assert_int_equal(g->aged, rows[r].aged);
		assert_ptr_equal(g->item, &items[rows[r].aged ? 0 : 1]);
		fix_done(&f, g);
		fix_cancel(&f, items, 17);
		fix_close(&f);
	}
}

/* ---- EXPIRE ---- */

static void test_expiry(void **state)
{
	struct sq_item items[4] = {0}, *i;
	struct sq_lane *l;
	struct fix f;
	CDS_LIST_HEAD(list);

	(void)state;
	fix_open(&f, 1);
	l = fix_lane(&f, 0, NULL, NULL, NULL);
	assert_int_equal(sq_sched_timer(f.s), SQ_SCHED_NEVER);
	for (int n = 0; n < 4; n++) {
		items[n].expires_ns = n == 3 ? SQ_SCHED_NEVER : f.now + (3 - n) * MS;
		fix_put(&f, l, &items[n]);
	}
	assert_int_equal(sq_sched_timer(f.s), f.now + MS);
	assert_int_equal(sq_sched_expire(f.s, f.now, &list, 9), 0);
	f.now += 2 * MS;
	fix_done(&f, fix_expect(&f, &items[0])); /* an expired one is never granted */
	assert_int_equal(items[1].state, SQ_ITEM_EXPIRED);
	assert_int_equal(sq_sched_timer(f.s), f.now); /* it waits to be fetched */
	sq_sched_cancel(f.s, &items[1]);
	assert_int_equal(sq_sched_expire(f.s, f.now, &list, 9), 1);
	i = cds_list_first_entry(&list, struct sq_item, node);
	assert_ptr_equal(i, &items[2]);
	assert_true(sq_item_idle(i));
	assert_int_equal(sq_sched_timer(f.s), SQ_SCHED_NEVER);
	fix_done(&f, fix_expect(&f, &items[3]));
	fix_none(&f);
	assert_int_equal(fix_stats(&f).expired, 2);
	fix_close(&f);
}

static void test_expire_in_slices(void **state)
{
	static struct sq_item items[150];
	size_t n = 0, got;
	struct sq_lane *l;
	struct fix f;
	CDS_LIST_HEAD(list);

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 1);
	l = fix_lane(&f, 0, NULL, NULL, NULL);
	for (int i = 0; i < 150; i++) {
		items[i].expires_ns = f.now + 150 - i;
		fix_put(&f, l, &items[i]);
	}
	f.now += 1 * MS;
	do {
		got = sq_sched_expire(f.s, f.now, &list, 64);
		n += got;
	} while (got == 64);
	assert_int_equal(n, 150);
	assert_ptr_equal(cds_list_first_entry(&list, struct sq_item, node), &items[149]);
	assert_int_equal(fix_stats(&f).queued, 0);
	fix_close(&f);
}

/* ---- CAP ---- */

static void test_limit_below_used(void **state)
{
	struct sq_item items[4] = {0};
	struct sq_grant *g[3];
	struct sq_cap *c;
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	c = fix_cap(&f, SQ_CAP_SEATS, 3);
	l = fix_lane(&f, 0, NULL, c, NULL);
	for (int i = 0; i < 4; i++)
		fix_put(&f, l, &items[i]);
	for (int i = 0; i < 3; i++)
		g[i] = fix_expect(&f, &items[i]);
	fix_limit(&f, c, 1);
	for (int i = 0; i < 3; i++) {
		fix_none(&f);
		fix_done(&f, g[i]);
	}
	fix_done(&f, fix_expect(&f, &items[3]));
	fix_close(&f);
}

/* The least of the sources holds: lifting the pause does not undo what a reload said meanwhile. */
static void test_sources(void **state)
{
	struct sq_cap_row rows[2];
	struct sq_cursor cur;
	struct sq_cap *c;
	bool end;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	c = fix_cap(&f, SQ_CAP_SEATS, 40);
	assert_int_equal(sq_cap_set_limit(c, 0, SQ_SOURCE_PAUSE, f.now), 0);
	assert_int_equal(sq_cap_set_limit(c, 25, SQ_SOURCE_SETTINGS, f.now), 0);
	assert_int_equal(sq_cap_limit(c), 0);
	sq_cursor_open(f.s, &cur, true);
	assert_int_equal(sq_cursor_caps(&cur, rows, 2, &end), 2);
	sq_cursor_close(&cur);
	assert_int_equal(rows[1].source, SQ_SOURCE_PAUSE);
	assert_int_equal(sq_cap_set_limit(c, SQ_NO_LIMIT, SQ_SOURCE_PAUSE, f.now), 0);
	assert_int_equal(sq_cap_limit(c), 25);
	fix_close(&f);
}

/* 100/s, burst 3: three at once, then one each 10 ms, by the timer. */
static void test_rate(void **state)
{
	static struct sq_item items[20];
	struct sq_cap *c;
	struct sq_lane *l;
	struct fix f;

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 9);
	c = fix_rate(&f, 10 * MS, 3);
	l = fix_lane(&f, 0, NULL, c, NULL);
	for (int i = 0; i < 20; i++)
		fix_put(&f, l, &items[i]);
	for (int i = 0; i < 3; i++)
		fix_done(&f, fix_expect(&f, &items[i]));
	for (int i = 3; i < 8; i++) {
		fix_none(&f);
		assert_int_equal(sq_sched_timer(f.s), f.now + 10 * MS);
		f.now += 10 * MS - 1;
		fix_none(&f);
		f.now += 1;
		fix_done(&f, fix_expect(&f, &items[i]));
	}
	fix_set_rate(&f, c, 1000 * MS, 3); /* one a second; what was given counts at the new rate */
	fix_none(&f);
	assert_int_equal(sq_sched_timer(f.s), f.now + 1000 * MS);
	fix_limit(&f, c, 0);
	assert_int_equal(sq_sched_timer(f.s), SQ_SCHED_NEVER);
	f.now += 3600000 * (int64_t)MS;
	fix_none(&f);
	fix_set_rate(&f, c, 10 * MS, 3);
	fix_limit(&f, c, SQ_NO_LIMIT); /* rested: the burst, no more */
	for (int i = 8; i < 11; i++)
		fix_done(&f, fix_expect(&f, &items[i]));
	fix_none(&f);
	fix_set_rate(&f, c, 10 * MS, 4);
	fix_done(&f, fix_expect(&f, &items[11]));
	fix_none(&f);
	fix_set_rate(&f, c, 0, 0); /* none any more */
	for (int i = 12; i < 20; i++)
		fix_done(&f, fix_expect(&f, &items[i]));
	fix_close(&f);
}

/* Grants of the cap one after the other, each as soon as it can be; how long they took. */
static int64_t time_grants(struct fix *f, struct sq_cap *c, unsigned n)
{
	struct sq_lane *l = fix_lane(f, 0, NULL, c, NULL);
	int64_t since = f->now;

	for (unsigned i = 0; i < n; i++) {
		struct sq_item item = {0};
		struct sq_grant *g;

		fix_put(f, l, &item);
		while (!(g = fix_take(f))) {
			assert_true(sq_sched_timer(f->s) > f->now);
			f->now = sq_sched_timer(f->s);
		}
		fix_done(f, g);
	}
	return f->now - since;
}

/* No drift and no overflow, from one a ns to a million at once and then one in 104 days. */
static void test_rate_is_exact(void **state)
{
	static const int64_t minute = 60000 * (int64_t)MS, day = 1440 * 60000 * (int64_t)MS;
	static const int64_t most = INT64_C(1) << 53;
	static const struct {
		int64_t interval_ns;
		uint32_t burst;
		unsigned n;
		int64_t takes_ns;
	} rows[] = {
		{minute, 1, 10001, 10000 * minute},
		{minute, 60, 10060, 10000 * minute},
		{20 * minute, 1, 4, 60 * minute}, /* 3 an hour */
		{1, 1, 10001, 10000},
		{1, 1000000, 1000000, 0},
		{30 * day, 1, 101, 100 * 30 * day},
		{30 * day, 1000000, 1000003, 3 * 30 * day},
		{INT64_MAX, UINT32_MAX, 1000001, most}, /* the most of both */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fix f;

		fix_open(&f, 1);
		assert_int_equal(time_grants(&f, fix_rate(&f, rows[i].interval_ns, rows[i].burst),
					     rows[i].n),
				 rows[i].takes_ns);
		fix_close(&f);
	}
}

/* A million were granted at once; then the burst is 1, which is ahead for longer than time has. */
static void test_rate_beyond_time(void **state)
{
	struct sq_item item = {0};
	struct sq_cap *c;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	c = fix_rate(&f, INT64_MAX, 1000000);
	assert_int_equal(time_grants(&f, c, 1000000), 0);
	fix_set_rate(&f, c, INT64_MAX, 1);
	fix_put(&f, f.lanes[0], &item);
	fix_none(&f);
	assert_int_equal(sq_sched_timer(f.s), SQ_SCHED_NEVER);
	fix_set_rate(&f, c, 1, 1); /* the same number of grants is 1 ms now */
	assert_int_equal(sq_sched_timer(f.s), f.now + MS);
	f.now += MS;
	fix_done(&f, fix_expect(&f, &item));
	fix_close(&f);
}

static struct sq_cap_row second_row(struct fix *f)
{
	struct sq_cap_row rows[2];
	struct sq_cursor cur;
	bool end;

	sq_cursor_open(f->s, &cur, true);
	assert_int_equal(sq_cursor_caps(&cur, rows, 2, &end), 2);
	assert_true(end);
	sq_cursor_close(&cur);
	return rows[1];
}

/* The slowest of the sources holds, a pause over all; the row says which. */
static void test_rate_sources(void **state)
{
	struct sq_cap_row row;
	struct sq_cap *c;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	c = fix_rate(&f, 10 * MS, 3);
	row = second_row(&f);
	assert_int_equal(row.source, SQ_SOURCE_SETTINGS);
	assert_true(row.rate_per_s > 99.999 && row.rate_per_s < 100.001);
	assert_int_equal(row.limit, SQ_NO_LIMIT);
	sq_cap_set_rate(c, 20 * MS, 1, SQ_SOURCE_LEASE, f.now);
	fix_set_rate(&f, c, 5 * MS, 4);
	row = second_row(&f);
	assert_int_equal(row.source, SQ_SOURCE_LEASE);
	assert_int_equal(row.burst, 1);
	assert_true(row.rate_per_s > 49.999 && row.rate_per_s < 50.001);
	assert_int_equal(sq_cap_set_limit(c, 0, SQ_SOURCE_PAUSE, f.now), 0);
	row = second_row(&f);
	assert_int_equal(row.source, SQ_SOURCE_PAUSE);
	assert_int_equal(row.limit, 0);
	assert_false(sq_cap_has_room(c, f.now));
	assert_int_equal(sq_cap_set_limit(c, SQ_NO_LIMIT, SQ_SOURCE_PAUSE, f.now), 0);
	sq_cap_set_rate(c, 0, 0, SQ_SOURCE_LEASE, f.now);
	row = second_row(&f);
	assert_int_equal(row.source, SQ_SOURCE_SETTINGS);
	assert_int_equal(row.burst, 4);
	fix_close(&f);
}

/* Idle: forgotten now and made again, it would let no more through. */
static void test_cap_idle(void **state)
{
	struct sq_item items[2] = {0};
	struct sq_cap *rate, *seats;
	struct sq_grant *g;
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 2);
	rate = fix_rate(&f, 60000 * (int64_t)MS, 2);
	seats = fix_cap(&f, SQ_CAP_SEATS, 1);
	l = fix_lane(&f, 0, NULL, rate, seats);
	assert_true(sq_cap_idle(rate, f.now) && sq_cap_idle(seats, f.now));
	for (int i = 0; i < 2; i++) {
		fix_put(&f, l, &items[i]);
		g = fix_expect(&f, &items[i]);
		assert_false(sq_cap_idle(rate, f.now) || sq_cap_idle(seats, f.now));
		fix_done(&f, g);
	}
	assert_true(sq_cap_idle(seats, f.now));
	f.now += 120000 * (int64_t)MS - 1;
	assert_false(sq_cap_idle(rate, f.now));
	assert_true(sq_cap_idle(rate, f.now + 1));
	fix_close(&f);
}

static struct sq_lane *pq_lane(struct fix *f, struct sq_cap *running, struct sq_cap *queue)
{
	const struct sq_flow_key key = {0};
	const struct sq_capset set = {.running = &running,
				      .n_running = running != NULL,
				      .queue = &queue,
				      .n_queue = queue != NULL};

	return fix_lane_of(f, &key, &set, SQ_PQ);
}

static void test_running_cap(void **state)
{
	struct sq_item items[3] = {0};
	struct sq_grant *g;
	struct sq_cap *c;
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	c = fix_cap(&f, SQ_CAP_RUNNING, 1);
	l = pq_lane(&f, c, NULL);
	fix_put(&f, l, &items[0]);
	fix_put(&f, l, &items[1]);
	g = fix_expect(&f, &items[0]);
	fix_none(&f);
	fix_done(&f, g);
	fix_none(&f); /* its function ended, its run did not */
	fix_put(&f, fix_lane(&f, 0, NULL, NULL, NULL), &items[2]);
	fix_done(&f, fix_expect(&f, &items[2])); /* the CRQ knows no such cap */
	sq_sched_run_end(f.s, f.runs[--f.n_runs], f.now);
	fix_done(&f, fix_expect(&f, &items[1]));
	assert_int_equal(sq_cap_used(c), 1);
	fix_close(&f);
}

static void test_queue_cap(void **state)
{
	struct sq_item items[6] = {0};
	struct sq_cap *c, *by = NULL;
	struct sq_lane *l;
	struct fix f;
	CDS_LIST_HEAD(list);

	(void)state;
	fix_open(&f, 9);
	c = fix_cap(&f, SQ_CAP_QUEUE, 2);
	l = pq_lane(&f, NULL, c);
	items[1].expires_ns = f.now + MS;
	fix_put(&f, l, &items[0]);
	fix_put(&f, l, &items[1]);
	assert_int_equal(fix_try(&f, l, &items[2], &by), -EAGAIN);
	assert_ptr_equal(by, c);
	assert_true(sq_item_idle(&items[2]));
	fix_done(&f, fix_expect(&f, &items[0])); /* granted: a place */
	fix_put(&f, l, &items[2]);
	assert_int_equal(fix_try(&f, l, &items[3], NULL), -EAGAIN);
	sq_sched_cancel(f.s, &items[2]); /* cancelled: a place */
	fix_put(&f, l, &items[3]);
	f.now += MS;
	assert_int_equal(sq_sched_expire(f.s, f.now, &list, 9), 1); /* expired: a place */
	fix_put(&f, l, &items[4]);
	assert_int_equal(fix_try(&f, l, &items[5], NULL), -EAGAIN);
	assert_int_equal(sq_cap_used(c), 2);
	assert_int_equal(fix_stats(&f).refused, 3);
	fix_cancel(&f, items, 6);
	assert_int_equal(sq_cap_used(c), 0);
	fix_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_park_and_wake),
		cmocka_unit_test(test_baton),
		cmocka_unit_test(test_cancel_between_wake_and_take),
		cmocka_unit_test(test_any_of),
		cmocka_unit_test(test_placement),
		cmocka_unit_test(test_move_budget),
		cmocka_unit_test(test_every_16th_grant_to_the_aged),
		cmocka_unit_test(test_aged_is_oldest_first),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_expire_in_slices),
		cmocka_unit_test(test_limit_below_used),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_is_exact),
		cmocka_unit_test(test_rate_beyond_time),
		cmocka_unit_test(test_rate_sources),
		cmocka_unit_test(test_cap_idle),
		cmocka_unit_test(test_running_cap),
		cmocka_unit_test(test_queue_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
