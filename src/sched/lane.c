/* Lanes: their waiting items, and whether they are out, ready or parked. */
#include "sched/core.h"

#include <assert.h>

/* ---- items of a lane ---- */

static bool key_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	const struct sq_item *x = sq_heap_entry(a, struct sq_item, by_key);
	const struct sq_item *y = sq_heap_entry(b, struct sq_item, by_key);

	return x->key != y->key ? x->key < y->key : x->seq < y->seq;
}

static bool late_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_heap_entry(a, struct sq_item, late)->seq <
	       sq_heap_entry(b, struct sq_item, late)->seq;
}

void sq_lane_heaps(struct sq_lane *l)
{
	CDS_INIT_LIST_HEAD(&l->line);
	sq_heap_init(&l->late, late_less);
	sq_heap_init(&l->by_key, key_less);
}

/* In a FIFO lane the order by age is the order. */
static bool fifo(const struct sq_lane *l)
{
	return l->flow->key.order == SQ_FIFO;
}

struct sq_item *sq_lane_oldest(struct sq_lane *l)
{
	struct sq_item *late = sq_heap_entry(sq_heap_top(&l->late), struct sq_item, late);
	struct sq_item *first;

	if (cds_list_empty(&l->line))
		return late;
	first = cds_list_first_entry(&l->line, struct sq_item, node);
	return late && late->seq < first->seq ? late : first;
}

struct sq_item *sq_lane_head(struct sq_lane *l)
{
	if (fifo(l))
		return sq_lane_oldest(l);
	return sq_heap_entry(sq_heap_top(&l->by_key), struct sq_item, by_key);
}

void sq_lane_add(struct sq_lane *l, struct sq_item *i)
{
	if (cds_list_empty(&l->line) ||
	    i->seq > cds_list_entry(l->line.prev, struct sq_item, node)->seq)
		cds_list_add_tail(&i->node, &l->line);
	else
		sq_heap_push(&l->late, &i->late);
	if (!fifo(l))
		sq_heap_push(&l->by_key, &i->by_key);
	l->depth++;
}

void sq_lane_remove(struct sq_lane *l, struct sq_item *i)
{
	if (sq_heap_linked(&i->late))
		sq_heap_remove(&l->late, &i->late);
	else
		cds_list_del(&i->node);
	if (!fifo(l))
		sq_heap_remove(&l->by_key, &i->by_key);
	l->depth--;
}

/* ---- orders ---- */

bool sq_lane_due_before(const struct sq_lane *a, const struct sq_lane *b)
{
	if (a->at.due_ns != b->at.due_ns)
		return a->at.due_ns < b->at.due_ns;
	return a->at.oldest < b->at.oldest;
}

static bool ready_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_lane_before(sq_heap_entry(a, struct sq_lane, ready),
			      sq_heap_entry(b, struct sq_lane, ready));
}

static bool due_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_lane_due_before(sq_heap_entry(a, struct sq_lane, by_due),
				  sq_heap_entry(b, struct sq_lane, by_due));
}

void sq_lanes_init(struct sq_sched *s)
{
	CDS_INIT_LIST_HEAD(&s->lanes);
	CDS_INIT_LIST_HEAD(&s->idle);
	sq_heap_init(&s->aged, due_less);
}

void sq_flow_heap(struct sq_flow *f)
{
	sq_heap_init(&f->ready, ready_less);
}

static struct sq_lane_key key_now(struct sq_lane *l)
{
	const struct sq_item *head = sq_lane_head(l), *oldest = sq_lane_oldest(l);
	struct sq_lane_key at = {head->key, head->seq, SQ_SCHED_NEVER, oldest->seq};

	if (oldest->max_wait_ns > 0 &&
	    __builtin_add_overflow(oldest->arrived_ns, oldest->max_wait_ns, &at.due_ns))
		at.due_ns = SQ_SCHED_NEVER;
	return at;
}

static bool same(const struct sq_lane_key *a, const struct sq_lane_key *b)
{
	return a->key == b->key && a->seq == b->seq && a->due_ns == b->due_ns &&
	       a->oldest == b->oldest;
}

/* ---- states ---- */

static void place_ready(struct sq_lane *l, bool belongs)
{
	sq_heap_place(&l->flow->ready, &l->ready, belongs);
	sq_flow_place(l->flow);
	sq_heap_place(&l->sched->aged, &l->by_due, belongs && l->at.due_ns != SQ_SCHED_NEVER);
}

static void leave_links(struct sq_lane *l)
{
	for (unsigned n = 0; n < l->parked_n; n++)
		sq_link_leave(&l->links[l->parked_at + n]);
}

static void park_links(struct sq_lane *l)
{
	for (unsigned n = 0; n < l->parked_n; n++)
		sq_link_park(&l->links[l->parked_at + n]);
}

void sq_lane_out(struct sq_lane *l)
{
	if (l->state == SQ_LANE_READY) {
		place_ready(l, false);
	} else if (l->state == SQ_LANE_PARKED) {
		leave_links(l);
		l->sched->stats.wakes++;
	}
	l->state = SQ_LANE_OUT;
}

void sq_lane_park(struct sq_lane *l, struct sq_link *at)
{
	unsigned any = l->n_all + l->n_running;
	unsigned n = (unsigned)(at - l->links);

	sq_lane_out(l);
	l->state = SQ_LANE_PARKED;
	l->parked_at = (uint16_t)(n < any ? n : any);
	l->parked_n = n < any ? 1 : l->n_any;
	park_links(l);
	l->sched->stats.parks++;
}

/*
 * The key changes only while the lane is off the heaps that compare it, except that READY stands in
 * one heap of each kind, where an update is enough: parked at several caps, two elements of one
 * heap would change at once.
 */
void sq_lane_refresh(struct sq_lane *l)
{
	struct sq_lane_key at;

	if (l->depth == 0) {
		sq_lane_out(l);
		return;
	}
	at = key_now(l);
	if (l->state == SQ_LANE_PARKED) {
		if (same(&at, &l->at))
			return;
		leave_links(l);
		l->at = at;
		park_links(l);
	} else if (l->state == SQ_LANE_OUT || !same(&at, &l->at)) {
		l->state = SQ_LANE_READY;
		l->at = at;
		place_ready(l, true);
	}
}

/* ---- caps of a lane ---- */

struct sq_link *sq_lane_blocked(struct sq_lane *l)
{
	unsigned any = l->n_all + l->n_running;

	for (unsigned n = 0; n < any; n++)
		if (!sq_cap_room(l->links[n].cap))
			return &l->links[n];
	for (unsigned n = any; n < any + l->n_any; n++)
		if (sq_cap_room(l->links[n].cap))
			return NULL;
	return l->n_any ? &l->links[any] : NULL;
}

/* used / limit of a against b's, without the division. */
static bool less_full(const struct sq_cap *a, const struct sq_cap *b)
{
	return (uint64_t)a->used * b->limit < (uint64_t)b->used * a->limit;
}

struct sq_link *sq_lane_candidate(struct sq_lane *l)
{
	struct sq_link *k = l->links + l->n_all + l->n_running, *end = k + l->n_any, *best = NULL;

	for (; k < end; k++) {
		if (!sq_cap_room(k->cap))
			continue;
		if (l->placement == SQ_PLACE_SPILL)
			return k;
		if (!best || less_full(k->cap, best->cap))
			best = k;
	}
	return best;
}
