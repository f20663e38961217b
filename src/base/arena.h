/*
 * Memory that lives and dies together: one per run. Allocation bumps a pointer; nothing is freed
 * alone. Chunks are kept on a free list per pool (one pool per loop, not thread-safe), so that a
 * call costs no malloc in the steady state.
 */
#ifndef SQ_BASE_ARENA_H
#define SQ_BASE_ARENA_H

#include <stddef.h>

struct sq_arena;
struct sq_arena_pool;

struct sq_arena_pool *sq_arena_pool_new(size_t chunk_bytes, size_t keep_chunks);
void sq_arena_pool_free(struct sq_arena_pool *p); /* asserts that every arena was freed */

struct sq_arena *sq_arena_new(struct sq_arena_pool *p); /* NULL: out of memory */
void sq_arena_free(struct sq_arena *a);                 /* NULL is fine; same thread as new */
/* 16-byte aligned, not zeroed; NULL when out of memory. Large sizes get a chunk of their own. */
void *sq_arena_alloc(struct sq_arena *a, size_t bytes) __attribute__((malloc));
void *sq_arena_zalloc(struct sq_arena *a, size_t bytes) __attribute__((malloc));
char *sq_arena_strndup(struct sq_arena *a, const char *s, size_t len); /* NUL-terminated */
size_t sq_arena_bytes(const struct sq_arena *a); /* memory held, for the memory account */

#endif
