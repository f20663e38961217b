/*
 * The request guard: what a request's head must be before anything of it is believed. Pure: it sees
 * pointers and lengths, and says NONE or a fault with its reason. What it refuses is answered 4xx
 * and the connection closes, so that nothing behind it is ever read as another request.
 *
 * The rules are those of RFC 9110 and 9112, at their strictest, since two readers that differ about
 * one request are what smuggling is made of; beyond them, what nginx and HAProxy refuse by default.
 */
#ifndef SQ_FRONT_GUARD_H
#define SQ_FRONT_GUARD_H

#include "front/field.h"
#include "tables/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_GUARD_FIELDS 100 /* more fields: 431 */
#define SQ_GUARD_TOKENS 16  /* more names in Connection: 400 */

struct sq_guard_head {
	const char *method, *version;
	const char *target; /* raw: with the query, nothing decoded */
	size_t target_len;
	struct sq_field *fields; /* the guard fills in their kind */
	size_t n_fields;
	size_t max_bytes; /* limits.headers */
};

struct sq_guard_verdict {
	enum sq_fault fault;
	const char *reason; /* of a fault; static */
	/* When there is no fault: */
	int64_t length; /* Content-Length; -1: none */
	bool chunked;
	bool http_1_0;
	const struct sq_field *host; /* NULL: an HTTP/1.0 request without */
};

void sq_guard_check(const struct sq_guard_head *head, struct sq_guard_verdict *out);

/*
 * The second half, for libmicrohttpd 0.9, whose parser forgives what it must not and leaves no word
 * of it: bare LF, NUL, obs-fold, blanks around the request line's parts. But it parses in place:
 * method, target, version, names and values point into the bytes as they came, and only ends are
 * overwritten with NUL. So the gaps between them tell: a line ends with the two bytes that were CR
 * LF, no more and no less. A NUL cut its field short, which leaves a gap too wide; a folded line
 * was moved elsewhere. Returns NULL, or what is wrong. Reads only bytes between the pointers.
 */
struct sq_guard_place {
	const char *method;
	const char *target;
	size_t target_len;
	const char *version;
	const char *end; /* first byte behind the head */
	const struct sq_field *fields;
	size_t n_fields;
};
const char *sq_guard_gaps(const struct sq_guard_place *p);

#endif
