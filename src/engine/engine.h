/*
 * The engine: where front, sched and worker meet. It makes runs of requests, lets run_advance
 * decide, carries the effects out, and hands grants to backends and answers to clients.
 *
 * Threads: a run has a home, the loop on which it was accepted. All of the run, its answer and its
 * invocations belong to that loop's thread; only struct sq_sched (one lock, in the engine) is
 * shared. A completion on one loop may grant a seat to an item of another: that travels by mail,
 * batched.
 */
#ifndef SQ_ENGINE_ENGINE_H
#define SQ_ENGINE_ENGINE_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"
#include "base/loop.h"
#include "conf/settings.h"
#include "engine/backend.h"
#include "metric/metric.h"
#include "model/request.h"
#include "tables/errors.h"

#include <stdbool.h>
#include <stdint.h>

struct sq_engine;
struct sq_home; /* the engine's side of one loop */
struct sq_run;

/* ---- birth and death (daemon) ---- */

struct sq_engine_conf {
	struct sq_settings *settings;   /* taken, also when it fails */
	struct sq_policy_set *policies; /* taken, also when it fails */
	struct sq_metrics *metrics;
	struct sq_blob_store *blobs;
	const struct sq_backend_ops *const *kinds; /* indexed by enum sq_backend_type */
	unsigned loops;
};

struct sq_engine *sq_engine_new(const struct sq_engine_conf *conf, struct sq_error *e);
void sq_engine_free(struct sq_engine *en); /* its homes are gone */
/*
 * New settings and policies (taken), from a thread that is no loop: published whole, the old ones
 * freed when no loop reads them any more. Queued runs move to their new lanes in slices; caps keep
 * what they count. Listeners, backends and threads stay as they were at the start.
 */
int sq_engine_reload(struct sq_engine *en, struct sq_settings *settings,
		     struct sq_policy_set *policies); /* 0 or -ENOMEM: nothing changed */
int64_t
sq_engine_limit_stop(struct sq_engine *en); /* of the settings in force; registered thread */
void sq_engine_drain(struct sq_engine *en); /* from now on the view says so */
/* Ends what is left: queued runs fail with DRAINING, what is in flight is aborted. */
void sq_engine_stop(struct sq_engine *en);
size_t sq_engine_live(const struct sq_engine *en); /* runs that have not ended */
/* Binds a loop: opens the backends' ports. On the loop's thread or before it runs. */
struct sq_home *sq_home_new(struct sq_engine *en, unsigned index, struct sq_loop *loop,
			    struct sq_error *e);
void sq_home_free(struct sq_home *h);

/* ---- what front and worker may ask of a home ---- */

struct sq_loop *sq_home_loop(struct sq_home *h);
unsigned sq_home_index(const struct sq_home *h);
struct sq_arena_pool *sq_home_arenas(struct sq_home *h);
struct sq_random *sq_home_random(struct sq_home *h);
struct sq_metrics *sq_home_metrics(struct sq_home *h);
struct sq_blob_store *sq_home_blobs(struct sq_home *h);
const struct sq_settings *sq_home_settings(struct sq_home *h);
struct sq_engine *sq_home_engine(struct sq_home *h);
void sq_home_count(struct sq_home *h, enum sq_counter c, uint64_t n);

/* ---- front -> engine ---- */

/*
 * Who waits for a run's answer, on the run's home loop. The front embeds it. Exactly one ending:
 * answer() with a->complete; or answer(), grew()... until a->complete; or failed(), also after
 * answer() (the connection must then be cut). After the ending the engine has forgotten the sink.
 */
struct sq_sink {
	const struct sq_sink_ops *ops;
};
struct sq_sink_ops {
	void (*answer)(struct sq_sink *s,
		       struct sq_answer *a); /* a lives as long as the run's ref */
	void (*grew)(struct sq_sink *s);     /* more body, or complete */
	void (*failed)(struct sq_sink *s, enum sq_fault fault,
		       const char *detail); /* detail: may be NULL */
};

/* A call as the front understood it. Strings live in `arena`. */
struct sq_call {
	struct sq_id id;        /* of sq_home_id */
	struct sq_arena *arena; /* taken by submit, also when it fails */
	const char *function;
	const char *tenant; /* "anonymous" when none; must outlive the engine (settings) */
	const struct sq_backend_conf
		*backend;     /* of a route; NULL: the first that knows the function */
	const char *raw_path; /* of a route: passed on untouched; NULL */
	bool stream;          /* the route says so */
	enum sq_trigger trigger;
	struct sq_request request;
	int64_t received_ns;  /* monotonic, when the head was complete */
	int64_t deadline_ns;  /* the client's own, monotonic; SQ_NEVER */
	struct sq_sink *sink; /* NULL: nobody waits (asynchronous) */
};

/*
 * Accepts or refuses. Returns the run with one reference for the caller (sq_run_unref), or NULL
 * with *fault set: nothing was queued, the sink is not called. The sink may be called before it
 * returns. The body's count in call->request passes to the run, or is released on refusal.
 */
struct sq_run *sq_engine_submit(struct sq_home *h, struct sq_call *call, enum sq_fault *fault);
struct sq_id sq_home_id(struct sq_home *h); /* a new run's id, for sq_call */
/*
 * At the headers, before a body is read: NONE, or why the call is refused (that is noted as an
 * arrival). Of the call: id, function ("" when it stands in the body), tenant, trigger.
 */
enum sq_fault sq_engine_admits(struct sq_home *h, const struct sq_call *call);

void sq_run_unref(struct sq_run *r);
struct sq_id sq_run_id(const struct sq_run *r);
int64_t sq_run_queue_ns(const struct sq_run *r); /* waited before its first grant */
unsigned sq_run_attempts(const struct sq_run *r);
/* The client is gone: the sink is forgotten; a queued run is cancelled, a running one goes on. */
void sq_run_hangup(struct sq_run *r);
/* A streamed answer: the front took n bytes off a->flow; the backend may go on. */
void sq_run_consumed(struct sq_run *r);
struct sq_buf *sq_run_flow(struct sq_run *r); /* NULL: the answer is in its body */
bool sq_run_queued(const struct sq_run *r);   /* not in flight: it waits */

/*
 * Runs by id, from any loop. The engine asks the run's home and calls done on the asker's loop with
 * a view (or NULL: no such run of this tenant); the view is the callee's to free with
 * sq_run_view_free.
 */
struct sq_run_view {
	struct sq_id id;
	char *chain, *tenant;
	const char *state; /* pending, running, failing, ok, failed, cancelled */
	bool finished;
	int64_t accepted_wall_ns, started_wall_ns, ended_wall_ns; /* 0: not yet */
	enum sq_fault fault;
	char *detail; /* of the fault; NULL */
	unsigned attempts;
	int64_t queue_ns;
	const char *trigger;
	int status; /* of the answer, when finished without fault; the rest only of a single view */
	size_t n_headers;
	struct sq_header *headers;
	struct sq_blob *body; /* one count; NULL: empty */
};
void sq_run_view_free(struct sq_run_view *v);

enum sq_ask_kind { SQ_ASK_VIEW, SQ_ASK_CANCEL };
struct sq_ask {
	enum sq_ask_kind kind;
	struct sq_id id;
	const char *tenant;    /* NULL: any (admin) */
	int64_t wait_until_ns; /* VIEW: answer when finished or at this time, 0: at once */
	void (*done)(struct sq_ask *a, struct sq_run_view *v, enum sq_fault fault);
	/* the engine's own */
	struct sq_mail mail;
	struct sq_home *asker;
	struct sq_run *run;
	struct sq_timer timer;
	struct sq_run_view *view;
	enum sq_fault fault;
	struct sq_ask *next, **prev;
};
/* a stays valid until done, which is always called, once, on h's loop (maybe before it returns). */
void sq_engine_ask(struct sq_home *h, struct sq_ask *a);

/* ---- worker -> engine ---- */

/* One attempt to call a function. Belongs to the run's home loop. */
struct sq_invocation {
	struct sq_run *run;
	struct sq_home *home;
	struct sq_backend *backend;
	const char *function;
	const struct sq_request *request;
	const char
		*raw_path; /* of a route: the whole path, untouched; NULL: /function/NAME + path */
	struct sq_arena *arena; /* the run's */
	struct sq_id id;
	unsigned node, attempt;  /* attempt from 1 */
	struct sq_answer answer; /* the worker fills it */
	struct sq_buf
		flow; /* instead of answer.body when stream: what the client has not taken yet */
	bool stream;  /* back-pressure: stop reading while flow.len > SQ_FLOW_HIGH */
	bool keep;    /* the answer is kept for later: an event stream too goes to answer.body */
	bool discard; /* nobody wants the body any more: drain and drop it */
	bool overrun; /* set by the worker before ended: the seat is freed by the timeout */
	bool retried;
	int64_t granted_ns; /* when the seat was taken */
	void *slot;         /* the worker's exchange */
};
#define SQ_FLOW_HIGH (256u * 1024)

/* The answer's head is complete, the body is not. Not called when all came at once. */
void sq_invocation_head(struct sq_invocation *inv);
/* answer.body or flow grew. */
void sq_invocation_data(struct sq_invocation *inv);
/*
 * The function ended: last byte (fault NONE, answer.complete and sealed), broken, or timed out.
 * Frees the seat and may start the next invocation. inv is gone afterwards.
 */
void sq_invocation_ended(struct sq_invocation *inv, enum sq_fault fault, const char *detail);

#endif
