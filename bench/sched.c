/*
 * bench/sched_bench [DECISIONS]: what a decision costs (complete-and-take, and the enqueue that
 * keeps the queue full) with 100,000 items waiting in 10,000 lanes. One line per case, in ns: mean
 * and p99.9 of the calls, and the longest single call, which is what others wait for at the lock.
 */
#include "sched/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LANES = 10000, DEPTH = 10, ITEMS = LANES * DEPTH, SEATS = 64 };

struct shape {
	const char *name;
	unsigned flows;
	unsigned order;    /* 0: FIFO */
	uint32_t shared;   /* limit of the one cap that all lanes need; 0: none */
	bool own;          /* each lane has a cap of its own, never full */
	bool two_backends; /* each lane may go to either */
	int64_t max_wait_ns;
};

static const struct shape shapes[] = {
	{"10,000 flows", 10000, 0, 0, false, false, 0},
	{"100 flows", 100, 0, 0, true, false, 0},
	{"1 flow", 1, 0, 0, true, false, 0},
	{"100 flows, by key", 100, 1, 0, true, false, 0},
	{"100 flows, any-of 2 full backends", 100, 0, 0, true, true, 0},
	{"100 flows, all aged", 100, 0, 0, true, false, 1},
	{"10,000 flows, all parked on one cap", 10000, 0, SEATS / 2, false, false, 0},
	{"100 flows, all parked on one cap", 100, 0, SEATS / 2, true, false, 0},
	{"1 flow, all parked on one cap", 1, 0, SEATS / 2, true, false, 0},
};

struct bench {
	struct sq_sched *s;
	struct sq_cap *shared, *backends[2], *own[LANES];
	struct sq_lane *lanes[LANES];
	struct sq_item items[ITEMS];
	struct sq_item *idle[2 * SEATS + 2];
	struct sq_lane *lane_of[ITEMS];
	struct sq_cost cost;
	struct sq_grant *grants[SEATS];
	unsigned n_grants;
	int64_t *samples;
	size_t n_samples;
	int64_t now;
};

static int64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- building ---- */

static struct sq_cap *cap(struct bench *b, const char *name, uint32_t limit)
{
	const struct sq_cap_conf conf = {.name = name, .kind = SQ_CAP_SEATS, .limit = limit};

	return sq_cap_new(b->s, &conf);
}

static void make_lane(struct bench *b, const struct shape *shape, unsigned n)
{
	char name[32];
	struct sq_flow_key key = {.order = (uint8_t)shape->order, .share = name};
	struct sq_candidate any[2] = {{b->backends[0], 0}, {b->backends[1], 1}};
	struct sq_cap *all[2];
	struct sq_capset set = {.all = all, .any = any, .n_any = shape->two_backends ? 2 : 0};

	snprintf(name, sizeof(name), "%u", n % shape->flows);
	if (shape->own)
		all[set.n_all++] = b->own[n] = cap(b, name, 1000);
	if (shape->shared)
		all[set.n_all++] = b->shared;
	b->lanes[n] = sq_lane_get(b->s, &key, &set, SQ_CRQ);
}

static void put(struct bench *b, struct sq_item *i)
{
	i->key = rand();
	i->expires_ns = SQ_SCHED_NEVER;
	i->left = 1;
	if (sq_sched_enqueue(b->s, b->lane_of[i - b->items], i, b->now, NULL) < 0)
		abort();
}

static void build(struct bench *b, const struct shape *shape)
{
	const struct sq_sched_conf conf = {.seats = SEATS};

	b->s = sq_sched_new(&conf);
	if (!b->s)
		abort();
	b->now = 1000000000;
	b->shared = cap(b, "shared", shape->shared);
	b->backends[0] = cap(b, "east", SEATS / 4);
	b->backends[1] = cap(b, "west", SEATS / 4);
	for (unsigned n = 0; n < LANES; n++)
		make_lane(b, shape, n);
	for (unsigned n = 0; n < ITEMS; n++) {
		b->lane_of[n] = b->lanes[n % LANES];
		b->items[n].cost = &b->cost;
		b->items[n].max_wait_ns = shape->max_wait_ns;
		put(b, &b->items[n]);
	}
}

static void tear_down(struct bench *b)
{
	for (unsigned n = 0; n < ITEMS; n++)
		sq_sched_cancel(b->s, &b->items[n]);
	while (b->n_grants > 0)
		sq_sched_complete(b->s, b->grants[--b->n_grants], 0, b->now);
	for (unsigned n = 0; n < LANES; n++)
		sq_lane_put(b->lanes[n]);
	sq_sched_forget(b->s, SIZE_MAX);
	sq_cap_put(b->shared);
	sq_cap_put(b->backends[0]);
	sq_cap_put(b->backends[1]);
	for (unsigned n = 0; n < LANES; n++)
		sq_cap_put(b->own[n]);
	sq_sched_free(b->s);
}

/* ---- measuring ---- */

static void sample(struct bench *b, int64_t since)
{
	b->samples[b->n_samples++] = clock_ns() - since;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void report(struct bench *b, const char *name)
{
	int64_t sum = 0;

	for (size_t n = 0; n < b->n_samples; n++)
		sum += b->samples[n];
	qsort(b->samples, b->n_samples, sizeof(*b->samples), compare);
	printf("%-48s %8zu calls  mean %6lld  p99.9 %7lld  longest %8lld ns\n", name, b->n_samples,
	       (long long)sum / (long long)b->n_samples,
	       (long long)b->samples[b->n_samples * 999 / 1000],
	       (long long)b->samples[b->n_samples - 1]);
	b->n_samples = 0;
}

/* Takes until nothing more can be had; each call is a lock hold of its own. */
static void fill(struct bench *b, bool measure)
{
	struct sq_grant *g;
	bool again;

	do {
		int64_t since = clock_ns();

		g = sq_sched_take(b->s, b->now, &again);
		if (measure)
			sample(b, since);
		if (g)
			b->grants[b->n_grants++] = g;
	} while (g || again);
}

/* One ends, the next one starts, and another one arrives in the place of that one. */
static void decide(struct bench *b)
{
	unsigned n = (unsigned)rand() % b->n_grants;
	struct sq_item *done = b->grants[n]->item;
	int64_t since;
	bool again;

	b->now += 100000;
	since = clock_ns();
	b->grants[n] = sq_sched_complete_take(b->s, b->grants[n], 0, b->now, &again);
	while (!b->grants[n] && again)
		b->grants[n] = sq_sched_take(b->s, b->now, &again);
	put(b, done);
	sample(b, since);
	if (!b->grants[n])
		abort();
}

static void run_shape(struct bench *b, const struct shape *shape, long decisions)
{
	build(b, shape);
	fill(b, false);
	for (long n = 0; n < decisions / 10; n++)
		decide(b);
	b->n_samples = 0;
	for (long n = 0; n < decisions; n++)
		decide(b);
	report(b, shape->name);
	tear_down(b);
}

static void set_limit(struct bench *b, uint32_t limit)
{
	if (sq_cap_set_limit(b->shared, limit, SQ_SOURCE_PAUSE, b->now) < 0)
		abort();
}

/* Everything waits at a paused cap, which then opens for all at once. */
static void run_pause(struct bench *b, const struct shape *shape)
{
	build(b, shape);
	set_limit(b, 0);
	fill(b, true);
	report(b, "  paused: calls until all are parked");
	set_limit(b, SQ_NO_LIMIT);
	fill(b, true);
	report(b, "  lifted, room for 32: calls until full");
	set_limit(b, 0);
	fill(b, false);
	if (sq_cap_set_limit(b->shared, 2 * LANES, SQ_SOURCE_SETTINGS, b->now) < 0)
		abort();
	set_limit(b, SQ_NO_LIMIT);
	fill(b, true);
	report(b, "  raised, room for all: calls until full");
	tear_down(b);
}

/* ---- others at the lock: looking in, a larger pool ---- */

static void walk(struct bench *b, const char *name)
{
	static struct sq_lane_row rows[64];
	struct sq_cursor cursor;
	bool end = false;

	sq_cursor_open(b->s, &cursor, false);
	while (!end) {
		int64_t since = clock_ns();

		(void)sq_cursor_lanes(&cursor, rows, 64, &end);
		sample(b, since);
	}
	sq_cursor_close(&cursor);
	report(b, name);
}

static void run_others(struct bench *b)
{
	build(b, &shapes[0]);
	walk(b, "slices of 10,000 lanes with items");
	for (unsigned n = 0; n < ITEMS; n++)
		sq_sched_cancel(b->s, &b->items[n]);
	walk(b, "slices of 10,000 empty lanes");
	for (uint32_t seats = 20000; seats <= 100000; seats += 80000) {
		int64_t since = clock_ns();
		int err = sq_cap_set_limit(sq_sched_pool(b->s), seats, SQ_SOURCE_SETTINGS, b->now);

		sample(b, since);
		report(b, err < 0          ? "no memory"
			  : seats == 20000 ? "to 20,000 seats"
					   : "to 100,000");
	}
	tear_down(b);
}

int main(int argc, char **argv)
{
	long decisions = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;

	printf("item %zu bytes, grant %zu bytes; %d items in %d lanes, %d seats\n",
	       sizeof(struct sq_item), sizeof(struct sq_grant), ITEMS, LANES, SEATS);
	for (size_t n = 0; n < sizeof(shapes) / sizeof(shapes[0]); n++) {
		struct bench *b = calloc(1, sizeof(*b));

		if (!b || !(b->samples = malloc(((size_t)decisions + ITEMS) * sizeof(int64_t))))
			return 1;
		srand(1);
		run_shape(b, &shapes[n], decisions);
		if (shapes[n].shared) {
			memset(b, 0, offsetof(struct bench, samples));
			run_pause(b, &shapes[n]);
		}
		if (n == 0) {
			memset(b, 0, offsetof(struct bench, samples));
			run_others(b);
		}
		free(b->samples);
		free(b);
	}
	return 0;
}
