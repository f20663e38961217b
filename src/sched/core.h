/* What the files of sched share among themselves. The essay that explains it is in sched.c. */
#ifndef SQ_SCHED_CORE_H
#define SQ_SCHED_CORE_H

#include "sched/sched.h"

#include <stdlib.h>
#include <string.h>

/*
 * Virtual time: ns of seat time at weight 1, with 10 bits of fraction so that weights up to 1,000
 * resolve. 128 bits because 64 would be used up by 1,000 busy seats within 3 hours.
 */
typedef __int128 sq_vt;
#define SQ_VT_FRACTION 10

#define SQ_CLASSES (SQ_CLASS_MAX - SQ_CLASS_MIN + 1)
#define SQ_TABLE_BUCKETS (1u << 16) /* fixed: a table that grows would hold the lock too long */

/* ---- finding flows, lanes and waits by what they are ---- */

enum sq_entry_kind { SQ_ENTRY_FLOW, SQ_ENTRY_LANE, SQ_ENTRY_WAIT };

struct sq_entry {
	struct sq_entry *next;
	enum sq_entry_kind kind;
	uint64_t hash;
};

/* ---- whose turn it is ---- */

/*
 * What orders the flows of a class, for its ready lanes and for those at one cap: rank (0 when the
 * best of those lanes stands before the virtual times), then vt, then who became backlogged first.
 */
struct sq_turn {
	sq_vt vt;
	uint64_t entered;
	int rank;
};

static inline bool sq_turn_equal(const struct sq_turn *a, const struct sq_turn *b)
{
	return a->rank == b->rank && a->vt == b->vt && a->entered == b->entered;
}

static inline bool sq_turn_before(const struct sq_turn *a, const struct sq_turn *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->vt != b->vt)
		return a->vt < b->vt;
	return a->entered < b->entered;
}

/* ---- a cap, and who waits at it ---- */

struct sq_rate {
	int64_t interval_ns; /* 0: none */
	uint32_t burst;
};

struct sq_cap {
	struct sq_sched *sched;
	char *name;
	enum sq_cap_kind kind;
	uint32_t refs;
	uint32_t used;
	uint32_t limit; /* the least of by[] */
	uint32_t by[SQ_SOURCES];
	uint32_t waiters;              /* lanes parked here */
	bool open;                     /* had room when last settled; the heaps below follow it */
	struct cds_list_head gates;    /* one per class that knows this cap */
	struct sq_heap aged;           /* links of parked lanes that can age, by due time */
	struct sq_heap_node aged_open; /* in sched->aged_open: open, and someone in `aged` */
	struct sq_listed listed;       /* in sched->caps */
	struct cds_list_head raising;  /* in sched->raising; empty: not */

	/* RATE; else zero */
	struct sq_rate rate; /* the slowest of rate_by[] */
	struct sq_rate rate_by[SQ_SOURCES];
	__int128 tat_ns;             /* 128 bits: a million grants of 104 days */
	int64_t ready_ns;            /* when closed with waiters: room again */
	struct sq_heap_node by_time; /* in sched->rates: closed with waiters, and not paused */
};

/* A cap as one class sees it. */
struct sq_gate {
	struct sq_cap *cap;
	struct sq_class *class;
	struct sq_heap waits;     /* those with lanes, the best first by lower bounds */
	struct sq_heap_node open; /* in class->open: the cap is open and waits is not empty */
	struct cds_list_head node;
	uint32_t refs; /* waits */
};

/*
 * The place of one flow at one cap: its lanes that are parked there. Made with the flow's first
 * lane that has the cap, so that parking allocates nothing.
 */
struct sq_wait {
	struct sq_turn turn;      /* vt: of the flow when last looked at; a lower bound */
	struct sq_heap_node node; /* in gate->waits */
	struct sq_entry entry;    /* by (flow, cap) */
	struct sq_flow *flow;
	struct sq_gate *gate;
	struct sq_heap lanes; /* links, best lane first */
	uint32_t refs;        /* links */
};

/* A lane at one of the caps it needs. */
struct sq_link {
	struct sq_lane *lane;
	struct sq_cap *cap;
	struct sq_wait *wait;
	int backend;                  /* of a candidate */
	struct sq_heap_node by_order; /* in wait->lanes */
	struct sq_heap_node by_due;   /* in cap->aged */
};

/* ---- lanes, flows, classes ---- */

enum sq_lane_state {
	SQ_LANE_OUT,    /* on no heap: empty, or in the hands of a decision */
	SQ_LANE_READY,  /* in its flow's heap and, if it can age, in sched->aged */
	SQ_LANE_PARKED, /* at links[parked_at .. parked_at + parked_n) */
};

/* What the heaps compare, copied from the items so that it changes at one place only. */
struct sq_lane_key {
	int64_t key;     /* of the head */
	uint64_t seq;    /* of the head */
	int64_t due_ns;  /* when the oldest has waited long enough; SQ_SCHED_NEVER */
	uint64_t oldest; /* seq of the oldest */
};

/* Laid out by cache line: what heaps compare on the way down, what a decision needs, the rest. */
struct sq_lane {
	struct sq_heap_node ready;
	struct sq_lane_key at;
	enum sq_queue queue;
	enum sq_lane_state state;

	struct sq_flow *flow;
	struct sq_sched *sched;
	struct cds_list_head line; /* waiting items that came in order, which nearly all do */
	uint64_t depth;            /* waiting items */
	uint32_t refs;             /* the caller's, items not off, grants, runs started from here */
	enum sq_placement placement;
	uint16_t n_all, n_running, n_any; /* links in this order; running: PQ only */
	uint16_t n_queue;
	uint16_t parked_at, parked_n;

	struct sq_heap late;   /* the others by seq: cursors come back, items that were moved */
	struct sq_heap by_key; /* all by (key, seq); unused for FIFO */
	struct sq_heap_node by_due;
	struct sq_entry entry;
	struct sq_listed listed;    /* in sched->lanes */
	struct cds_list_head idle;  /* in sched->idle while refs == 0 */
	struct sq_cap **queue_caps; /* behind the links; PQ only */
	struct sq_link links[];
};

struct sq_flow {
	struct sq_turn turn;      /* with the true vt */
	struct sq_heap_node node; /* in class->flows while it has a ready lane */
	sq_vt credit;             /* charged too much before; later charges use it first */
	struct sq_heap ready;     /* lanes */
	uint64_t waiting;         /* items in its lanes; 0: idle */
	struct sq_class *class;
	struct sq_sched *sched;
	struct sq_flow_key key; /* share points behind the struct */
	uint32_t refs;          /* lanes and grants */
	struct sq_entry entry;
};

struct sq_class {
	struct sq_heap flows; /* with ready lanes */
	struct sq_heap open;  /* gates */
	sq_vt v;              /* the greatest vt at any grant */
	int64_t mean_ns;      /* of all its functions; 0: none ended yet */
};

/* Grants in one piece: memory for a larger pool is one allocation, and nothing in it is touched. */
struct sq_slab {
	struct sq_slab *next; /* the one made after it */
	uint32_t n, given;
	struct sq_grant grants[];
};

struct sq_sched {
	struct sq_sched_conf conf;
	int64_t now;     /* the latest the callers told: theirs may be a little out of order */
	uint32_t budget; /* moves left in this call */
	uint64_t seq, entries;
	struct sq_cap *pool;
	struct sq_class classes[SQ_CLASSES];
	uint64_t busy[(SQ_CLASSES + 63) / 64]; /* bit c: classes[c] has flows or open gates */
	struct sq_heap aged;                   /* ready lanes that can age, by due time */
	struct sq_heap aged_open;              /* open caps with parked lanes that can age */
	struct sq_heap rates;                  /* caps by ready_ns */
	struct sq_heap expiring;               /* items by expires_ns */
	struct sq_heap running;                /* grants by until_ns */
	struct cds_list_head expired;          /* items */
	struct cds_list_head raising;          /* caps whose waiters are let go */
	struct cds_list_head lanes, caps;
	struct cds_list_head idle; /* lanes, longest idle first */
	uint32_t n_idle;
	uint32_t n_grants;                /* allocated: in flight, free, not yet given */
	struct sq_slab *slabs, *filling;  /* the first one; the one that grants are given from */
	struct cds_list_head free_grants; /* that came back */
	struct sq_sched_stats stats;
	struct sq_entry *table[SQ_TABLE_BUCKETS];
};

/* Zeroed, at the start of a cache line; free(3). NULL: no memory. */
static inline void *sq_lines_alloc(size_t size)
{
	void *p;

	if (posix_memalign(&p, 64, size) != 0)
		return NULL;
	return memset(p, 0, size);
}

static inline void sq_sched_now(struct sq_sched *s, int64_t now)
{
	if (now > s->now)
		s->now = now;
}

/* cap.c */
void sq_caps_init(struct sq_sched *s);
bool sq_cap_room(const struct sq_cap *c); /* at sched->now */
void sq_cap_take(struct sq_cap *c);
void sq_cap_return(struct sq_cap *c);
void sq_cap_settle(struct sq_cap *c);           /* after anything that may change its room */
void sq_cap_refill(struct sq_sched *s);         /* opens the rates whose time has come */
void sq_cap_release_raised(struct sq_sched *s); /* rule RAISE; budgeted */
int sq_grants_reserve(struct sq_sched *s, uint32_t n) __attribute__((warn_unused_result));
void sq_grants_free(struct sq_sched *s);
struct sq_grant *sq_grant_new(struct sq_sched *s); /* not cleared; the pool has room */

/* wait.c */
void sq_waits_init(struct sq_sched *s);
/* One reference; NULL: no memory. */
struct sq_wait *sq_wait_get(struct sq_flow *f, struct sq_cap *c);
void sq_wait_put(struct sq_wait *w);
void sq_gate_place(struct sq_gate *g); /* in class->open, after its waits or its cap changed */
void sq_aged_place(struct sq_cap *c);  /* in sched->aged_open, likewise */
void sq_link_park(struct sq_link *k);
void sq_link_leave(struct sq_link *k);
/* The best waiters at an open gate of the class; NULL: none, or the budget ended (it is 0). */
struct sq_wait *sq_open_best(struct sq_sched *s, struct sq_class *class);
struct sq_lane *sq_wait_top(const struct sq_wait *w);
/* The vt of the gate's best waiter in *vt; false: nobody waits. */
bool sq_gate_least(struct sq_gate *g, sq_vt *vt);

/* flow.c */
void sq_flows_init(struct sq_sched *s);
void sq_class_note(struct sq_sched *s, struct sq_class *class); /* keeps sched->busy */
struct sq_class *sq_class_highest(struct sq_sched *s);          /* NULL: none has anything to try */
/* The order in a class; the turns may hold lower bounds. Lanes of one flow: the flow's order. */
bool sq_turn_lane_before(const struct sq_turn *a, const struct sq_lane *x, const struct sq_turn *b,
			 const struct sq_lane *y);
int sq_lane_rank(const struct sq_lane *l);
bool sq_lane_before(const struct sq_lane *a, const struct sq_lane *b); /* within one flow */
void sq_flow_enter(struct sq_flow *f, struct sq_lane *l);              /* idle until now */
void sq_flow_raise(struct sq_flow *f, struct sq_lane *l);
void sq_flow_place(struct sq_flow *f); /* in its class, after vt or its ready lanes changed */
void sq_charge_start(struct sq_grant *g);
void sq_charge_again(struct sq_sched *s); /* those whose charge is used up; budgeted */
void sq_charge_end(struct sq_grant *g, bool learn);

/* lane.c */
void sq_lanes_init(struct sq_sched *s);
void sq_lane_heaps(struct sq_lane *l);
void sq_flow_heap(struct sq_flow *f);
bool sq_lane_due_before(const struct sq_lane *a, const struct sq_lane *b);
void sq_lane_out(struct sq_lane *l);                      /* off all heaps */
void sq_lane_park(struct sq_lane *l, struct sq_link *at); /* at a candidate: at all of them */
void sq_lane_refresh(struct sq_lane *l); /* after its items changed: key, state and place */
struct sq_link *sq_lane_blocked(struct sq_lane *l);     /* the first member without room, or NULL */
struct sq_link *sq_lane_candidate(struct sq_lane *l);   /* by placement; NULL: it has none */
void sq_lane_add(struct sq_lane *l, struct sq_item *i); /* refresh follows */
void sq_lane_remove(struct sq_lane *l, struct sq_item *i);
struct sq_item *sq_lane_head(struct sq_lane *l);
struct sq_item *sq_lane_oldest(struct sq_lane *l);

/* find.c */
void sq_flow_put(struct sq_flow *f);
struct sq_entry *sq_table_first(struct sq_sched *s, enum sq_entry_kind kind, uint64_t hash);
struct sq_entry *sq_table_next(struct sq_entry *e); /* of the same kind and hash */
void sq_table_add(struct sq_sched *s, struct sq_entry *e, enum sq_entry_kind kind, uint64_t hash);
void sq_table_remove(struct sq_sched *s, struct sq_entry *e);

/* item.c */
void sq_items_init(struct sq_sched *s);
void sq_item_wait(struct sq_item *i);                         /* OFF or HELD -> WAITING */
void sq_item_leave(struct sq_item *i, enum sq_item_state to); /* any but OFF -> to */
void sq_items_expire(struct sq_sched *s); /* the due ones to sched->expired; budgeted */

#endif
