#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 (Vigna): every seed is a good one. */
static uint64_t next_random(struct world *w)
{
	uint64_t z = w->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint32_t below(struct world *w, uint32_t n)
{
	return (uint32_t)(next_random(w) >> 32) % n;
}

bool chance(struct world *w, uint32_t percent)
{
	return below(w, 100) < percent;
}

/* ---- caps ---- */

/* Mostly a few ms: from 500/s down to one in 1,000 s. */
int64_t world_interval(struct world *w)
{
	return 1000000000000 / (1 + below(w, 500000));
}

static void add_cap(struct world *w, enum ref_kind kind, uint32_t limit)
{
	struct ref *r = &w->r;
	char name[16];
	struct sq_cap_conf conf = {.name = name, .kind = (enum sq_cap_kind)kind, .limit = limit};
	int n = r->n_caps++;

	snprintf(name, sizeof(name), "cap%d", n);
	r->caps[n] = (struct ref_cap){.kind = kind, .limit = limit};
	if (kind == REF_RATE) {
		w->tokens[n] = conf.burst = r->caps[n].burst = 1 + below(w, 4);
		conf.interval_ns = r->caps[n].interval = world_interval(w);
		r->caps[n].limit = SQ_NO_LIMIT;
	}
	w->caps[n] = n == r->pool ? sq_sched_pool(w->s) : sq_cap_new(w->s, &conf);
}

static void make_caps(struct world *w)
{
	static const struct {
		enum ref_kind kind;
		uint32_t least, more, limit;
	} kinds[] = {
		{REF_SEATS, 3, 5, 5},
		{REF_RATE, 0, 3, 1},
		{REF_RUNNING, 0, 3, 6},
		{REF_QUEUE, 0, 3, 20},
	};

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (uint32_t n = kinds[k].least + below(w, kinds[k].more); n > 0; n--)
			add_cap(w, kinds[k].kind, 1 + below(w, kinds[k].limit));
}

static bool has(const struct ref_set *set, int cap)
{
	for (int n = 0; n < set->n; n++)
		if (set->cap[n] == cap)
			return true;
	return false;
}

/*
 * Up to max caps of a kind that are not in the other set, each with this chance, in a random order.
 */
static void pick(struct world *w, struct ref_set *set, const struct ref_set *other,
		 enum ref_kind kind, uint32_t percent, int max)
{
	for (int c = 1; c < w->r.n_caps && set->n < max; c++) {
		int at;

		if (w->r.caps[c].kind != kind || has(set, c) || has(other, c) ||
		    !chance(w, percent))
			continue;
		at = (int)below(w, (uint32_t)++set->n);
		set->cap[set->n - 1] = set->cap[at];
		set->cap[at] = c;
	}
}

/* ---- flows and lanes ---- */

static void make_flows(struct world *w)
{
	static const int classes[] = {0, 0, 0, 7, -100, 100};

	w->r.n_flows = 1 + (int)below(w, 8);
	for (int n = 0; n < w->r.n_flows; n++) {
		struct sq_flow_key *k = &w->keys[n];

		snprintf(w->shares[n], sizeof(w->shares[n]), "t%d", n);
		k->class = classes[below(w, 6)];
		k->order = chance(w, 60) ? SQ_FIFO : 1;
		k->share = w->shares[n];
		k->running_first =
			chance(w, 70) ? SQ_RUNNING_IN_FLOW : (enum sq_running_rule)below(w, 3);
		w->r.flows[n].class = k->class;
		w->r.flows[n].rule = (enum ref_rule)k->running_first;
	}
}

static void random_lane(struct world *w, struct ref_lane *l)
{
	*l = (struct ref_lane){.flow = (int)below(w, (uint32_t)w->r.n_flows)};
	l->pq = chance(w, 45);
	l->least = chance(w, 30);
	l->fifo = w->keys[l->flow].order == SQ_FIFO;
	if (w->theme == TWO_SHARED)
		l->all = (struct ref_set){2, {1, 2}};
	else if (chance(w, 60))
		pick(w, &l->any, &l->all, REF_SEATS, 40, REF_MEMBERS);
	pick(w, &l->all, &l->any, REF_SEATS, 20, 3);
	pick(w, &l->all, &l->any, REF_RATE, w->theme == RATES ? 60 : 15, REF_MEMBERS);
	if (l->pq) {
		pick(w, &l->running, &l->any, REF_RUNNING, 30, REF_MEMBERS);
		pick(w, &l->queue, &l->any, REF_QUEUE, 40, REF_MEMBERS);
	}
}

static size_t caps_of(struct world *w, const struct ref_set *set, struct sq_cap **out)
{
	for (int n = 0; n < set->n; n++)
		out[n] = w->caps[set->cap[n]];
	return (size_t)set->n;
}

static struct sq_lane *get_lane(struct world *w, const struct ref_lane *l)
{
	struct sq_cap *all[REF_MEMBERS], *running[REF_MEMBERS], *queue[REF_MEMBERS];
	struct sq_candidate any[REF_MEMBERS];
	struct sq_capset set = {
		.all = all,
		.n_all = caps_of(w, &l->all, all),
		.running = running,
		.n_running = caps_of(w, &l->running, running),
		.queue = queue,
		.n_queue = caps_of(w, &l->queue, queue),
		.any = any,
		.n_any = (size_t)l->any.n,
		.placement = l->least ? SQ_PLACE_LEAST : SQ_PLACE_SPILL,
	};

	for (int n = 0; n < l->any.n; n++)
		any[n] = (struct sq_candidate){w->caps[l->any.cap[n]], l->any.cap[n]};
	return sq_lane_get(w->s, &w->keys[l->flow], &set, l->pq ? SQ_PQ : SQ_CRQ);
}

struct sq_lane *world_lane(struct world *w, int lane)
{
	return w->lanes[lane] ? sq_lane_ref(w->lanes[lane]) : get_lane(w, &w->r.lanes[lane]);
}

static bool known(const struct world *w, const struct sq_lane *l)
{
	for (int n = 0; n < w->r.n_lanes; n++)
		if (w->lanes[n] == l)
			return true;
	return false;
}

/* The first lane of a flow stays held and keeps the flow; half of the others come and go. */
static void make_lanes(struct world *w)
{
	for (int tries = 4 + (int)below(w, 20); tries > 0; tries--) {
		struct ref_lane *l = &w->r.lanes[w->r.n_lanes];
		struct sq_lane *got;

		random_lane(w, l);
		got = get_lane(w, l);
		if (known(w, got)) {
			sq_lane_put(got);
			continue;
		}
		w->lanes[w->r.n_lanes++] = got;
	}
	for (int n = 0; n < w->r.n_lanes; n++) {
		int flow = w->r.lanes[n].flow;

		if (!w->flows[flow]) {
			w->flows[flow] = w->lanes[n]->flow;
		} else if (chance(w, 50)) {
			sq_lane_put(w->lanes[n]);
			w->lanes[n] = NULL;
		}
	}
}

void world_make(struct world *w, uint64_t seed)
{
	struct sq_sched_conf conf = {.idle_lanes = 2};

	memset(w, 0, sizeof(*w));
	w->seed = w->random = seed;
	w->theme = (enum theme)(seed % THEMES);
	conf.seats = 1 + below(w, 10);
	conf.age_every = w->theme == AGEING ? 2 + below(w, 4) : 16;
	conf.max_moves = w->theme == SMALL_BUDGET ? 1 + below(w, 3) : 64;
	w->s = sq_sched_new(&conf);
	w->r.age_every = conf.age_every;
	w->r.now = w->s->now = 1000000000;
	add_cap(w, REF_SEATS, conf.seats); /* the pool is cap 0 */
	make_caps(w);
	make_flows(w);
	make_lanes(w);
	w->r.n_items = 4 + (int)below(w, 80);
	w->n_costs = REF_COSTS;
	for (int n = 0; n < w->n_costs; n++)
		if (chance(w, 50))
			w->costs[n].expected_ns = w->r.expected[n] = 1 + below(w, 100000000);
}

void world_end(struct world *w)
{
	for (int n = 0; n < w->r.n_lanes; n++)
		if (w->lanes[n])
			sq_lane_put(w->lanes[n]);
	sq_sched_forget(w->s, SIZE_MAX);
	for (int n = 1; n < w->r.n_caps; n++)
		sq_cap_put(w->caps[n]);
	assert(w->s->stats.lanes == 0 && w->s->stats.flows == 0 && w->s->stats.caps == 1);
	sq_sched_free(w->s);
}

void world_refill(struct world *w, int64_t ns)
{
	for (int n = 0; n < w->r.n_caps; n++) {
		const struct ref_cap *c = &w->r.caps[n];

		if (c->kind != REF_RATE)
			continue;
		if (c->interval > 0)
			w->tokens[n] += (double)ns / (double)c->interval;
		if (c->interval == 0 || w->tokens[n] > c->burst)
			w->tokens[n] = c->burst;
	}
}
