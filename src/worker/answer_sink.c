#include "worker/answer_sink.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

static uint64_t limit_of(const struct sq_invocation *inv)
{
	return sq_home_settings(inv->home)->limit_answer;
}

static enum sq_fault fault_of(int err)
{
	if (err == -ENOMEM)
		return SQ_FAULT_MEMORY;
	sq_log_limited(SQ_LOG_ERROR, "answer-not-stored", "error=\"%s\"", strerror(-err));
	return SQ_FAULT_STORAGE;
}

enum sq_fault sq_answer_begin(struct sq_invocation *inv, bool has_body)
{
	const struct sq_answer *a = &inv->answer;

	if (a->event_stream && !inv->keep)
		inv->stream = true;
	if (has_body && !inv->stream && a->length > 0 && (uint64_t)a->length > limit_of(inv))
		return SQ_FAULT_ANSWER_TOO_LARGE;
	return SQ_FAULT_NONE;
}

static enum sq_fault add_to_body(struct sq_invocation *inv, const void *data, size_t n)
{
	struct sq_answer *a = &inv->answer;
	int rc;

	if (!a->body) {
		size_t hint = a->length > 0 ? (size_t)a->length : 0;

		a->body = sq_blob_new(sq_home_blobs(inv->home), hint);
		if (!a->body)
			return SQ_FAULT_MEMORY;
	}
	if (sq_blob_size(a->body) + n > limit_of(inv))
		return SQ_FAULT_ANSWER_TOO_LARGE;
	rc = sq_blob_append(a->body, data, n);
	return rc < 0 ? fault_of(rc) : SQ_FAULT_NONE;
}

enum sq_fault sq_answer_add(struct sq_invocation *inv, const void *data, size_t n)
{
	if (inv->discard)
		return SQ_FAULT_NONE;
	if (!inv->stream)
		return add_to_body(inv, data, n);
	return sq_buf_add(&inv->flow, data, n) < 0 ? SQ_FAULT_MEMORY : SQ_FAULT_NONE;
}

enum sq_fault sq_answer_end(struct sq_invocation *inv, bool told)
{
	enum sq_fault fault = SQ_FAULT_NONE;

	if (inv->stream && !told) {
		inv->stream = false;
		if (inv->flow.len > 0)
			fault = add_to_body(inv, inv->flow.data, inv->flow.len);
		sq_buf_free(&inv->flow);
	}
	if (inv->answer.body)
		sq_blob_seal(inv->answer.body);
	inv->answer.complete = fault == SQ_FAULT_NONE;
	return fault;
}
