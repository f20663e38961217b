/* A request, from its first line to the call: what is refused when, and what is kept of it. */
#include "base/clock.h"
#include "front/conn.h"
#include "front/guard.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory of the connection that the library takes for each header field, about. */
#define RECORD 80

/* 0.9 parses in place and forgives too much; 1.0 is strict by itself (see sq_guard_gaps). */
static bool library_is_lax(void)
{
	const char *version = MHD_get_version();

	return version[0] == '0' && version[1] == '.';
}

/* ---- the request line ---- */

void request_begin(struct conn *c, const char *target)
{
	struct request *rq = &c->rq;
	size_t len = strlen(target);
	char *query;

	conn_move(c, CONN_HEAD);
	c->orderly = false;
	*rq = (struct request){.raw = target, .target_len = len, .length = -1};
	c->front->open_heads++;
	rq->arena = sq_arena_new(sq_home_arenas(c->front->home));
	rq->path = rq->arena ? sq_arena_strndup(rq->arena, target, len) : NULL;
	if (!rq->path)
		return; /* refused when the head is there */
	query = strchr(target, '?');
	if (query && library_is_lax()) {
		/*
		 * Its parser of arguments, which nobody asked for, would now take memory of the
		 * connection for each `&`. It stops at this NUL.
		 */
		query[1] = '\0';
	}
}

#define NAME_MAX_BYTES 255
#define NAME_SHOWN 64

/* Names of functions in all platforms we know, and of files without tricks: no dot in front. */
bool request_is_name(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
		    c != '-' && c != '_' && c != '.')
			return false;
	}
	return len > 0 && len <= NAME_MAX_BYTES && s[0] != '.';
}

/* ---- the head ---- */

struct fields {
	size_t n;
	struct sq_field at[SQ_GUARD_FIELDS + 1];
};

static enum MHD_Result collect(void *cls, enum MHD_ValueKind kind, const char *name,
			       size_t name_len, const char *value, size_t value_len)
{
	struct fields *f = cls;

	(void)kind;
	if (f->n > SQ_GUARD_FIELDS)
		return MHD_NO;
	f->at[f->n++] = (struct sq_field){
		.name = name,
		.name_len = name_len,
		.value = value ? value : name + name_len,
		.value_len = value ? value_len : 0,
	};
	return MHD_YES;
}

static const char *check_gaps(struct conn *c, const char *method, const char *version,
			      const struct fields *f)
{
	const union MHD_ConnectionInfo *size =
		MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	c->rq.head_cost = (size ? size->header_size : 0) + f->n * RECORD;
	if (!library_is_lax())
		return NULL;
	return sq_guard_gaps(&(struct sq_guard_place){
		.method = method,
		.target = c->rq.raw,
		.target_len = c->rq.target_len,
		.version = version,
		.end = size ? method + size->header_size : NULL,
		.fields = f->at,
		.n_fields = f->n,
	});
}

static enum sq_fault guard(struct conn *c, const char *method, const char *version,
			   struct fields *f, struct sq_guard_verdict *v)
{
	struct request *rq = &c->rq;
	const struct sq_guard_head head = {
		.method = method,
		.version = version,
		.target = rq->path,
		.target_len = rq->target_len,
		.fields = f->at,
		.n_fields = f->n,
		.max_bytes = sq_home_settings(c->front->home)->limit_headers,
	};

	sq_guard_check(&head, v);
	/* With too many fields only the first ones are known, and the gaps would not match. */
	if (!v->fault && (v->reason = check_gaps(c, method, version, f)))
		v->fault = SQ_FAULT_BAD_REQUEST;
	if (!v->fault)
		return SQ_FAULT_NONE;
	rq->detail = v->reason;
	sq_home_count(c->front->home, SQ_COUNT_REFUSED_GUARD, 1);
	return v->fault;
}

/* Splits the copy of the target; it was checked. */
static void split_target(struct request *rq)
{
	char *query = strchr(rq->path, '?');

	if (query) {
		*query = '\0';
		rq->query = query + 1;
	}
}

enum sq_fault request_admits(struct conn *c)
{
	const struct request *rq = &c->rq;
	struct sq_call call = {.id = rq->id,
			       .function = rq->function ? rq->function : "",
			       .tenant = rq->tenant,
			       .trigger = rq->trigger};

	return sq_engine_admits(c->front->home, &call);
}

static enum sq_fault route(struct conn *c)
{
	static const struct dialect *const dialects[] = {&dialect_openfaas, &dialect_health,
							 &dialect_runs, &dialect_routes};
	enum sq_fault fault = SQ_FAULT_NONE;

	c->rq.id = sq_home_id(c->front->home); /* of its run, also if that is refused */
	for (size_t i = 0; i < sizeof(dialects) / sizeof(*dialects); i++) {
		if (!dialects[i]->claim(c, &fault))
			continue;
		c->rq.dialect = dialects[i];
		return fault || !c->rq.function ? fault : request_admits(c);
	}
	return SQ_FAULT_NO_ROUTE;
}

static enum sq_fault understand(struct conn *c, const struct sq_guard_verdict *v, struct fields *f)
{
	struct request *rq = &c->rq;
	const struct sq_settings *s = sq_home_settings(c->front->home);
	enum sq_fault fault;

	if (v->length > 0 && (uint64_t)v->length > s->limit_body)
		return SQ_FAULT_BODY_TOO_LARGE;
	fault = head_tenant(c, s, f->at, f->n);
	if (fault)
		return fault;
	for (size_t i = 0; i < f->n; i++)
		rq->callback |= f->at[i].kind == SQ_FIELD_CALLBACK;
	split_target(rq);
	fault = route(c);
	if (fault)
		return fault;
	return head_build(c, v->host, f->at, f->n) < 0 ? SQ_FAULT_MEMORY : SQ_FAULT_NONE;
}

/* The guard's refusals are answered at once, which ends the connection; see refuse_head. */
static bool must_close(enum sq_fault fault)
{
	return fault == SQ_FAULT_BAD_REQUEST || fault == SQ_FAULT_HEADERS_TOO_LARGE ||
	       fault == SQ_FAULT_EXPECTATION || fault == SQ_FAULT_CONNECTIONS;
}

/* With a body still to come, the answer must be the connection's end; else it can wait for the end.
 */
static void refuse_head(struct conn *c, enum sq_fault fault)
{
	struct request *rq = &c->rq;

	if (must_close(fault) || rq->chunked || rq->length > 0) {
		rq->close = true;
		conn_fail(c, fault, rq->detail);
	} else {
		rq->refused = fault;
	}
}

void request_head(struct conn *c, const char *method, const char *version)
{
	struct request *rq = &c->rq;
	struct fields f;
	struct sq_guard_verdict v = {.length = -1};
	enum sq_fault fault;

	f.n = 0;
	rq->headed = true;
	c->front->open_heads--;
	rq->received_ns = sq_clock_ns();
	sq_home_count(c->front->home, SQ_COUNT_REQUESTS, 1);
	if (c->surplus) {
		fault = SQ_FAULT_CONNECTIONS;
	} else if (!rq->path ||
		   !(rq->method = sq_arena_strndup(rq->arena, method, strlen(method)))) {
		rq->close = true;
		fault = SQ_FAULT_MEMORY;
	} else {
		MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, collect, &f);
		fault = guard(c, method, version, &f, &v);
		rq->length = v.length;
		rq->chunked = v.chunked;
		rq->close = fault || (v.chunked && library_is_lax());
		if (!fault)
			fault = understand(c, &v, &f);
	}
	if (fault)
		refuse_head(c, fault);
	else if (rq->chunked || rq->length > 0)
		conn_move(c, CONN_BODY);
}

/* ---- the body ---- */

static enum sq_fault fault_of(int err)
{
	switch (err) {
	case -ENOMEM:
		return SQ_FAULT_MEMORY;
	case -ENOSPC:
	case -EIO:
	case -EMFILE:
	case -ENFILE:
		return SQ_FAULT_STORAGE;
	default:
		return SQ_FAULT_INTERNAL;
	}
}

static enum sq_fault take(struct conn *c, const char *data, size_t len)
{
	struct request *rq = &c->rq;
	size_t hint = rq->length > 0 ? (size_t)rq->length : 0;
	int rc;

	if (!rq->body && !(rq->body = sq_blob_new(sq_home_blobs(c->front->home), hint)))
		return SQ_FAULT_MEMORY;
	if (sq_blob_size(rq->body) + len > sq_home_settings(c->front->home)->limit_body)
		return SQ_FAULT_BODY_TOO_LARGE;
	rc = sq_blob_append(rq->body, data, len);
	return rc < 0 ? fault_of(rc) : SQ_FAULT_NONE;
}

int request_body(struct conn *c, const char *data, size_t len)
{
	enum sq_fault fault = take(c, data, len);

	if (!fault)
		return 0;
	/* The library takes no answer in the middle of a body. */
	conn_say(c, fault);
	return -1;
}

void request_complete(struct conn *c)
{
	struct request *rq = &c->rq;

	rq->complete = true;
	if (rq->body)
		sq_blob_seal(rq->body);
	if (rq->refused)
		conn_fail(c, rq->refused, rq->detail);
	else
		rq->dialect->serve(c);
}

/* ---- the call ---- */

/* By name: settings may have been replaced since the head was read. */
static const struct sq_backend_conf *backend_named(struct conn *c, const char *name)
{
	const struct sq_settings *s = sq_home_settings(c->front->home);

	for (size_t i = 0; i < s->n_backends; i++)
		if (strcmp(s->backends[i].name, name) == 0)
			return &s->backends[i];
	return NULL;
}

void conn_call(struct conn *c)
{
	struct request *rq = &c->rq;
	bool waits = rq->trigger != SQ_TRIGGER_ASYNC;
	struct sq_call call = {
		.id = rq->id,
		.arena = rq->arena,
		.function = rq->function,
		.tenant = rq->tenant,
		.backend = rq->backend ? backend_named(c, rq->backend) : NULL,
		.raw_path = rq->backend ? rq->path : NULL,
		.stream = rq->stream,
		.trigger = rq->trigger,
		.request =
			{
				.method = rq->method,
				.path = rq->rest,
				.query = rq->query,
				.headers = rq->headers,
				.headers_len = rq->headers_len,
				.body = rq->body,
			},
		.received_ns = rq->received_ns,
		.deadline_ns = SQ_NEVER,
		.sink = waits ? &rq->sink : NULL,
	};
	enum sq_fault fault = SQ_FAULT_INTERNAL;
	struct sq_run *run;
	char name[NAME_SHOWN + 1], detail[NAME_SHOWN + 16];

	if (rq->backend && !call.backend) {
		conn_fail(c, SQ_FAULT_NO_ROUTE, "its backend is gone");
		return;
	}
	rq->sink.ops = &answer_sink;
	rq->waits = waits;
	rq->arena = NULL;
	rq->body = NULL;
	/* The name is gone with the arena when it is refused. */
	stpncpy(name, rq->function, NAME_SHOWN)[0] = '\0';
	run = sq_engine_submit(c->front->home, &call, &fault);
	rq->run = run;
	if (!run) {
		rq->waits = false;
		snprintf(detail, sizeof(detail), "function '%s'", name);
		conn_fail(c, fault, fault == SQ_FAULT_NO_FUNCTION ? detail : NULL);
	} else if (rq->answer && !rq->response) {
		answer_ready(c);
	}
}

void request_end(struct conn *c)
{
	struct request *rq = &c->rq;

	if (rq->raw && !rq->headed)
		c->front->open_heads--;
	if (rq->waits)
		sq_run_hangup(rq->run);
	if (rq->run)
		sq_run_unref(rq->run);
	if (rq->ask)
		ask_orphan(rq->ask);
	if (rq->response)
		MHD_destroy_response(rq->response);
	sq_blob_unref(rq->body);
	sq_arena_free(rq->arena);
	*rq = (struct request){.length = -1};
	c->suspended = false;
	conn_unpark(c);
	if (c->state != CONN_CUT)
		conn_move(c, CONN_IDLE);
}
