/* Writes the head of a request to an HTTP backend. */
#ifndef SQ_WORKER_REQUEST_WRITER_H
#define SQ_WORKER_REQUEST_WRITER_H

#include "base/buf.h"
#include "engine/engine.h"

/* Where a backend's URL points: what all requests to it have in common. */
struct sq_target {
	const char *host; /* of the Host header, with the port where it is not the default */
	const char *base; /* path before /function/NAME: "" or "/..." without a slash at the end */
};

/*
 * Appends the head: the client's own fields, then ours (Host, Content-Length, X-Sequoia-Run, -Node,
 * -Attempt, X-Call-Id; Idempotency-Key unless the client gave one). A field of the client with a
 * name of ours is left out. 0 or -ENOMEM (out is unchanged).
 */
int sq_request_write(struct sq_buf *out, const struct sq_invocation *inv,
		     const struct sq_target *target) __attribute__((warn_unused_result));

/* May the request be repeated when nobody knows whether it was carried out (RFC 9110 9.2.2)? */
bool sq_request_idempotent(const char *method);

/*
 * Walks a block of fields in wire form: name and value of the next one. *p starts at its beginning;
 * false at its end.
 */
struct sq_bytes;
bool sq_request_next_field(const char **p, const char *end, struct sq_bytes *name,
			   struct sq_bytes *value);

#endif
