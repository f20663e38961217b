/* Comparing the scheduler with the reference, and with itself. */
#include "world.h"

#include <stdio.h>

void fail(struct world *w, const char *what, long a, long b)
{
	if (w->failed)
		return;
	w->failed = true;
	printf("sim: seed %llu step %ld: %s (%ld, %ld)\n", (unsigned long long)w->seed, w->step,
	       what, a, b);
}

static void same(struct world *w, long n, bool equal, const char *what)
{
	if (!equal)
		fail(w, what, n, 0);
}

/* ---- against the reference ---- */

void check_same(struct world *w)
{
	for (int n = 0; n < w->r.n_caps; n++) {
		const struct ref_cap *c = &w->r.caps[n];

		same(w, n, sq_cap_limit(w->caps[n]) == c->limit, "limit of cap");
		same(w, n, sq_cap_used(w->caps[n]) == c->used, "used of cap");
		same(w, n, w->caps[n]->tat_ns == c->tat, "clock of rate");
	}
	for (int n = 0; n < w->r.n_flows; n++) {
		const struct sq_flow *f = w->flows[n];
		const struct ref_flow *x = &w->r.flows[n];

		if (!f)
			continue;
		same(w, n, f->turn.vt == x->vt, "vt of flow");
		same(w, n, f->credit == x->credit, "credit of flow");
		same(w, n, f->turn.entered == x->entered, "entry of flow");
	}
	for (int n = 0; n < SQ_CLASSES; n++) {
		same(w, n, w->s->classes[n].v == w->r.v[n], "V of class");
		same(w, n, w->s->classes[n].mean_ns == w->r.class_mean[n], "mean of class");
	}
	for (int n = 0; n < w->r.n_items; n++) {
		same(w, n, (int)w->items[n].state == (int)w->r.items[n].state, "state of item");
		same(w, n, w->items[n].in_flight == w->r.items[n].in_flight, "items in flight");
	}
}

static void within(struct world *w, const struct ref_set *set)
{
	for (int n = 0; n < set->n; n++) {
		const struct sq_cap *c = w->caps[set->cap[n]];

		if (c->kind == SQ_CAP_RATE && c->rate.interval_ns == 0) {
			continue;
		} else if (c->kind == SQ_CAP_RATE) {
			w->tokens[set->cap[n]] -= 1;
			same(w, set->cap[n], w->tokens[set->cap[n]] > -1e-6, "rate exceeded");
		} else {
			same(w, set->cap[n], c->used <= c->limit, "cap exceeded");
		}
	}
}

void check_grant(struct world *w, const struct sq_grant *g, int ref)
{
	const struct ref_grant *x = &w->r.grants[ref];
	const struct ref_lane *l = &w->r.lanes[x->lane];
	const struct ref_set more = {2, {w->r.pool, x->backend}};

	if (g->item != &w->items[x->item])
		fail(w, "granted another item", g->item - w->items, x->item);
	if (g->index != x->index)
		fail(w, "granted another index", g->index, x->index);
	if (g->backend != x->backend)
		fail(w, "chose another backend", g->backend, x->backend);
	if (g->aged != x->aged)
		fail(w, "aged or not", g->aged, x->aged);
	within(w, &l->all);
	within(w, &l->running);
	within(w, &(struct ref_set){x->backend < 0 ? 1 : 2, {more.cap[0], more.cap[1]}});
}

void check_idle(struct world *w)
{
	for (int n = 0; n < w->r.n_lanes; n++)
		if (ref_takeable(&w->r, n))
			fail(w, "stands idle though a lane can be taken", n, 0);
}

/* ---- against itself ---- */

static size_t check_node(struct world *w, const struct sq_heap *h, const struct sq_heap_node *n)
{
	const struct sq_heap_node *c[2] = {n->left, n->right};
	size_t count = 1;

	for (int i = 0; i < 2; i++) {
		if (!c[i])
			continue;
		same(w, i, c[i]->parent == n, "parent in heap");
		same(w, i, !h->less(c[i], n), "order of heap");
		count += check_node(w, h, c[i]);
	}
	return count;
}

static void check_heap(struct world *w, const struct sq_heap *h)
{
	size_t n = h->base.left ? check_node(w, h, h->base.left) : 0;

	if (n != h->count)
		fail(w, "count of heap", (long)n, (long)h->count);
}

static void check_cap(struct world *w, const struct sq_cap *c)
{
	size_t waiters = 0;
	struct sq_gate *g;

	check_heap(w, &c->aged);
	cds_list_for_each_entry(g, &c->gates, node) {
		check_heap(w, &g->waits);
		same(w, 0, sq_heap_linked(&g->open) == (c->open && g->waits.count > 0), "gate");
	}
	for (int n = 0; n < w->r.n_lanes; n++) {
		const struct sq_lane *l = w->lanes[n];

		for (int k = 0; l && k < l->n_all + l->n_running + l->n_any; k++) {
			const struct sq_wait *wait = l->links[k].wait;

			waiters += sq_heap_linked(&l->links[k].by_order) && l->links[k].cap == c;
			same(w, n,
			     (!sq_heap_linked(&wait->node) || wait->turn.vt <= wait->flow->turn.vt),
			     "lower bound");
			check_heap(w, &wait->lanes);
		}
	}
	same(w, 0, waiters <= c->waiters, "waiters");
}

void check_heaps(struct world *w)
{
	check_heap(w, &w->s->aged);
	check_heap(w, &w->s->aged_open);
	check_heap(w, &w->s->rates);
	check_heap(w, &w->s->expiring);
	check_heap(w, &w->s->running);
	for (int n = 0; n < SQ_CLASSES; n++) {
		check_heap(w, &w->s->classes[n].flows);
		check_heap(w, &w->s->classes[n].open);
	}
	for (int n = 0; n < w->r.n_flows; n++)
		if (w->flows[n])
			check_heap(w, &w->flows[n]->ready);
	for (int n = 1; n < w->r.n_caps; n++)
		check_cap(w, w->caps[n]);
}
