/*
 * Run ids: 48 bits of wall-clock ms, 16 of instance, 64 of which the top 8 are the home loop and 56
 * are random; 32 hex digits. Sorting ids sorts runs by time. W3C trace context beside them.
 */
#ifndef SQ_BASE_ID_H
#define SQ_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_ID_HEX 33 /* 32 digits and NUL */
#define SQ_TRACEPARENT 56 /* "00-" 32 "-" 16 "-" 2 and NUL */

struct sq_id {
	uint64_t hi, lo;
};

/* A per-thread random stream (not for secrets): seeded from getrandom(2). */
struct sq_random {
	uint64_t s[4];
};
void sq_random_init(struct sq_random *r);
uint64_t sq_random_next(struct sq_random *r);

struct sq_id sq_id_make(struct sq_random *r, int64_t wall_ns, uint16_t instance, uint8_t home);
uint8_t sq_id_home(struct sq_id id);
char *sq_id_show(char buf[SQ_ID_HEX], struct sq_id id);
int sq_id_parse(const char *hex, size_t len, struct sq_id *out); /* 0 or -EINVAL */

/*
 * W3C Trace Context, level 1: continues `incoming` (may be NULL or malformed: then a new trace is
 * begun with the run id as trace id) with a fresh parent id.
 */
void sq_traceparent(char out[SQ_TRACEPARENT], const char *incoming, size_t len, struct sq_id run,
		    struct sq_random *r);

#endif
