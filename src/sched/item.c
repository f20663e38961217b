/*
 * Items: into a lane, out of it, from one to another; one function moves them, the state tells
 * where.
 */
#include "sched/core.h"

#include <assert.h>
#include <errno.h>

static bool expires_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	const struct sq_item *x = sq_heap_entry(a, struct sq_item, by_expiry);
	const struct sq_item *y = sq_heap_entry(b, struct sq_item, by_expiry);

	return x->expires_ns != y->expires_ns ? x->expires_ns < y->expires_ns : x->seq < y->seq;
}

void sq_items_init(struct sq_sched *s)
{
	CDS_INIT_LIST_HEAD(&s->expired);
	sq_heap_init(&s->expiring, expires_less);
}

static void count_in_queue(struct sq_lane *l)
{
	for (unsigned n = 0; n < l->n_queue; n++)
		sq_cap_take(l->queue_caps[n]);
}

static void count_out_of_queue(struct sq_lane *l)
{
	for (unsigned n = 0; n < l->n_queue; n++)
		sq_cap_return(l->queue_caps[n]);
}

/* ---- the two movements ---- */

/*
 * The flow of l has one more; call before the item is in l, so that an entry sees the others only.
 */
static void flow_gains(struct sq_lane *l)
{
	if (l->flow->waiting++ == 0)
		sq_flow_enter(l->flow, l);
}

void sq_item_wait(struct sq_item *i)
{
	struct sq_lane *l = i->lane;

	flow_gains(l);
	i->state = SQ_ITEM_WAITING;
	sq_lane_add(l, i);
	sq_lane_refresh(l);
}

static void leave_lane(struct sq_item *i)
{
	struct sq_lane *l = i->lane;

	sq_lane_remove(l, i);
	sq_lane_refresh(l);
	l->flow->waiting--;
	count_out_of_queue(l);
}

void sq_item_leave(struct sq_item *i, enum sq_item_state to)
{
	struct sq_sched *s = i->lane->sched;

	if (i->state == SQ_ITEM_WAITING)
		leave_lane(i);
	else if (i->state == SQ_ITEM_EXPIRED)
		cds_list_del(&i->node);
	i->state = to;
	if (to == SQ_ITEM_HELD)
		return;
	if (sq_heap_linked(&i->by_expiry))
		sq_heap_remove(&s->expiring, &i->by_expiry);
	if (to == SQ_ITEM_EXPIRED) {
		cds_list_add_tail(&i->node, &s->expired);
	} else {
		s->stats.queued--;
		sq_lane_put(i->lane);
		i->lane = NULL;
	}
}

/* ---- for the caller ---- */

static struct sq_cap *full_queue(const struct sq_lane *l)
{
	for (unsigned n = 0; n < l->n_queue; n++)
		if (!sq_cap_room(l->queue_caps[n]))
			return l->queue_caps[n];
	return NULL;
}

static uint32_t at_least_1(uint32_t n)
{
	return n ? n : 1;
}

int sq_sched_enqueue(struct sq_sched *s, struct sq_lane *l, struct sq_item *i, int64_t now,
		     struct sq_cap **refused_by)
{
	struct sq_cap *full = full_queue(l);

	sq_sched_now(s, now);
	if (full) {
		if (refused_by)
			*refused_by = full;
		s->stats.refused++;
		return -EAGAIN;
	}
	assert(sq_item_idle(i));
	i->left = at_least_1(i->left);
	i->parallel = at_least_1(i->parallel);
	i->weight = at_least_1(i->weight);
	assert(l->queue == SQ_CRQ || i->left == 1);
	i->arrived_ns = s->now;
	i->seq = ++s->seq;
	if (l->flow->key.order == SQ_FIFO)
		i->key = (int64_t)i->seq;
	i->lane = sq_lane_ref(l);
	if (i->expires_ns != SQ_SCHED_NEVER)
		sq_heap_push(&s->expiring, &i->by_expiry);
	count_in_queue(l);
	sq_item_wait(i);
	s->stats.queued++;
	s->stats.enqueued++;
	return 0;
}

void sq_sched_cancel(struct sq_sched *s, struct sq_item *i)
{
	if (i->state == SQ_ITEM_OFF)
		return;
	sq_item_leave(i, SQ_ITEM_OFF);
	s->stats.cancelled++;
}

void sq_sched_move(struct sq_sched *s, struct sq_item *i, struct sq_lane *to, int64_t key,
		   int64_t now)
{
	struct sq_lane *from = i->lane;
	bool waiting = i->state == SQ_ITEM_WAITING;

	sq_sched_now(s, now);
	if (i->state == SQ_ITEM_OFF)
		return;
	assert(from->queue == to->queue);
	sq_lane_ref(to);
	if (waiting) {
		flow_gains(to); /* before the other loses it: it may be the same flow */
		leave_lane(i);
	}
	i->lane = to;
	i->key = to->flow->key.order == SQ_FIFO ? (int64_t)i->seq : key;
	if (waiting) {
		count_in_queue(to);
		sq_lane_add(to, i);
		sq_lane_refresh(to);
	}
	sq_lane_put(from);
}

/* ---- expiry ---- */

/* The next item whose time has passed, now on the list of the expired; NULL: none. */
static struct sq_item *expire_one(struct sq_sched *s)
{
	struct sq_item *i = sq_heap_entry(sq_heap_top(&s->expiring), struct sq_item, by_expiry);

	if (!i || i->expires_ns > s->now)
		return NULL;
	sq_item_leave(i, SQ_ITEM_EXPIRED);
	s->stats.expired++;
	return i;
}

void sq_items_expire(struct sq_sched *s)
{
	while (s->budget > 0 && expire_one(s))
		s->budget--;
}

size_t sq_sched_expire(struct sq_sched *s, int64_t now, struct cds_list_head *list, size_t max)
{
	size_t n;

	sq_sched_now(s, now);
	for (n = 0; n < max; n++) {
		struct sq_item *i;

		if (cds_list_empty(&s->expired) && !expire_one(s))
			break;
		i = cds_list_first_entry(&s->expired, struct sq_item, node);
		sq_item_leave(i, SQ_ITEM_OFF);
		cds_list_add_tail(&i->node, list);
	}
	return n;
}
