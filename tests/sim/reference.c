#include "reference.h"

#include <assert.h>
#include <stddef.h>

#define NEVER INT64_MAX

/* ---- caps ---- */

static uint32_t room(const struct ref *r, int cap)
{
	const struct ref_cap *c = &r->caps[cap];
	int64_t ahead = c->tat > r->now ? c->tat - r->now : 0;
	int64_t slack = c->interval * ((int64_t)c->burst - 1);

	if (c->kind != REF_RATE)
		return c->used < c->limit ? c->limit - c->used : 0;
	if (c->limit == 0 || ahead > slack)
		return 0;
	if (c->interval == 0)
		return UINT32_MAX;
	return (uint32_t)((slack - ahead) / c->interval) + 1;
}

static void take_cap(struct ref *r, int cap)
{
	struct ref_cap *c = &r->caps[cap];

	if (c->kind == REF_RATE)
		c->tat = (c->tat > r->now ? c->tat : r->now) + c->interval;
	else
		c->used++;
}

/* By +1 or -1; what a rate gave does not come back. */
static void count(struct ref *r, const struct ref_set *set, int by)
{
	for (int n = 0; n < set->n; n++)
		if (r->caps[set->cap[n]].kind != REF_RATE)
			r->caps[set->cap[n]].used += (uint32_t)by;
}

static bool has(const struct ref_set *set, int cap)
{
	for (int n = 0; n < set->n; n++)
		if (set->cap[n] == cap)
			return true;
	return false;
}

static bool any_room(const struct ref *r, const struct ref_set *set)
{
	for (int n = 0; n < set->n; n++)
		if (room(r, set->cap[n]) > 0)
			return true;
	return false;
}

/* Where the lane would be turned away: the first member without room, or the whole any-of group. */
static struct ref_set blocked(const struct ref *r, const struct ref_lane *l)
{
	const struct ref_set *sets[2] = {&l->all, &l->running};

	for (int s = 0; s < 2; s++)
		for (int n = 0; n < sets[s]->n; n++)
			if (room(r, sets[s]->cap[n]) == 0)
				return (struct ref_set){1, {sets[s]->cap[n]}};
	return any_room(r, &l->any) ? (struct ref_set){0} : l->any;
}

/* ---- items of a lane ---- */

static bool item_before(const struct ref_item *a, const struct ref_item *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static const struct ref_item *first(const struct ref *r, int lane, bool oldest)
{
	const struct ref_item *best = NULL;

	for (int n = 0; n < r->n_items; n++) {
		const struct ref_item *i = &r->items[n];

		if (i->state != REF_WAITING || i->lane != lane)
			continue;
		if (!best || (oldest ? i->seq < best->seq : item_before(i, best)))
			best = i;
	}
	return best;
}

static int64_t due(const struct ref_item *i)
{
	return i->max_wait > 0 ? i->arrived + i->max_wait : NEVER;
}

bool ref_takeable(const struct ref *r, int lane)
{
	return room(r, r->pool) > 0 && first(r, lane, true) && blocked(r, &r->lanes[lane]).n == 0;
}

static void tidy(struct ref *r)
{
	for (int n = 0; n < r->n_lanes; n++)
		if (!first(r, n, true))
			r->lanes[n].waits.n = 0;
}

/* ---- virtual time ---- */

static struct ref_flow *flow_of(struct ref *r, int lane)
{
	return &r->flows[r->lanes[lane].flow];
}

static __int128 worth(int64_t ns, uint32_t weight)
{
	return (__int128)ns * 1024 / weight;
}

static int64_t estimate(const struct ref *r, int cost, int backend, int class)
{
	int64_t ns = r->mean[cost][backend < 0 ? 0 : backend % 8];

	if (!ns)
		ns = r->expected[cost];
	if (!ns)
		ns = r->class_mean[class + 100];
	return ns ? ns : 100000000;
}

static void pay(struct ref_flow *f, __int128 price)
{
	__int128 used = f->credit < price ? f->credit : price;

	f->credit -= used;
	f->vt += price - used;
}

static void lift(struct ref_flow *f, __int128 to)
{
	if (f->vt < to) {
		f->vt = to;
		f->credit = 0;
	}
	if (f->credit > f->vt - to)
		f->credit = f->vt - to;
}

/* ---- order of lanes ---- */

static int rank(const struct ref *r, const struct ref_lane *l)
{
	return l->pq || r->flows[l->flow].rule != REF_FIRST_IN_CLASS;
}

static bool before(const struct ref *r, int a, int b)
{
	const struct ref_lane *x = &r->lanes[a], *y = &r->lanes[b];
	const struct ref_flow *f = &r->flows[x->flow], *g = &r->flows[y->flow];

	if (f->class != g->class)
		return f->class > g->class;
	if (rank(r, x) != rank(r, y))
		return rank(r, x) < rank(r, y);
	if (f->vt != g->vt)
		return f->vt < g->vt;
	if (f != g)
		return f->entered < g->entered;
	if (f->rule != REF_FIRST_NEVER && x->pq != y->pq)
		return y->pq;
	return item_before(first(r, a, false), first(r, b, false));
}

static bool aged_before(const struct ref *r, int a, int b)
{
	const struct ref_item *x = first(r, a, true), *y = first(r, b, true);

	return due(x) != due(y) ? due(x) < due(y) : x->seq < y->seq;
}

/*
 * The first lane in an order that can be taken, or -1. Those before it were turned away: each waits
 * from then on where it was, unless it waits at something that still has no room.
 */
static int choose(struct ref *r, bool aged)
{
	bool (*less)(const struct ref *, int, int) = aged ? aged_before : before;
	bool in[REF_LANES];
	int best = -1;

	for (int n = 0; n < r->n_lanes; n++) {
		const struct ref_item *i = first(r, n, true);

		in[n] = i && (!aged || due(i) < r->now);
		if (in[n] && ref_takeable(r, n) && (best < 0 || less(r, n, best)))
			best = n;
	}
	for (int n = 0; n < r->n_lanes; n++) {
		struct ref_lane *l = &r->lanes[n];

		if (in[n] && n != best && (best < 0 || less(r, n, best)) &&
		    (l->waits.n == 0 || any_room(r, &l->waits)))
			l->waits = blocked(r, l);
	}
	return best;
}

/* ---- entering and leaving ---- */

static void enter_if_idle(struct ref *r, int lane)
{
	struct ref_flow *f = flow_of(r, lane);
	struct ref_set at = blocked(r, &r->lanes[lane]);
	__int128 e = r->v[f->class + 100];

	for (int n = 0; n < r->n_items; n++)
		if (r->items[n].state == REF_WAITING && flow_of(r, r->items[n].lane) == f)
			return;
	for (int c = 0; c < at.n; c++) {
		int best = -1;

		for (int n = 0; n < r->n_lanes; n++)
			if (flow_of(r, n)->class == f->class &&
			    has(&r->lanes[n].waits, at.cap[c]) && (best < 0 || before(r, n, best)))
				best = n;
		if (best >= 0 && flow_of(r, best)->vt < e)
			e = flow_of(r, best)->vt;
	}
	f->entered = ++r->entries;
	lift(f, e);
}

static void leave(struct ref *r, struct ref_item *i, enum ref_state to)
{
	if (i->state == REF_WAITING)
		count(r, &r->lanes[i->lane].queue, -1);
	i->state = to;
	tidy(r);
}

int ref_enqueue(struct ref *r, int item)
{
	struct ref_item *i = &r->items[item];
	struct ref_lane *l = &r->lanes[i->lane];

	for (int n = 0; n < l->queue.n; n++)
		if (room(r, l->queue.cap[n]) == 0)
			return l->queue.cap[n];
	count(r, &l->queue, 1);
	enter_if_idle(r, i->lane);
	i->arrived = r->now;
	i->seq = ++r->seq;
	i->key = l->fifo ? (int64_t)i->seq : i->key;
	i->state = REF_WAITING;
	return -1;
}

void ref_cancel(struct ref *r, int item)
{
	leave(r, &r->items[item], REF_OFF);
}

void ref_expire(struct ref *r)
{
	for (int n = 0; n < r->n_items; n++) {
		struct ref_item *i = &r->items[n];

		if ((i->state == REF_WAITING || i->state == REF_HELD) && i->expires <= r->now)
			leave(r, i, REF_EXPIRED);
	}
}

void ref_collect(struct ref *r, int item)
{
	assert(r->items[item].state == REF_EXPIRED);
	r->items[item].state = REF_OFF;
}

void ref_move(struct ref *r, int item, int lane, int64_t key)
{
	struct ref_item *i = &r->items[item];
	enum ref_state was = i->state;

	if (was == REF_WAITING) {
		enter_if_idle(r, lane);
		leave(r, i, REF_HELD);
		count(r, &r->lanes[lane].queue, 1);
	}
	i->state = was;
	i->lane = lane;
	i->key = r->lanes[lane].fifo ? (int64_t)i->seq : key;
}

/* ---- deciding ---- */

static int place(const struct ref *r, const struct ref_lane *l)
{
	int best = -1;

	for (int n = 0; n < l->any.n; n++) {
		const struct ref_cap *c = &r->caps[l->any.cap[n]];
		const struct ref_cap *b = best < 0 ? NULL : &r->caps[best];

		if (room(r, l->any.cap[n]) == 0)
			continue;
		if (!b || (l->least && (uint64_t)c->used * b->limit < (uint64_t)b->used * c->limit))
			best = l->any.cap[n];
	}
	return best;
}

static int grant(struct ref *r, int lane, bool aged)
{
	struct ref_lane *l = &r->lanes[lane];
	struct ref_flow *f = &r->flows[l->flow];
	struct ref_item *i = (struct ref_item *)first(r, lane, aged);
	int n = 0;

	while (r->grants[n].used)
		n++;
	r->grants[n] = (struct ref_grant){
		.used = true,
		.item = (int)(i - r->items),
		.lane = lane,
		.flow = l->flow,
		.backend = place(r, l),
		.index = i->next++,
		.at = r->now,
		.aged = aged,
	};
	take_cap(r, r->pool);
	for (int c = 0; c < l->all.n; c++)
		take_cap(r, l->all.cap[c]);
	count(r, &l->running, 1);
	if (r->grants[n].backend >= 0)
		take_cap(r, r->grants[n].backend);
	if (r->v[f->class + 100] < f->vt)
		r->v[f->class + 100] = f->vt;
	r->grants[n].charged = estimate(r, i->cost, r->grants[n].backend, f->class);
	pay(f, worth(r->grants[n].charged, i->weight));
	l->waits.n = 0;
	i->in_flight++;
	if (--i->left == 0)
		leave(r, i, REF_OFF);
	else if (i->in_flight >= i->parallel)
		leave(r, i, REF_HELD);
	r->granted++;
	return n;
}

static void charge_again(struct ref *r)
{
	for (int n = 0; n < REF_GRANTS; n++) {
		struct ref_grant *g = &r->grants[n];

		for (; g->used && g->at + g->charged <= r->now; g->charged *= 2)
			pay(&r->flows[g->flow], worth(g->charged, r->items[g->item].weight));
	}
}

/*
 * A raised limit with room for all who wait there lets them go, without what they saved up waiting.
 */
static void release_raised(struct ref *r)
{
	for (int c = 0; c < r->n_caps; c++) {
		for (int n = 0; r->caps[c].raised && n < r->n_lanes; n++) {
			struct ref_lane *l = &r->lanes[n];
			const struct ref_item *i = first(r, n, false);
			int class = r->flows[l->flow].class;

			if (!has(&l->waits, c))
				continue;
			lift(&r->flows[l->flow],
			     r->v[class + 100] -
				     worth(estimate(r, i->cost, l->any.n ? l->any.cap[0] : -1,
						    class),
					   i->weight));
			l->waits.n = 0;
		}
		r->caps[c].raised = false;
	}
}

int ref_take(struct ref *r)
{
	int lane = -1;

	ref_expire(r);
	charge_again(r);
	release_raised(r);
	if (room(r, r->pool) == 0)
		return -1;
	if (r->granted % r->age_every == r->age_every - 1)
		lane = choose(r, true);
	if (lane >= 0)
		return grant(r, lane, true);
	lane = choose(r, false);
	return lane >= 0 ? grant(r, lane, false) : -1;
}

static void learn(int64_t *mean, int64_t ns)
{
	*mean += *mean ? (ns - *mean) / 8 : ns;
	*mean = *mean < 1 ? 1 : *mean;
}

void ref_complete(struct ref *r, int grant, bool learnt)
{
	struct ref_grant *g = &r->grants[grant];
	struct ref_item *i = &r->items[g->item];
	struct ref_flow *f = &r->flows[g->flow];
	int64_t ran = r->now - g->at;

	r->caps[r->pool].used--;
	count(r, &r->lanes[g->lane].all, -1);
	if (g->backend >= 0)
		r->caps[g->backend].used--;
	if (ran > g->charged)
		pay(f, worth(ran - g->charged, i->weight));
	else
		f->credit += worth(g->charged - ran, i->weight);
	if (learnt) {
		learn(&r->mean[i->cost][g->backend < 0 ? 0 : g->backend % 8], ran);
		learn(&r->class_mean[f->class + 100], ran);
	}
	g->used = false;
	i->in_flight--;
	if (i->state == REF_HELD) {
		enter_if_idle(r, i->lane);
		i->state = REF_WAITING;
	}
}

/* ---- limits, reload ---- */

static void raise_or_not(struct ref *r, int cap, uint32_t room_before)
{
	uint32_t waiting = 0, now = room(r, cap);

	for (int n = 0; n < r->n_lanes; n++)
		waiting += has(&r->lanes[n].waits, cap);
	r->caps[cap].raised = now > room_before && waiting > 0 && waiting <= now;
}

void ref_set_limit(struct ref *r, int cap, uint32_t limit)
{
	uint32_t before = room(r, cap);

	r->caps[cap].limit = limit;
	raise_or_not(r, cap, before);
}

void ref_set_rate(struct ref *r, int cap, int64_t interval, uint32_t burst)
{
	struct ref_cap *c = &r->caps[cap];
	uint32_t before = room(r, cap);
	__int128 ahead = c->tat - r->now;

	if (ahead > 0 && interval == 0)
		c->tat = r->now;
	else if (ahead > 0)
		c->tat = r->now + (int64_t)((ahead * interval + c->interval - 1) / c->interval);
	c->interval = interval;
	c->burst = burst;
	raise_or_not(r, cap, before);
}

void ref_run_end(struct ref *r, int lane)
{
	count(r, &r->lanes[lane].running, -1);
}

void ref_grant_move(struct ref *r, int grant, int lane)
{
	count(r, &r->lanes[lane].all, 1);
	count(r, &r->lanes[r->grants[grant].lane].all, -1);
	r->grants[grant].lane = lane;
}

void ref_run_move(struct ref *r, int from, int to)
{
	count(r, &r->lanes[to].running, 1);
	count(r, &r->lanes[from].running, -1);
}
