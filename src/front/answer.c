/* From the engine's answer, an error or a text of ours to the library's response. */
#include "base/log.h"
#include "front/conn.h"
#include "front/error.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What the reader gives the library at once, when the answer is not chunked. */
#define BLOCK (32u * 1024)

/* ---- responding ---- */

void conn_respond(struct conn *c, unsigned status, struct MHD_Response *r)
{
	struct request *rq = &c->rq;

	if (rq->ask) {
		ask_orphan(rq->ask);
		rq->ask = NULL;
	}
	if (!r || rq->response || c->cut) {
		/* Out of memory: nothing can be said. Or there is nobody to say it to. */
		if (r)
			MHD_destroy_response(r);
		if (!c->cut)
			conn_cut(c);
		return;
	}
	if (rq->close || c->front->draining || c->surplus)
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	rq->status = status;
	rq->response = r;
	if (c->in_handler)
		return;
	if (c->parked) {
		conn_move(c, CONN_SEND);
		port_run_soon(c->port); /* the handler will be asked, and queue it */
		return;
	}
	assert(c->suspended);
	if (MHD_queue_response(c->mhd, status, r) != MHD_YES)
		c->cut = true;
	MHD_destroy_response(r);
	rq->response = NULL;
	conn_resume(c);
}

static void add_id(struct MHD_Response *r, struct sq_id id)
{
	char hex[SQ_ID_HEX];

	if (id.hi | id.lo)
		MHD_add_response_header(r, "X-Call-Id", sq_id_show(hex, id));
}

void conn_fail(struct conn *c, enum sq_fault fault, const char *detail)
{
	const struct sq_fault_row *row = sq_fault_row(fault);
	char text[SQ_FRONT_ERROR_MAX], after[16];
	size_t len = sq_front_error(text, fault, detail, c->rq.id);
	struct MHD_Response *r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_COPY);

	if (r) {
		MHD_add_response_header(r, "Content-Type", "application/json");
		add_id(r, c->rq.id);
		if (row->retry_after_s) {
			snprintf(after, sizeof(after), "%d", row->retry_after_s);
			MHD_add_response_header(r, "Retry-After", after);
		}
		if (fault == SQ_FAULT_UNAUTHORIZED)
			MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
		if (fault == SQ_FAULT_METHOD)
			MHD_add_response_header(r, "Allow",
						c->rq.allow ? c->rq.allow : "GET, POST");
	}
	conn_respond(c, (unsigned)row->status, r);
}

void conn_answer(struct conn *c, unsigned status, const char *type, const char *text, size_t len)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)text,
								 MHD_RESPMEM_MUST_COPY);

	if (r) {
		MHD_add_response_header(r, "Content-Type", type);
		add_id(r, c->rq.id);
	}
	conn_respond(c, status, r);
}

/* ---- bodies ---- */

static void release(void *cls)
{
	sq_blob_unref(cls);
}

/* Without a copy: the response shows the blob's memory and holds a count. */
static struct MHD_Response *from_memory(struct sq_blob *body)
{
	struct MHD_Response *r;

	if (!body || sq_blob_size(body) == 0)
		return MHD_create_response_from_buffer(0, (void *)(uintptr_t)"",
						       MHD_RESPMEM_PERSISTENT);
	r = MHD_create_response_from_buffer_with_free_callback_cls(
		sq_blob_size(body), (void *)(uintptr_t)sq_blob_bytes(body), release,
		sq_blob_ref(body));
	if (!r)
		sq_blob_unref(body);
	return r;
}

static ssize_t read_blob(void *cls, uint64_t pos, char *buf, size_t max)
{
	ssize_t n = sq_blob_read(cls, pos, buf, max);

	return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* A finished body, in memory or in a file. */
static struct MHD_Response *from_blob(struct sq_blob *body)
{
	struct MHD_Response *r;

	if (!body || sq_blob_bytes(body) || sq_blob_size(body) == 0)
		return from_memory(body);
	r = MHD_create_response_from_callback(sq_blob_size(body), BLOCK, read_blob,
					      sq_blob_ref(body), release);
	if (!r)
		sq_blob_unref(body);
	return r;
}

/* What the function has sent beyond pos: from the stream's window, else from the growing body. */
static ssize_t next_bytes(struct request *rq, uint64_t pos, char *buf, size_t max)
{
	struct sq_buf *flow = sq_run_flow(rq->run);
	size_t n;

	if (!flow)
		return rq->answer->body ? sq_blob_read(rq->answer->body, pos, buf, max) : 0;
	n = flow->len < max ? flow->len : max;
	if (n > 0) {
		memcpy(buf, flow->data, n);
		sq_buf_consume(flow, n);
		sq_run_consumed(rq->run);
	}
	return (ssize_t)n;
}

/* An answer that is still growing. The library calls again after 0 once it is resumed. */
static ssize_t read_growing(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct conn *c = cls;
	struct request *rq = &c->rq;
	ssize_t n = rq->aborted || c->cut ? -1 : next_bytes(rq, pos, buf, max);

	if (n > 0)
		return n;
	if (n == 0 && !rq->aborted && !rq->answer->complete) {
		conn_suspend(c);
		return 0;
	}
	if (n == 0 && !rq->aborted &&
	    (rq->answer->length < 0 || (uint64_t)rq->answer->length == pos))
		return MHD_CONTENT_READER_END_OF_STREAM;
	conn_reset(c);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t read_nothing(void *cls, uint64_t pos, char *buf, size_t max)
{
	(void)cls;
	(void)pos;
	(void)buf;
	(void)max;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *body_of(struct conn *c, const struct sq_answer *a)
{
	uint64_t size = a->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)a->length;

	/* Only the length is told; the reader is not called. */
	if (strcmp(c->rq.method, "HEAD") == 0 || a->status == 304)
		return a->length == 0 ? from_memory(NULL)
				      : MHD_create_response_from_callback(size, 1, read_nothing,
									  NULL, NULL);
	if (a->complete && !sq_run_flow(c->rq.run))
		return from_blob(a->body);
	return MHD_create_response_from_callback(size, BLOCK, read_growing, c, NULL);
}

/* ---- heads ---- */

/* The library frames the message itself; and what says who served it is said by us. */
static bool not_the_functions(const struct sq_header *h)
{
	static const char *const names[] = {"content-length",     "transfer-encoding",
					    "connection",         "keep-alive",
					    "upgrade",            "trailer",
					    "x-call-id",          "x-sequoia-queue-ms",
					    "x-sequoia-attempts"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if ((h->name[0] | 0x20) == names[i][0] && strcasecmp(h->name, names[i]) == 0)
			return true;
	return false;
}

/* Bytes that the head will take of the connection's memory. */
static size_t head_bytes(const struct sq_header *h, size_t n)
{
	size_t bytes = 512;

	for (size_t i = 0; i < n; i++)
		bytes += h[i].name_len + h[i].value_len + 4;
	return bytes;
}

static void add_headers(struct MHD_Response *r, const struct sq_header *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!not_the_functions(&h[i]))
			MHD_add_response_header(r, h[i].name, h[i].value);
}

static void add_ours(struct MHD_Response *r, struct sq_id id, int64_t queue_ns, unsigned attempts)
{
	char text[24];

	add_id(r, id);
	snprintf(text, sizeof(text), "%lld", (long long)(queue_ns / 1000000));
	MHD_add_response_header(r, "X-Sequoia-Queue-Ms", text);
	snprintf(text, sizeof(text), "%u", attempts);
	MHD_add_response_header(r, "X-Sequoia-Attempts", text);
}

/* Is there room for the answer's head beside the request's? The library would just close. */
static bool fits(struct conn *c, const struct sq_header *h, size_t n)
{
	return c->rq.head_cost + head_bytes(h, n) <= c->front->pool_bytes;
}

void answer_ready(struct conn *c)
{
	struct request *rq = &c->rq;
	const struct sq_answer *a = rq->answer;
	struct MHD_Response *r;

	if (!fits(c, a->headers, a->n_headers)) {
		if (rq->waits) {
			rq->waits = false;
			sq_run_hangup(rq->run);
		}
		conn_fail(c, SQ_FAULT_BACKEND_BROKEN, "its head is too large");
		return;
	}
	r = body_of(c, a);
	if (r) {
		add_headers(r, a->headers, a->n_headers);
		add_ours(r, rq->id, sq_run_queue_ns(rq->run), sq_run_attempts(rq->run));
	}
	conn_respond(c, (unsigned)a->status, r);
}

void conn_answer_view(struct conn *c, const struct sq_run_view *v)
{
	struct MHD_Response *r = NULL;

	if (!fits(c, v->headers, v->n_headers)) {
		conn_fail(c, SQ_FAULT_BACKEND_BROKEN, "its head is too large");
		return;
	}
	r = from_blob(v->body);
	if (r) {
		add_headers(r, v->headers, v->n_headers);
		add_ours(r, v->id, v->queue_ns, v->attempts);
	}
	conn_respond(c, (unsigned)v->status, r);
}

/* ---- the sink ---- */

static struct conn *conn_of(struct sq_sink *s)
{
	return caa_container_of(s, struct conn, rq.sink);
}

static void sink_answer(struct sq_sink *s, struct sq_answer *a)
{
	struct conn *c = conn_of(s);

	c->rq.answer = a;
	c->rq.waits = !a->complete;
	if (c->rq.run)
		answer_ready(c); /* else submit has not returned yet: see conn_call */
}

static void sink_grew(struct sq_sink *s)
{
	struct conn *c = conn_of(s);

	c->rq.waits = !c->rq.answer->complete;
	conn_resume(c);
}

static void sink_failed(struct sq_sink *s, enum sq_fault fault, const char *detail)
{
	struct conn *c = conn_of(s);

	c->rq.waits = false;
	if (!c->rq.answer) {
		conn_fail(c, fault, detail);
		return;
	}
	/* The head is sent: all that can be said is that the answer is broken. */
	c->rq.aborted = true;
	conn_resume(c);
}

const struct sq_sink_ops answer_sink = {
	.answer = sink_answer,
	.grew = sink_grew,
	.failed = sink_failed,
};
