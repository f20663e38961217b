/*
 * The naive reference scheduler: the rules of DESIGN.md ("sched") and of the essay in
 * src/sched/sched.c, by scanning everything. It knows nothing of the optimised one.
 */
#ifndef SQ_TESTS_SIM_REFERENCE_H
#define SQ_TESTS_SIM_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

enum { REF_CAPS = 24, REF_FLOWS = 12, REF_LANES = 64, REF_ITEMS = 512, REF_GRANTS = 32 };
enum { REF_COSTS = 6, REF_MEMBERS = 4 };

enum ref_kind { REF_SEATS, REF_RATE, REF_RUNNING, REF_QUEUE };
enum ref_rule { REF_FIRST_IN_FLOW, REF_FIRST_IN_CLASS, REF_FIRST_NEVER };
enum ref_state { REF_OFF, REF_WAITING, REF_HELD, REF_EXPIRED };

struct ref_cap {
	enum ref_kind kind;
	uint32_t limit, used, burst; /* limit of a rate: 0 paused, else UINT32_MAX */
	int64_t interval, tat;       /* interval 0: no rate */
	bool raised;                 /* rule RAISE applies at the next decision */
};

struct ref_flow {
	int class;
	enum ref_rule rule;
	__int128 vt, credit;
	uint64_t entered;
};

struct ref_set {
	int n, cap[REF_MEMBERS];
};

struct ref_lane {
	int flow;
	bool pq, fifo, least;                    /* least: placement */
	struct ref_set all, running, queue, any; /* the backend of a candidate: its cap's number */
	struct ref_set waits; /* the cap, or the candidates, at which it was last turned away */
};

struct ref_item {
	enum ref_state state;
	int lane, cost;
	int64_t key, arrived, expires, max_wait;
	uint64_t seq;
	uint32_t weight, left, next, parallel, in_flight;
};

struct ref_grant {
	bool used;
	int item, lane, flow, backend; /* backend: -1 none */
	uint32_t index;
	int64_t at, charged;
	bool aged;
};

struct ref {
	int64_t now;
	int pool; /* a cap */
	int n_caps, n_flows, n_lanes, n_items;
	struct ref_cap caps[REF_CAPS];
	struct ref_flow flows[REF_FLOWS];
	struct ref_lane lanes[REF_LANES];
	struct ref_item items[REF_ITEMS];
	struct ref_grant grants[REF_GRANTS];
	int64_t expected[REF_COSTS], mean[REF_COSTS][8];
	__int128 v[201];
	int64_t class_mean[201];
	uint64_t seq, entries, granted;
	uint32_t age_every;
};

/* Every function but enqueue takes what exists; the caller has advanced r->now. */
int ref_enqueue(struct ref *r, int item); /* -1, or the QUEUE cap that refused */
int ref_take(struct ref *r);              /* a grant, or -1 */
void ref_complete(struct ref *r, int grant, bool learn);
void ref_cancel(struct ref *r, int item);
void ref_expire(struct ref *r);
void ref_collect(struct ref *r, int item); /* EXPIRED -> OFF */
void ref_set_limit(struct ref *r, int cap, uint32_t limit);
void ref_set_rate(struct ref *r, int cap, int64_t interval, uint32_t burst);
void ref_run_end(struct ref *r, int lane);
void ref_move(struct ref *r, int item, int lane, int64_t key);
void ref_grant_move(struct ref *r, int grant, int lane);
void ref_run_move(struct ref *r, int from, int to);

/*
 * For the invariants: has the lane something waiting and do all its caps (and the pool) have room?
 */
bool ref_takeable(const struct ref *r, int lane);

#endif
