/*
 * An arena is a list of chunks; the newest ordinary chunk is the one being filled. The arena's own
 * struct is the first thing in its first chunk, so that a run costs one chunk and, once the pool is
 * warm, no malloc. Under AddressSanitizer all that was not handed out is poisoned, with a gap after
 * each piece, so that overruns and uses after sq_arena_free are seen as with malloc.
 */
#include "base/arena.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define GAP 16
#define hide(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define show(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define GAP 0
#define hide(p, n) ((void)(p), (void)(n))
#define show(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN 16

struct chunk {
	struct chunk *next;
	size_t bytes; /* with this header */
	_Alignas(ALIGN) char data[];
};
_Static_assert(_Alignof(max_align_t) >= ALIGN, "malloc must align chunks well enough");

struct sq_arena_pool {
	size_t chunk_bytes;
	size_t keep, kept; /* free chunks: at most, now */
	size_t arenas;
	struct chunk *free;
};

struct sq_arena {
	struct sq_arena_pool *pool;
	struct chunk *chunks;
	char *at, *end; /* what is left of the chunk being filled */
	size_t bytes;
};

static size_t round_up(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

struct sq_arena_pool *sq_arena_pool_new(size_t chunk_bytes, size_t keep_chunks)
{
	size_t least = sizeof(struct chunk) + round_up(sizeof(struct sq_arena)) + 256;
	struct sq_arena_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	assert(chunk_bytes <= SIZE_MAX / 2);
	p->chunk_bytes = round_up(chunk_bytes < least ? least : chunk_bytes);
	p->keep = keep_chunks;
	return p;
}

void sq_arena_pool_free(struct sq_arena_pool *p)
{
	struct chunk *c;

	if (!p)
		return;
	assert(p->arenas == 0);
	while ((c = p->free)) {
		p->free = c->next;
		free(c);
	}
	free(p);
}

static struct chunk *chunk_get(struct sq_arena_pool *p, size_t bytes)
{
	struct chunk *c = p->free;

	if (bytes == p->chunk_bytes && c) {
		p->free = c->next;
		p->kept--;
		return c;
	}
	c = malloc(bytes);
	if (!c)
		return NULL;
	c->bytes = bytes;
	hide(c->data, bytes - sizeof(*c));
	return c;
}

static void chunk_put(struct sq_arena_pool *p, struct chunk *c)
{
	if (c->bytes != p->chunk_bytes || p->kept == p->keep) {
		free(c);
		return;
	}
	hide(c->data, c->bytes - sizeof(*c));
	c->next = p->free;
	p->free = c;
	p->kept++;
}

struct sq_arena *sq_arena_new(struct sq_arena_pool *p)
{
	struct chunk *c = chunk_get(p, p->chunk_bytes);
	struct sq_arena *a;

	if (!c)
		return NULL;
	c->next = NULL;
	a = (struct sq_arena *)c->data;
	show(a, sizeof(*a));
	a->pool = p;
	a->chunks = c;
	a->at = c->data + round_up(sizeof(*a) + GAP);
	a->end = (char *)c + c->bytes;
	a->bytes = c->bytes;
	p->arenas++;
	return a;
}

void sq_arena_free(struct sq_arena *a)
{
	struct sq_arena_pool *p;
	struct chunk *c, *next;

	if (!a)
		return;
	p = a->pool;
	p->arenas--;
	/* a itself lies in the last chunk of the list: it is not touched after this. */
	for (c = a->chunks; c; c = next) {
		next = c->next;
		chunk_put(p, c);
	}
}

/*
 * A piece that does not fit: a large one gets a chunk of its own, which goes back to malloc, and
 * the chunk being filled stays; a small one opens a new chunk and the rest of the old is left.
 */
static void *alloc_slow(struct sq_arena *a, size_t step)
{
	size_t usual = a->pool->chunk_bytes;
	bool large = step > (usual - sizeof(struct chunk)) / 2;
	struct chunk *c = chunk_get(a->pool, large ? sizeof(*c) + step : usual);

	if (!c)
		return NULL;
	c->next = a->chunks;
	a->chunks = c;
	a->bytes += c->bytes;
	if (!large) {
		a->at = c->data + step;
		a->end = (char *)c + c->bytes;
	}
	return c->data;
}

void *sq_arena_alloc(struct sq_arena *a, size_t bytes)
{
	size_t step;
	char *p;

	if (bytes > SIZE_MAX / 2)
		return NULL;
	step = round_up((bytes ? bytes : 1) + GAP);
	if (step <= (size_t)(a->end - a->at)) {
		p = a->at;
		a->at += step;
	} else {
		p = alloc_slow(a, step);
		if (!p)
			return NULL;
	}
	show(p, bytes);
	return p;
}

void *sq_arena_zalloc(struct sq_arena *a, size_t bytes)
{
	void *p = sq_arena_alloc(a, bytes);

	return p ? memset(p, 0, bytes) : NULL;
}

char *sq_arena_strndup(struct sq_arena *a, const char *s, size_t len)
{
	char *p = len < SIZE_MAX / 2 ? sq_arena_alloc(a, len + 1) : NULL;

	if (!p)
		return NULL;
	if (len)
		memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

size_t sq_arena_bytes(const struct sq_arena *a)
{
	return a->bytes;
}
