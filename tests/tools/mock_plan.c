/* What a call's query asks of the mock: one table of numbers, a few words. */
#include "mock.h"

#include <string.h>

static const struct {
	const char *key;
	size_t at;
	uint64_t scale;
} numbers[] = {
	{"delay", offsetof(struct mock_plan, delay_ns), 1000000},
	{"jitter", offsetof(struct mock_plan, jitter_ns), 1000000},
	{"dribble", offsetof(struct mock_plan, dribble_ns), 1000000},
	{"after", offsetof(struct mock_plan, after_ns), 1000000},
	{"every", offsetof(struct mock_plan, every_ns), 1000000},
	{"status", offsetof(struct mock_plan, status), 1},
	{"size", offsetof(struct mock_plan, size), 1},
	{"huge", offsetof(struct mock_plan, size), 1 << 20},
	{"chunked", offsetof(struct mock_plan, chunked), 1},
	{"close", offsetof(struct mock_plan, close), 1},
	{"orphan", offsetof(struct mock_plan, orphan), 1},
	{"garbage", offsetof(struct mock_plan, garbage), 1},
	{"id", offsetof(struct mock_plan, id), 1},
	{"hold", offsetof(struct mock_plan, hold), 1},
	{"n", offsetof(struct mock_plan, n), 1},
	{"echo", offsetof(struct mock_plan, echo), 1},
};

static const char *const faults[FAULT_COUNT] = {
	[FAULT_NONE] = "none",           [FAULT_RESET] = "reset",
	[FAULT_CLOSE] = "close",         [FAULT_HALF] = "half",
	[FAULT_RESETHALF] = "resethalf", [FAULT_HANG] = "hang",
	[FAULT_HANGHALF] = "hanghalf",   [FAULT_STALE] = "stale",
	[FAULT_STALENEXT] = "stalenext", [FAULT_SLOW100] = "slow100",
};

bool mock_slice_is(struct mock_slice s, const char *text)
{
	return strlen(text) == s.n && memcmp(s.p, text, s.n) == 0;
}

/* Digits with an optional fraction, times scale (a power of ten or two): "1.5" ms in ns. */
uint64_t mock_number(struct mock_slice s, uint64_t scale)
{
	uint64_t v = 0;
	size_t i = 0;

	for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && v < UINT64_MAX / 100; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	if (v > UINT64_MAX / scale)
		return UINT64_MAX;
	v *= scale;
	if (i < s.n && s.p[i] == '.')
		while (++i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && scale >= 10) {
			scale /= 10;
			v += (uint64_t)(s.p[i] - '0') * scale;
		}
	return v;
}

bool mock_query_next(struct mock_slice query, size_t *at, struct mock_slice *key,
		     struct mock_slice *value)
{
	const char *p = query.p + *at;
	size_t left = query.n - *at;
	const char *amp, *eq;
	size_t n;

	if (left == 0)
		return false;
	amp = memchr(p, '&', left);
	n = amp ? (size_t)(amp - p) : left;
	*at += n + (amp ? 1 : 0);
	eq = memchr(p, '=', n);
	*key = (struct mock_slice){p, eq ? (size_t)(eq - p) : n};
	*value = eq ? (struct mock_slice){eq + 1, n - key->n - 1} : (struct mock_slice){p + n, 0};
	return true;
}

struct mock_slice mock_query_get(struct mock_slice query, const char *key)
{
	struct mock_slice k, v;

	for (size_t at = 0; mock_query_next(query, &at, &k, &v);)
		if (mock_slice_is(k, key))
			return v;
	return (struct mock_slice){"", 0};
}

static void read_fault(struct mock_plan *p, struct mock_slice value)
{
	for (unsigned i = 0; i < FAULT_COUNT; i++)
		if (mock_slice_is(value, faults[i]))
			p->fault = (enum mock_fault)i;
}

static void read_number(struct mock_plan *p, struct mock_slice key, struct mock_slice value)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (!mock_slice_is(key, numbers[i].key))
			continue;
		uint64_t v = mock_number(value, numbers[i].scale);
		memcpy((char *)p + numbers[i].at, &v, sizeof(v));
		p->sized |= numbers[i].at == offsetof(struct mock_plan, size);
		return;
	}
}

void mock_plan_read(struct mock_plan *p, struct mock_slice query)
{
	struct mock_slice key, value;

	memset(p, 0, sizeof(*p));
	p->status = 200;
	p->n = 10;
	p->after_ns = 1000000;
	p->every_ns = 10000000;
	p->query = query;
	for (size_t at = 0; mock_query_next(query, &at, &key, &value);) {
		if (mock_slice_is(key, "fault"))
			read_fault(p, value);
		else if (mock_slice_is(key, "t"))
			p->tenant = value;
		else if (mock_slice_is(key, "echo") && mock_slice_is(value, "head"))
			p->echo_head = true;
		else
			read_number(p, key, value);
	}
	if (p->status < 100 || p->status > 999)
		p->status = 200;
}
