/* Where lanes wait: the lanes of a flow at a cap (wait), the waits of a class at a cap (gate). */
#include "sched/core.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

/*
 * An entry settles for a lower bound when so many flows moved on since the gate was last looked at.
 */
#define LEAST_TRIES 64

static struct sq_wait *gate_top(const struct sq_gate *g)
{
	return sq_heap_entry(sq_heap_top(&g->waits), struct sq_wait, node);
}

struct sq_lane *sq_wait_top(const struct sq_wait *w)
{
	return sq_heap_entry(sq_heap_top(&w->lanes), struct sq_link, by_order)->lane;
}

/* ---- orders ---- */

static bool link_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_lane_before(sq_heap_entry(a, struct sq_link, by_order)->lane,
			      sq_heap_entry(b, struct sq_link, by_order)->lane);
}

static bool wait_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_turn_before(&sq_heap_entry(a, struct sq_wait, node)->turn,
			      &sq_heap_entry(b, struct sq_wait, node)->turn);
}

/* One flow may be the best at two gates. */
static bool gate_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	const struct sq_wait *x = gate_top(sq_heap_entry(a, struct sq_gate, open));
	const struct sq_wait *y = gate_top(sq_heap_entry(b, struct sq_gate, open));

	return sq_turn_lane_before(&x->turn, sq_wait_top(x), &y->turn, sq_wait_top(y));
}

static bool aged_open_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	const struct sq_cap *x = sq_heap_entry(a, struct sq_cap, aged_open);
	const struct sq_cap *y = sq_heap_entry(b, struct sq_cap, aged_open);

	return sq_lane_due_before(
		sq_heap_entry(sq_heap_top(&x->aged), struct sq_link, by_due)->lane,
		sq_heap_entry(sq_heap_top(&y->aged), struct sq_link, by_due)->lane);
}

void sq_waits_init(struct sq_sched *s)
{
	for (size_t i = 0; i < SQ_CLASSES; i++)
		sq_heap_init(&s->classes[i].open, gate_less);
	sq_heap_init(&s->aged_open, aged_open_less);
}

/* ---- parking and leaving ---- */

void sq_gate_place(struct sq_gate *g)
{
	sq_heap_place(&g->class->open, &g->open, g->cap->open && g->waits.count > 0);
	sq_class_note(g->cap->sched, g->class);
}

void sq_aged_place(struct sq_cap *c)
{
	sq_heap_place(&c->sched->aged_open, &c->aged_open, c->open && c->aged.count > 0);
}

/*
 * Inside out: lanes, wait, gate. An emptied heap must be gone from the heap above before anything
 * is compared there, and a changed top moves it.
 */
static void place_wait(struct sq_wait *w)
{
	if (w->lanes.count > 0)
		w->turn.rank = sq_lane_rank(sq_wait_top(w));
	sq_heap_place(&w->gate->waits, &w->node, w->lanes.count > 0);
	sq_gate_place(w->gate);
}

void sq_link_park(struct sq_link *k)
{
	struct sq_wait *w = k->wait;

	k->cap->waiters++;
	sq_heap_push(&w->lanes, &k->by_order);
	if (w->lanes.count == 1)
		w->turn = w->flow->turn;
	place_wait(w);
	if (k->lane->at.due_ns != SQ_SCHED_NEVER) {
		sq_heap_push(&k->cap->aged, &k->by_due);
		sq_aged_place(k->cap);
	}
	sq_cap_settle(k->cap); /* a rate sets its timer for the first waiter */
}

void sq_link_leave(struct sq_link *k)
{
	struct sq_wait *w = k->wait;

	k->cap->waiters--;
	sq_heap_remove(&w->lanes, &k->by_order);
	place_wait(w);
	if (sq_heap_linked(&k->by_due)) {
		sq_heap_remove(&k->cap->aged, &k->by_due);
		sq_aged_place(k->cap);
	}
	sq_cap_settle(k->cap);
}

/* ---- the best of those who wait ---- */

/* Brings the lower bound of the top up to date; true when it was so already. */
static bool top_is_true(struct sq_gate *g)
{
	struct sq_wait *w = gate_top(g);

	if (w->turn.vt == w->flow->turn.vt)
		return true;
	w->turn.vt = w->flow->turn.vt;
	sq_heap_update(&g->waits, &w->node);
	return false;
}

struct sq_wait *sq_open_best(struct sq_sched *s, struct sq_class *class)
{
	struct sq_gate *g;

	while ((g = sq_heap_entry(sq_heap_top(&class->open), struct sq_gate, open))) {
		if (top_is_true(g))
			return gate_top(g);
		sq_heap_update(&class->open, &g->open);
		if (--s->budget == 0)
			return NULL;
	}
	return NULL;
}

bool sq_gate_least(struct sq_gate *g, sq_vt *vt)
{
	unsigned tries = LEAST_TRIES;

	if (g->waits.count == 0)
		return false;
	while (!top_is_true(g) && --tries > 0)
		;
	sq_gate_place(g);
	*vt = gate_top(g)->turn.vt;
	return true;
}

/* ---- finding ---- */

static struct sq_gate *gate_get(struct sq_cap *c, struct sq_class *class)
{
	struct sq_gate *g;

	cds_list_for_each_entry(g, &c->gates, node)
		if (g->class == class)
			return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->cap = c;
	g->class = class;
	sq_heap_init(&g->waits, wait_less);
	cds_list_add_tail(&g->node, &c->gates);
	return g;
}

static void gate_put(struct sq_gate *g)
{
	if (--g->refs > 0)
		return;
	assert(g->waits.count == 0 && !sq_heap_linked(&g->open));
	cds_list_del(&g->node);
	free(g);
}

static uint64_t wait_hash(const struct sq_flow *f, const struct sq_cap *c)
{
	const void *key[2] = {f, c};

	return XXH3_64bits_withSeed(key, sizeof(key), f->sched->conf.seed);
}

struct sq_wait *sq_wait_get(struct sq_flow *f, struct sq_cap *c)
{
	uint64_t hash = wait_hash(f, c);
	struct sq_entry *e = sq_table_first(f->sched, SQ_ENTRY_WAIT, hash);
	struct sq_wait *w;

	for (; e; e = sq_table_next(e)) {
		w = caa_container_of(e, struct sq_wait, entry);
		if (w->flow == f && w->gate->cap == c)
			goto found;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->gate = gate_get(c, f->class);
	if (!w->gate) {
		free(w);
		return NULL;
	}
	w->gate->refs++;
	w->flow = f;
	sq_heap_init(&w->lanes, link_less);
	sq_table_add(f->sched, &w->entry, SQ_ENTRY_WAIT, hash);
found:
	w->refs++;
	return w;
}

void sq_wait_put(struct sq_wait *w)
{
	if (--w->refs > 0)
		return;
	assert(w->lanes.count == 0 && !sq_heap_linked(&w->node));
	sq_table_remove(w->flow->sched, &w->entry);
	gate_put(w->gate);
	free(w);
}
