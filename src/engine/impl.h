/* The engine's own structs, shared by the files of this folder only. */
#ifndef SQ_ENGINE_IMPL_H
#define SQ_ENGINE_IMPL_H

#include "base/lock.h"
#include "base/map.h"
#include "engine/engine.h"
#include "engine/view.h"
#include "journal/journal.h"
#include "model/policy.h"
#include "model/run.h"
#include "sched/sched.h"

#include <stdatomic.h>
#include <urcu/list.h>

#define SQ_CAPS_MAX (SQ_TREATMENT_CAPS + 2)

/* What is read everywhere and replaced whole (RCU). */
struct sq_snapshot {
	struct sq_settings *settings;
	struct sq_policy_set *policies;
	uint64_t generation;
};

/*
 * A function as sched knows it: its learnt cost. Shared by the places that name it, under the sched
 * lock.
 */
struct sq_function {
	struct sq_cost cost;
	unsigned refs;
	size_t name_len;
	char name[];
};

/* A cap that policies or settings ask for, by identity; `refs` counts the places that use it. */
struct sq_engine_cap {
	struct sq_cap *cap;
	unsigned refs;
	size_t name_len;
	char name[];
};

/*
 * Where invocations of one subject (function, tenant, trigger, route) wait and whose caps they
 * take: the policies' answer, kept. Belongs to one home. Kept while runs use it, then until its map
 * is full or the policies change.
 */
struct sq_place {
	struct sq_home *home;
	struct cds_list_head node; /* home->places, oldest use first */
	unsigned runs;             /* that point here */
	bool retired;              /* not in the map any more: freed with its last run */
	uint64_t generation;
	struct sq_treatment treatment;
	struct sq_lane *pq;
	struct sq_function *function;
	struct sq_backend *backend;
	struct sq_engine_cap *caps[2 * SQ_CAPS_MAX];
	size_t n_caps;
	struct sq_cap
		*queues[SQ_CAPS_MAX]; /* QUEUE caps, borrowed from caps; [0] is the engine's */
	size_t n_queues;
	int64_t wait_ns;
	struct sq_chain chain; /* the plain call as a chain of one node */
	struct sq_node chain_node;
	sq_name_t function_name, tenant_name;
	char *tenant;
	size_t key_len;
	char key[];
};

/* A node of a run as the engine carries it out. */
struct sq_engine_node {
	struct sq_run *run;
	struct sq_item item;
	struct sq_grant *grant;
	bool in_transit; /* sched gave it up, the home has not seen it; set under the lock */
	bool waited_for; /* the run gave it up meanwhile and holds a reference for it */
	struct sq_invocation inv;
	struct sq_mail mail;          /* "granted" or "expired", from another loop */
	struct cds_list_head granted; /* home->granted */
};

struct sq_run {
	struct sq_home *home;
	struct sq_arena *arena;
	struct cds_list_head node; /* home->runs, oldest first */
	struct cds_list_head kept; /* home->kept, when finished and asynchronous */
	struct sq_id id;
	unsigned refs;
	struct sq_run_model model;
	struct sq_run_node model_node;
	struct sq_engine_node exec;
	struct sq_place *place;
	struct sq_request request;
	const char *raw_path;
	enum sq_trigger trigger;
	bool head_told; /* the sink has seen the answer's head */
	bool started;   /* sched holds start_lane and its RUNNING caps for it */
	struct sq_lane *start_lane;
	bool over;
	bool stream;
	enum sq_fault refused; /* by the queue, within submit */
	const char *detail;
	const char *function, *tenant; /* the place's; the arena's once the run is kept */
	struct sq_sink *sink;
	struct sq_ask *asks; /* that wait for the end */
	struct sq_timer deadline;
	int64_t received_ns, accepted_wall_ns, queue_ns, ended_ns;
	int64_t started_wall_ns, ended_wall_ns;
	struct sq_journal_entry journaled;
	size_t charged; /* to the memory account */
};

struct sq_home {
	struct sq_engine *engine;
	struct sq_loop *loop;
	unsigned index;
	struct sq_arena_pool *arenas;
	struct sq_random random;
	void **ports; /* by backend id */
	struct sq_map *places, *runs_by_id;
	struct cds_list_head place_list, runs, kept, granted;
	size_t n_runs;
	bool starting; /* inside start_granted: no recursion */
	/* The snapshot is read once per turn of the loop: one RCU section from the first use to its
	 * end. */
	const struct sq_snapshot *snapshot;
	struct sq_task reading_ends;
	struct sq_timer sched_timer, keep_timer;
	/* After a reload: runs get their new places, the next to look at first. */
	struct sq_task moving;
	struct cds_list_head *move_next;
	struct sq_mail reload, stop;
	atomic_bool reload_posted;
	atomic_size_t live; /* runs not ended: read by the daemon while it drains */
};

struct sq_engine {
	struct sq_snapshot *snapshot;   /* RCU */
	const struct sq_settings *boot; /* those of the start: backends and listeners stay theirs */
	struct sq_metrics *metrics;
	struct sq_blob_store *blobs;
	struct sq_journal *journal;
	struct sq_backend *backends;
	size_t n_backends;
	unsigned loops;
	struct sq_home *homes[256];
	int64_t born_ns;
	atomic_bool draining, stopping;

	struct sq_lock lock; /* `sched`: all that follows */
	struct sq_sched *sched;
	struct sq_map *caps, *functions;
	struct sq_engine_cap *queue_cap;
	int64_t next_wake_ns; /* the earliest sched timer that some home has set */
};

/* Valid until this turn of the loop ends. */
const struct sq_snapshot *sq_home_read(struct sq_home *h);

static inline const struct sq_snapshot *snapshot_of(struct sq_home *h)
{
	return h->snapshot ? h->snapshot : sq_home_read(h);
}

static inline const struct sq_settings *settings_of(struct sq_home *h)
{
	return snapshot_of(h)->settings;
}

/* place.c */
struct sq_place *sq_place_get(struct sq_home *h, const struct sq_call *call, enum sq_fault *fault);
void sq_place_use(struct sq_place *p);                 /* one more run */
void sq_place_drop(struct sq_place *p);                /* one run less */
struct sq_place *sq_place_renew(struct sq_place *old); /* under the present policies; NULL: keep */
void sq_places_clear(struct sq_home *h);
struct sq_engine_cap *sq_engine_cap_get(struct sq_engine *en, const struct sq_cap_conf *conf);
void sq_engine_cap_put(struct sq_engine *en, struct sq_engine_cap *c);

/* dispatch.c: sched's decisions, carried out */
enum sq_fault sq_dispatch_enqueue(struct sq_run *r);
void sq_dispatch_unqueue(struct sq_run *r);
void sq_dispatch_complete(struct sq_run *r, unsigned how);
void sq_dispatch_run_end(struct sq_run *r);
void sq_dispatch_start(struct sq_home *h); /* calls the functions of granted nodes */
void sq_dispatch_tick(struct sq_timer *t);
void sq_dispatch_pump(struct sq_home *h); /* takes what can be taken; after a limit rose */

/* run.c */
void sq_run_event(struct sq_run *r, const struct sq_event *ev);
void sq_runs_keep_tick(struct sq_timer *t);
void sq_run_forget(struct sq_run *r); /* a kept one */

/* reload.c */
void sq_reload_mail(struct sq_mail *m);
void sq_reload_slice(struct sq_task *t);

/* ask.c */
struct sq_run_view *sq_run_view_make(const struct sq_run *r, bool with_answer);
void sq_asks_answer(struct sq_run *r);

#endif
