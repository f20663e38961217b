/*
 * Where the bytes of a function's answer go, for all kinds of backend: inv->answer.body, within
 * limits.answer; or inv->flow when the client takes them as they come.
 */
#ifndef SQ_WORKER_ANSWER_SINK_H
#define SQ_WORKER_ANSWER_SINK_H

#include "engine/engine.h"

/*
 * The head is complete; an event stream that is not kept becomes a stream. ANSWER_TOO_LARGE when
 * its length says so.
 */
enum sq_fault sq_answer_begin(struct sq_invocation *inv, bool has_body);
/* More of the body; n > 0. NONE, ANSWER_TOO_LARGE, MEMORY or STORAGE. */
enum sq_fault sq_answer_add(struct sq_invocation *inv, const void *data, size_t n);
/*
 * The last byte has come. told: sq_invocation_head was called. If not, a stream's few bytes are put
 * into the body after all: the client gets it whole.
 */
enum sq_fault sq_answer_end(struct sq_invocation *inv, bool told);

/* The client is behind: read no further. */
static inline bool sq_answer_is_behind(const struct sq_invocation *inv)
{
	return inv->stream && !inv->discard && inv->flow.len > SQ_FLOW_HIGH;
}

#endif
