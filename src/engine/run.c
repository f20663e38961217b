/*
 * Runs: made of a front's call, moved by sq_run_advance, whose effects are carried out here.
 *
 * References: the engine holds one from submit until the run is forgotten (its end; for an
 * asynchronous one the end of `limits.keep`), the front one until it has sent the answer, a node in
 * transit one (dispatch.c), and each event one while it is being carried out.
 */
#include "base/clock.h"
#include "base/log.h"
#include "engine/impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- birth ---- */

/* Names of its own: the place, and the policies behind it, may go with a reload. */
static int name_run(struct sq_run *r, const struct sq_call *call)
{
	r->function = sq_arena_strndup(r->arena, call->function, strlen(call->function));
	r->tenant = sq_arena_strndup(r->arena, call->tenant, strlen(call->tenant));
	r->chain_node = (struct sq_node){.name = r->function, .function = r->function};
	r->chain = (struct sq_chain){.name = r->function, .n_nodes = 1, .nodes = &r->chain_node};
	return r->function && r->tenant ? 0 : -1;
}

static struct sq_run *run_new(struct sq_home *h, const struct sq_call *call, struct sq_place *p)
{
	struct sq_run *r = sq_arena_zalloc(call->arena, sizeof(*r));
	int64_t within;

	if (!r)
		return NULL;
	r->home = h;
	r->arena = call->arena;
	r->accepted_wall_ns = sq_clock_wall_ns();
	r->id = call->id;
	r->refs = 1;
	r->place = p;
	r->request = call->request;
	r->raw_path = call->raw_path;
	r->trigger = call->trigger;
	r->stream = call->stream;
	r->sink = call->sink;
	r->received_ns = call->received_ns;
	r->exec.run = r;
	within = sq_time_add(call->received_ns, p->treatment.within_ns);
	r->deadline.at_ns = within < call->deadline_ns ? within : call->deadline_ns;
	if (name_run(r, call) < 0)
		return NULL;
	sq_run_model_init(&r->model, &r->chain, &r->model_node);
	return r;
}

/* What is in flight goes on, for nobody. */
static void answer_nobody(struct sq_run *r)
{
	if (r->model.in_flight == 0)
		return;
	r->exec.inv.discard = true;
	r->exec.inv.backend->ops->resume(&r->exec.inv);
}

static void deadline_passed(struct sq_timer *t)
{
	struct sq_run *r = caa_container_of(t, struct sq_run, deadline);

	/* Queued: sched's own expiry tells. In flight: the client hears, the seat stays taken. */
	if (r->model.in_flight > 0 && r->sink) {
		struct sq_sink *s = r->sink;

		r->sink = NULL;
		answer_nobody(r);
		s->ops->failed(s, SQ_FAULT_FUNCTION_TIMEOUT, "the deadline passed");
	}
}

/* The arena's growth goes to the memory account: at birth, and when the answer's head is in it. */
static void charge(struct sq_run *r)
{
	size_t bytes = sq_arena_bytes(r->arena);

	if (bytes == r->charged)
		return;
	sq_blob_store_charge(r->home->engine->blobs, (int64_t)bytes - (int64_t)r->charged);
	r->charged = bytes;
}

static int link_run(struct sq_run *r)
{
	struct sq_home *h = r->home;

	if (sq_map_put(h->runs_by_id, &r->id, sizeof(r->id), r) < 0)
		return -1;
	cds_list_add_tail(&r->node, &h->runs);
	atomic_fetch_add_explicit(&h->live, 1, memory_order_relaxed);
	sq_place_use(r->place);
	charge(r);
	return 0;
}

/* Off the lists; the run is over, or was never accepted. */
void sq_run_unlink(struct sq_run *r)
{
	struct sq_home *h = r->home;

	sq_map_remove(h->runs_by_id, &r->id, sizeof(r->id));
	if (h->move_next == &r->node)
		h->move_next = r->node.next;
	cds_list_del(&r->node);
}

static void run_free(struct sq_run *r)
{
	assert(!r->sink && !r->asks && !r->exec.grant);
	sq_blob_store_charge(r->home->engine->blobs, -(int64_t)r->charged);
	sq_blob_unref(r->request.body);
	sq_blob_unref(r->exec.inv.answer.body);
	sq_buf_free(&r->exec.inv.flow);
	if (r->place)
		sq_place_drop(r->place);
	sq_arena_free(r->arena);
}

void sq_run_unref(struct sq_run *r)
{
	assert(r->refs > 0);
	if (--r->refs == 0)
		run_free(r);
}

/* ---- metrics ---- */

/* Before the call is carried out: its body may be gone afterwards. */
static struct sq_metric_arrival arrival_of(struct sq_home *h, const struct sq_call *call,
					   const struct sq_place *p)
{
	return (struct sq_metric_arrival){
		.wall_ns = sq_clock_wall_ns(),
		.run = call->id,
		.chain = p ? p->function_name : 0,
		.function = p ? p->function_name : 0,
		.tenant = p ? p->tenant_name : 0,
		.trigger = (uint8_t)call->trigger,
		.priority_class = (uint16_t)((p ? p->treatment.class : 0) + 100),
		.generation = (uint32_t)snapshot_of(h)->generation,
		.body_bytes = call->request.body ? sq_blob_size(call->request.body) : 0,
	};
}

static void note_arrival(struct sq_home *h, struct sq_metric_arrival *row, enum sq_fault fault)
{
	row->fault = (uint8_t)fault;
	sq_metrics_count(h->engine->metrics, h->index, fault ? SQ_COUNT_REFUSED : SQ_COUNT_ACCEPTED,
			 1);
	sq_metrics_arrival(h->engine->metrics, h->index, row);
}

/* What a function says of itself may be anything. */
static int64_t seconds_ns(double s)
{
	return s >= 0 && s < 1e9 ? (int64_t)(s * 1e9) : -1;
}

static int64_t reported_ns(const struct sq_answer *a)
{
	for (size_t i = 0; i < a->n_headers; i++)
		if (strcasecmp(a->headers[i].name, "X-Duration-Seconds") == 0)
			return seconds_ns(strtod(a->headers[i].value, NULL));
	return -1;
}

static void note_invocation(const struct sq_invocation *inv, enum sq_fault fault, int64_t now)
{
	struct sq_run *r = inv->run;
	struct sq_home *h = r->home;
	const struct sq_blob *in = r->request.body, *out = inv->answer.body;

	sq_metrics_count(h->engine->metrics, h->index, SQ_COUNT_INVOCATIONS, 1);
	sq_metrics_invocation(h->engine->metrics, h->index,
			      &(struct sq_metric_invocation){
				      .queued_wall_ns = r->accepted_wall_ns,
				      .run = r->id,
				      .chain = r->place->function_name,
				      .function = r->place->function_name,
				      .tenant = r->place->tenant_name,
				      .backend = inv->backend->name,
				      .node = (uint16_t)inv->node,
				      .attempt = (uint16_t)inv->attempt,
				      .status = (uint16_t)inv->answer.status,
				      .fault = (uint8_t)fault,
				      .overrun = inv->overrun,
				      .generation = (uint32_t)r->place->generation,
				      .queue_ns = r->queue_ns,
				      .service_ns = now - inv->granted_ns,
				      .function_ns = reported_ns(&inv->answer),
				      .in_bytes = in ? sq_blob_size(in) : 0,
				      .out_bytes = out ? sq_blob_size(out) : 0,
			      });
}

/* ---- effects ---- */

static void start(struct sq_run *r)
{
	struct sq_home *h = r->home;
	struct sq_invocation *inv = &r->exec.inv;
	struct sq_backend *b = r->place->backend;

	if (r->started_wall_ns == 0)
		r->started_wall_ns = sq_clock_wall_ns();
	*inv = (struct sq_invocation){
		.run = r,
		.home = h,
		.backend = b,
		.function = r->function,
		.request = &r->request,
		.raw_path = r->raw_path,
		.arena = r->arena,
		.id = r->id,
		.attempt = r->model_node.attempts,
		.answer = {.length = -1},
		.stream = r->stream && r->sink,
		.keep = r->trigger == SQ_TRIGGER_ASYNC,
		.discard = !r->sink && r->trigger == SQ_TRIGGER_SYNC,
		.granted_ns = sq_clock_ns(),
	};
	b->ops->start(h->ports[b->id], inv);
}

static void answer(struct sq_run *r)
{
	struct sq_sink *s = r->sink;

	r->sink = NULL;
	if (!s)
		return;
	if (r->head_told)
		s->ops->grew(s);
	else
		s->ops->answer(s, &r->exec.inv.answer);
}

static void tell_failure(struct sq_run *r)
{
	struct sq_sink *s = r->sink;

	r->sink = NULL;
	answer_nobody(r);
	if (s)
		s->ops->failed(s, r->model.fault, r->detail);
}

static enum sq_counter ending_counter(const struct sq_run *r)
{
	switch (r->model.state) {
	case SQ_RUN_OK:
		return SQ_COUNT_RUNS_OK;
	case SQ_RUN_CANCELLED:
		return SQ_COUNT_RUNS_CANCELLED;
	default:
		return r->model.fault == SQ_FAULT_WAIT_EXPIRED ? SQ_COUNT_EXPIRED
							       : SQ_COUNT_RUNS_FAILED;
	}
}

static void end(struct sq_run *r)
{
	struct sq_home *h = r->home;

	r->over = true;
	r->ended_ns = sq_clock_ns();
	r->ended_wall_ns = sq_clock_wall_ns();
	sq_timer_stop(h->loop, &r->deadline);
	sq_metrics_count(h->engine->metrics, h->index, ending_counter(r), 1);
	atomic_fetch_sub_explicit(&h->live, 1, memory_order_relaxed);
	sq_asks_answer(r);
	if (r->trigger == SQ_TRIGGER_ASYNC) {
		sq_run_keep(r);
	} else {
		sq_run_unlink(r);
		sq_run_unref(r);
	}
}

static void carry_out(struct sq_run *r, const struct sq_effect *fx)
{
	switch (fx->kind) {
	case SQ_EFFECT_ENQUEUE:
		r->refused = sq_dispatch_enqueue(r);
		break;
	case SQ_EFFECT_UNQUEUE:
		sq_dispatch_unqueue(r);
		break;
	case SQ_EFFECT_START:
		start(r);
		break;
	case SQ_EFFECT_ANSWER:
		answer(r);
		break;
	case SQ_EFFECT_FAIL:
		tell_failure(r);
		break;
	case SQ_EFFECT_END:
		end(r);
		break;
	}
}

void sq_run_event(struct sq_run *r, const struct sq_event *ev)
{
	struct sq_effect at[8];
	struct sq_effects fx = {.cap = 8, .at = at};

	r->refs++;
	sq_run_advance(&r->model, ev, &fx);
	for (unsigned i = 0; i < fx.n; i++)
		carry_out(r, &at[i]);
	sq_run_unref(r);
}

/* ---- front -> engine ---- */

static enum sq_fault door(struct sq_home *h)
{
	struct sq_engine *en = h->engine;

	if (atomic_load_explicit(&en->stopping, memory_order_relaxed))
		return SQ_FAULT_DRAINING;
	if (atomic_load_explicit(&en->queue_full, memory_order_relaxed))
		return SQ_FAULT_QUEUE_FULL;
	if (sq_blob_store_full(en->blobs))
		sq_runs_shed(h);
	return sq_blob_store_full(en->blobs) ? SQ_FAULT_MEMORY : SQ_FAULT_NONE;
}

enum sq_fault sq_engine_admits(struct sq_home *h, const struct sq_call *call)
{
	enum sq_fault fault = door(h);
	struct sq_metric_arrival arrival;

	if (fault) {
		arrival = arrival_of(h, call, sq_place_known(h, call));
		note_arrival(h, &arrival, fault);
	}
	return fault;
}

static void refuse(struct sq_call *call)
{
	sq_blob_unref(call->request.body);
	call->request.body = NULL;
	sq_arena_free(call->arena);
}

/* The journal has it, or has refused it: the run begins or never was. */
static void journaled(struct sq_journal_entry *e, int err)
{
	struct sq_run *r = caa_container_of(e, struct sq_run, journaled);

	if (err)
		r->refused = SQ_FAULT_STORAGE;
	else
		sq_run_event(r, e->event);
}

/* An accepted run that was refused after all: nobody has seen it. */
static void never_was(struct sq_run *r)
{
	r->sink = NULL;
	r->model.queued = 0;
	sq_run_unlink(r);
	atomic_fetch_sub_explicit(&r->home->live, 1, memory_order_relaxed);
	sq_run_unref(r);
}

static struct sq_run *admit(struct sq_home *h, struct sq_call *call, struct sq_place *p,
			    enum sq_fault *fault)
{
	struct sq_run *r;

	if (p)
		*fault = door(h);
	if (*fault)
		return NULL;
	r = run_new(h, call, p);
	if (r && link_run(r) == 0)
		return r;
	*fault = SQ_FAULT_MEMORY;
	return NULL;
}

/* Through the journal if it may be answered 202, and into the queue. */
static void begin(struct sq_run *r)
{
	static const struct sq_event submitted = {.kind = SQ_EVENT_SUBMIT};

	if (r->trigger == SQ_TRIGGER_ASYNC) {
		r->journaled = (struct sq_journal_entry){.event = &submitted, .done = journaled};
		sq_journal_record(r->home->engine->journal, &r->journaled);
	} else {
		sq_run_event(r, &submitted);
	}
}

static void watch_deadline(struct sq_run *r)
{
	if (r->deadline.at_ns == SQ_NEVER || r->over)
		return;
	r->deadline.fn = deadline_passed;
	sq_timer_set(r->home->loop, &r->deadline, r->deadline.at_ns);
}

struct sq_run *sq_engine_submit(struct sq_home *h, struct sq_call *call, enum sq_fault *fault)
{
	struct sq_metric_arrival arrival;
	struct sq_place *p;
	struct sq_run *r;

	*fault = SQ_FAULT_NONE;
	p = sq_place_get(h, call, fault);
	arrival = arrival_of(h, call, p);
	r = admit(h, call, p, fault);
	if (!r) {
		note_arrival(h, &arrival, *fault);
		refuse(call);
		return NULL;
	}
	r->refs++;
	begin(r);
	note_arrival(h, &arrival, r->refused);
	if (r->refused) {
		*fault = r->refused;
		never_was(r);
		sq_run_unref(r);
		return NULL;
	}
	watch_deadline(r);
	sq_dispatch_start(h);
	return r;
}

struct sq_id sq_home_id(struct sq_home *h)
{
	return sq_id_make(&h->random, sq_clock_wall_ns(), (uint16_t)settings_of(h)->instance,
			  (uint8_t)h->index);
}

struct sq_id sq_run_id(const struct sq_run *r)
{
	return r->id;
}

int64_t sq_run_queue_ns(const struct sq_run *r)
{
	return r->queue_ns;
}

unsigned sq_run_attempts(const struct sq_run *r)
{
	return r->model_node.attempts;
}

bool sq_run_queued(const struct sq_run *r)
{
	return r->model.queued > 0;
}

struct sq_buf *sq_run_flow(struct sq_run *r)
{
	return r->exec.inv.stream ? &r->exec.inv.flow : NULL;
}

void sq_run_consumed(struct sq_run *r)
{
	if (r->model.in_flight > 0)
		r->exec.inv.backend->ops->resume(&r->exec.inv);
}

void sq_run_hangup(struct sq_run *r)
{
	r->sink = NULL;
	if (r->over)
		return;
	if (r->model.state == SQ_RUN_PENDING)
		sq_run_event(r, &(struct sq_event){.kind = SQ_EVENT_CANCEL});
	else
		answer_nobody(r);
}

/* ---- worker -> engine ---- */

void sq_invocation_head(struct sq_invocation *inv)
{
	struct sq_run *r = inv->run;

	if (!r->sink)
		return;
	r->head_told = true;
	r->sink->ops->answer(r->sink, &inv->answer);
}

void sq_invocation_data(struct sq_invocation *inv)
{
	struct sq_run *r = inv->run;

	if (r->sink)
		r->sink->ops->grew(r->sink);
}

static const char *keep_detail(struct sq_run *r, const char *detail)
{
	return detail ? sq_arena_strndup(r->arena, detail, strlen(detail)) : NULL;
}

/* The client's own error and the function's are told to the client; the operator hears of broken
 * calls. */
static void log_failure(const struct sq_invocation *inv, enum sq_fault fault, const char *detail)
{
	char quoted[256], hex[SQ_ID_HEX];

	if (fault == SQ_FAULT_NONE || fault == SQ_FAULT_ABORTED || fault == SQ_FAULT_DRAINING)
		return;
	sq_log_limited(SQ_LOG_WARN, "call-failed", "backend=%s function=%s run=%s code=%s why=%s",
		       inv->backend->conf->name, inv->function, sq_id_show(hex, inv->id),
		       sq_fault_row(fault)->code,
		       sq_log_quote(quoted, sizeof(quoted), detail ? detail : ""));
}

/* A time that says something of the function: not of a call that never reached it. */
static bool teaches(enum sq_fault fault)
{
	return fault == SQ_FAULT_NONE || fault == SQ_FAULT_FUNCTION_TIMEOUT ||
	       fault == SQ_FAULT_FUNCTION_FAILED || fault == SQ_FAULT_BACKEND_BROKEN ||
	       fault == SQ_FAULT_ANSWER_TOO_LARGE;
}

void sq_invocation_ended(struct sq_invocation *inv, enum sq_fault fault, const char *detail)
{
	struct sq_run *r = inv->run;
	struct sq_home *h = r->home;
	unsigned how = 0;

	how |= inv->overrun ? SQ_DONE_OVERRUN : 0;
	how |= teaches(fault) ? 0 : SQ_DONE_UNLEARNT;
	r->refs++;
	sq_dispatch_complete(r, how);
	note_invocation(inv, fault, sq_clock_ns());
	log_failure(inv, fault, detail);
	charge(r);
	if (fault)
		r->detail = keep_detail(r, detail);
	sq_run_event(r, &(struct sq_event){.kind = SQ_EVENT_ENDED,
					   .node = inv->node,
					   .fault = fault,
					   .failed = inv->answer.status >= 400});
	sq_dispatch_start(h);
	sq_run_unref(r);
}
