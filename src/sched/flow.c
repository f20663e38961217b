/* Virtual time: classes, the order of flows, entering, charging, learning what functions cost. */
#include "sched/core.h"

#define COST_UNKNOWN_NS 100000000      /* when nothing at all is known */
#define COST_MAX_NS (INT64_C(1) << 50) /* 13 days; << SQ_VT_FRACTION still fits */
#define EWMA 8

/* ---- orders ---- */

bool sq_lane_before(const struct sq_lane *a, const struct sq_lane *b)
{
	if (a->queue != b->queue && a->flow->key.running_first != SQ_RUNNING_NEVER)
		return a->queue == SQ_CRQ;
	if (a->at.key != b->at.key)
		return a->at.key < b->at.key;
	return a->at.seq < b->at.seq;
}

int sq_lane_rank(const struct sq_lane *l)
{
	return !(l->queue == SQ_CRQ && l->flow->key.running_first == SQ_RUNNING_IN_CLASS);
}

bool sq_turn_lane_before(const struct sq_turn *a, const struct sq_lane *x, const struct sq_turn *b,
			 const struct sq_lane *y)
{
	if (sq_turn_equal(a, b))
		return sq_lane_before(x, y);
	return sq_turn_before(a, b);
}

static bool flow_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_turn_before(&sq_heap_entry(a, struct sq_flow, node)->turn,
			      &sq_heap_entry(b, struct sq_flow, node)->turn);
}

/* ---- classes ---- */

static bool grant_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_heap_entry(a, struct sq_grant, by_until)->until_ns <
	       sq_heap_entry(b, struct sq_grant, by_until)->until_ns;
}

void sq_flows_init(struct sq_sched *s)
{
	for (size_t i = 0; i < SQ_CLASSES; i++)
		sq_heap_init(&s->classes[i].flows, flow_less);
	sq_heap_init(&s->running, grant_less);
}

void sq_class_note(struct sq_sched *s, struct sq_class *class)
{
	size_t i = (size_t)(class - s->classes);
	uint64_t bit = UINT64_C(1) << (i % 64);

	if (class->flows.count + class->open.count > 0)
		s->busy[i / 64] |= bit;
	else
		s->busy[i / 64] &= ~bit;
}

struct sq_class *sq_class_highest(struct sq_sched *s)
{
	for (size_t w = sizeof(s->busy) / sizeof(s->busy[0]); w-- > 0;)
		if (s->busy[w])
			return &s->classes[w * 64 + 63 - (size_t)__builtin_clzll(s->busy[w])];
	return NULL;
}

void sq_flow_place(struct sq_flow *f)
{
	const struct sq_lane *top = sq_heap_entry(sq_heap_top(&f->ready), struct sq_lane, ready);

	if (top)
		f->turn.rank = sq_lane_rank(top);
	sq_heap_place(&f->class->flows, &f->node, f->ready.count > 0);
	sq_class_note(f->sched, f->class);
}

/* ---- entering and lifting ---- */

/*
 * What a flow has really used is vt - credit. A lift is of that: credit must not carry a flow back
 * below the time to which it is lifted, or idle time would earn after all.
 */
static void lift(struct sq_flow *f, sq_vt to)
{
	if (f->turn.vt < to) {
		f->turn.vt = to;
		f->credit = 0;
		sq_flow_place(f);
	} else if (f->credit > f->turn.vt - to) {
		f->credit = f->turn.vt - to;
	}
}

/* V, or the least vt of those of the class who wait where l would be turned away now, if lower. */
static sq_vt entry_time(struct sq_lane *l)
{
	struct sq_link *k = sq_lane_blocked(l);
	struct sq_link *any = l->links + l->n_all + l->n_running, *end;
	sq_vt e = l->flow->class->v, vt;

	if (!k)
		return e;
	for (end = k < any ? k + 1 : k + l->n_any; k < end; k++)
		if (sq_gate_least(k->wait->gate, &vt) && vt < e)
			e = vt;
	return e;
}

void sq_flow_enter(struct sq_flow *f, struct sq_lane *l)
{
	f->turn.entered = ++f->sched->entries;
	lift(f, entry_time(l));
}

/* ---- costs ---- */

static int64_t *slot(struct sq_cost *cost, int backend)
{
	return &cost->mean_ns[backend < 0 ? 0 : backend % SQ_COST_SLOTS];
}

static int64_t estimate(const struct sq_flow *f, struct sq_cost *cost, int backend)
{
	int64_t ns = *slot(cost, backend);

	if (ns == 0)
		ns = cost->expected_ns;
	if (ns == 0)
		ns = f->class->mean_ns;
	if (ns == 0)
		ns = COST_UNKNOWN_NS;
	return ns < COST_MAX_NS ? ns : COST_MAX_NS;
}

/* The first value is the mean; 0 would read as "not yet". */
static void learn(int64_t *mean, int64_t ns)
{
	*mean = *mean == 0 ? ns : *mean + (ns - *mean) / EWMA;
	if (*mean < 1)
		*mean = 1;
}

static sq_vt worth(int64_t ns, uint32_t weight)
{
	return ((sq_vt)ns << SQ_VT_FRACTION) / (weight ? weight : 1);
}

void sq_flow_raise(struct sq_flow *f, struct sq_lane *l)
{
	const struct sq_item *i = sq_lane_head(l);
	struct sq_link *first = l->n_any ? l->links + l->n_all + l->n_running : NULL;
	int64_t ns = estimate(f, i->cost, first ? first->backend : -1);

	lift(f, f->class->v - worth(ns, i->weight));
}

/* ---- charging ---- */

static void pay(struct sq_flow *f, sq_vt price)
{
	sq_vt used = f->credit < price ? f->credit : price;

	f->credit -= used;
	f->turn.vt += price - used;
	sq_flow_place(f);
}

void sq_charge_start(struct sq_grant *g)
{
	struct sq_flow *f = g->flow;

	if (f->class->v < f->turn.vt)
		f->class->v = f->turn.vt;
	g->charged_ns = estimate(f, g->item->cost, g->backend);
	g->until_ns = g->at_ns + g->charged_ns;
	pay(f, worth(g->charged_ns, g->item->weight));
	sq_heap_push(&f->sched->running, &g->by_until);
}

void sq_charge_again(struct sq_sched *s)
{
	struct sq_grant *g;

	while (s->budget > 0 &&
	       (g = sq_heap_entry(sq_heap_top(&s->running), struct sq_grant, by_until)) &&
	       g->until_ns <= s->now) {
		for (; g->until_ns <= s->now; g->until_ns = g->at_ns + g->charged_ns) {
			pay(g->flow, worth(g->charged_ns, g->item->weight));
			g->charged_ns *= 2;
		}
		sq_heap_update(&s->running, &g->by_until);
		s->budget--;
	}
}

void sq_charge_end(struct sq_grant *g, bool learnt)
{
	struct sq_flow *f = g->flow;
	int64_t ns = f->sched->now - g->at_ns;
	uint32_t weight = g->item->weight;

	sq_heap_remove(&f->sched->running, &g->by_until);
	if (ns > g->charged_ns)
		pay(f, worth(ns - g->charged_ns, weight));
	else
		f->credit += worth(g->charged_ns - ns, weight);
	if (learnt) {
		learn(slot(g->item->cost, g->backend), ns);
		learn(&f->class->mean_ns, ns);
	}
}
