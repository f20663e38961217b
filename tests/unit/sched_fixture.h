/* A scheduler, a clock that stands still, and short words for what the tests of sched say often. */
#ifndef SQ_TESTS_UNIT_SCHED_FIXTURE_H
#define SQ_TESTS_UNIT_SCHED_FIXTURE_H

#include "sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000000, FIX_MAX = 64 };

struct fix {
	struct sq_sched *s;
	int64_t now;
	struct sq_cap *caps[FIX_MAX];
	unsigned n_caps;
	struct sq_lane *lanes[FIX_MAX];
	unsigned n_lanes;
	struct sq_lane *runs[FIX_MAX * 4]; /* started, not ended */
	unsigned n_runs;
	struct sq_cost cost; /* expected 10 ms */
};

static inline void fix_open(struct fix *f, uint32_t seats)
{
	const struct sq_sched_conf conf = {.seats = seats};

	*f = (struct fix){.now = 1000 * MS, .cost = {.expected_ns = 10 * MS}};
	f->s = sq_sched_new(&conf);
	assert_non_null(f->s);
}

/* What is queued or in flight must have been dealt with: sq_sched_free asserts it. */
static inline void fix_close(struct fix *f)
{
	while (f->n_runs > 0)
		sq_sched_run_end(f->s, f->runs[--f->n_runs], f->now);
	while (f->n_lanes > 0)
		sq_lane_put(f->lanes[--f->n_lanes]);
	sq_sched_forget(f->s, SIZE_MAX);
	while (f->n_caps > 0)
		sq_cap_put(f->caps[--f->n_caps]);
	sq_sched_free(f->s);
}

static inline struct sq_cap *fix_cap(struct fix *f, enum sq_cap_kind kind, uint32_t limit)
{
	const struct sq_cap_conf conf = {.name = "cap", .kind = kind, .limit = limit};

	return f->caps[f->n_caps++] = sq_cap_new(f->s, &conf);
}

static inline struct sq_cap *fix_rate(struct fix *f, int64_t interval_ns, uint32_t burst)
{
	const struct sq_cap_conf conf = {
		.name = "rate", .kind = SQ_CAP_RATE, .burst = burst, .interval_ns = interval_ns};

	return f->caps[f->n_caps++] = sq_cap_new(f->s, &conf);
}

/* What the settings say. */
static inline void fix_set_rate(struct fix *f, struct sq_cap *c, int64_t interval_ns,
				uint32_t burst)
{
	sq_cap_set_rate(c, interval_ns, burst, SQ_SOURCE_SETTINGS, f->now);
}

static inline struct sq_lane *fix_lane_of(struct fix *f, const struct sq_flow_key *key,
					  const struct sq_capset *set, enum sq_queue queue)
{
	return f->lanes[f->n_lanes++] = sq_lane_get(f->s, key, set, queue);
}

/* A FIFO CRQ lane of this class and share, with up to two caps (NULL: none). */
static inline struct sq_lane *fix_lane(struct fix *f, int class, const char *share,
				       struct sq_cap *a, struct sq_cap *b)
{
	const struct sq_flow_key key = {.class = class, .share = share};
	struct sq_cap *all[2] = {a ? a : b, b};
	const struct sq_capset set = {.all = all, .n_all = a && b ? 2 : a || b};

	return fix_lane_of(f, &key, &set, SQ_CRQ);
}

static inline int fix_try(struct fix *f, struct sq_lane *l, struct sq_item *i, struct sq_cap **by)
{
	if (i->expires_ns == 0)
		i->expires_ns = SQ_SCHED_NEVER;
	if (!i->cost)
		i->cost = &f->cost;
	return sq_sched_enqueue(f->s, l, i, f->now, by);
}

static inline void fix_put(struct fix *f, struct sq_lane *l, struct sq_item *i)
{
	assert_int_equal(fix_try(f, l, i, NULL), 0);
}

static inline struct sq_grant *fix_take(struct fix *f)
{
	struct sq_grant *g;
	bool again;

	do
		g = sq_sched_take(f->s, f->now, &again);
	while (!g && again);
	if (g && sq_lane_queue(g->lane) == SQ_PQ)
		f->runs[f->n_runs++] = g->lane;
	return g;
}

/* The next grant is of this item. */
static inline struct sq_grant *fix_expect(struct fix *f, struct sq_item *i)
{
	struct sq_grant *g = fix_take(f);

	assert_non_null(g);
	assert_ptr_equal(g->item, i);
	return g;
}

static inline void fix_none(struct fix *f)
{
	assert_null(fix_take(f));
}

static inline void fix_done(struct fix *f, struct sq_grant *g)
{
	sq_sched_complete(f->s, g, 0, f->now);
}

static inline void fix_limit(struct fix *f, struct sq_cap *c, uint32_t n)
{
	assert_int_equal(sq_cap_set_limit(c, n, SQ_SOURCE_SETTINGS, f->now), 0);
}

static inline void fix_cancel(struct fix *f, struct sq_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sq_sched_cancel(f->s, &items[i]);
}

static inline struct sq_sched_stats fix_stats(struct fix *f)
{
	struct sq_sched_stats stats;

	sq_sched_stats(f->s, &stats);
	return stats;
}

/* How many lanes are parked at the cap. */
static inline uint32_t fix_waiters(struct fix *f, const struct sq_cap *c)
{
	struct sq_cap_row rows[FIX_MAX];
	struct sq_cursor cur;
	size_t n;
	bool end;

	sq_cursor_open(f->s, &cur, true);
	n = sq_cursor_caps(&cur, rows, FIX_MAX, &end);
	sq_cursor_close(&cur);
	for (size_t i = 1; i < n; i++) /* the pool first, then as they were made */
		if (f->caps[i - 1] == c)
			return rows[i].waiters;
	fail();
	return 0;
}

#endif
