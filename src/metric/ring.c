#include "metric/ring.h"

#include <errno.h>
#include <stdlib.h>

int sq_ring_init(struct sq_ring *r, size_t rows)
{
	size_t capacity = 2;

	while (capacity < rows)
		capacity *= 2;
	/* So much is fresh pages: what is never filled never costs memory. */
	r->rows = calloc(capacity, sizeof(*r->rows));
	if (!r->rows)
		return -ENOMEM;
	r->capacity = capacity;
	r->tail_seen = 0;
	atomic_init(&r->head, 0);
	atomic_init(&r->tail, 0);
	return 0;
}

void sq_ring_free(struct sq_ring *r)
{
	free(r->rows);
	r->rows = NULL;
}
