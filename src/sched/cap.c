/* Caps: limit and used, the rate's clock, and opening and closing for those who wait. */
#include "sched/core.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RATE_NS INT64_C(1000000000000) /* a RATE's limit is per 1,000 s */
#define BURST_MAX 1000000

/*
 * A grant of a RATE moves tat one interval on; there is room while tat is no more than the slack
 * ahead of the clock. A new limit scales what tat is ahead: it is a number of grants, not a time.
 */
static void set_interval(struct sq_cap *c)
{
	int64_t was = c->interval_ns, now = c->sched->now;

	if (c->kind != SQ_CAP_RATE || c->limit == 0)
		return;
	c->interval_ns = (RATE_NS + c->limit - 1) / c->limit;
	if (was > 0 && c->tat_ns > now)
		c->tat_ns = now + (int64_t)((__int128)(c->tat_ns - now) * c->interval_ns / was);
}

/* So that burst times the longest interval (1,000 s) stays within int64_t. */
static uint32_t clamp_burst(uint32_t burst)
{
	return burst == 0 ? 1 : burst < BURST_MAX ? burst : BURST_MAX;
}

static int64_t slack_ns(const struct sq_cap *c)
{
	return c->interval_ns * ((int64_t)c->burst - 1);
}

/* Grants a rate has at once. */
static uint32_t tokens(const struct sq_cap *c)
{
	int64_t ahead = c->tat_ns - c->sched->now;
	int64_t left = slack_ns(c) - (ahead > 0 ? ahead : 0);

	if (c->limit == 0 || c->limit == SQ_NO_LIMIT)
		return c->limit;
	return left < 0 ? 0 : (uint32_t)(left / c->interval_ns) + 1;
}

static uint32_t room(const struct sq_cap *c)
{
	if (c->kind == SQ_CAP_RATE)
		return tokens(c);
	return c->used < c->limit ? c->limit - c->used : 0;
}

bool sq_cap_room(const struct sq_cap *c)
{
	return room(c) > 0;
}

void sq_cap_take(struct sq_cap *c)
{
	if (c->kind == SQ_CAP_RATE) {
		int64_t now = c->sched->now;

		c->tat_ns = (c->tat_ns > now ? c->tat_ns : now) + c->interval_ns;
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
	c->ready_ns = c->tat_ns - slack_ns(c);
	sq_heap_place(&c->sched->rates, &c->by_time, !c->open && c->waiters > 0 && c->limit > 0);
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

static void raise_or_not(struct sq_cap *c, uint32_t before)
{
	cds_list_del_init(&c->raising);
	if (c->limit > before && c->waiters > 0 && c->waiters <= room(c))
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

/* Grants are made before the limit that needs them, so that no decision allocates. */
int sq_grants_reserve(struct sq_sched *s, uint32_t n)
{
	for (; s->n_grants < n; s->n_grants++) {
		struct sq_grant *g = malloc(sizeof(*g));

		if (!g)
			return -ENOMEM;
		cds_list_add_tail(&g->node, &s->free_grants);
	}
	return 0;
}

int sq_cap_set_limit(struct sq_cap *c, uint32_t limit, enum sq_source source, int64_t now)
{
	uint32_t before = c->limit, by[SQ_SOURCES];

	sq_sched_now(c->sched, now);
	memcpy(by, c->by, sizeof(by));
	by[source] = limit;
	if (c == c->sched->pool && sq_grants_reserve(c->sched, least(by)) < 0)
		return -ENOMEM;
	memcpy(c->by, by, sizeof(by));
	c->limit = least(by);
	set_interval(c);
	sq_cap_settle(c);
	raise_or_not(c, before);
	return 0;
}

void sq_cap_set_burst(struct sq_cap *c, uint32_t burst, int64_t now)
{
	sq_sched_now(c->sched, now);
	c->burst = clamp_burst(burst);
	sq_cap_settle(c);
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
	c->burst = clamp_burst(conf->burst);
	memset(c->by, 0xff, sizeof(c->by)); /* SQ_NO_LIMIT */
	c->limit = c->by[SQ_SOURCE_SETTINGS] = conf->limit;
	set_interval(c);
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

bool sq_cap_has_room(const struct sq_cap *c, int64_t now)
{
	sq_sched_now(c->sched, now);
	return sq_cap_room(c);
}
