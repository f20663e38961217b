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

#define SQ_PLACE_CAPS (4 * SQ_TREATMENT_CAPS) /* seats, rate, running, queue of each policy */

/* What is read everywhere and replaced whole (RCU). */
struct sq_snapshot {
	struct sq_settings *settings;
	struct sq_policy_set *policies;
	uint64_t generation;
};

/*
 * A function as sched knows it: its learnt cost. Shared by the places that name it, under the sched
 * lock. Without places it rests, so that a reload or a quiet hour does not forget what was learnt.
 */
struct sq_function {
	struct sq_cost cost;
	unsigned refs;
	struct cds_list_head
		node; /* en->resting_functions, longest at rest first; only at refs 0 */
	size_t name_len;
	char name[];
};

/*
 * A cap that policies or settings ask for, by identity; `refs` counts the places that use it. A
 * rate without places rests until its burst is full again, or a reload would give it anew.
 */
struct sq_engine_cap {
	struct sq_cap *cap;
	unsigned refs;
	uint64_t generation;       /* of the policies that set its limit last */
	struct cds_list_head node; /* en->resting_caps; only at refs 0 */
	size_t name_len;
	char name[];
};

/*
 * Where invocations of one subject (function, tenant, trigger, route) wait and whose caps they
 * take: the policies' answer, kept. Belongs to one home. In use by runs, or on the home's list of
 * idle ones; it leaves the map when there are too many or when the policies have changed.
 */
struct sq_place {
	struct sq_home *home;
	struct cds_list_head node; /* home->idle_places, longest idle first; only at runs 0 */
	unsigned runs;             /* that point here */
	bool retired;              /* not in the map any more: freed with its last run */
	uint64_t generation;
	struct sq_treatment treatment;
	struct sq_lane *pq;
	struct sq_function *function;
	struct sq_backend *backend;
	struct sq_engine_cap *caps[SQ_PLACE_CAPS];
	size_t n_caps;
	/* QUEUE caps, borrowed from caps; the last is the engine's */
	struct sq_cap *queues[SQ_TREATMENT_CAPS + 1];
	size_t n_queues;
	int64_t wait_ns;
	sq_name_t function_name, tenant_name;
	char *function_id, *tenant;
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
	struct sq_chain chain; /* the plain call as a chain of one node */
	struct sq_node chain_node;
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
	const char *function, *tenant;
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
	struct cds_list_head idle_places, runs, kept, granted;
	size_t n_runs;
	bool starting; /* inside start_granted: no recursion */
	/* Read once per turn of the loop: one RCU section from its first use to the end. */
	const struct sq_snapshot *snapshot;
	struct sq_task reading_ends;
	struct sq_timer sched_timer, keep_timer;
	struct sq_task start; /* of what stands in granted */
	/* After a reload: runs get their new places, the next to look at first. */
	struct sq_task moving;
	struct cds_list_head *move_next;
	struct sq_mail reload, stop, shed;
	atomic_bool reload_posted, shed_posted;
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
	atomic_uint stops_left; /* homes that have not seen the stop yet */
	atomic_bool queue_full; /* as the last lock hold left it: for the door */

	struct sq_lock lock; /* `sched`: all that follows */
	struct sq_sched *sched;
	struct sq_map *caps, *functions;
	struct cds_list_head resting_caps, resting_functions;
	size_t n_resting_functions;
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
struct sq_place *sq_place_known(struct sq_home *h, const struct sq_call *call); /* NULL: none yet */
void sq_place_use(struct sq_place *p);                                          /* one more run */
void sq_place_drop(struct sq_place *p);                                         /* one run less */
struct sq_place *sq_place_renew(struct sq_place *old); /* under the present policies; NULL: keep */
void sq_places_clear(struct sq_home *h);
struct sq_engine_cap *sq_engine_cap_get(struct sq_engine *en, const struct sq_cap_conf *conf);
void sq_resting_free(struct sq_engine *en);
void sq_engine_cap_put(struct sq_engine *en, struct sq_engine_cap *c);

/* dispatch.c: sched's decisions, carried out */
enum sq_fault sq_dispatch_enqueue(struct sq_run *r);
void sq_dispatch_unqueue(struct sq_run *r);
void sq_dispatch_complete(struct sq_run *r, unsigned how);
void sq_dispatch_run_end(struct sq_run *r);
int64_t sq_dispatch_key(const struct sq_run *r, const struct sq_place *p); /* by p's order */
void sq_dispatch_start(struct sq_home *h); /* calls the functions of granted nodes */
void sq_dispatch_tick(struct sq_timer *t);
void sq_dispatch_pump(struct sq_home *h); /* takes what can be taken; after a limit rose */

/* run.c */
void sq_run_event(struct sq_run *r, const struct sq_event *ev);
void sq_run_unlink(struct sq_run *r); /* off the home's list and map */

/* keep.c */
void sq_run_keep(struct sq_run *r); /* it has ended: its answer stays for a while */
void sq_runs_keep_tick(struct sq_timer *t);
void sq_run_forget(struct sq_run *r); /* a kept one */
void sq_runs_shed(struct sq_home *h); /* some of the oldest results, when memory is short */
void sq_runs_shed_mail(struct sq_mail *m);

/* reload.c */
void sq_reload_mail(struct sq_mail *m);
void sq_reload_slice(struct sq_task *t);

/* ask.c */
struct sq_run_view *sq_run_view_make(const struct sq_run *r, bool with_answer);
void sq_asks_answer(struct sq_run *r);

#endif
