/*
 * Linear probing over a power of two of slots, at most 3/4 full; a removal shifts the following
 * slots back, so there are no tombstones and a lookup ends at the first empty slot. The keys come
 * from clients: the hash has a seed that they cannot know, one per map, so that filling one map in
 * the table order of another is not quadratic.
 */
#include "base/map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_SLOTS 16

struct slot {
	uint64_t hash;
	const void *key;
	size_t len;
	void *value; /* NULL: the slot is empty */
};

struct sq_map {
	struct slot *slots;
	size_t mask, count;
	uint64_t seed;
};

struct sq_map *sq_map_new(void)
{
	struct sq_map *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->slots = calloc(FIRST_SLOTS, sizeof(*m->slots));
	if (!m->slots || getrandom(&m->seed, sizeof(m->seed), 0) != sizeof(m->seed)) {
		sq_map_free(m);
		return NULL;
	}
	m->mask = FIRST_SLOTS - 1;
	return m;
}

void sq_map_free(struct sq_map *m)
{
	if (!m)
		return;
	free(m->slots);
	free(m);
}

static uint64_t hash_of(const struct sq_map *m, const void *key, size_t len)
{
	return XXH3_64bits_withSeed(key, len, m->seed);
}

/* The slot that holds the key, or the empty one where it would be put. */
static struct slot *find(const struct sq_map *m, uint64_t hash, const void *key, size_t len)
{
	size_t i = hash & m->mask;

	for (;; i = (i + 1) & m->mask) {
		struct slot *s = &m->slots[i];

		if (!s->value)
			return s;
		if (s->hash == hash && s->len == len && (len == 0 || memcmp(s->key, key, len) == 0))
			return s;
	}
}

void *sq_map_get(const struct sq_map *m, const void *key, size_t len)
{
	return find(m, hash_of(m, key, len), key, len)->value;
}

static int grow(struct sq_map *m)
{
	struct slot *old = m->slots, *end = old + m->mask + 1, *s;
	size_t slots = (m->mask + 1) * 2;
	size_t i;

	m->slots = calloc(slots, sizeof(*m->slots));
	if (!m->slots) {
		m->slots = old;
		return -ENOMEM;
	}
	m->mask = slots - 1;
	for (s = old; s < end; s++) {
		if (!s->value)
			continue;
		for (i = s->hash & m->mask; m->slots[i].value; i = (i + 1) & m->mask)
			;
		m->slots[i] = *s;
	}
	free(old);
	return 0;
}

int sq_map_put(struct sq_map *m, const void *key, size_t len, void *value)
{
	uint64_t hash = hash_of(m, key, len);
	struct slot *s = find(m, hash, key, len);

	assert(value);
	if (s->value)
		return -EEXIST;
	if (m->count >= (m->mask + 1) / 4 * 3) {
		if (grow(m) < 0)
			return -ENOMEM;
		s = find(m, hash, key, len);
	}
	*s = (struct slot){.hash = hash, .key = key, .len = len, .value = value};
	m->count++;
	return 0;
}

/*
 * Fills the gap at `gap` from the run of slots that follows it: a slot may move back into the gap
 * unless its home lies (cyclically) behind the gap, for then a lookup would not pass there.
 */
static void close_gap(struct sq_map *m, size_t gap)
{
	size_t i = gap;

	for (;;) {
		size_t home;

		i = (i + 1) & m->mask;
		if (!m->slots[i].value)
			break;
		home = m->slots[i].hash & m->mask;
		if (((i - home) & m->mask) < ((i - gap) & m->mask))
			continue;
		m->slots[gap] = m->slots[i];
		gap = i;
	}
	m->slots[gap].value = NULL;
}

void *sq_map_remove(struct sq_map *m, const void *key, size_t len)
{
	struct slot *s = find(m, hash_of(m, key, len), key, len);
	void *value = s->value;

	if (!value)
		return NULL;
	close_gap(m, (size_t)(s - m->slots));
	m->count--;
	return value;
}

size_t sq_map_count(const struct sq_map *m)
{
	return m->count;
}

void *sq_map_next(const struct sq_map *m, size_t *cursor)
{
	while (*cursor <= m->mask) {
		void *value = m->slots[(*cursor)++].value;

		if (value)
			return value;
	}
	return NULL;
}
