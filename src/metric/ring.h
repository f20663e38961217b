/*
 * A bounded queue of metric rows from one producer thread (a loop) to one consumer (the metric
 * thread). The producer claims the next slot, fills it and publishes it; a full ring gives no slot.
 * The consumer reads the rows in place and releases them only when the database has them, so that
 * a transaction that fails loses nothing.
 *
 * head and tail only grow; a slot is its number modulo the capacity. Each side writes one cache
 * line and looks at the other's only when what it saw there last no longer suffices.
 */
#ifndef SQ_METRIC_RING_H
#define SQ_METRIC_RING_H

#include "metric/metric.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_CACHE_LINE 64

enum sq_row_kind { SQ_ROW_ARRIVAL, SQ_ROW_INVOCATION };

struct sq_row {
	enum sq_row_kind kind;
	union {
		struct sq_metric_arrival arrival;
		struct sq_metric_invocation invocation;
	};
};

struct sq_ring {
	_Alignas(SQ_CACHE_LINE) _Atomic uint64_t head; /* the producer's: next slot to fill */
	uint64_t tail_seen;
	_Alignas(SQ_CACHE_LINE) _Atomic uint64_t tail; /* the consumer's: oldest row */
	_Alignas(SQ_CACHE_LINE) struct sq_row *rows;   /* not written after init */
	uint64_t capacity;
};

/* The n oldest rows of a ring. */
struct sq_ring_span {
	const struct sq_ring *ring;
	size_t n;
};

/* rows is rounded up to a power of two. 0 or -ENOMEM. */
int sq_ring_init(struct sq_ring *r, size_t rows) __attribute__((warn_unused_result));
void sq_ring_free(struct sq_ring *r); /* a zeroed ring is fine */

/* The slot to fill, or NULL: the ring is full. Producer. */
static inline struct sq_row *sq_ring_claim(struct sq_ring *r)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	if (head - r->tail_seen == r->capacity) {
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (head - r->tail_seen == r->capacity)
			return NULL;
	}
	return &r->rows[head & (r->capacity - 1)];
}

/* Hands the claimed slot over; true: this row made the ring half full. Producer. */
static inline bool sq_ring_publish(struct sq_ring *r)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed) + 1;

	atomic_store_explicit(&r->head, head, memory_order_release);
	if (head - r->tail_seen < r->capacity / 2)
		return false;
	r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
	return head - r->tail_seen == r->capacity / 2;
}

/* How many rows can be read. Consumer. */
static inline size_t sq_ring_ready(const struct sq_ring *r)
{
	return (size_t)(atomic_load_explicit(&r->head, memory_order_acquire) -
			atomic_load_explicit(&r->tail, memory_order_relaxed));
}

/* The i-th oldest row, i < sq_ring_ready(); valid until released. Consumer. */
static inline const struct sq_row *sq_ring_at(const struct sq_ring *r, size_t i)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	return &r->rows[(tail + i) & (r->capacity - 1)];
}

/* Gives the n oldest slots back. Consumer. */
static inline void sq_ring_release(struct sq_ring *r, size_t n)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	atomic_store_explicit(&r->tail, tail + n, memory_order_release);
}

#endif
