/*
 * A reload: the new snapshot is published by RCU; then each home gives its runs their new places, a
 * slice per turn. Both generations share caps by identity, so that every limit stays exact
 * meanwhile.
 */
#include "base/clock.h"
#include "base/rcu.h"
#include "engine/impl.h"

#include <errno.h>
#include <stdlib.h>

#define SLICE 128 /* moves per lock hold */

struct move {
	struct sq_run *run;
	struct sq_place *from, *to;
};

/* Under the lock: what waits waits in the new lane, what is in flight is counted in its caps. */
static void move_locked(struct sq_engine *en, const struct move *m, int64_t now)
{
	struct sq_engine_node *n = &m->run->exec;
	struct sq_lane *from;

	if (n->item.state == SQ_ITEM_WAITING) {
		n->item.weight = m->to->treatment.weight;
		sq_sched_move(en->sched, &n->item, m->to->pq, sq_dispatch_key(m->run, m->to), now);
	} else if (n->grant) {
		from = n->grant->lane;
		sq_grant_move(en->sched, n->grant, m->to->pq, now);
		sq_sched_run_move(en->sched, from, m->to->pq, now);
		m->run->start_lane = m->to->pq;
	}
	/* The cost record is the function's, the same in both. */
}

static size_t collect(struct sq_home *h, struct move *moves)
{
	size_t n = 0, looked = 0;

	while (n < SLICE && looked++ < 8 * SLICE && h->move_next != &h->runs) {
		struct sq_run *r = cds_list_entry(h->move_next, struct sq_run, node);
		struct sq_place *to;

		h->move_next = h->move_next->next;
		if (r->over || !r->place || r->place->generation == snapshot_of(h)->generation)
			continue;
		to = sq_place_renew(r->place);
		if (!to)
			continue;
		sq_place_use(to);
		moves[n++] = (struct move){r, r->place, to};
	}
	return n;
}

void sq_reload_slice(struct sq_task *t)
{
	struct sq_home *h = caa_container_of(t, struct sq_home, moving);
	struct sq_engine *en = h->engine;
	struct move moves[SLICE];
	size_t n = collect(h, moves);
	int64_t now = sq_clock_ns();

	sq_lock_take(&en->lock);
	for (size_t i = 0; i < n; i++)
		move_locked(en, &moves[i], now);
	sq_lock_release(&en->lock);
	for (size_t i = 0; i < n; i++) {
		moves[i].run->place = moves[i].to;
		sq_place_drop(moves[i].from);
	}
	sq_dispatch_pump(h);
	if (h->move_next != &h->runs)
		sq_loop_defer(h->loop, t);
}

void sq_reload_mail(struct sq_mail *m)
{
	struct sq_home *h = caa_container_of(m, struct sq_home, reload);

	atomic_store(&h->reload_posted, false);
	/* Places that no run uses have caps of the old policies: they go now, the others with their
	 * runs. */
	sq_places_clear(h);
	h->move_next = h->runs.next;
	sq_loop_defer(h->loop, &h->moving);
}

static int set_limits(struct sq_engine *en, const struct sq_settings *s)
{
	int64_t now = sq_clock_ns();
	int err;

	sq_lock_take(&en->lock);
	err = sq_cap_set_limit(sq_sched_pool(en->sched), (uint32_t)s->seats, SQ_SOURCE_SETTINGS,
			       now);
	if (err == 0)
		err = sq_cap_set_limit(en->queue_cap->cap, (uint32_t)s->limit_queue + 1,
				       SQ_SOURCE_SETTINGS, now);
	sq_lock_release(&en->lock);
	return err;
}

int sq_engine_reload(struct sq_engine *en, struct sq_settings *settings,
		     struct sq_policy_set *policies)
{
	struct sq_snapshot *old = en->snapshot, *s = malloc(sizeof(*s));

	if (!s || set_limits(en, settings) < 0) {
		free(s);
		sq_settings_free(settings);
		sq_policy_set_free(policies);
		return -ENOMEM;
	}
	*s = (struct sq_snapshot){settings, policies, old->generation + 1};
	sq_rcu_assign(&en->snapshot, s);
	sq_rcu_synchronize();
	for (unsigned i = 0; i < en->loops; i++)
		if (!atomic_exchange(&en->homes[i]->reload_posted, true))
			sq_loop_post(en->homes[i]->loop, &en->homes[i]->reload);
	sq_blob_store_set_limit(en->blobs, settings->limit_memory);
	if (old->settings != en->boot)
		sq_settings_free(old->settings);
	sq_policy_set_free(old->policies);
	free(old);
	return 0;
}
