/* Birth and death of the engine and of its homes. */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "engine/impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK 4096
#define ARENA_KEEP 1024

/* ---- snapshot ---- */

static void reading_ends(struct sq_task *t)
{
	struct sq_home *h = caa_container_of(t, struct sq_home, reading_ends);

	h->snapshot = NULL;
	sq_rcu_read_unlock();
}

const struct sq_snapshot *sq_home_read(struct sq_home *h)
{
	sq_rcu_read_lock();
	h->snapshot = sq_rcu_dereference(&h->engine->snapshot);
	sq_loop_defer(h->loop, &h->reading_ends);
	return h->snapshot;
}

/* ---- birth ---- */

static int open_backend(struct sq_engine *en, size_t i, const struct sq_engine_conf *conf,
			struct sq_error *e)
{
	const struct sq_backend_conf *bc = &conf->settings->backends[i];
	struct sq_backend *b = &en->backends[i];
	char name[SQ_ROW_NAME];
	int err;

	b->conf = bc;
	b->id = (int)i;
	b->ops = conf->kinds[bc->type];
	b->name = sq_metrics_name(en->metrics, bc->name);
	if (bc->seats > 0) {
		struct sq_cap_conf cap = {
			.name = name, .kind = SQ_CAP_SEATS, .limit = (uint32_t)bc->seats};

		snprintf(name, sizeof(name), "backend:%s", bc->name);
		b->cap = sq_cap_new(en->sched, &cap);
		if (!b->cap)
			return sq_error_set(e, ENOMEM, "out of memory");
	}
	err = b->ops->open(b, e);
	if (err == 0)
		en->n_backends++;
	return err;
}

static int open_sched(struct sq_engine *en, const struct sq_settings *s)
{
	struct sq_random random;
	struct sq_cap_conf queue = {
		.name = "queue", .kind = SQ_CAP_QUEUE, .limit = (uint32_t)s->limit_queue + 1};

	sq_lock_init(&en->lock, "sched");
	en->next_wake_ns = SQ_NEVER;
	CDS_INIT_LIST_HEAD(&en->resting_caps);
	CDS_INIT_LIST_HEAD(&en->resting_functions);
	en->caps = sq_map_new();
	en->functions = sq_map_new();
	sq_random_init(&random);
	en->sched = sq_sched_new(&(struct sq_sched_conf){.seats = (uint32_t)s->seats,
							 .seed = sq_random_next(&random)});
	if (!en->caps || !en->functions || !en->sched)
		return -ENOMEM;
	sq_lock_take(&en->lock);
	en->queue_cap = sq_engine_cap_get(en, &queue);
	sq_lock_release(&en->lock);
	return en->queue_cap ? 0 : -ENOMEM;
}

static int engine_init(struct sq_engine *en, const struct sq_engine_conf *conf, struct sq_error *e)
{
	int err = 0;

	en->metrics = conf->metrics;
	en->blobs = conf->blobs;
	en->loops = conf->loops;
	en->born_ns = sq_clock_ns();
	en->boot = conf->settings;
	en->snapshot = calloc(1, sizeof(*en->snapshot));
	en->backends = calloc(conf->settings->n_backends, sizeof(*en->backends));
	en->journal = sq_journal_open();
	if (!en->snapshot || !en->backends || !en->journal || open_sched(en, conf->settings) < 0)
		return sq_error_set(e, ENOMEM, "out of memory");
	*en->snapshot = (struct sq_snapshot){conf->settings, conf->policies, 1};
	for (size_t i = 0; i < conf->settings->n_backends && err == 0; i++)
		err = open_backend(en, i, conf, e);
	return err;
}

struct sq_engine *sq_engine_new(const struct sq_engine_conf *conf, struct sq_error *e)
{
	struct sq_engine *en = calloc(1, sizeof(*en));

	assert(conf->loops > 0 && conf->loops <= 256);
	if (!en) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	if (engine_init(en, conf, e) == 0)
		return en;
	sq_engine_free(en);
	return NULL;
}

static void free_sched(struct sq_engine *en)
{
	for (size_t i = 0; i < en->n_backends; i++)
		sq_cap_put(en->backends[i].cap);
	if (en->sched) {
		sq_lock_take(&en->lock);
		sq_engine_cap_put(en, en->queue_cap);
		sq_resting_free(en);
		sq_lock_release(&en->lock);
		sq_sched_free(en->sched);
	}
	sq_map_free(en->caps);
	sq_map_free(en->functions);
	sq_lock_destroy(&en->lock);
}

void sq_engine_free(struct sq_engine *en)
{
	if (!en)
		return;
	for (size_t i = 0; i < en->n_backends; i++)
		en->backends[i].ops->close(&en->backends[i]);
	free_sched(en);
	free(en->backends);
	sq_journal_close(en->journal);
	if (en->snapshot) {
		if (en->snapshot->settings != en->boot)
			sq_settings_free(en->snapshot->settings);
		sq_policy_set_free(en->snapshot->policies);
	}
	sq_settings_free((struct sq_settings *)(uintptr_t)en->boot);
	free(en->snapshot);
	free(en);
}

/* ---- homes ---- */

static void stop_run(struct sq_run *r)
{
	r->refs++;
	if (!r->over)
		sq_run_event(r,
			     &(struct sq_event){.kind = SQ_EVENT_CANCEL,
						.fault = r->started_wall_ns ? SQ_FAULT_ABORTED
									    : SQ_FAULT_DRAINING});
	if (r->model.in_flight > 0)
		r->exec.inv.backend->ops->abort(&r->exec.inv);
	sq_run_unref(r);
}

static void stop_mail(struct sq_mail *m)
{
	struct sq_home *h = caa_container_of(m, struct sq_home, stop);
	size_t lost = 0;

	/* No grant is made any more (the pool is paused), but runs leave the list: a safe cursor.
	 */
	h->move_next = h->runs.next;
	while (h->move_next != &h->runs) {
		struct sq_run *r = cds_list_entry(h->move_next, struct sq_run, node);

		h->move_next = h->move_next->next;
		lost += !r->over && r->trigger == SQ_TRIGGER_ASYNC;
		stop_run(r);
	}
	atomic_fetch_sub(&h->engine->stops_left, 1);
	if (lost > 0)
		sq_log(SQ_LOG_WARN, "runs-lost", "loop=%u asynchronous=%zu reason=stop", h->index,
		       lost);
}

static int open_ports(struct sq_home *h, struct sq_error *e)
{
	struct sq_engine *en = h->engine;

	h->ports = calloc(en->n_backends, sizeof(*h->ports));
	if (!h->ports)
		return sq_error_set(e, ENOMEM, "out of memory");
	for (size_t i = 0; i < en->n_backends; i++) {
		h->ports[i] = en->backends[i].ops->port_open(&en->backends[i], h, e);
		if (!h->ports[i])
			return -EIO;
	}
	return 0;
}

static void start_task(struct sq_task *t)
{
	sq_dispatch_start(caa_container_of(t, struct sq_home, start));
}

static void home_init(struct sq_home *h, struct sq_engine *en, unsigned index, struct sq_loop *loop)
{
	h->engine = en;
	h->index = index;
	h->loop = loop;
	sq_random_init(&h->random);
	CDS_INIT_LIST_HEAD(&h->idle_places);
	CDS_INIT_LIST_HEAD(&h->runs);
	CDS_INIT_LIST_HEAD(&h->kept);
	CDS_INIT_LIST_HEAD(&h->granted);
	h->sched_timer.fn = sq_dispatch_tick;
	h->keep_timer.fn = sq_runs_keep_tick;
	h->start.fn = start_task;
	h->shed.fn = sq_runs_shed_mail;
	h->moving.fn = sq_reload_slice;
	h->reload.fn = sq_reload_mail;
	h->stop.fn = stop_mail;
	h->reading_ends.fn = reading_ends;
	h->arenas = sq_arena_pool_new(ARENA_CHUNK, ARENA_KEEP);
	h->places = sq_map_new();
	h->runs_by_id = sq_map_new();
}

struct sq_home *sq_home_new(struct sq_engine *en, unsigned index, struct sq_loop *loop,
			    struct sq_error *e)
{
	struct sq_home *h = calloc(1, sizeof(*h));

	assert(index < en->loops);
	if (!h) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	home_init(h, en, index, loop);
	if (!h->arenas || !h->places || !h->runs_by_id) {
		sq_error_set(e, ENOMEM, "out of memory");
	} else if (open_ports(h, e) == 0) {
		en->homes[index] = h;
		return h;
	}
	sq_home_free(h);
	return NULL;
}

void sq_home_free(struct sq_home *h)
{
	if (!h)
		return;
	while (!cds_list_empty(&h->kept))
		sq_run_forget(cds_list_first_entry(&h->kept, struct sq_run, kept));
	assert(cds_list_empty(&h->runs));
	sq_timer_stop(h->loop, &h->sched_timer);
	sq_timer_stop(h->loop, &h->keep_timer);
	sq_places_clear(h);
	for (size_t i = 0; h->ports && i < h->engine->n_backends; i++)
		if (h->ports[i])
			h->engine->backends[i].ops->port_close(h->ports[i]);
	if (h->snapshot)
		sq_rcu_read_unlock();
	free(h->ports);
	sq_map_free(h->places);
	sq_map_free(h->runs_by_id);
	sq_arena_pool_free(h->arenas);
	free(h);
}

/* ---- the end ---- */

void sq_engine_drain(struct sq_engine *en)
{
	atomic_store(&en->draining, true);
}

void sq_engine_stop(struct sq_engine *en)
{
	int err;

	atomic_store(&en->draining, true);
	atomic_store(&en->stops_left, en->loops);
	atomic_store(&en->stopping, true);
	sq_lock_take(&en->lock);
	err = sq_cap_set_limit(sq_sched_pool(en->sched), 0, SQ_SOURCE_PAUSE, sq_clock_ns());
	assert(err == 0); /* lowering needs no memory */
	sq_lock_release(&en->lock);
	for (unsigned i = 0; i < en->loops; i++)
		sq_loop_post(en->homes[i]->loop, &en->homes[i]->stop);
}

int64_t sq_engine_limit_stop(struct sq_engine *en)
{
	int64_t ns;

	sq_rcu_read_lock();
	ns = sq_rcu_dereference(&en->snapshot)->settings->limit_stop;
	sq_rcu_read_unlock();
	return ns;
}

size_t sq_engine_live(const struct sq_engine *en)
{
	size_t n = atomic_load(&en->stops_left);

	for (unsigned i = 0; i < en->loops; i++)
		n += atomic_load(&en->homes[i]->live);
	return n;
}

/* ---- what front and worker ask of a home ---- */

struct sq_loop *sq_home_loop(struct sq_home *h)
{
	return h->loop;
}

unsigned sq_home_index(const struct sq_home *h)
{
	return h->index;
}

struct sq_arena_pool *sq_home_arenas(struct sq_home *h)
{
	return h->arenas;
}

struct sq_random *sq_home_random(struct sq_home *h)
{
	return &h->random;
}

struct sq_metrics *sq_home_metrics(struct sq_home *h)
{
	return h->engine->metrics;
}

struct sq_blob_store *sq_home_blobs(struct sq_home *h)
{
	return h->engine->blobs;
}

const struct sq_settings *sq_home_settings(struct sq_home *h)
{
	return settings_of(h);
}

struct sq_engine *sq_home_engine(struct sq_home *h)
{
	return h->engine;
}

void sq_home_count(struct sq_home *h, enum sq_counter c, uint64_t n)
{
	sq_metrics_count(h->engine->metrics, h->index, c, n);
}
