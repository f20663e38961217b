/*
 * Questions about runs from any loop: they travel to the run's home by mail, wait there if they are
 * to wait for the run's end, and travel back with a view. On the same loop they take no detour.
 */
#include "base/clock.h"
#include "engine/impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- views ---- */

static char *copy(const char *s)
{
	return s ? strdup(s) : NULL;
}

static struct sq_header *copy_headers(const struct sq_answer *a)
{
	size_t bytes = (a->n_headers + 1) * sizeof(struct sq_header);
	struct sq_header *to;
	char *at;

	for (size_t i = 0; i < a->n_headers; i++)
		bytes += a->headers[i].name_len + a->headers[i].value_len + 2u;
	to = malloc(bytes);
	if (!to)
		return NULL;
	at = (char *)(to + a->n_headers + 1);
	for (size_t i = 0; i < a->n_headers; i++) {
		to[i] = a->headers[i];
		to[i].name = memcpy(at, a->headers[i].name, to[i].name_len + 1u);
		at += to[i].name_len + 1u;
		to[i].value = memcpy(at, a->headers[i].value, to[i].value_len + 1u);
		at += to[i].value_len + 1u;
	}
	return to;
}

static int add_answer(struct sq_run_view *v, const struct sq_answer *a)
{
	v->headers = copy_headers(a);
	if (!v->headers)
		return -1;
	v->n_headers = a->n_headers;
	v->body = a->body ? sq_blob_ref(a->body) : NULL;
	return 0;
}

static const char *trigger_name(enum sq_trigger t)
{
	static const char *const names[] = {"sync", "async", "nested"};

	return names[t];
}

struct sq_run_view *sq_run_view_make(const struct sq_run *r, bool with_answer)
{
	struct sq_run_view *v = calloc(1, sizeof(*v));
	const struct sq_answer *a = &r->exec.inv.answer;

	if (!v)
		return NULL;
	v->id = r->id;
	v->chain = copy(r->function);
	v->tenant = copy(r->tenant);
	v->state = sq_run_state_name(r->model.state);
	v->finished = r->over;
	v->accepted_wall_ns = r->accepted_wall_ns;
	v->started_wall_ns = r->started_wall_ns;
	v->ended_wall_ns = r->ended_wall_ns;
	v->fault = r->model.fault;
	v->detail = copy(r->detail);
	v->attempts = r->model_node.attempts;
	v->queue_ns = r->queue_ns;
	v->trigger = trigger_name(r->trigger);
	v->status = r->over && !r->model.fault ? a->status : 0;
	if (!v->chain || !v->tenant ||
	    (with_answer && r->over && !r->model.fault && add_answer(v, a) < 0)) {
		sq_run_view_free(v);
		return NULL;
	}
	return v;
}

void sq_run_view_free(struct sq_run_view *v)
{
	if (!v)
		return;
	free(v->chain);
	free(v->tenant);
	free(v->detail);
	free(v->headers);
	sq_blob_unref(v->body);
	free(v);
}

/* ---- asking ---- */

static void reply_mail(struct sq_mail *m)
{
	struct sq_ask *a = caa_container_of(m, struct sq_ask, mail);

	a->done(a, a->view, a->fault);
}

/* Back to the asker, from the run's home. */
static void reply(struct sq_home *h, struct sq_ask *a, struct sq_run_view *v, enum sq_fault fault)
{
	a->view = v;
	a->fault = fault;
	a->mail.fn = reply_mail;
	if (a->asker == h)
		reply_mail(&a->mail);
	else
		sq_loop_post(a->asker->loop, &a->mail);
}

static void reply_view(struct sq_home *h, struct sq_ask *a, const struct sq_run *r)
{
	struct sq_run_view *v = sq_run_view_make(r, true);

	reply(h, a, v, v ? SQ_FAULT_NONE : SQ_FAULT_MEMORY);
}

static void unlink_ask(struct sq_ask *a)
{
	*a->prev = a->next;
	if (a->next)
		a->next->prev = a->prev;
	sq_timer_stop(a->run->home->loop, &a->timer);
}

static void wait_over(struct sq_timer *t)
{
	struct sq_ask *a = caa_container_of(t, struct sq_ask, timer);
	struct sq_run *r = a->run;

	unlink_ask(a);
	reply_view(r->home, a, r);
}

static void wait_for_end(struct sq_run *r, struct sq_ask *a)
{
	a->run = r;
	a->next = r->asks;
	a->prev = &r->asks;
	if (r->asks)
		r->asks->prev = &a->next;
	r->asks = a;
	a->timer = (struct sq_timer){.fn = wait_over};
	sq_timer_set(r->home->loop, &a->timer, a->wait_until_ns);
}

/* The run is over: whoever waited for it hears. */
void sq_asks_answer(struct sq_run *r)
{
	while (r->asks) {
		struct sq_ask *a = r->asks;

		unlink_ask(a);
		reply_view(r->home, a, r);
	}
}

static void cancel_run(struct sq_home *h, struct sq_ask *a, struct sq_run *r)
{
	r->refs++;
	if (r->over) {
		reply(h, a, NULL, SQ_FAULT_CONFLICT);
	} else {
		sq_run_event(r, &(struct sq_event){.kind = SQ_EVENT_CANCEL});
		reply_view(h, a, r);
	}
	sq_run_unref(r);
}

static void ask_here(struct sq_home *h, struct sq_ask *a)
{
	struct sq_run *r = sq_map_get(h->runs_by_id, &a->id, sizeof(a->id));

	if (!r || (a->tenant && strcmp(a->tenant, r->tenant) != 0))
		reply(h, a, NULL, SQ_FAULT_NO_RUN);
	else if (a->kind == SQ_ASK_CANCEL)
		cancel_run(h, a, r);
	else if (r->over || a->wait_until_ns <= sq_loop_now(h->loop))
		reply_view(h, a, r);
	else
		wait_for_end(r, a);
}

static void ask_mail(struct sq_mail *m)
{
	struct sq_ask *a = caa_container_of(m, struct sq_ask, mail);

	ask_here(a->asker->engine->homes[sq_id_home(a->id)], a);
}

void sq_engine_ask(struct sq_home *h, struct sq_ask *a)
{
	unsigned home = sq_id_home(a->id);

	a->asker = h;
	a->mail.fn = ask_mail;
	if (home >= h->engine->loops)
		reply(h, a, NULL, SQ_FAULT_NO_RUN);
	else if (home == h->index)
		ask_here(h, a);
	else
		sq_loop_post(h->engine->homes[home]->loop, &a->mail);
}
