/*
 * The scheduler: which waiting invocation gets the next seat. Pure and deterministic: no threads,
 * no I/O, no clock. `now` is monotonic nanoseconds from the caller; callers may be a little out of
 * order among themselves, the latest counts. The engine holds ONE mutex around every call. Nothing
 * here logs or calls back. The essay is in sched.c.
 */
#ifndef SQ_SCHED_SCHED_H
#define SQ_SCHED_SCHED_H

#include "base/heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <urcu/list.h>

struct sq_sched;
struct sq_cap;
struct sq_lane;
struct sq_flow;

#define SQ_SCHED_NEVER INT64_MAX
#define SQ_NO_LIMIT UINT32_MAX

/* ---- birth and death ---- */

/* 0 stands for the default of DESIGN.md; fewer than seats in flight never fails for memory. */
struct sq_sched_conf {
	uint32_t seats;      /* limit of the pool */
	uint32_t age_every;  /* every so many grants one goes to the aged; 16 */
	uint32_t max_moves;  /* lanes parked, woken, re-charged... per call; 64 */
	uint32_t idle_lanes; /* empty lanes without references kept for their next item; 4,096 */
	uint64_t seed;       /* of the hash tables, against made-up collisions; decides nothing */
};
struct sq_sched *sq_sched_new(const struct sq_sched_conf *conf); /* NULL: no memory */
/* Asserts that nothing is queued or in flight. Caps and lanes of the caller must have been put. */
void sq_sched_free(struct sq_sched *s);

/* ---- caps ---- */

enum sq_cap_kind {
	SQ_CAP_SEATS,   /* functions in flight: taken at the grant, returned by complete */
	SQ_CAP_RATE,    /* grants per time: taken at the grant, returns by timer */
	SQ_CAP_RUNNING, /* started runs: taken at the grant of a PQ item, returned by run_end */
	SQ_CAP_QUEUE,   /* waiting PQ items: taken by enqueue, returned when it leaves the queue */
};

/*
 * A limit per source; the least holds, so that a pause survives a reload. SQ_NO_LIMIT withdraws
 * one. A reload changes what the settings say.
 */
enum sq_source {
	SQ_SOURCE_SETTINGS,
	SQ_SOURCE_ADAPTIVE,
	SQ_SOURCE_PAUSE,
	SQ_SOURCE_LEASE,
	SQ_SOURCES
};

struct sq_cap_conf {
	const char *name; /* for people; copied */
	enum sq_cap_kind kind;
	uint32_t limit; /* not of a RATE */
	/* RATE only, as sq_cap_set_rate has them from SQ_SOURCE_SETTINGS */
	uint32_t burst;
	int64_t interval_ns;
};
/* One reference, the caller's. NULL: no memory. */
struct sq_cap *sq_cap_new(struct sq_sched *s, const struct sq_cap_conf *conf);
struct sq_cap *sq_cap_ref(struct sq_cap *c);      /* returns c */
void sq_cap_put(struct sq_cap *c);                /* NULL is fine */
struct sq_cap *sq_sched_pool(struct sq_sched *s); /* borrowed; a SEATS cap */

/*
 * The only way a limit changes. Below used: nothing is taken back, no grants until used < limit.
 * A RATE is paused by 0; any other limit means nothing to it. 0, or -ENOMEM (only for a pool larger
 * than ever before; nothing changed).
 */
int sq_cap_set_limit(struct sq_cap *c, uint32_t limit, enum sq_source source, int64_t now)
	__attribute__((warn_unused_result));
/*
 * Of a RATE: one grant per interval_ns (1 ns .. 2^53 ns = 104 days, beyond: that), and so many at
 * once after a rest (0: 1; at most a million). The source with the longest interval holds, burst
 * and all; interval_ns 0 withdraws one, and with none left there is no rate. What was given counts
 * on as a number of grants.
 */
void sq_cap_set_rate(struct sq_cap *c, int64_t interval_ns, uint32_t burst, enum sq_source source,
		     int64_t now);

const char *sq_cap_name(const struct sq_cap *c);
uint32_t sq_cap_limit(const struct sq_cap *c);
uint32_t sq_cap_used(const struct sq_cap *c); /* RATE: 0 */
bool sq_cap_has_room(const struct sq_cap *c, int64_t now);
/*
 * Nothing is held and a RATE has its whole burst again: a new cap with these settings would grant
 * the same, so this one may be forgotten (with what other sources said of it).
 */
bool sq_cap_idle(const struct sq_cap *c, int64_t now);

/* ---- costs ---- */

#define SQ_COST_SLOTS 8

/*
 * What a function costs. The caller's, one per function, zeroed at first; must outlive the items
 * and grants that point to it. Backends beyond SQ_COST_SLOTS share slots.
 */
struct sq_cost {
	int64_t expected_ns;            /* as the chain says; 0: not said */
	int64_t mean_ns[SQ_COST_SLOTS]; /* learnt (EWMA, 1/8), by backend; 0: not yet */
};

/* ---- lanes ---- */

enum sq_queue { SQ_CRQ, SQ_PQ };
enum sq_running_rule { SQ_RUNNING_IN_FLOW, SQ_RUNNING_IN_CLASS, SQ_RUNNING_NEVER };
enum sq_placement {
	SQ_PLACE_SPILL, /* the first candidate with room */
	SQ_PLACE_LEAST, /* the one with the least used / limit, the first among equals */
};

#define SQ_CLASS_MIN (-100)
#define SQ_CLASS_MAX 100
#define SQ_FIFO 0

/* What shares. Equal keys are one flow. */
struct sq_flow_key {
	int class;                          /* SQ_CLASS_MIN..SQ_CLASS_MAX, higher first */
	uint8_t order;                      /* SQ_FIFO: by arrival; others: by the items' keys */
	uint8_t share_kind;                 /* 0: none; else the caller's numbering */
	enum sq_running_rule running_first; /* started runs first in the flow, the class, nowhere */
	const char *share;                  /* the value; NULL or "" for none; copied */
};

struct sq_candidate {
	struct sq_cap *cap; /* the backend's seats */
	int backend;        /* >= 0; the caller's number, handed back in the grant */
};

/*
 * Borrowed; the lane takes its own references. A cap stands in a set once (asserted). Checked in
 * this order: all, running, any. running and queue count for PQ lanes only.
 */
struct sq_capset {
	struct sq_cap *const *all; /* SEATS and RATE */
	size_t n_all;
	struct sq_cap *const *running; /* RUNNING */
	size_t n_running;
	struct sq_cap *const *queue; /* QUEUE */
	size_t n_queue;
	const struct sq_candidate *any; /* one of them must have room; n_any 0: no backend's cap */
	size_t n_any;
	enum sq_placement placement;
};

/* Finds or makes the lane. One reference, the caller's. NULL: no memory. */
struct sq_lane *sq_lane_get(struct sq_sched *s, const struct sq_flow_key *key,
			    const struct sq_capset *set, enum sq_queue queue);
struct sq_lane *sq_lane_ref(struct sq_lane *l); /* returns l */
void sq_lane_put(struct sq_lane *l);            /* items and grants hold references of their own */
enum sq_queue sq_lane_queue(const struct sq_lane *l);
/* Frees up to n idle lanes (and so the caps only they hold), after a reload; how many it freed. */
size_t sq_sched_forget(struct sq_sched *s, size_t n);

/* ---- items ---- */

/* The state is the list the item is on. */
enum sq_item_state {
	SQ_ITEM_OFF,     /* none; it may be freed when nothing of it is in flight */
	SQ_ITEM_WAITING, /* its lane's line */
	SQ_ITEM_HELD,    /* none: a cursor with `parallel` in flight; completing brings it back */
	SQ_ITEM_EXPIRED, /* sched's list of the expired, until sq_sched_expire hands it over */
};

/*
 * Embedded in the caller's object, zeroed at first. The memory must stay until sq_item_idle. The
 * first block is set by the caller before enqueue and not touched while it is queued or in flight.
 */
struct sq_item {
	int64_t key;         /* order within the lane, least first; FIFO: set by sched */
	int64_t expires_ns;  /* deadline or end of the wait limit; SQ_SCHED_NEVER */
	int64_t max_wait_ns; /* then the lane is aged; 0: never */
	struct sq_cost *cost;
	uint32_t weight;   /* 1.. (0 counts as 1) */
	uint32_t left;     /* indexes still to grant: a plain item 1 (0 counts as 1) */
	uint32_t next;     /* the next index */
	uint32_t parallel; /* at most so many in flight; 0 counts as 1 */

	/* sched's own; state, in_flight and arrived_ns may be read */
	enum sq_item_state state;
	uint32_t in_flight;
	int64_t arrived_ns;
	uint64_t seq; /* arrival number; kept by a move */
	struct sq_lane *lane;
	struct sq_heap_node by_key, late, by_expiry;
	struct cds_list_head node; /* on the list of its state; then on the caller's (expire) */
};

static inline bool sq_item_idle(const struct sq_item *i)
{
	return i->state == SQ_ITEM_OFF && i->in_flight == 0;
}

/*
 * Queues an item that is idle. 0, or -EAGAIN with *refused_by (borrowed; may be NULL) the QUEUE cap
 * without room. CRQ items are never refused. An item that expired already is queued all the same.
 */
int sq_sched_enqueue(struct sq_sched *s, struct sq_lane *l, struct sq_item *i, int64_t now,
		     struct sq_cap **refused_by) __attribute__((warn_unused_result));
/*
 * Takes the item out of wherever it is; no more of its indexes are granted. What is in flight goes
 * on. An item that is off is left alone.
 */
void sq_sched_cancel(struct sq_sched *s, struct sq_item *i);
/*
 * Moves up to max expired items to the end of list (by item->node), off sched. Returns how many; as
 * many as max: call again. O(k log n).
 */
size_t sq_sched_expire(struct sq_sched *s, int64_t now, struct cds_list_head *list, size_t max);
/*
 * A reload gives the item a new lane of the same queue and a new key; it keeps its arrival. QUEUE
 * caps that both lanes have keep their count, the others are counted even beyond their limit.
 */
void sq_sched_move(struct sq_sched *s, struct sq_item *i, struct sq_lane *to, int64_t key,
		   int64_t now);

/* ---- grants ---- */

struct sq_grant {
	struct sq_item *item;
	uint32_t index; /* of a foreach; a plain item: its `next` at enqueue */
	int backend;    /* of the any-of group; -1: the lane has none */
	int64_t at_ns;
	int64_t waited_ns; /* since the item arrived */
	bool aged;         /* by the ageing rule, not by order */
	/*
	 * Whose caps are held. Of a PQ item the grant also starts a run, and the lane is then held
	 * (with its RUNNING caps) until sq_sched_run_end(lane).
	 */
	struct sq_lane *lane;
	void *data; /* the caller's */

	/* sched's own */
	struct sq_flow *flow;
	struct sq_cap *chosen;
	int64_t charged_ns;
	int64_t until_ns; /* charged up to this time */
	struct sq_heap_node by_until;
	struct cds_list_head node;
};

/*
 * The next grant, sched's until complete, or NULL. *again: the move budget ended before a decision
 * was found; unlock, lock and call again.
 */
struct sq_grant *sq_sched_take(struct sq_sched *s, int64_t now, bool *again);

#define SQ_DONE_OVERRUN 1u  /* the seat is freed by the timeout: counted */
#define SQ_DONE_UNLEARNT 2u /* it never reached the function: its time says nothing of the cost */

/* The function ended. Frees the grant. A cursor that was held waits again. */
void sq_sched_complete(struct sq_sched *s, struct sq_grant *g, unsigned how, int64_t now);
/* Both in one call, so that the seat is not idle in between. */
struct sq_grant *sq_sched_complete_take(struct sq_sched *s, struct sq_grant *g, unsigned how,
					int64_t now, bool *again);
/* A run that was started by a grant of this PQ lane ended: its RUNNING caps come back. */
void sq_sched_run_end(struct sq_sched *s, struct sq_lane *l, int64_t now);

/*
 * A reload: what is in flight (a started run) is counted in the caps of `to` and no longer in those
 * of its old lane; caps in both keep their count; limits do not matter. The charge stays with its
 * flow.
 */
void sq_grant_move(struct sq_sched *s, struct sq_grant *g, struct sq_lane *to, int64_t now);
void sq_sched_run_move(struct sq_sched *s, struct sq_lane *from, struct sq_lane *to, int64_t now);

/*
 * The next time at which something changes by itself: an item expires (call sq_sched_expire) or a
 * rate has room again (call sq_sched_take). SQ_SCHED_NEVER: none. Long runners are charged at the
 * next decision, the first that could see it, and ageing makes nothing eligible: neither needs a
 * timer.
 */
int64_t sq_sched_timer(struct sq_sched *s);

/* ---- looking in ---- */

struct sq_sched_stats {
	uint64_t queued;    /* items waiting, held or expired and not yet fetched */
	uint64_t in_flight; /* grants */
	uint64_t lanes, flows, caps;
	uint64_t enqueued, refused, grants, grants_aged, completed, overruns, cancelled, expired;
	uint64_t parks, wakes; /* lanes to a cap and away from it */
	uint64_t raised;       /* wakes because a raised limit had room for all */
	uint64_t budget_ends;  /* takes that said again */
};
void sq_sched_stats(const struct sq_sched *s, struct sq_sched_stats *out);

#define SQ_ROW_NAME 96

struct sq_lane_row {
	int class;
	uint8_t order, share_kind;
	enum sq_queue queue;
	char share[SQ_ROW_NAME];
	char parked_on[SQ_ROW_NAME]; /* a cap (of several candidates, the first); "": not parked */
	uint64_t depth;              /* items waiting */
	int64_t oldest_ns;           /* arrival of the oldest; SQ_SCHED_NEVER: none */
	int64_t vt_ns, credit_ns;    /* of the flow: seat time at weight 1 */
};

struct sq_cap_row {
	char name[SQ_ROW_NAME];
	enum sq_cap_kind kind;
	enum sq_source source; /* of the limit that holds; of a RATE not paused: of the rate */
	uint32_t limit, used;  /* RATE: limit 0 when paused, else SQ_NO_LIMIT */
	uint32_t burst;        /* RATE */
	double rate_per_s;     /* RATE; 0: none set */
	uint32_t waiters;      /* lanes parked here */
};

/* How an entry hangs in the list of lanes or of caps. */
struct sq_listed {
	struct cds_list_head node;
	bool cursor; /* it is none, but a struct sq_cursor */
};

/*
 * A place in one of the lists, that stays good while the lock is released between two slices: it is
 * an entry itself. Rows that come or go meanwhile may be missed or not; none comes twice.
 */
struct sq_cursor {
	struct sq_listed at;
	struct cds_list_head *end;
};
void sq_cursor_open(struct sq_sched *s, struct sq_cursor *cur, bool caps); /* or lanes */
/*
 * Fill up to max rows and return how many: perhaps none, for a call looks at no more than 64
 * entries and lanes with nothing waiting are left out. *end: there are no more.
 */
size_t sq_cursor_lanes(struct sq_cursor *cur, struct sq_lane_row *rows, size_t max, bool *end);
size_t sq_cursor_caps(struct sq_cursor *cur, struct sq_cap_row *rows, size_t max, bool *end);
void sq_cursor_close(struct sq_cursor *cur);

#endif
