/*
 * Names as numbers: append-only, for the process's life. One lock; callers on a hot path keep the
 * number. Names may come from clients, so their count is bounded: beyond SQ_NAMES_MAX every new
 * name is the one called "(other)".
 */
#ifndef SQ_METRIC_NAMES_H
#define SQ_METRIC_NAMES_H

#include "metric/metric.h"

#define SQ_NAMES_MAX 262144u

struct sq_names;

struct sq_names *sq_names_new(void);    /* NULL: no memory */
void sq_names_free(struct sq_names *n); /* NULL is fine */

/* The name's number, from 1; 0 for NULL and when there is no memory. Copies the name. */
sq_name_t sq_names_intern(struct sq_names *n, const char *name);
/* Valid as long as n; NULL for 0 and for numbers never given. */
const char *sq_names_get(struct sq_names *n, sq_name_t id);

#endif
