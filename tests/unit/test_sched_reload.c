/*
 * sched: moving to new lanes, finding and forgetting lanes, looking in, and running out of memory.
 */
#include "sched_fixture.h"

#include <errno.h>

/* ---- malloc that fails when told to (linked with --wrap) ---- */

static int fail_in; /* the how manieth allocation from now fails; 0: none */

static bool fails(void)
{
	return fail_in > 0 && --fail_in == 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	return fails() ? ENOMEM : __real_posix_memalign(p, align, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* ---- moves ---- */

static void test_move_keeps_arrival(void **state)
{
	struct sq_item items[4] = {0};
	struct sq_lane *from, *to;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	from = fix_lane(&f, 0, "old", NULL, NULL);
	to = fix_lane(&f, 0, "new", NULL, NULL);
	for (int i = 0; i < 3; i++)
		fix_put(&f, from, &items[i]);
	fix_put(&f, to, &items[3]);
	sq_sched_move(f.s, &items[2], to, 0, f.now);
	sq_sched_move(f.s, &items[0], to, 0, f.now);
	sq_sched_move(f.s, &items[1], to, 0, f.now);
	for (int i = 0; i < 4; i++)
		fix_done(&f, fix_expect(&f, &items[i]));
	fix_close(&f);
}

static void test_move_counts_queues(void **state)
{
	const struct sq_flow_key key = {.share = "new"};
	struct sq_cap *both, *old, *new, *queues[2];
	struct sq_capset set = {.queue = queues, .n_queue = 2};
	struct sq_item items[3] = {0};
	struct sq_lane *from, *to;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	both = fix_cap(&f, SQ_CAP_QUEUE, 9);
	old = fix_cap(&f, SQ_CAP_QUEUE, 9);
	new = fix_cap(&f, SQ_CAP_QUEUE, 1);
	queues[0] = both;
	queues[1] = old;
	from = fix_lane_of(&f, &key, &set, SQ_PQ);
	queues[1] = new;
	to = fix_lane_of(&f, &key, &set, SQ_PQ);
	for (int i = 0; i < 3; i++)
		fix_put(&f, from, &items[i]);
	for (int i = 0; i < 3; i++)
		sq_sched_move(f.s, &items[i], to, 0, f.now);
	assert_int_equal(sq_cap_used(both), 3);
	assert_int_equal(sq_cap_used(old), 0);
	assert_int_equal(sq_cap_used(new), 3); /* beyond its limit: they were accepted */
	fix_cancel(&f, items, 3);
	assert_int_equal(sq_cap_used(both) + sq_cap_used(new), 0);
	fix_close(&f);
}

/* A reload adds a cap: what is in flight counts, and a cap that stays keeps its count. */
static void test_grant_move(void **state)
{
	struct sq_item items[3] = {0};
	struct sq_cap *stays, *goes, *comes;
	struct sq_lane *from, *to;
	struct sq_grant *g;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	stays = fix_cap(&f, SQ_CAP_SEATS, 9);
	goes = fix_cap(&f, SQ_CAP_SEATS, 9);
	comes = fix_cap(&f, SQ_CAP_SEATS, 1);
	from = fix_lane(&f, 0, "a", stays, goes);
	to = fix_lane(&f, 0, "a", stays, comes);
	fix_put(&f, from, &items[0]);
	g = fix_expect(&f, &items[0]);
	sq_grant_move(f.s, g, to, f.now);
	assert_int_equal(sq_cap_used(stays), 1);
	assert_int_equal(sq_cap_used(goes), 0);
	assert_int_equal(sq_cap_used(comes), 1);
	fix_put(&f, to, &items[1]);
	fix_none(&f);
	fix_done(&f, g);
	fix_done(&f, fix_expect(&f, &items[1]));
	assert_int_equal(sq_cap_used(stays) + sq_cap_used(comes), 0);
	fix_close(&f);
}

static void test_run_move(void **state)
{
	const struct sq_flow_key key = {0};
	struct sq_item items[2] = {0};
	struct sq_cap *old, *new;
	struct sq_capset set = {.running = &old, .n_running = 1};
	struct sq_lane *from, *to;
	struct fix f;

	(void)state;
	fix_open(&f, 9);
	old = fix_cap(&f, SQ_CAP_RUNNING, 1);
	new = fix_cap(&f, SQ_CAP_RUNNING, 1);
	from = fix_lane_of(&f, &key, &set, SQ_PQ);
	set.running = &new;
	to = fix_lane_of(&f, &key, &set, SQ_PQ);
	fix_put(&f, from, &items[0]);
	fix_done(&f, fix_expect(&f, &items[0]));
	sq_sched_run_move(f.s, f.runs[0], to, f.now);
	f.runs[0] = to;
	assert_int_equal(sq_cap_used(old), 0);
	fix_put(&f, to, &items[1]);
	fix_none(&f);
	sq_sched_run_end(f.s, f.runs[--f.n_runs], f.now);
	fix_done(&f, fix_expect(&f, &items[1]));
	fix_close(&f);
}

/* ---- finding and forgetting ---- */

static void test_lane_identity(void **state)
{
	struct sq_cap *a, *b;
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	a = fix_cap(&f, SQ_CAP_SEATS, 1);
	b = fix_cap(&f, SQ_CAP_SEATS, 1);
	l = fix_lane(&f, 0, "x", a, b);
	assert_ptr_equal(fix_lane(&f, 0, "x", a, b), l);
	assert_ptr_not_equal(fix_lane(&f, 0, "x", b, a), l); /* another order of checks */
	assert_ptr_not_equal(fix_lane(&f, 0, "y", a, b), l);
	assert_ptr_not_equal(fix_lane(&f, 1, "x", a, b), l);
	assert_ptr_not_equal(fix_lane(&f, 0, "x", a, NULL), l);
	assert_ptr_equal(fix_lane(&f, 0, NULL, a, b), fix_lane(&f, 0, "", a, b));
	assert_int_equal(fix_stats(&f).lanes, 6);
	assert_int_equal(fix_stats(&f).flows, 4);
	fix_close(&f);
}

/* Idle lanes are kept for the next item, 4,096 of them, so that made-up shares cost no memory. */
static void test_idle_lanes(void **state)
{
	struct sq_item item = {0};
	char share[16];
	struct sq_lane *l;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	for (int i = 0; i < 5000; i++) {
		snprintf(share, sizeof(share), "%d", i);
		sq_lane_put(fix_lane(&f, 0, share, NULL, NULL));
		f.n_lanes--;
	}
	assert_int_equal(fix_stats(&f).lanes, 4096);
	assert_int_equal(fix_stats(&f).flows, 4096);
	l = fix_lane(&f, 0, "4999", NULL, NULL);
	assert_int_equal(fix_stats(&f).lanes, 4096);
	fix_put(&f, l, &item);
	assert_int_equal(sq_sched_forget(f.s, 10), 10);
	assert_int_equal(sq_sched_forget(f.s, SIZE_MAX), 4085);
	assert_int_equal(fix_stats(&f).lanes, 1);
	fix_done(&f, fix_expect(&f, &item));
	fix_close(&f);
}

/* ---- looking in ---- */

static void test_cursor_survives(void **state)
{
	struct sq_item items[10] = {0};
	struct sq_lane_row rows[4];
	struct sq_cursor cur;
	char share[16];
	bool end;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	for (int i = 0; i < 10; i++) {
		snprintf(share, sizeof(share), "s%d", i);
		fix_put(&f, fix_lane(&f, i, share, NULL, NULL), &items[i]);
		f.now += MS;
	}
	sq_cursor_open(f.s, &cur, false);
	assert_int_equal(sq_cursor_lanes(&cur, rows, 4, &end), 4);
	assert_false(end);
	assert_string_equal(rows[3].share, "s3");
	assert_int_equal(rows[3].class, 3);
	assert_int_equal(rows[3].depth, 1);
	assert_int_equal(rows[3].oldest_ns, 1003 * MS);
	fix_cancel(&f, items + 3, 3); /* s3, s4 and s5 go while nobody looks */
	for (int i = 3; i < 6; i++) {
		sq_lane_put(f.lanes[i]);
		f.lanes[i] = f.lanes[i + 4];
	}
	f.n_lanes -= 3;
	assert_int_equal(sq_sched_forget(f.s, 99), 3);
	assert_int_equal(sq_cursor_lanes(&cur, rows, 4, &end), 4);
	assert_string_equal(rows[0].share, "s6");
	assert_true(end);
	assert_int_equal(sq_cursor_lanes(&cur, rows, 4, &end), 0);
	assert_true(end);
	sq_cursor_close(&cur);
	fix_cancel(&f, items, 10);
	fix_close(&f);
}

/* Other cursors and lanes with nothing waiting are looked at too: 64 entries a call, whatever. */
static void test_cursor_looks_at_few(void **state)
{
	struct sq_item item = {0};
	struct sq_lane_row row;
	struct sq_cursor cur, others[100];
	char share[16];
	bool end = false;
	unsigned calls = 0, found = 0;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	for (int i = 0; i < 1000; i++) {
		snprintf(share, sizeof(share), "s%d", i);
		fix_lane(&f, 0, share, NULL, NULL);
		if (i == 500)
			fix_put(&f, f.lanes[0], &item);
		sq_lane_put(f.lanes[--f.n_lanes]);
	}
	for (int i = 0; i < 100; i++)
		sq_cursor_open(f.s, &others[i], false);
	sq_cursor_open(f.s, &cur, false);
	for (; !end; calls++)
		found += (unsigned)sq_cursor_lanes(&cur, &row, 1, &end);
	assert_int_equal(found, 1);
	assert_string_equal(row.share, "s500");
	assert_in_range(calls, 1100 / 64 + 1,
			1100 / 64 + 2); /* one ended early: its row was full */
	sq_cursor_close(&cur);
	for (int i = 0; i < 100; i++)
		sq_cursor_close(&others[i]);
	fix_cancel(&f, &item, 1);
	fix_close(&f);
}

static void test_rows_say_why(void **state)
{
	struct sq_item item = {0};
	struct sq_lane_row row;
	struct sq_cap_row caps[3];
	struct sq_cursor cur;
	bool end;
	struct fix f;

	(void)state;
	fix_open(&f, 7);
	fix_put(&f, fix_lane(&f, 0, "x", fix_cap(&f, SQ_CAP_SEATS, 0), NULL), &item);
	fix_none(&f);
	sq_cursor_open(f.s, &cur, false);
	assert_int_equal(sq_cursor_lanes(&cur, &row, 1, &end), 1);
	sq_cursor_close(&cur);
	assert_string_equal(row.parked_on, "cap");
	assert_int_equal(row.queue, SQ_CRQ);
	sq_cursor_open(f.s, &cur, true);
	assert_int_equal(sq_cursor_caps(&cur, caps, 3, &end), 2);
	sq_cursor_close(&cur);
	assert_string_equal(caps[0].name, "pool");
	assert_int_equal(caps[0].limit, 7);
	assert_int_equal(caps[1].waiters, 1);
	fix_cancel(&f, &item, 1);
	fix_close(&f);
}

/* ---- no memory ---- */

static struct sq_lane *big_lane(struct fix *f)
{
	const struct sq_flow_key key = {.share = "big"};
	const struct sq_candidate any[2] = {{f->caps[0], 0}, {f->caps[1], 1}};
	const struct sq_capset set = {.all = &f->caps[2],
				      .n_all = 1,
				      .running = &f->caps[3],
				      .n_running = 1,
				      .queue = &f->caps[4],
				      .n_queue = 1,
				      .any = any,
				      .n_any = 2};

	return sq_lane_get(f->s, &key, &set, SQ_PQ);
}

static void test_lane_without_memory(void **state)
{
	struct sq_lane *l = NULL;
	int n;
	struct fix f;

	(void)state;
	fix_open(&f, 1);
	for (int i = 0; i < 3; i++)
		fix_cap(&f, SQ_CAP_SEATS, 1);
	fix_cap(&f, SQ_CAP_RUNNING, 1);
	fix_cap(&f, SQ_CAP_QUEUE, 1);
	for (n = 1; !l; n++) {
		fail_in = n;
		l = big_lane(&f);
		assert_int_equal(fix_stats(&f).lanes, l != NULL);
		assert_int_equal(fix_stats(&f).flows, l != NULL);
	}
	fail_in = 0;
	assert_int_equal(n - 1, 2 + 2 * 4 + 1); /* flow, lane; a wait and a gate for each cap */
	assert_ptr_equal(big_lane(&f), l);
	sq_lane_put(l);
	sq_lane_put(l);
	fix_close(&f);
}

static void test_cap_and_pool_without_memory(void **state)
{
	const struct sq_cap_conf conf = {.name = "c", .kind = SQ_CAP_SEATS, .limit = 1};
	const struct sq_sched_conf four = {.seats = 4};
	struct sq_sched *s = NULL;
	struct fix f;

	(void)state;
	fix_open(&f, 2);
	for (int n = 1; n <= 2; n++) {
		fail_in = n;
		assert_null(sq_cap_new(f.s, &conf));
	}
	fail_in = 1;
	assert_int_equal(sq_cap_set_limit(sq_sched_pool(f.s), 9, SQ_SOURCE_SETTINGS, 0), -ENOMEM);
	assert_int_equal(sq_cap_limit(sq_sched_pool(f.s)), 2);
	fail_in = 0;
	fix_limit(&f, sq_sched_pool(f.s), 9);
	fix_close(&f);
	for (int n = 1; !s; n++) {
		fail_in = n;
		s = sq_sched_new(&four);
		assert_true(s != NULL || n < 5);
	}
	fail_in = 0;
	sq_sched_free(s);
}

/* ---- a pool that grows ---- */

/* Every seat has its grant, however often the pool grew, also before the first ones were used. */
static void test_pool_grows(void **state)
{
	enum { SEATS = 300 };
	static const uint32_t sizes[] = {4, 9, 2, 10, SEATS};
	static struct sq_item items[SEATS];
	static struct sq_grant *grants[SEATS];
	unsigned n = 0;
	struct fix f;

	(void)state;
	memset(items, 0, sizeof(items));
	fix_open(&f, 0);
	fix_lane(&f, 0, NULL, NULL, NULL);
	for (int i = 0; i < SEATS; i++)
		fix_put(&f, f.lanes[0], &items[i]);
	fix_none(&f);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fix_limit(&f, sq_sched_pool(f.s), sizes[i]);
		if (i == 0)
			continue;
		while ((grants[n] = fix_take(&f)))
			if (++n == SEATS)
				break;
		assert_int_equal(n, i == 2 ? sizes[1] : sizes[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		assert_ptr_equal(grants[i]->item, &items[i]);
		fix_done(&f, grants[i]);
	}
	fix_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move_keeps_arrival),
		cmocka_unit_test(test_move_counts_queues),
		cmocka_unit_test(test_grant_move),
		cmocka_unit_test(test_run_move),
		cmocka_unit_test(test_lane_identity),
		cmocka_unit_test(test_idle_lanes),
		cmocka_unit_test(test_cursor_survives),
		cmocka_unit_test(test_cursor_looks_at_few),
		cmocka_unit_test(test_rows_say_why),
		cmocka_unit_test(test_lane_without_memory),
		cmocka_unit_test(test_cap_and_pool_without_memory),
		cmocka_unit_test(test_pool_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
