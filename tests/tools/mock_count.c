/*
 * Counting calls in flight. One mutex covers the total, the per-function and per-tenant counts
 * and the log, because "never above the limit at any instant" is a statement about one instant:
 * separate atomics could each be right and their combination never have existed.
 *
 * A call enters when its request head is complete (its function is unknown before) and leaves
 * just before its last answer byte is written, so the mock never counts more than a proxy that
 * frees a seat at the last byte, and never less than one that frees it before.
 */
#include "mock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_SLOTS 65536u
#define NAME_MAX_BYTES 128u
#define NAME_COUNT 200000u

struct mock_name {
	struct mock_name *next, *next_all;
	uint64_t total, rejected;
	uint32_t inflight, peak, len;
	char text[];
};

struct event {
	uint64_t ns, call;
	const struct mock_name *function, *tenant;
	uint32_t inflight;
	char kind; /* + enter, - leave, h hung up, ! rejected */
};

struct names {
	struct mock_name *slot[NAME_SLOTS], *first, **last;
	unsigned count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct names functions, tenants;
static struct {
	uint64_t limit, calls;
	uint64_t inflight, peak, total, ended, rejected, bad, partial, hungup;
	uint64_t conns, accepted;
	uint64_t busy_ns, since_ns, reset_ns; /* the time integral of inflight */
} count;
static struct {
	struct event *event;
	size_t len, cap;
	uint64_t lost;
} events;

uint64_t mock_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void mock_count_setup(uint64_t limit, size_t log_events)
{
	functions.last = &functions.first;
	tenants.last = &tenants.first;
	count.limit = limit;
	count.reset_ns = count.since_ns = mock_now_ns();
	events.event = log_events ? calloc(log_events, sizeof(*events.event)) : NULL;
	events.cap = events.event ? log_events : 0;
}

/* Names stay for ever, so that the log and the seats may point at them. */
static struct mock_name *name_get(struct names *t, struct mock_slice s)
{
	uint32_t hash = 2166136261u;
	struct mock_name **slot, *n;

	if (s.n > NAME_MAX_BYTES)
		s.n = NAME_MAX_BYTES;
	for (size_t i = 0; i < s.n; i++)
		hash = (hash ^ (unsigned char)s.p[i]) * 16777619u;
	slot = &t->slot[(hash ^ hash >> 16) % NAME_SLOTS];
	for (n = *slot; n; n = n->next)
		if (n->len == s.n && memcmp(n->text, s.p, s.n) == 0)
			return n;
	if (t->count >= NAME_COUNT) /* more would be the mock's own flood: all share the first */
		return t->first;
	n = calloc(1, sizeof(*n) + s.n + 1);
	if (!n)
		abort();
	memcpy(n->text, s.p, s.n);
	n->len = (uint32_t)s.n;
	n->next = *slot;
	*slot = n;
	*t->last = n;
	t->last = &n->next_all;
	t->count++;
	return n;
}

static void note(uint64_t now, const struct mock_seat *s, char kind)
{
	if (events.len == events.cap) {
		events.lost++;
		return;
	}
	events.event[events.len++] = (struct event){
		now, s->call, s->function, s->tenant, (uint32_t)count.inflight, kind};
}

static uint64_t tick(void)
{
	uint64_t now = mock_now_ns();

	count.busy_ns += count.inflight * (now - count.since_ns);
	count.since_ns = now;
	return now;
}

static void name_enter(struct mock_name *n)
{
	n->total++;
	if (++n->inflight > n->peak)
		n->peak = n->inflight;
}

bool mock_count_enter(struct mock_seat *s, struct mock_slice function, struct mock_slice tenant,
		      uint64_t id)
{
	bool room;

	pthread_mutex_lock(&lock);
	s->function = name_get(&functions, function);
	s->tenant = tenant.n ? name_get(&tenants, tenant) : NULL;
	s->call = id ? id : ++count.calls;
	room = count.limit == 0 || count.inflight < count.limit;
	if (room) {
		uint64_t now = tick();

		count.total++;
		if (++count.inflight > count.peak)
			count.peak = count.inflight;
		name_enter(s->function);
		if (s->tenant)
			name_enter(s->tenant);
		note(now, s, '+');
	} else {
		count.rejected++;
		s->function->rejected++;
		if (s->tenant)
			s->tenant->rejected++;
		note(tick(), s, '!');
		s->function = NULL;
	}
	pthread_mutex_unlock(&lock);
	return room;
}

void mock_count_leave(struct mock_seat *s, bool hungup)
{
	if (!s->function)
		return;
	pthread_mutex_lock(&lock);
	uint64_t now = tick();
	count.inflight--;
	count.ended++;
	count.hungup += hungup;
	s->function->inflight--;
	if (s->tenant)
		s->tenant->inflight--;
	note(now, s, hungup ? 'h' : '-');
	pthread_mutex_unlock(&lock);
	s->function = NULL;
}

static void names_reset(struct names *t)
{
	for (struct mock_name *n = t->first; n; n = n->next_all) {
		n->total = n->rejected = 0;
		n->peak = n->inflight;
	}
}

/* Calls in flight stay in flight: they were never lies. */
void mock_count_reset(void)
{
	pthread_mutex_lock(&lock);
	count.peak = count.inflight;
	count.total = count.ended = count.rejected = count.bad = count.partial = count.hungup = 0;
	count.calls = count.accepted = count.busy_ns = 0;
	count.reset_ns = count.since_ns = mock_now_ns();
	names_reset(&functions);
	names_reset(&tenants);
	events.len = 0;
	events.lost = 0;
	pthread_mutex_unlock(&lock);
}

static void add(uint64_t *counter, uint64_t n)
{
	pthread_mutex_lock(&lock);
	*counter += n;
	pthread_mutex_unlock(&lock);
}

void mock_count_bad(void)
{
	add(&count.bad, 1);
}

void mock_count_partial(void)
{
	add(&count.partial, 1);
}

void mock_count_conns(int change)
{
	add(&count.conns, (uint64_t)(int64_t)change);
	if (change > 0)
		add(&count.accepted, 1);
}

void mock_count_limit(uint64_t limit)
{
	pthread_mutex_lock(&lock);
	count.limit = limit;
	pthread_mutex_unlock(&lock);
}

void mock_count_get(uint64_t *inflight, uint64_t *total, uint64_t *ended)
{
	pthread_mutex_lock(&lock);
	*inflight = count.inflight;
	*total = count.total;
	*ended = count.ended;
	pthread_mutex_unlock(&lock);
}

static void put_json(FILE *f, const struct mock_name *n)
{
	fputc('"', f);
	for (const char *p = n->text; p < n->text + n->len; p++) {
		unsigned char ch = (unsigned char)*p;

		if (ch < 32 || ch >= 127 || ch == '"' || ch == '\\')
			fprintf(f, "\\u%04x", ch);
		else
			fputc(ch, f);
	}
	fputc('"', f);
}

static void put_names(FILE *f, const char *title, const struct names *t)
{
	const char *comma = "";

	fprintf(f, ",\n\"%s\": {", title);
	for (const struct mock_name *n = t->first; n; n = n->next_all) {
		if (n->total + n->rejected + n->inflight == 0)
			continue;
		fprintf(f, "%s\n  ", comma);
		put_json(f, n);
		fprintf(f, ": {\"inflight\": %u, \"peak\": %u, \"total\": %lu, \"rejected\": %lu}",
			n->inflight, n->peak, n->total, n->rejected);
		comma = ",";
	}
	fputs("}", f);
}

void mock_count_stats(FILE *f)
{
	uint64_t held = mock_hold_count();

	pthread_mutex_lock(&lock);
	uint64_t now = tick();
	fprintf(f, "{\"inflight\": %lu, \"peak\": %lu, \"total\": %lu, \"ended\": %lu,\n",
		count.inflight, count.peak, count.total, count.ended);
	fprintf(f, "\"rejected\": %lu, \"bad\": %lu, \"partial\": %lu, \"hungup\": %lu,\n",
		count.rejected, count.bad, count.partial, count.hungup);
	fprintf(f, "\"held\": %lu, \"limit\": %lu, \"connections\": %lu, \"accepted\": %lu,\n",
		held, count.limit, count.conns, count.accepted);
	fprintf(f, "\"ns\": %lu, \"busy_ns\": %lu, \"log_events\": %zu, \"log_lost\": %lu",
		now - count.reset_ns, count.busy_ns, events.len, events.lost);
	put_names(f, "by_function", &functions);
	put_names(f, "by_tenant", &tenants);
	fputs("}\n", f);
	pthread_mutex_unlock(&lock);
}

void mock_count_log(FILE *f)
{
	pthread_mutex_lock(&lock);
	fputs("ns,inflight,function,call,event,tenant\n", f);
	for (size_t i = 0; i < events.len; i++) {
		const struct event *e = &events.event[i];

		fprintf(f, "%lu,%u,%s,%lu,%c,%s\n", e->ns, e->inflight, e->function->text, e->call,
			e->kind, e->tenant ? e->tenant->text : "");
	}
	pthread_mutex_unlock(&lock);
}

static bool concerns(const struct event *e, struct mock_slice function, struct mock_slice tenant)
{
	if (e->kind == '!' || (function.n && !mock_slice_is(function, e->function->text)))
		return false;
	return !tenant.n || (e->tenant && mock_slice_is(tenant, e->tenant->text));
}

/*
 * The instant of the last entry stands for "the last instant at which anything was queued": a
 * work-conserving proxy hands out its last queued call exactly then.
 */
void mock_count_mean(FILE *f, uint64_t limit, struct mock_slice function, struct mock_slice tenant)
{
	uint64_t in = 0, peak = 0, sum = 0, begin = 0, last = 0, sum_last = 0, end = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < events.len; i++) {
		const struct event *e = &events.event[i];

		if (!concerns(e, function, tenant))
			continue;
		if (begin)
			sum += in * (e->ns - last);
		last = e->ns;
		in += e->kind == '+' ? 1 : (uint64_t)-1;
		peak = in > peak ? in : peak;
		if (!begin && in >= limit)
			begin = e->ns;
		if (begin && e->kind == '+') {
			end = e->ns;
			sum_last = sum;
		}
	}
	fprintf(f,
		"{\"limit\": %lu, \"peak\": %lu, \"full\": %s, \"from_ns\": %lu, \"to_ns\": %lu, ",
		limit, peak, begin ? "true" : "false", begin, end);
	fprintf(f, "\"mean\": %.4f, \"share\": %.6f, \"log_lost\": %lu}\n",
		end > begin ? (double)sum_last / (double)(end - begin) : 0.0,
		end > begin && limit ? (double)sum_last / (double)(end - begin) / (double)limit
				     : 0.0,
		events.lost);
	pthread_mutex_unlock(&lock);
}
