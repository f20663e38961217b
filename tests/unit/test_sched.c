/*
 * sched: each rule of DESIGN.md by name: TAKE, CHARGE, ENTER, RAISE, items; the others in
 * test_sched_wait.c. How they work together is the matter of tests/sim.
 */
#include "sched_fixture.h"

/* ---- TAKE ---- */

static void test_strict_classes(void **state)
{
	struct fix f;
	struct sq_item low = {0}, high = {0}, mid = {0};

	(void)state;
	fix_open(&f, 3);
	fix_put(&f, fix_lane(&f, -100, NULL, NULL, NULL), &low);
	fix_put(&f, fix_lane(&f, 100, NULL, NULL, NULL), &high);
	fix_put(&f, fix_lane(&f, 0, NULL, NULL, NULL), &mid);
	fix_done(&f, fix_expect(&f, &high));
	fix_done(&f, fix_expect(&f, &mid));
	fix_done(&f, fix_expect(&f, &low));
	fix_none(&f);
	fix_close(&f);
}

static void test_pool_is_exact(void **state)
{
	struct fix f;
	struct sq_item items[4] = {0};
	struct sq_grant *g[4];
	struct sq_lane *l;

	(void)state;
	fix_open(&f, 2);
	l = fix_lane(&f, 0, NULL, NULL, NULL);
	for (int i = 0; i < 4; i++)
		fix_put(&f, l, &items[i]);
	g[0] = fix_expect(&f, &items[0]);
	g[1] = fix_expect(&f, &items[1]);
	fix_none(&f);
	assert_int_equal(sq_cap_used(sq_sched_pool(f.s)), 2);
	fix_limit(&f, sq_sched_pool(f.s), 3); /* more seats than ever before */
	g[2] = fix_expect(&f, &items[2]);
	fix_none(&f);
	fix_limit(&f, sq_sched_pool(f.s), 1);
	fix_done(&f, g[0]);
	fix_done(&f, g[1]);
	fix_none(&f); /* one is still in flight */
	fix_done(&f, g[2]);
	fix_done(&f, fix_expect(&f, &items[3]));
	fix_close(&f);
}

static void test_order_in_lane(void **state)
{
	static const struct {
		uint8_t order;
		int expect[4];
	} rows[] = {{SQ_FIFO, {0, 1, 2, 3}}, {1, {2, 0, 3, 1}}};
	static const int64_t keys[4] = {5, 9, -1, 5};

	(void)state;
	for (size_t r = 0; r < 2; r++) {
		const struct sq_flow_key key = {.order = rows[r].order};
		const struct sq_capset none = {0};
		struct sq_item items[4] = {0};
		struct sq_lane *l;
		struct fix f;

		fix_open(&f, 1);
		l = fix_lane_of(&f, &key, &none, SQ_CRQ);
		for (int i = 0; i < 4; i++) {
			items[i].key = keys[i];
			fix_put(&f, l, &items[i]);
		}
		for (int i = 0; i < 4; i++)
			fix_done(&f, fix_expect(&f, &items[rows[r].expect[i]]));
		fix_close(&f);
	}
}

static void test_running_first(void **state)
{
	/*
	 * Who goes first: [0] the PQ item of flow a (came first, least vt), [1] CRQ of a, [2] CRQ
	 * of b.
	 */
	static const struct {
		enum sq_running_rule rule;
		int expect[3];
	} rows[] = {
		{SQ_RUNNING_IN_FLOW, {1, 0, 2}},
		{SQ_RUNNING_IN_CLASS, {1, 2, 0}},
		{SQ_RUNNING_NEVER, {0, 1, 2}},
	};

	(void)state;
	for (size_t r = 0; r < 3; r++) {
		const struct sq_flow_key a = {.share = "a", .running_first = rows[r].rule};
		const struct sq_flow_key b = {.share = "b", .running_first = rows[r].rule};
		const struct sq_capset none = {0};
		struct sq_cost small = {.expected_ns = 1 * MS};
		struct sq_item items[3] = {{.cost = &small}, {.cost = &small}, {.cost = NULL}};
		struct sq_item first = {0};
		struct sq_lane *of_b;
		struct fix f;

		fix_open(&f, 4);
		of_b = fix_lane_of(&f, &b, &none, SQ_CRQ);
		fix_put(&f, of_b, &first); /* so that b is 10 ms ahead */
		fix_put(&f, fix_lane_of(&f, &a, &none, SQ_PQ), &items[0]);
		fix_put(&f, fix_lane_of(&f, &a, &none, SQ_CRQ), &items[1]);
		fix_put(&f, of_b, &items[2]);
		sq_sched_cancel(f.s, &items[0]);
		sq_sched_cancel(f.s, &items[1]);
		struct sq_grant *g = fix_expect(&f, &first);
		fix_put(&f, f.lanes[1], &items[0]);
		fix_put(&f, f.lanes[2], &items[1]);
		for (int i = 0; i < 3; i++)
			fix_done(&f, fix_expect(&f, &items[rows[r].expect[i]]));
		fix_done(&f, g);
		fix_close(&f);
	}
}

static void test_never_a_partial_holding(void **state)
{
	struct fix f;
	struct sq_item both = {0}, one = {0}, more = {0};
	struct sq_cap *a, *b;
	struct sq_grant *g;

	(void)state;
	fix_open(&f, 4);
	a = fix_cap(&f, SQ_CAP_SEATS, 2);
	b = fix_cap(&f, SQ_CAP_SEATS, 1);
	fix_put(&f, fix_lane(&f, 0, "x", b, NULL), &one);
	g = fix_expect(&f, &one);
	fix_put(&f, fix_lane(&f, 0, "y", a, b), &both);
	fix_none(&f);
	assert_int_equal(sq_cap_used(a), 0);
	assert_int_equal(sq_cap_used(sq_sched_pool(f.s)), 1);
	fix_put(&f, fix_lane(&f, 0, "z", a, NULL), &more);
	fix_done(&f, fix_expect(&f, &more));
	fix_done(&f, g);
	g = fix_expect(&f, &both);
	assert_int_equal(sq_cap_used(a), 1);
	assert_int_equal(sq_cap_used(b), 1);
	fix_done(&f, g);
	fix_close(&f);
}

/* ---- CHARGE ---- */

/* Two flows, one seat: counts of 400 grants follow the weights. */
static void test_weighted_fairness(void **state)
{
	static const struct {
		uint32_t a, b;
		int of_a;
	} rows[] = {{1, 1, 200}, {3, 1, 300}, {1, 7, 50}, {1000, 1, 400}};

	(void)state;
	for (size_t r = 0; r < 4; r++) {
		static struct sq_item items[2][400];
		struct sq_lane *l[2];
		int got = 0;
		struct fix f;

		memset(items, 0, sizeof(items));
		fix_open(&f, 1);
		l[0] = fix_lane(&f, 0, "a", NULL, NULL);
		l[1] = fix_lane(&f, 0, "b", NULL, NULL);
		for (int i = 0; i < 800; i++) {
			items[i / 400][i % 400].weight = i < 400 ? rows[r].a : rows[r].b;
			fix_put(&f, l[i / 400], &items[i / 400][i % 400]);
		}
		for (int i = 0; i < 400; i++) {
			struct sq_grant *g = fix_take(&f);

			got += g->lane == l[0];
			f.now += 10 * MS;
			fix_done(&f, g);
		}
		assert_in_range(got, rows[r].of_a - 2, rows[r].of_a + 2);
		fix_cancel(&f, items[0], 800);
		fix_close(&f);
	}
}

/* A flow that spreads over two caps gets no more than one that does not. */
static void test_one_vt_per_flow(void **state)
{
	static struct sq_item items[3][100];
	struct sq_lane *l[3];
	int got[3] = {0};
	struct fix f;

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 1);
	l[0] = fix_lane(&f, 0, "a", fix_cap(&f, SQ_CAP_SEATS, 9), NULL);
	l[1] = fix_lane(&f, 0, "a", fix_cap(&f, SQ_CAP_SEATS, 9), NULL);
	l[2] = fix_lane(&f, 0, "b", NULL, NULL);
	for (int i = 0; i < 300; i++)
		fix_put(&f, l[i % 3], &items[i % 3][i / 3]);
	for (int i = 0; i < 100; i++) {
		struct sq_grant *g = fix_take(&f);

		for (int n = 0; n < 3; n++)
			got[n] += g->lane == l[n];
		f.now += 10 * MS;
		fix_done(&f, g);
	}
	assert_int_equal(got[2], 50);
	assert_int_equal(got[0] + got[1], 50);
	fix_cancel(&f, items[0], 300);
	fix_close(&f);
}

static int64_t vt_of(struct fix *f, const char *share, int64_t *credit)
{
	struct sq_lane_row rows[FIX_MAX];
	struct sq_cursor cur;
	size_t n;
	bool end;

	sq_cursor_open(f->s, &cur, false);
	n = sq_cursor_lanes(&cur, rows, FIX_MAX, &end);
	sq_cursor_close(&cur);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rows[i].share, share) == 0) {
			if (credit)
				*credit = rows[i].credit_ns;
			return rows[i].vt_ns;
		}
	}
	fail();
	return 0;
}

static void test_charge_and_credit(void **state)
{
	struct fix f;
	struct sq_item items[4] = {0};
	struct sq_grant *g;
	struct sq_lane *l;
	int64_t credit;

	(void)state;
	fix_open(&f, 1);
	l = fix_lane(&f, 0, "a", NULL, NULL);
	for (int i = 0; i < 4; i++)
		fix_put(&f, l, &items[i]);
	g = fix_expect(&f, &items[0]);
	assert_int_equal(vt_of(&f, "a", &credit), 10 * MS); /* as expected */
	f.now += 4 * MS;
	fix_done(&f, g);
	assert_int_equal(vt_of(&f, "a", &credit), 10 * MS); /* never falls */
	assert_int_equal(credit, 6 * MS);
	g = fix_expect(&f, &items[1]); /* learnt: 4 ms, all from the credit */
	assert_int_equal(vt_of(&f, "a", &credit), 10 * MS);
	assert_int_equal(credit, 2 * MS);
	f.now += 12 * MS; /* 8 more than charged, 2 of them from the credit */
	fix_done(&f, g);
	assert_int_equal(vt_of(&f, "a", &credit), 16 * MS);
	assert_int_equal(credit, 0);
	assert_int_equal(f.cost.mean_ns[0], 5 * MS); /* 4 + (12 - 4) / 8 */
	fix_cancel(&f, items, 4);
	fix_close(&f);
}

/* The learnt mean of (function, backend), else expected, else the class mean, else 100 ms. */
static void test_estimates(void **state)
{
	struct sq_cost a = {0}, b = {0}, c = {.expected_ns = 7 * MS};
	const struct {
		struct sq_cost *cost;
		int64_t charged, runs;
		unsigned how;
	} rows[] = {
		{&a, 100 * MS, 9 * MS, SQ_DONE_UNLEARNT}, /* nothing is known, or learnt */
		{&a, 100 * MS, 3 * MS, 0},
		{&b, 3 * MS, 3 * MS, 0}, /* as others of the class */
		{&c, 7 * MS, 11 * MS, 0},
		{&c, 11 * MS, 3 * MS, 0},
		{&c, 10 * MS, 2 * MS, 0}, /* 11 + (3 - 11) / 8 */
		{&a, 3 * MS, 3 * MS, 0},
	};
	struct sq_item items[7] = {0};
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	l = fix_lane(&f, 0, "a", NULL, NULL);
	for (int i = 0; i < 7; i++) {
		struct sq_grant *g;

		items[i].cost = rows[i].cost;
		fix_put(&f, l, &items[i]);
		g = fix_expect(&f, &items[i]);
		assert_int_equal(g->charged_ns, rows[i].charged);
		f.now += rows[i].runs;
		sq_sched_complete(f.s, g, rows[i].how, f.now);
	}
	fix_close(&f);
}

static void test_long_runner_is_charged_again(void **state)
{
	static struct sq_item items[2][40];
	struct sq_grant *slow, *g;
	struct sq_lane *l[2];
	struct fix f;

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 2);
	l[0] = fix_lane(&f, 0, "slow", NULL, NULL);
	l[1] = fix_lane(&f, 0, "b", NULL, NULL);
	for (int i = 0; i < 40; i++) {
		fix_put(&f, l[0], &items[0][i]);
		fix_put(&f, l[1], &items[1][i]);
	}
	slow = fix_expect(&f, &items[0][0]);
	g = fix_expect(&f, &items[1][0]);
	f.now += 10 * MS;
	fix_done(&f, g); /* both flows at 10 ms, but the slow one goes on */
	for (int i = 1; i < 16; i++) {
		g = fix_expect(&f, &items[1][i]);
		f.now += 10 * MS;
		fix_done(&f, g);
		if (i == 1)
			assert_int_equal(vt_of(&f, "slow", NULL), 20 * MS);
	}
	assert_int_equal(vt_of(&f, "slow", NULL), 160 * MS); /* 10, 20, 40, 80, 160 */
	fix_done(&f, slow);
	fix_cancel(&f, items[0], 80);
	fix_close(&f);
}

/* ---- ENTER, RAISE ---- */

static void test_idle_earns_nothing(void **state)
{
	static struct sq_item items[2][200];
	struct sq_lane *l[2];
	struct sq_grant *g;
	int got = 0;
	struct fix f;

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 1);
	l[0] = fix_lane(&f, 0, "a", NULL, NULL);
	l[1] = fix_lane(&f, 0, "b", NULL, NULL);
	for (int i = 0; i < 200; i++)
		fix_put(&f, l[0], &items[0][i]);
	for (int i = 0; i < 100; i++) {
		g = fix_take(&f);
		f.now += 10 * MS;
		fix_done(&f, g);
	}
	for (int i = 0; i < 200; i++)
		fix_put(&f, l[1], &items[1][i]);
	for (int i = 0; i < 20; i++) {
		g = fix_take(&f);
		got += g->lane == l[1];
		f.now += 10 * MS;
		fix_done(&f, g);
	}
	assert_in_range(got, 10, 11);
	fix_cancel(&f, items[0], 400);
	fix_close(&f);
}

/* Who enters behind a closed cap enters at the time of those who wait there, not at V. */
static void test_enter_at_a_closed_cap(void **state)
{
	struct sq_item waits = {0}, busy[50] = {0}, late = {0}, holds = {0};
	struct sq_lane *b;
	struct sq_grant *g;
	struct sq_cap *c;
	struct fix f;

	(void)state;
	fix_open(&f, 2);
	c = fix_cap(&f, SQ_CAP_SEATS, 1);
	b = fix_lane(&f, 0, "b", NULL, NULL);
	fix_put(&f, fix_lane(&f, 5, "x", c, NULL), &holds);
	g = fix_expect(&f, &holds);
	fix_put(&f, fix_lane(&f, 0, "a", c, NULL), &waits);
	for (int i = 0; i < 50; i++) {
		fix_put(&f, b, &busy[i]);
		fix_done(&f, fix_expect(&f, &busy[i]));
	}
	fix_put(&f, b, &busy[0]);
	assert_true(vt_of(&f, "b", NULL) > 0);
	fix_put(&f, fix_lane(&f, 0, "late", c, NULL), &late);
	assert_int_equal(vt_of(&f, "late", NULL), vt_of(&f, "a", NULL));
	fix_done(&f, g);
	fix_done(&f, fix_expect(&f, &waits));
	fix_done(&f, fix_expect(&f, &late));
	fix_cancel(&f, busy, 1);
	fix_close(&f);
}

/*
 * A pause is lifted: with room for all who waited they get no more than their share from then on.
 */
static void test_raise(void **state)
{
	static const struct {
		uint32_t limit;
		bool forgiven;
	} rows[] = {{5, true}, {1, false}};

	(void)state;
	for (size_t r = 0; r < 2; r++) {
		static struct sq_item items[3][50];
		struct sq_lane *l[3];
		struct sq_cap *c;
		int got = 0;
		struct fix f;

		memset(items, 0, sizeof(items));
		fix_open(&f, 1);
		c = fix_cap(&f, SQ_CAP_SEATS, 0);
		l[0] = fix_lane(&f, 0, "a", c, NULL);
		l[1] = fix_lane(&f, 0, "a2", c, NULL);
		l[2] = fix_lane(&f, 0, "b", NULL, NULL);
		for (int i = 0; i < 150; i++)
			fix_put(&f, l[i % 3], &items[i % 3][i / 3]);
		for (int i = 0; i < 20; i++) {
			struct sq_grant *g = fix_take(&f);

			assert_ptr_equal(g->lane, l[2]);
			f.now += 10 * MS;
			fix_done(&f, g);
		}
		fix_limit(&f, c, rows[r].limit);
		for (int i = 0; i < 15; i++) {
			struct sq_grant *g = fix_take(&f);

			got += g->lane == l[2];
			f.now += 10 * MS;
			fix_done(&f, g);
		}
		/* Each of the two gets 2 first (V - est), then it is one in three. */
		assert_in_range(got, rows[r].forgiven ? 3 : 0, rows[r].forgiven ? 4 : 0);
		fix_cancel(&f, items[0], 150);
		fix_close(&f);
	}
}

/* ---- ITEM ---- */

static void test_foreach(void **state)
{
	struct sq_item cursor = {.left = 5, .parallel = 2}, after = {0};
	struct sq_grant *g[5];
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	l = fix_lane(&f, 0, NULL, NULL, NULL);
	fix_put(&f, l, &cursor);
	fix_put(&f, l, &after);
	for (uint32_t i = 0; i < 2; i++) {
		g[i] = fix_expect(&f, &cursor);
		assert_int_equal(g[i]->index, i);
	}
	assert_int_equal(cursor.state, SQ_ITEM_HELD);
	fix_done(&f, fix_expect(&f, &after)); /* a held cursor is in nobody's way */
	fix_none(&f);
	fix_done(&f, g[0]);
	fix_put(&f, l, &after);
	g[2] = fix_expect(&f, &cursor); /* it has kept its place in the order */
	assert_int_equal(g[2]->index, 2);
	fix_done(&f, fix_expect(&f, &after));
	fix_done(&f, g[1]);
	fix_done(&f, g[2]);
	g[3] = fix_expect(&f, &cursor);
	g[4] = fix_expect(&f, &cursor);
	assert_int_equal(cursor.state, SQ_ITEM_OFF);
	assert_false(sq_item_idle(&cursor));
	fix_done(&f, g[3]);
	fix_done(&f, g[4]);
	assert_true(sq_item_idle(&cursor));
	fix_none(&f);
	fix_close(&f);
}

static void test_foreach_cancelled(void **state)
{
	struct sq_item cursor = {.left = 9, .parallel = 1};
	struct sq_grant *g;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	fix_put(&f, fix_lane(&f, 0, NULL, NULL, NULL), &cursor);
	g = fix_expect(&f, &cursor);
	assert_int_equal(cursor.state, SQ_ITEM_HELD);
	sq_sched_cancel(f.s, &cursor);
	assert_false(sq_item_idle(&cursor));
	fix_done(&f, g);
	assert_true(sq_item_idle(&cursor));
	fix_none(&f);
	fix_close(&f);
}

static void test_complete_take_and_counters(void **state)
{
	struct sq_item items[2] = {0};
	struct sq_grant *g;
	struct sq_lane *l;
	bool again;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	l = fix_lane(&f, 0, NULL, NULL, NULL);
	fix_put(&f, l, &items[0]);
	fix_put(&f, l, &items[1]);
	g = fix_expect(&f, &items[0]);
	f.now += 5 * MS;
	g = sq_sched_complete_take(f.s, g, SQ_DONE_OVERRUN, f.now, &again);
	assert_ptr_equal(g->item, &items[1]);
	assert_int_equal(g->waited_ns, 5 * MS);
	assert_int_equal(fix_stats(&f).overruns, 1);
	assert_int_equal(fix_stats(&f).in_flight, 1);
	assert_null(sq_sched_complete_take(f.s, g, 0, f.now, &again));
	assert_int_equal(fix_stats(&f).completed, 2);
	fix_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strict_classes),
		cmocka_unit_test(test_pool_is_exact),
		cmocka_unit_test(test_order_in_lane),
		cmocka_unit_test(test_running_first),
		cmocka_unit_test(test_never_a_partial_holding),
		cmocka_unit_test(test_weighted_fairness),
		cmocka_unit_test(test_one_vt_per_flow),
		cmocka_unit_test(test_charge_and_credit),
		cmocka_unit_test(test_estimates),
		cmocka_unit_test(test_long_runner_is_charged_again),
		cmocka_unit_test(test_idle_earns_nothing),
		cmocka_unit_test(test_enter_at_a_closed_cap),
		cmocka_unit_test(test_raise),
		cmocka_unit_test(test_foreach),
		cmocka_unit_test(test_foreach_cancelled),
		cmocka_unit_test(test_complete_take_and_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
