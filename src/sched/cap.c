/* Caps: limit and used, the rate's clock, and opening and closing for those who wait. */
#include "sched/core.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Their product is 2^73, which times an interval is what 127 bits hold: see set_rate. */
#define INTERVAL_MAX (INT64_C(1) << 53)
#define BURST_MAX 1000000

/* ---- rates: GCRA, ITU-T I.371 ---- */

/*
 * A grant moves tat (the theoretical arrival time) one interval on; there is room while it is no
 * more than the slack, burst - 1 intervals, ahead of the clock. Without a rate it never is ahead.
 */
static __int128 slack_ns(const struct sq_cap *c)
{
	return (__int128)c->rate.interval_ns * ((int64_t)c->rate.burst - 1);
}

/* Below 0: no room. */
static __int128 slack_left_ns(const struct sq_cap *c)
{
	__int128 ahead = c->tat_ns - c->sched->now;

	return slack_ns(c) - (ahead > 0 ? ahead : 0);
}

/* Grants a rate has at once. */
static uint32_t tokens(const struct sq_cap *c)
{
	if (!sq_cap_room(c))
		return 0;
	if (c->rate.interval_ns == 0)
		return SQ_NO_LIMIT;
	return (uint32_t)(slack_left_ns(c) / c->rate.interval_ns) + 1;
}

/* What tat is ahead is a number of grants, not a time; rounded up, for a rate is never exceeded. */
static void set_rate(struct sq_cap *c, const struct sq_rate *rate)
{
	int64_t now = c->sched->now, was = c->rate.interval_ns;

	if (c->tat_ns > now)
		c->tat_ns = now + ((c->tat_ns - now) * rate->interval_ns + was - 1) / was;
	c->rate = *rate;
}

static struct sq_rate clamp_rate(int64_t interval_ns, uint32_t burst)
{
	struct sq_rate rate = {interval_ns, burst};

	assert(interval_ns >= 0);
	if (interval_ns > INTERVAL_MAX)
		rate.interval_ns = INTERVAL_MAX;
	if (burst == 0)
		rate.burst = 1;
	else if (burst > BURST_MAX)
		rate.burst = BURST_MAX;
	return rate;
}

/* ---- room ---- */

bool sq_cap_room(const struct sq_cap *c)
{
	if (c->kind == SQ_CAP_RATE)
		return c->limit > 0 && slack_left_ns(c) >= 0;
	return c->used < c->limit;
}

static uint32_t room(const struct sq_cap *c)
{
	if (c->kind == SQ_CAP_RATE)
		return tokens(c);
	return c->used < c->limit ? c->limit - c->used : 0;
}

void sq_cap_take(struct sq_cap *c)
{
	if (c->kind == SQ_CAP_RATE) {
		int64_t now = c->sched->now;

		c->tat_ns = (c->tat_ns > now ? c->tat_ns : now) + c->rate.interval_ns;
	} else {
		c->used++;
	}
	sq_cap_settle(c);
}

void sq_cap_return(struct sq_cap *c)
{
	if (c->kind == SQ_CAP_RATE)
		return;
	assert(c->used > 0);
	c->used--;
	sq_cap_settle(c);
}

/* A closed rate that someone waits for comes back by itself; a paused one does not. */
static void place_timer(struct sq_cap *c)
{
	bool comes = !c->open && c->waiters > 0 && c->limit > 0;
	__int128 at = c->tat_ns - slack_ns(c);

	if (comes) /* a burst that was made smaller may have put it off beyond all time */
		c->ready_ns = at < SQ_SCHED_NEVER ? (int64_t)at : SQ_SCHED_NEVER;
	sq_heap_place(&c->sched->rates, &c->by_time, comes);
}

void sq_cap_settle(struct sq_cap *c)
{
	bool open = sq_cap_room(c);
	struct sq_gate *g;

	if (open != c->open) {
		c->open = open;
		cds_list_for_each_entry(g, &c->gates, node)
			sq_gate_place(g);
		sq_aged_place(c);
	}
	if (c->kind == SQ_CAP_RATE)
		place_timer(c);
}

void sq_cap_refill(struct sq_sched *s)
{
	struct sq_cap *c;

	while ((c = sq_heap_entry(sq_heap_top(&s->rates), struct sq_cap, by_time)) &&
	       c->ready_ns <= s->now)
		sq_cap_settle(c);
}

/* ---- rule RAISE ---- */

static struct sq_link *any_waiter(struct sq_cap *c)
{
	struct sq_gate *g;
	struct sq_wait *w;

	cds_list_for_each_entry(g, &c->gates, node) {
		w = sq_heap_entry(sq_heap_top(&g->waits), struct sq_wait, node);
		if (w)
			return sq_heap_entry(sq_heap_top(&w->lanes), struct sq_link, by_order);
	}
	return NULL;
}

void sq_cap_release_raised(struct sq_sched *s)
{
	while (!cds_list_empty(&s->raising)) {
		struct sq_cap *c = cds_list_first_entry(&s->raising, struct sq_cap, raising);
		struct sq_link *k;

		while ((k = any_waiter(c))) {
			if (s->budget == 0)
				return;
			s->budget--;
			s->stats.raised++;
			sq_flow_raise(k->lane->flow, k->lane);
			sq_lane_out(k->lane);
			sq_lane_refresh(k->lane);
		}
		cds_list_del_init(&c->raising);
	}
}

static void raise_or_not(struct sq_cap *c, uint32_t room_before)
{
	uint32_t now = room(c);

	cds_list_del_init(&c->raising);
	if (now > room_before && c->waiters > 0 && c->waiters <= now)
		cds_list_add_tail(&c->raising, &c->sched->raising);
}

/* ---- limits ---- */

static uint32_t least(const uint32_t by[SQ_SOURCES])
{
	uint32_t n = SQ_NO_LIMIT;

	for (int i = 0; i < SQ_SOURCES; i++)
		n = by[i] < n ? by[i] : n;
	return n;
}

int sq_cap_set_limit(struct sq_cap *c, uint32_t limit, enum sq_source source, int64_t now)
{
	uint32_t before, by[SQ_SOURCES];

	sq_sched_now(c->sched, now);
	before = room(c);
	memcpy(by, c->by, sizeof(by));
	by[source] = limit;
	if (c == c->sched->pool && sq_grants_reserve(c->sched, least(by)) < 0)
		return -ENOMEM;
	memcpy(c->by, by, sizeof(by));
	c->limit = least(by);
	sq_cap_settle(c);
	raise_or_not(c, before);
	return 0;
}

static const struct sq_rate *slowest(const struct sq_rate by[SQ_SOURCES])
{
	const struct sq_rate *r = by;

	for (int i = 1; i < SQ_SOURCES; i++)
		r = by[i].interval_ns > r->interval_ns ? &by[i] : r;
	return r;
}

void sq_cap_set_rate(struct sq_cap *c, int64_t interval_ns, uint32_t burst, enum sq_source source,
		     int64_t now)
{
	uint32_t before;

	assert(c->kind == SQ_CAP_RATE);
	sq_sched_now(c->sched, now);
	before = room(c);
	c->rate_by[source] = clamp_rate(interval_ns, burst);
	set_rate(c, slowest(c->rate_by));
	sq_cap_settle(c);
	raise_or_not(c, before);
}

/* ---- grants ---- */

/*
 * Grants are made before the limit that needs them, so that no decision allocates: one allocation
 * however many, because this runs under the lock too.
 */
int sq_grants_reserve(struct sq_sched *s, uint32_t n)
{
	uint32_t more = n > s->n_grants ? n - s->n_grants : 0;
	struct sq_slab *slab, **last = s->filling ? &s->filling->next : &s->slabs;

	if (more == 0)
		return 0;
	slab = malloc(sizeof(*slab) + more * sizeof(slab->grants[0]));
	if (!slab)
		return -ENOMEM;
	slab->next = NULL;
	slab->n = more;
	slab->given = 0;
	while (*last)
		last = &(*last)->next;
	*last = slab;
	if (!s->filling)
		s->filling = slab;
	s->n_grants = n;
	return 0;
}

struct sq_grant *sq_grant_new(struct sq_sched *s)
{
	struct sq_grant *g;

	if (!cds_list_empty(&s->free_grants)) {
		g = cds_list_first_entry(&s->free_grants, struct sq_grant, node);
		cds_list_del(&g->node);
		return g;
	}
	if (s->filling->given == s->filling->n)
		s->filling = s->filling->next;
	return &s->filling->grants[s->filling->given++];
}

void sq_grants_free(struct sq_sched *s)
{
	struct sq_slab *slab;

	while ((slab = s->slabs)) {
		s->slabs = slab->next;
		free(slab);
	}
}

/* ---- birth and death ---- */

static bool rate_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_heap_entry(a, struct sq_cap, by_time)->ready_ns <
	       sq_heap_entry(b, struct sq_cap, by_time)->ready_ns;
}

void sq_caps_init(struct sq_sched *s)
{
	CDS_INIT_LIST_HEAD(&s->caps);
	CDS_INIT_LIST_HEAD(&s->raising);
	CDS_INIT_LIST_HEAD(&s->free_grants);
	sq_heap_init(&s->rates, rate_less);
}

static bool due_before(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	const struct sq_lane *x = sq_heap_entry(a, struct sq_link, by_due)->lane;
	const struct sq_lane *y = sq_heap_entry(b, struct sq_link, by_due)->lane;

	return sq_lane_due_before(x, y);
}

struct sq_cap *sq_cap_new(struct sq_sched *s, const struct sq_cap_conf *conf)
{
	struct sq_cap *c = sq_lines_alloc(sizeof(*c));
	char *name = strdup(conf->name);

	if (!c || !name) {
		free(c);
		free(name);
		return NULL;
	}
	c->sched = s;
	c->name = name;
	c->kind = conf->kind;
	c->refs = 1;
	memset(c->by, 0xff, sizeof(c->by)); /* SQ_NO_LIMIT */
	if (c->kind == SQ_CAP_RATE)
		c->rate = c->rate_by[0] = clamp_rate(conf->interval_ns, conf->burst);
	else
		c->by[SQ_SOURCE_SETTINGS] = conf->limit;
	c->limit = least(c->by);
	c->open = sq_cap_room(c);
	sq_heap_init(&c->aged, due_before);
	CDS_INIT_LIST_HEAD(&c->gates);
	CDS_INIT_LIST_HEAD(&c->raising);
	cds_list_add_tail(&c->listed.node, &s->caps);
	s->stats.caps++;
	return c;
}

struct sq_cap *sq_cap_ref(struct sq_cap *c)
{
	c->refs++;
	return c;
}

void sq_cap_put(struct sq_cap *c)
{
	if (!c || --c->refs > 0)
		return;
	assert(c->used == 0 && c->waiters == 0 && cds_list_empty(&c->gates));
	cds_list_del(&c->listed.node);
	cds_list_del(&c->raising);
	c->sched->stats.caps--;
	free(c->name);
	free(c);
}

const char *sq_cap_name(const struct sq_cap *c)
{
	return c->name;
}

uint32_t sq_cap_limit(const struct sq_cap *c)
{
	return c->limit;
}

uint32_t sq_cap_used(const struct sq_cap *c)
{
	return c->used;
}

bool sq_cap_idle(const struct sq_cap *c, int64_t now)
{
	sq_sched_now(c->sched, now);
	return c->used == 0 && c->tat_ns <= c->sched->now;
}

bool sq_cap_has_room(const struct sq_cap *c, int64_t now)
{
	sq_sched_now(c->sched, now);
	return sq_cap_room(c);
}
