/* /_mock/...: looking at the mock and steering it. These requests are not calls. */
#include "mock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct raw_head {
	char *p;
	size_t n;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct raw_head *ring;
	size_t cap;
	uint64_t seen;
} heads;

void mock_heads_setup(size_t keep)
{
	heads.ring = keep ? calloc(keep, sizeof(*heads.ring)) : NULL;
	heads.cap = heads.ring ? keep : 0;
}

void mock_heads_add(const char *p, size_t n)
{
	struct raw_head *h;
	char *copy;

	if (!heads.cap || !(copy = malloc(n + 1)))
		return;
	memcpy(copy, p, n);
	pthread_mutex_lock(&lock);
	h = &heads.ring[heads.seen++ % heads.cap];
	free(h->p);
	*h = (struct raw_head){copy, n};
	pthread_mutex_unlock(&lock);
}

static void heads_reset(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < heads.cap; i++) {
		free(heads.ring[i].p);
		heads.ring[i] = (struct raw_head){NULL, 0};
	}
	heads.seen = 0;
	pthread_mutex_unlock(&lock);
}

/* Oldest first; each after a line that gives its number and length in bytes. */
static void heads_put(FILE *f)
{
	pthread_mutex_lock(&lock);
	uint64_t from = heads.seen > heads.cap ? heads.seen - heads.cap : 0;
	for (uint64_t i = from; i < heads.seen; i++) {
		const struct raw_head *h = &heads.ring[i % heads.cap];

		fprintf(f, "--- %" PRIu64 " %zu\n", i + 1, h->n);
		fwrite(h->p, 1, h->n, f);
		fputc('\n', f);
	}
	pthread_mutex_unlock(&lock);
}

static void heads_seen(FILE *f, struct mock_slice id)
{
	uint64_t n = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < heads.cap; i++)
		if (id.n && heads.ring[i].p && memmem(heads.ring[i].p, heads.ring[i].n, id.p, id.n))
			n++;
	pthread_mutex_unlock(&lock);
	fprintf(f, "{\"seen\": %" PRIu64 "}\n", n);
}

static uint64_t number(const struct mock_head *h, const char *key, uint64_t otherwise)
{
	struct mock_slice v = mock_query_get(h->query, key);

	return v.n ? mock_number(v, 1) : otherwise;
}

static uint64_t reached(const struct mock_call *call)
{
	uint64_t now[4];

	mock_count_get(&now[WAIT_INFLIGHT], &now[WAIT_TOTAL], &now[WAIT_ENDED]);
	now[WAIT_HELD] = mock_hold_count();
	if (call->wait_n == 0)
		return now[call->wait_for] == 0;
	return now[call->wait_for] >= call->wait_n;
}

bool mock_admin_poll(struct mock_call *call)
{
	bool ok = reached(call);

	if (!ok && mock_now_ns() < call->wait_until_ns)
		return false;
	call->poll = false;
	mock_answer_text(call, ok ? 200 : 503, ok ? "reached\n" : "not reached\n");
	return true;
}

static void begin_wait(struct mock_call *call, const struct mock_head *h)
{
	static const char *const keys[] = {"inflight", "total", "ended", "held"};

	call->wait_until_ns = mock_now_ns() + number(h, "timeout", 10000) * 1000000;
	for (unsigned i = 0; i < 4; i++) {
		struct mock_slice v = mock_query_get(h->query, keys[i]);

		if (v.n) {
			call->wait_for = (enum mock_wait)i;
			call->wait_n = mock_number(v, 1);
		}
	}
	call->poll = true;
}

static int put_answer(FILE *f, struct mock_call *call, const struct mock_head *h)
{
	struct mock_slice what = {h->path.p + 7, h->path.n - 7};

	if (mock_slice_is(what, "stats")) {
		mock_count_stats(f);
		call->type = "application/json";
	} else if (mock_slice_is(what, "log")) {
		mock_count_log(f);
	} else if (mock_slice_is(what, "mean")) {
		mock_count_mean(f, number(h, "limit", 1), mock_query_get(h->query, "function"),
				mock_query_get(h->query, "tenant"));
		call->type = "application/json";
	} else if (mock_slice_is(what, "reset")) {
		mock_count_reset();
		heads_reset();
		fputs("reset\n", f);
	} else if (mock_slice_is(what, "heads")) {
		heads_put(f);
	} else if (mock_slice_is(what, "seen")) {
		heads_seen(f, mock_query_get(h->query, "id"));
	} else if (mock_slice_is(what, "garbage")) {
		mock_garbage_list(f);
	} else if (mock_slice_is(what, "limit")) {
		mock_count_limit(number(h, "n", 0));
		fputs("limit set\n", f);
	} else if (mock_slice_is(what, "release")) {
		fprintf(f, "%" PRIu64 "\n",
			mock_hold_release(number(h, "key", 0), number(h, "n", 0)));
	} else {
		return 404;
	}
	return 200;
}

void mock_admin(struct mock_call *call, const struct mock_head *h)
{
	char *text = NULL;
	size_t n = 0;
	uint64_t close = call->plan.close;
	FILE *f;

	memset(&call->plan, 0, sizeof(call->plan)); /* ?n= and the like are not for a call here */
	call->plan.close = close;
	if (mock_slice_is((struct mock_slice){h->path.p, h->path.n}, "/_mock/wait")) {
		begin_wait(call, h);
		return;
	}
	f = open_memstream(&text, &n);
	if (!f)
		abort();
	call->plan.status = (uint64_t)put_answer(f, call, h);
	if (call->plan.status == 404)
		fputs("the mock has no such page\n", f);
	fclose(f);
	call->body = text;
	call->body_len = n;
}
