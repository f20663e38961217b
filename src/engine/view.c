/* What the admin side sees: rows copied under the lock in slices, or by the loops themselves. */
#include "engine/view.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "engine/impl.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 64       /* rows per lock hold */
#define LIST_MAX 10000 /* runs per listing: loops copy them between calls */

/* ---- status ---- */

static void sched_status(struct sq_engine *en, struct sq_status_view *out)
{
	struct sq_sched_stats st;
	struct sq_cap *pool;

	sq_lock_take(&en->lock);
	sq_sched_stats(en->sched, &st);
	pool = sq_sched_pool(en->sched);
	out->seats_limit = sq_cap_limit(pool);
	out->seats_used = sq_cap_used(pool);
	sq_lock_release(&en->lock);
	out->waiting = st.queued;
	out->running = st.in_flight;
	out->overruns = st.overruns;
}

void sq_engine_status(struct sq_engine *en, struct sq_status_view *out)
{
	*out = (struct sq_status_view){
		.uptime_ns = sq_clock_ns() - en->born_ns,
		.loops = en->loops,
		.runs = sq_engine_live(en),
		.accepted = sq_metrics_read(en->metrics, SQ_COUNT_ACCEPTED),
		.refused = sq_metrics_read(en->metrics, SQ_COUNT_REFUSED),
		.ok = sq_metrics_read(en->metrics, SQ_COUNT_RUNS_OK),
		.failed = sq_metrics_read(en->metrics, SQ_COUNT_RUNS_FAILED),
		.cancelled = sq_metrics_read(en->metrics, SQ_COUNT_RUNS_CANCELLED),
		.expired = sq_metrics_read(en->metrics, SQ_COUNT_EXPIRED),
		.memory_bytes = sq_blob_store_memory(en->blobs),
		.draining = atomic_load(&en->draining),
	};
	sched_status(en, out);
	sq_rcu_read_lock();
	out->policy_generation = sq_rcu_dereference(&en->snapshot)->generation;
	out->memory_limit = sq_rcu_dereference(&en->snapshot)->settings->limit_memory;
	sq_rcu_read_unlock();
}

size_t sq_engine_settings(struct sq_engine *en, struct sq_setting_row **rows)
{
	size_t n;

	sq_rcu_read_lock();
	n = sq_settings_rows(sq_rcu_dereference(&en->snapshot)->settings, rows);
	sq_rcu_read_unlock();
	return n;
}

/* ---- queues and caps ---- */

/* A growing array of rows of one size. */
struct rows {
	char *data;
	size_t n, cap, size;
};

static void *rows_add(struct rows *r)
{
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : SLICE;
		char *data = realloc(r->data, cap * r->size);

		if (!data)
			return NULL;
		r->data = data;
		r->cap = cap;
	}
	return r->data + r->n++ * r->size;
}

static void show_lane(struct sq_queue_view *v, const struct sq_lane_row *l, int64_t now)
{
	memset(v, 0, sizeof(*v));
	v->class = l->class;
	snprintf(v->queue, sizeof(v->queue), "%s", l->queue == SQ_PQ ? "PQ" : "CRQ");
	snprintf(v->share, sizeof(v->share), "%s", sq_share_name((enum sq_share)l->share_kind));
	snprintf(v->share_value, sizeof(v->share_value), "%.63s", l->share);
	snprintf(v->order, sizeof(v->order), "%s", sq_order_name((enum sq_order)l->order));
	snprintf(v->state, sizeof(v->state), "%s",
		 l->parked_on[0] ? "parked"
		 : l->depth > 0  ? "ready"
				 : "empty");
	snprintf(v->parked_on, sizeof(v->parked_on), "%s", l->parked_on);
	v->depth = l->depth;
	v->oldest_ns = l->oldest_ns == SQ_SCHED_NEVER ? 0 : now - l->oldest_ns;
}

static void show_cap(struct sq_cap_view *v, const struct sq_cap_row *c)
{
	static const char *const kinds[] = {"seats", "rate", "running", "queue"};
	static const char *const sources[] = {"settings", "adaptive", "pause", "lease"};

	memset(v, 0, sizeof(*v));
	snprintf(v->name, sizeof(v->name), "%s", c->name);
	snprintf(v->kind, sizeof(v->kind), "%s", kinds[c->kind]);
	snprintf(v->source, sizeof(v->source), "%s", sources[c->source]);
	v->used = c->used;
	v->parked = c->waiters;
	v->limit = c->limit;
	if (c->kind == SQ_CAP_QUEUE)
		v->limit--; /* see overfull() in dispatch.c */
	if (c->kind == SQ_CAP_RATE) {
		v->rate_per_s = c->limit == 0 ? 0 : c->rate_per_s;
		v->limit = llround(v->rate_per_s);
	}
}

static int add_lanes(struct rows *out, const struct sq_lane_row *rows, size_t n)
{
	int64_t now = sq_clock_ns();

	for (size_t i = 0; i < n; i++) {
		struct sq_queue_view *v;

		if (rows[i].depth == 0)
			continue;
		v = rows_add(out);
		if (!v)
			return -ENOMEM;
		show_lane(v, &rows[i], now);
	}
	return 0;
}

static int add_caps(struct rows *out, const struct sq_cap_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct sq_cap_view *v = rows_add(out);

		if (!v)
			return -ENOMEM;
		show_cap(v, &rows[i]);
	}
	return 0;
}

static long collect(struct sq_engine *en, bool caps, struct rows *out)
{
	union {
		struct sq_lane_row lanes[SLICE];
		struct sq_cap_row caps[SLICE];
	} *slice = malloc(sizeof(*slice));
	struct sq_cursor cursor;
	bool end = false;
	size_t n;
	int err = slice ? 0 : -ENOMEM;

	sq_lock_take(&en->lock);
	sq_cursor_open(en->sched, &cursor, caps);
	sq_lock_release(&en->lock);
	while (err == 0 && !end) {
		sq_lock_take(&en->lock);
		n = caps ? sq_cursor_caps(&cursor, slice->caps, SLICE, &end)
			 : sq_cursor_lanes(&cursor, slice->lanes, SLICE, &end);
		sq_lock_release(&en->lock);
		err = caps ? add_caps(out, slice->caps, n) : add_lanes(out, slice->lanes, n);
	}
	sq_lock_take(&en->lock);
	sq_cursor_close(&cursor);
	sq_lock_release(&en->lock);
	free(slice);
	if (err < 0)
		free(out->data);
	return err < 0 ? err : (long)out->n;
}

long sq_engine_queues(struct sq_engine *en, struct sq_queue_view **rows)
{
	struct rows out = {.size = sizeof(struct sq_queue_view)};
	long n = collect(en, false, &out);

	*rows = n < 0 ? NULL : (struct sq_queue_view *)(void *)out.data;
	return n;
}

long sq_engine_caps(struct sq_engine *en, struct sq_cap_view **rows)
{
	struct rows out = {.size = sizeof(struct sq_cap_view)};
	long n = collect(en, true, &out);

	*rows = n < 0 ? NULL : (struct sq_cap_view *)(void *)out.data;
	return n;
}

static int64_t queued(struct sq_engine *en)
{
	struct sq_sched_stats st;

	sq_lock_take(&en->lock);
	sq_sched_stats(en->sched, &st);
	sq_lock_release(&en->lock);
	return (int64_t)st.queued;
}

/* One gauge a second for each cap: for the metric thread. All that waits, waits for the pool too.
 */
size_t sq_engine_sample(void *arg, struct sq_metric_gauge *gauges, size_t cap)
{
	struct sq_engine *en = arg;
	struct sq_cap_view *rows;
	long n = sq_engine_caps(en, &rows);
	int64_t waiting = queued(en);
	size_t out = 0;

	for (long i = 0; i < n && out < cap; i++) {
		if (strcmp(rows[i].kind, "rate") == 0)
			continue;
		gauges[out++] = (struct sq_metric_gauge){
			.scope = sq_metrics_name(en->metrics, rows[i].name),
			.limit = rows[i].limit,
			.used = rows[i].used,
			.waiting = strcmp(rows[i].name, "pool") == 0 ? waiting
								     : (int64_t)rows[i].parked,
		};
	}
	if (n >= 0)
		free(rows);
	return out;
}

/* ---- backends ---- */

static void show_backend(struct sq_engine *en, const struct sq_backend *b,
			 struct sq_backend_view *v)
{
	memset(v, 0, sizeof(*v));
	snprintf(v->name, sizeof(v->name), "%.63s", b->conf->name);
	snprintf(v->type, sizeof(v->type), "%s", b->ops->kind);
	snprintf(v->url, sizeof(v->url), "%.255s",
		 b->conf->url ? b->conf->url : b->conf->functions);
	v->used = (int64_t)atomic_load(&b->in_flight);
	v->started = atomic_load(&b->started);
	v->failed = atomic_load(&b->failed);
	v->connects = atomic_load(&b->connects);
	v->last_failure_wall_ns = atomic_load(&b->last_failure_wall_ns);
	if (!b->cap)
		return;
	sq_lock_take(&en->lock);
	v->limit = sq_cap_limit(b->cap);
	v->used = sq_cap_used(b->cap);
	sq_lock_release(&en->lock);
}

long sq_engine_backends(struct sq_engine *en, struct sq_backend_view **rows)
{
	*rows = calloc(en->n_backends, sizeof(**rows));
	if (!*rows)
		return -ENOMEM;
	for (size_t i = 0; i < en->n_backends; i++)
		show_backend(en, &en->backends[i], &(*rows)[i]);
	return (long)en->n_backends;
}

/* ---- runs: every loop copies its own ---- */

struct listing {
	pthread_mutex_t mutex;
	pthread_cond_t all_told;
	unsigned waiting_for;
	const char *state;
	size_t limit;
	struct rows out; /* of struct sq_run_view * */
	bool failed;
};

struct listing_mail {
	struct sq_mail mail;
	struct sq_home *home;
	struct listing *listing;
};

static void list_home(const struct sq_home *h, struct listing *l)
{
	size_t found = 0;
	struct sq_run *r;

	cds_list_for_each_entry_reverse(r, &h->runs, node)
	{
		struct sq_run_view **v, *view;

		if (l->state && strcmp(l->state, sq_run_state_name(r->model.state)) != 0)
			continue;
		view = sq_run_view_make(r, false);
		v = view ? rows_add(&l->out) : NULL;
		if (!v) {
			sq_run_view_free(view);
			l->failed = true;
			return;
		}
		*v = view;
		if (++found == l->limit)
			return;
	}
}

static void list_mail(struct sq_mail *m)
{
	struct listing_mail *lm = caa_container_of(m, struct listing_mail, mail);
	struct listing *l = lm->listing;

	pthread_mutex_lock(&l->mutex);
	list_home(lm->home, l);
	if (--l->waiting_for == 0)
		pthread_cond_signal(&l->all_told);
	pthread_mutex_unlock(&l->mutex);
}

static int newest_first(const void *a, const void *b)
{
	const struct sq_run_view *x = *(struct sq_run_view *const *)a;
	const struct sq_run_view *y = *(struct sq_run_view *const *)b;

	if (x->accepted_wall_ns != y->accepted_wall_ns)
		return x->accepted_wall_ns < y->accepted_wall_ns ? 1 : -1;
	return x->id.lo < y->id.lo ? 1 : -1;
}

static void ask_all(struct sq_engine *en, struct listing *l, struct listing_mail *mails)
{
	for (unsigned i = 0; i < en->loops; i++) {
		mails[i] = (struct listing_mail){{.fn = list_mail}, en->homes[i], l};
		sq_loop_post(en->homes[i]->loop, &mails[i].mail);
	}
	pthread_mutex_lock(&l->mutex);
	while (l->waiting_for > 0)
		pthread_cond_wait(&l->all_told, &l->mutex);
	pthread_mutex_unlock(&l->mutex);
}

long sq_engine_runs(struct sq_engine *en, const char *state, size_t limit,
		    struct sq_run_view ***rows)
{
	struct listing l = {.waiting_for = en->loops,
			    .state = state,
			    .limit = limit,
			    .out = {.size = sizeof(struct sq_run_view *)}};
	struct listing_mail mails[256];
	struct sq_run_view **v;

	if (l.limit > LIST_MAX)
		l.limit = limit = LIST_MAX;
	pthread_mutex_init(&l.mutex, NULL);
	pthread_cond_init(&l.all_told, NULL);
	ask_all(en, &l, mails);
	pthread_cond_destroy(&l.all_told);
	pthread_mutex_destroy(&l.mutex);
	v = (struct sq_run_view **)(void *)l.out.data;
	if (l.out.n > 0)
		qsort(v, l.out.n, sizeof(*v), newest_first);
	while (l.out.n > (l.failed ? 0 : limit))
		sq_run_view_free(v[--l.out.n]);
	*rows = v;
	if (!l.failed)
		return (long)l.out.n;
	free(v);
	*rows = NULL;
	return -ENOMEM;
}
