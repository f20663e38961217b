/*
 * An intrusive binary heap: the nodes live in the caller's structs, so nothing is allocated and
 * nothing can fail. The tree is complete and made of pointers: push, pop, remove and update are
 * O(log n) in the worst case, not amortised, since they run under a lock that is held < 1 us.
 */
#ifndef SQ_BASE_HEAP_H
#define SQ_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: on no heap. */
struct sq_heap_node {
	struct sq_heap_node *parent; /* of the root: the heap's own base */
	struct sq_heap_node *left, *right;
};

/* Strictly less; ties leave the order open, so give it a total order where that matters. */
typedef bool sq_heap_less(const struct sq_heap_node *a, const struct sq_heap_node *b);

/* Must not move in memory while it holds nodes. */
struct sq_heap {
	struct sq_heap_node base; /* base.left is the root, position 1 of the tree */
	size_t count;
	sq_heap_less *less;
};

void sq_heap_init(struct sq_heap *h, sq_heap_less *less);
void sq_heap_push(struct sq_heap *h, struct sq_heap_node *n);   /* n is on no heap */
void sq_heap_remove(struct sq_heap *h, struct sq_heap_node *n); /* n is on h; zeroes n */
void sq_heap_update(struct sq_heap *h, struct sq_heap_node *n); /* n's key changed, either way */
/* Brings n to where it belongs, on h or on none, whatever was before; its key may have changed. */
void sq_heap_place(struct sq_heap *h, struct sq_heap_node *n, bool belongs);

static inline struct sq_heap_node *sq_heap_top(const struct sq_heap *h)
{
	return h->base.left;
}

/* The least node, taken off; NULL when empty. */
static inline struct sq_heap_node *sq_heap_pop(struct sq_heap *h)
{
	struct sq_heap_node *n = sq_heap_top(h);

	if (n)
		sq_heap_remove(h, n);
	return n;
}

static inline bool sq_heap_linked(const struct sq_heap_node *n)
{
	return n->parent != NULL;
}

/* The struct that embeds node as member, or NULL for a NULL node. */
#define sq_heap_entry(node, type, member)                                                          \
	({                                                                                         \
		const struct sq_heap_node *sq_node_ = (node);                                      \
		sq_node_ ? (type *)((uintptr_t)sq_node_ - offsetof(type, member)) : NULL;          \
	})

#endif
