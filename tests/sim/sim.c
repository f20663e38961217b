/*
 * sim [-s FIRST_SEED] [-n SEEDS] [-e EVENTS]: random events in virtual time, the scheduler against
 * the naive reference, grant by grant, and the invariants at each step. The same seed is the same
 * run. Without -n and -e: 200 x 3,000; with SQ_FULL=1 in the environment 1,000 x 10,000, with
 * SQ_SAN=1 20 seeds.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MS = 1000000 };

/* ---- picking ---- */

/* A random item for which ok holds, or -1. */
static int pick_item(struct world *w, bool (*ok)(const struct ref_item *))
{
	int n = w->r.n_items, from = (int)below(w, (uint32_t)n);

	for (int i = 0; i < n; i++)
		if (ok(&w->r.items[(from + i) % n]))
			return (from + i) % n;
	return -1;
}

static bool is_free(const struct ref_item *i)
{
	return i->state == REF_OFF && i->in_flight == 0;
}

static bool is_queued(const struct ref_item *i)
{
	return i->state != REF_OFF;
}

static int pick_grant(struct world *w)
{
	int from = (int)below(w, REF_GRANTS);

	for (int i = 0; i < REF_GRANTS; i++)
		if (w->r.grants[(from + i) % REF_GRANTS].used)
			return (from + i) % REF_GRANTS;
	return -1;
}

/* Another lane of the same queue for what is in this one, or -1. */
static int pick_lane(struct world *w, int like)
{
	int lane = (int)below(w, (uint32_t)w->r.n_lanes);

	return w->r.lanes[lane].pq == w->r.lanes[like].pq ? lane : -1;
}

/* ---- events ---- */

static void random_item(struct world *w, struct ref_item *i)
{
	bool cursor = !w->r.lanes[i->lane].pq && chance(w, w->theme == CURSORS ? 70 : 12);

	i->key = below(w, 50);
	i->expires = chance(w, 75) ? INT64_MAX : w->r.now + below(w, 150 * MS) - 2 * MS;
	i->max_wait = chance(w, w->theme == AGEING ? 70 : 25) ? 1 + below(w, 60 * MS) : 0;
	i->cost = (int)below(w, (uint32_t)w->n_costs);
	i->weight = chance(w, 5) ? 1000 : 1 + below(w, 4);
	i->left = cursor ? 2 + below(w, 30) : 1;
	i->parallel = cursor ? 1 + below(w, 5) : 1;
	i->next = 0;
}

static void enqueue(struct world *w)
{
	int n = pick_item(w, is_free), refused;
	struct sq_cap *by = NULL;
	struct ref_item *x;
	struct sq_lane *l;

	if (n < 0)
		return;
	x = &w->r.items[n];
	x->lane = (int)below(w, (uint32_t)w->r.n_lanes);
	random_item(w, x);
	w->items[n].key = x->key;
	w->items[n].expires_ns = x->expires;
	w->items[n].max_wait_ns = x->max_wait;
	w->items[n].cost = &w->costs[x->cost];
	w->items[n].weight = x->weight;
	w->items[n].left = x->left;
	w->items[n].parallel = x->parallel;
	w->items[n].next = 0;
	l = world_lane(w, x->lane);
	refused = ref_enqueue(&w->r, n);
	if (sq_sched_enqueue(w->s, l, &w->items[n], w->r.now, &by) == 0)
		by = NULL;
	sq_lane_put(l);
	if (by != (refused < 0 ? NULL : w->caps[refused]))
		fail(w, "refused by", refused, by != NULL);
}

static void cancel(struct world *w)
{
	int n = pick_item(w, is_queued);

	if (n < 0)
		return;
	ref_cancel(&w->r, n);
	sq_sched_cancel(w->s, &w->items[n]);
}

static void complete(struct world *w)
{
	int n = pick_grant(w);
	bool learn = !chance(w, 10);

	if (n < 0)
		return;
	ref_complete(&w->r, n, learn);
	sq_sched_complete(w->s, w->grants[n], learn ? 0 : SQ_DONE_UNLEARNT, w->r.now);
}

/* Above 0, which pauses a rate and is all it knows of limits. */
static uint32_t some_limit(struct world *w, int cap)
{
	static const uint32_t most[] = {[REF_SEATS] = 6, [REF_RUNNING] = 6, [REF_QUEUE] = 20};
	enum ref_kind kind = w->r.caps[cap].kind;

	return kind == REF_RATE ? SQ_NO_LIMIT : 1 + below(w, most[kind]);
}

static void limit(struct world *w, int cap, uint32_t n)
{
	ref_set_limit(&w->r, cap, n);
	if (sq_cap_set_limit(w->caps[cap], n, SQ_SOURCE_SETTINGS, w->r.now) < 0)
		fail(w, "set_limit", cap, n);
}

static void set_limit(struct world *w)
{
	int cap = (int)below(w, (uint32_t)w->r.n_caps);

	if (w->theme == TWO_SHARED && chance(w, 80)) {
		cap = 1 + (int)below(w, 2); /* one of the two opens, the other closes */
		limit(w, 3 - cap, 1 + below(w, 3));
		limit(w, cap, 0);
	} else {
		limit(w, cap, chance(w, 25) ? 0 : some_limit(w, cap));
	}
}

/* A new rate, burst or both; now and then none at all. */
static void set_rate(struct world *w)
{
	int cap = (int)below(w, (uint32_t)w->r.n_caps);
	const struct ref_cap *c = &w->r.caps[cap];
	int64_t interval = chance(w, 10) ? 0 : chance(w, 70) ? world_interval(w) : c->interval;
	uint32_t burst = chance(w, 50) ? c->burst : 1 + below(w, 4);

	if (c->kind != REF_RATE)
		return;
	w->tokens[cap] += (double)burst - (double)c->burst;
	if (interval == 0)
		w->tokens[cap] = burst;
	ref_set_rate(&w->r, cap, interval, burst);
	sq_cap_set_rate(w->caps[cap], interval, burst, SQ_SOURCE_SETTINGS, w->r.now);
}

/* What was closed opens again, or the worlds would soon stand still. */
static void reopen(struct world *w)
{
	for (int n = 0; n < w->r.n_caps; n++) {
		if (w->r.caps[n].limit == 0 && chance(w, 40)) {
			limit(w, n, some_limit(w, n));
			return;
		}
	}
}

static void run_end(struct world *w)
{
	struct run *run;

	if (w->n_runs == 0)
		return;
	run = &w->runs[below(w, (uint32_t)w->n_runs)];
	ref_run_end(&w->r, run->lane);
	sq_sched_run_end(w->s, run->at, w->r.now);
	*run = w->runs[--w->n_runs];
}

static void collect(struct world *w)
{
	struct sq_item *i, *next;
	CDS_LIST_HEAD(list);

	ref_expire(&w->r);
	while (sq_sched_expire(w->s, w->r.now, &list, 3) == 3)
		;
	cds_list_for_each_entry_safe(i, next, &list, node) {
		int n = (int)(i - w->items);

		if (w->r.items[n].state != REF_EXPIRED)
			fail(w, "expired", n, 0);
		else
			ref_collect(&w->r, n);
	}
}

static void move_item(struct world *w)
{
	int n = pick_item(w, is_queued), lane = n < 0 ? -1 : pick_lane(w, w->r.items[n].lane);
	int64_t key = below(w, 50);
	struct sq_lane *l;

	if (lane < 0)
		return;
	l = world_lane(w, lane);
	ref_move(&w->r, n, lane, key);
	sq_sched_move(w->s, &w->items[n], l, key, w->r.now);
	sq_lane_put(l);
}

static void move_grant(struct world *w)
{
	int n = pick_grant(w), lane = n < 0 ? -1 : pick_lane(w, w->r.grants[n].lane);
	struct sq_lane *l;

	if (lane < 0)
		return;
	l = world_lane(w, lane);
	ref_grant_move(&w->r, n, lane);
	sq_grant_move(w->s, w->grants[n], l, w->r.now);
	sq_lane_put(l);
}

static void move_run(struct world *w)
{
	struct run *run = &w->runs[below(w, MAX_RUNS) % (uint32_t)(w->n_runs + 1)];
	int lane = w->n_runs && run < w->runs + w->n_runs ? pick_lane(w, run->lane) : -1;
	struct sq_lane *l;

	if (lane < 0)
		return;
	l = world_lane(w, lane);
	ref_run_move(&w->r, run->lane, lane);
	sq_sched_run_move(w->s, run->at, l, w->r.now);
	sq_lane_put(l); /* the run has its own */
	*run = (struct run){l, lane};
}

static void reload(struct world *w)
{
	switch (below(w, 3)) {
	case 0:
		move_item(w);
		break;
	case 1:
		move_grant(w);
		break;
	default:
		move_run(w);
	}
}

/* ---- decisions ---- */

/* One grant of both, compared. False: there was none. */
static bool take(struct world *w)
{
	struct sq_grant *g;
	bool again;
	int n;

	do
		g = sq_sched_take(w->s, w->r.now, &again);
	while (!g && again);
	n = ref_take(&w->r);
	if (!g != (n < 0))
		fail(w, g ? "granted where the reference did not" : "missed a grant", n, 0);
	if (!g || n < 0)
		return false;
	w->grants[n] = g;
	check_grant(w, g, n);
	if (w->r.lanes[w->r.grants[n].lane].pq)
		w->runs[w->n_runs++] = (struct run){g->lane, w->r.grants[n].lane};
	return true;
}

/* Often all that can be taken, sometimes one or none: cancels then fall between wake and take. */
static void take_some(struct world *w)
{
	uint32_t how = below(w, 10);

	if (w->n_runs > MAX_RUNS - REF_GRANTS)
		how = 0;
	if (how < 2)
		return;
	if (how < 4) {
		take(w);
		return;
	}
	while (!w->failed && w->n_runs < MAX_RUNS && take(w))
		;
	if (!w->failed && w->n_runs < MAX_RUNS)
		check_idle(w);
}

/* ---- a seed ---- */

static void pass_time(struct world *w)
{
	int64_t ns = 0;

	if (chance(w, 50))
		ns = below(w, 3 * MS);
	else if (chance(w, 6))
		ns = below(w, 400 * MS);
	world_refill(w, ns);
	w->r.now += ns;
}

static void event(struct world *w)
{
	static const struct {
		void (*fn)(struct world *);
		uint32_t weight;
		enum theme theme; /* ten times as often in this one */
	} events[] = {
		{enqueue, 400, GENERAL}, {complete, 320, GENERAL},    {cancel, 20, CANCELS},
		{set_limit, 15, LIMITS}, {set_limit, 15, TWO_SHARED}, {run_end, 150, GENERAL},
		{collect, 20, GENERAL},  {reload, 15, RELOADS},       {reopen, 30, GENERAL},
		{set_rate, 10, RATES},
	};
	uint32_t sum = 0, at;
	size_t n = sizeof(events) / sizeof(events[0]);

	for (size_t i = 0; i < n; i++)
		sum += events[i].weight * (events[i].theme && events[i].theme == w->theme ? 10 : 1);
	at = below(w, sum);
	for (size_t i = 0; i < n; i++) {
		uint32_t weight = events[i].weight *
				  (events[i].theme && events[i].theme == w->theme ? 10 : 1);

		if (at < weight) {
			events[i].fn(w);
			return;
		}
		at -= weight;
	}
}

static void drain(struct world *w)
{
	int n;

	while ((n = pick_item(w, is_queued)) >= 0) {
		ref_cancel(&w->r, n);
		sq_sched_cancel(w->s, &w->items[n]);
	}
	while ((n = pick_grant(w)) >= 0) {
		ref_complete(&w->r, n, true);
		sq_sched_complete(w->s, w->grants[n], 0, w->r.now);
	}
	while (w->n_runs > 0)
		run_end(w);
	check_same(w);
}

/* What the seeds have exercised, so that a green run that did nothing shows. */
static void add_stats(const struct world *w, struct sq_sched_stats *sum)
{
	const struct sq_sched_stats *s = &w->s->stats;

	sum->enqueued += s->enqueued;
	sum->refused += s->refused;
	sum->grants += s->grants;
	sum->grants_aged += s->grants_aged;
	sum->cancelled += s->cancelled;
	sum->expired += s->expired;
	sum->parks += s->parks;
	sum->wakes += s->wakes;
	sum->raised += s->raised;
	sum->budget_ends += s->budget_ends;
}

static void print_stats(const struct sq_sched_stats *s)
{
	printf("sim: enqueued %lu refused %lu grants %lu aged %lu cancelled %lu expired %lu "
	       "parks %lu wakes %lu raised %lu again %lu\n",
	       s->enqueued, s->refused, s->grants, s->grants_aged, s->cancelled, s->expired,
	       s->parks, s->wakes, s->raised, s->budget_ends);
}

static bool run_seed(struct world *w, uint64_t seed, long events, struct sq_sched_stats *sum)
{
	world_make(w, seed);
	for (w->step = 0; w->step < events && !w->failed; w->step++) {
		pass_time(w);
		event(w);
		take_some(w);
		check_same(w);
		if (w->step % 8 == 0)
			check_heaps(w);
	}
	if (!w->failed)
		drain(w);
	if (w->failed) {
		printf("sim: replay with: tests/sim/sim -s %llu -n 1 -e %ld\n",
		       (unsigned long long)seed, events);
		return false; /* both worlds are left as they are */
	}
	add_stats(w, sum);
	world_end(w);
	return true;
}

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && strcmp(value, "1") == 0;
}

int main(int argc, char **argv)
{
	uint64_t first = 1;
	long seeds = is_set("SQ_SAN") ? 20 : is_set("SQ_FULL") ? 1000 : 200;
	long events = is_set("SQ_FULL") ? 10000 : 3000, failed = 0;
	struct world *w = malloc(sizeof(*w));
	struct sq_sched_stats sum = {0};
	int c;

	while ((c = getopt(argc, argv, "s:n:e:")) != -1) {
		if (c == 's')
			first = strtoull(optarg, NULL, 10);
		else if (c == 'n')
			seeds = strtol(optarg, NULL, 10);
		else if (c == 'e')
			events = strtol(optarg, NULL, 10);
		else
			return 64;
	}
	for (long n = 0; w && n < seeds; n++)
		failed += !run_seed(w, first + (uint64_t)n, events, &sum);
	free(w);
	print_stats(&sum);
	printf("sim: %ld seeds x %ld events\n", seeds, events);
	printf("%ld passed, %ld failed\n", seeds - failed, failed);
	return failed > 0;
}
