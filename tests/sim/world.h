/*
 * A random world: the scheduler and its reference side by side, with the same caps, flows and
 * lanes.
 */
#ifndef SQ_TESTS_SIM_WORLD_H
#define SQ_TESTS_SIM_WORLD_H

#include "reference.h"
#include "sched/core.h"

/* What a seed leans to; the rest of it happens too, less often. */
enum theme {
	GENERAL,
	TWO_SHARED,
	CURSORS,
	RATES,
	AGEING,
	LIMITS,
	SMALL_BUDGET,
	CANCELS,
	RELOADS,
	THEMES
};

enum { MAX_RUNS = 256 };

struct run {
	struct sq_lane *at;
	int lane;
};

struct world {
	uint64_t seed, random;
	long step;
	enum theme theme;
	bool failed;
	struct sq_sched *s;
	struct ref r;
	struct sq_cap *caps[REF_CAPS];
	double tokens[REF_CAPS]; /* of a RATE: a plain token bucket, to check both */
	struct sq_flow_key keys[REF_FLOWS];
	char shares[REF_FLOWS][16];
	struct sq_flow *flows[REF_FLOWS];
	struct sq_lane *lanes[REF_LANES]; /* NULL: not held between uses, found again each time */
	struct sq_item items[REF_ITEMS];
	struct sq_cost costs[REF_COSTS];
	struct sq_grant *grants[REF_GRANTS]; /* as numbered by the reference */
	struct run runs[MAX_RUNS];
	int n_runs, n_costs;
};

uint32_t below(struct world *w, uint32_t n); /* 0 .. n - 1 */
bool chance(struct world *w, uint32_t percent);

void world_make(struct world *w, uint64_t seed);
void world_end(struct world *w); /* nothing is queued or in flight; asserts that nothing leaks */
struct sq_lane *world_lane(struct world *w, int lane); /* one reference */
int64_t world_interval(struct world *w);               /* of a rate, at random */
void world_refill(struct world *w, int64_t ns);        /* token buckets, before time moves */

void fail(struct world *w, const char *what, long a, long b);
/* The first difference or broken invariant, if any; deep: also every heap. */
void check_same(struct world *w);
void check_heaps(struct world *w);
void check_grant(struct world *w, const struct sq_grant *g, int ref);
void check_idle(struct world *w); /* nothing more was granted: is there really nothing? */

#endif
