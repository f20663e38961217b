/*
 * The members of a JSON object one by one, as they are written. Nothing is built of what is in
 * them: an array of a million arrays costs a look at its bytes.
 */
#ifndef SQ_FRONT_JSON_SPAN_H
#define SQ_FRONT_JSON_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#define SQ_JSON_DEPTH 512 /* of nesting in a member */

struct sq_json_span {
	const char *at;
	size_t len;
};

struct sq_json_reader {
	const char *at, *end; /* the text; after -1, at is where it is wrong */
	bool begun;           /* false */
};

/*
 * 1: a member, its key in its quotes, escapes and all; 0: the object has ended, and the text with
 * it; -1: it is no object, or not JSON (RFC 8259; bytes beyond ASCII pass, UTF-8 or not). Only
 * after 0 is it known that all is well. The spans point into the text.
 */
int sq_json_next(struct sq_json_reader *r, struct sq_json_span *key, struct sq_json_span *value);

#endif
