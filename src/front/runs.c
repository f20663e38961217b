/*
 * Runs as things of their own:
 *
 *	POST   /v1/runs {"chain": NAME, "input": ..., "wait": "30s"}   begins one
 *	GET    /v1/runs/ID                                             how it stands
 *	GET    /v1/runs/ID/result?wait=30s                             its answer; 202 while there
 *	is none DELETE /v1/runs/ID                                             cancels it
 *
 * A run of another tenant is one that does not exist.
 */
#include "base/clock.h"
#include "base/units.h"
#include "front/conn.h"
#include "front/json_span.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS "/v1/runs"
#define WAIT_MAX (3600 * SQ_S)

/* ---- asking the engine ---- */

struct ask {
	struct sq_ask ask;
	struct conn *c; /* NULL: nobody wants to know any more */
	void (*show)(struct conn *c, const struct sq_run_view *v);
	char tenant[];
};

void ask_orphan(struct ask *a)
{
	a->c = NULL;
}

static void told(struct sq_ask *asked, struct sq_run_view *v, enum sq_fault fault)
{
	struct ask *a = caa_container_of(asked, struct ask, ask);
	struct conn *c = a->c;

	if (c) {
		c->rq.ask = NULL;
		if (v) {
			c->rq.id = v->id;
			a->show(c, v);
		} else {
			conn_fail(c, fault, NULL);
		}
	}
	sq_run_view_free(v);
	free(a);
}

static void ask(struct conn *c, enum sq_ask_kind kind, struct sq_id id, int64_t wait_ns,
		void (*show)(struct conn *c, const struct sq_run_view *v))
{
	size_t len = strlen(c->rq.tenant) + 1;
	struct ask *a = calloc(1, sizeof(*a) + len);

	if (!a) {
		conn_fail(c, SQ_FAULT_MEMORY, NULL);
		return;
	}
	a->c = c;
	a->show = show;
	c->rq.id = id; /* what an error speaks of */
	memcpy(a->tenant, c->rq.tenant, len);
	a->ask.kind = kind;
	a->ask.id = id;
	a->ask.tenant = a->tenant;
	a->ask.wait_until_ns = wait_ns > 0 ? sq_clock_ns() + wait_ns : 0;
	a->ask.done = told;
	c->rq.ask = a;
	sq_engine_ask(c->front->home, &a->ask);
}

/* ---- showing ---- */

static json_t *show_time(int64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / SQ_S);
	struct tm tm;
	char text[40];
	size_t n;

	if (wall_ns == 0)
		return json_null();
	gmtime_r(&s, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03dZ", (int)(wall_ns % SQ_S / SQ_MS));
	return json_string(text);
}

static json_t *show_error(const struct sq_run_view *v)
{
	const struct sq_fault_row *row = sq_fault_row(v->fault);
	json_t *message = NULL;

	if (v->fault == SQ_FAULT_NONE)
		return NULL;
	if (v->detail)
		message = json_sprintf("%s: %s", row->message, v->detail);
	/* A detail that is not UTF-8 cannot be shown. */
	return json_pack("{s:s, s:o}", "code", row->code, "message",
			 message ? message : json_string(row->message));
}

/* The plain call is a chain of one node. */
static json_t *view_json(const struct sq_run_view *v)
{
	char hex[SQ_ID_HEX];
	json_t *node = json_pack("{s:s, s:o, s:o, s:i}", "state", v->state, "started",
				 show_time(v->started_wall_ns), "ended",
				 show_time(v->ended_wall_ns), "attempts", (int)v->attempts);

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:o*, s:{s:o}}", "id",
			 sq_id_show(hex, v->id), "chain", v->chain, "state", v->state, "trigger",
			 v->trigger, "accepted", show_time(v->accepted_wall_ns), "started",
			 show_time(v->started_wall_ns), "ended", show_time(v->ended_wall_ns),
			 "queue_ms", (json_int_t)(v->queue_ns / SQ_MS), "error", show_error(v),
			 "nodes", v->chain, node);
}

static void answer_json(struct conn *c, unsigned status, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL, *line = NULL;
	int len = text ? asprintf(&line, "%s\n", text) : -1;

	if (len >= 0)
		conn_answer(c, status, "application/json", line, (size_t)len);
	else
		conn_fail(c, SQ_FAULT_MEMORY, NULL);
	free(len >= 0 ? line : NULL);
	free(text);
	json_decref(j);
}

static void show_view(struct conn *c, const struct sq_run_view *v)
{
	answer_json(c, 200, view_json(v));
}

/* Of a cancellation: done, or under way until the function has ended. */
static void show_cancelled(struct conn *c, const struct sq_run_view *v)
{
	answer_json(c, v->finished ? 200 : 202, view_json(v));
}

static void show_result(struct conn *c, const struct sq_run_view *v)
{
	if (!v->finished)
		answer_json(c, 202, view_json(v));
	else if (v->fault)
		conn_fail(c, v->fault, v->detail);
	else
		conn_answer_view(c, v);
}

/* ---- GET and DELETE ---- */

/* The value of `wait` in the query; 0 without. */
static int parse_wait(const struct request *rq, int64_t *out)
{
	const char *at = rq->query;
	char text[32];
	size_t len;

	*out = 0;
	for (; at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
		if (strncmp(at, "wait=", 5) == 0)
			break;
	if (!at)
		return 0;
	at += 5;
	len = strcspn(at, "&");
	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, at, len);
	text[len] = '\0';
	if (sq_units_duration(text, out) < 0)
		return -EINVAL;
	if (*out > WAIT_MAX)
		*out = WAIT_MAX;
	return 0;
}

static bool is(const struct request *rq, const char *method)
{
	return strcmp(rq->method, method) == 0;
}

static enum sq_fault claim_one(struct request *rq, const char *id)
{
	size_t len = strcspn(id, "/");
	const char *rest = id + len;

	if (sq_id_parse(id, len, &rq->run_id) < 0)
		return SQ_FAULT_NO_RUN;
	rq->rest = rest;
	if (strcmp(rest, "/result") == 0) {
		rq->allow = "GET";
		return is(rq, "GET") ? SQ_FAULT_NONE : SQ_FAULT_METHOD;
	}
	rq->allow = "GET, DELETE";
	if (*rest)
		return SQ_FAULT_NO_ROUTE;
	return is(rq, "GET") || is(rq, "DELETE") ? SQ_FAULT_NONE : SQ_FAULT_METHOD;
}

static bool claim(struct conn *c, enum sq_fault *fault)
{
	struct request *rq = &c->rq;

	if (strncmp(rq->path, RUNS, sizeof(RUNS) - 1) != 0)
		return false;
	if (rq->path[sizeof(RUNS) - 1] == '/') {
		*fault = claim_one(rq, rq->path + sizeof(RUNS));
		return true;
	}
	if (rq->path[sizeof(RUNS) - 1] != '\0')
		return false;
	rq->json_input = true;
	rq->allow = "POST";
	*fault = is(rq, "POST") ? request_admits(c) : SQ_FAULT_METHOD;
	return true;
}

static void serve_one(struct conn *c)
{
	struct request *rq = &c->rq;
	int64_t wait_ns;

	if (is(rq, "DELETE")) {
		ask(c, SQ_ASK_CANCEL, rq->run_id, 0, show_cancelled);
	} else if (!*rq->rest) {
		ask(c, SQ_ASK_VIEW, rq->run_id, 0, show_view);
	} else if (parse_wait(rq, &wait_ns) < 0) {
		conn_fail(c, SQ_FAULT_BAD_QUERY, "wait is not a duration such as 30s");
	} else {
		ask(c, SQ_ASK_VIEW, rq->run_id, wait_ns, show_result);
	}
}

/* ---- POST ---- */

/* The body as text; the caller frees it. */
static char *body_text(const struct sq_blob *body, size_t *len)
{
	size_t size = body ? sq_blob_size(body) : 0, at = 0;
	char *text = malloc(size + 1);

	while (text && at < size) {
		ssize_t n = sq_blob_read(body, at, text + at, size - at);

		if (n <= 0) {
			free(text);
			return NULL;
		}
		at += (size_t)n;
	}
	*len = size;
	return text;
}

/* Of chain and wait, and of keys: what is longer is none. */
#define STRING_MAX 1024

struct document {
	char chain[STRING_MAX];
	int64_t wait_ns;
	struct sq_json_span input; /* at NULL: none */
	unsigned seen;             /* keys, to find one that comes twice */
	char wrong[128];           /* what is, where it is to be named */
};

static bool read_string(struct sq_json_span s, char out[STRING_MAX])
{
	json_t *j = s.len < STRING_MAX ? json_loadb(s.at, s.len, JSON_DECODE_ANY, NULL) : NULL;
	bool is_string = json_is_string(j);

	if (is_string)
		strcpy(out, json_string_value(j)); /* as written it was longer */
	json_decref(j);
	return is_string;
}

static const char *read_member(struct document *d, struct sq_json_span key,
			       struct sq_json_span value)
{
	static const char *const keys[] = {"chain", "input", "wait"};
	char text[STRING_MAX];
	unsigned k = 0;

	if (!read_string(key, text))
		strcpy(text, "?");
	while (k < 3 && strcmp(text, keys[k]) != 0)
		k++;
	if (k == 3) {
		snprintf(d->wrong, sizeof(d->wrong),
			 "unknown key '%.48s'; known are chain, input and wait", text);
		return d->wrong;
	}
	if (d->seen & 1u << k)
		return "it has a key twice";
	d->seen |= 1u << k;
	if (k == 0)
		return read_string(value, d->chain) ? NULL : "chain is not the name of one";
	if (k == 1)
		d->input = value;
	else if (!read_string(value, text) || sq_units_duration(text, &d->wait_ns) < 0)
		return "wait is not a duration such as \"30s\"";
	return NULL;
}

/* What the document asks for; NULL or what is wrong with it. */
static const char *read_document(struct document *d, const char *text, size_t len)
{
	struct sq_json_reader r = {.at = text, .end = text + len};
	struct sq_json_span key, value;
	const char *wrong = NULL;
	int rc = 0;

	*d = (struct document){0};
	while (!wrong && (rc = sq_json_next(&r, &key, &value)) > 0)
		wrong = read_member(d, key, value);
	if (rc < 0)
		return "the body is not a JSON object";
	if (!wrong && !(d->seen & 1u))
		wrong = "chain is not the name of one";
	if (d->wait_ns > WAIT_MAX)
		d->wait_ns = WAIT_MAX;
	return wrong;
}

/* The request's body becomes its document's input, byte for byte as it was written. */
static enum sq_fault set_input(struct conn *c, struct sq_json_span input)
{
	struct request *rq = &c->rq;
	int rc;

	sq_blob_unref(rq->body);
	rq->body = NULL;
	if (!input.at)
		return SQ_FAULT_NONE;
	rq->body = sq_blob_new(sq_home_blobs(c->front->home), input.len);
	rc = rq->body ? sq_blob_append(rq->body, input.at, input.len) : -ENOMEM;
	if (rc < 0)
		return rc == -ENOSPC ? SQ_FAULT_STORAGE : SQ_FAULT_MEMORY;
	sq_blob_seal(rq->body);
	return SQ_FAULT_NONE;
}

static void begin(struct conn *c, const char *chain, int64_t wait_ns)
{
	struct request *rq = &c->rq;
	char text[96], hex[SQ_ID_HEX];
	int len;

	rq->function = sq_arena_strndup(rq->arena, chain, strlen(chain));
	rq->rest = "";
	rq->query = NULL;
	rq->trigger = SQ_TRIGGER_ASYNC;
	if (!rq->function) {
		conn_fail(c, SQ_FAULT_MEMORY, NULL);
		return;
	}
	conn_call(c);
	if (!rq->run)
		return;
	if (wait_ns > 0) {
		ask(c, SQ_ASK_VIEW, rq->id, wait_ns, show_result);
		return;
	}
	len = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"durable\":false}\n",
		       sq_id_show(hex, rq->id));
	conn_answer(c, 202, "application/json", text, (size_t)len);
}

static void serve_new(struct conn *c)
{
	size_t len = 0;
	char *text = body_text(c->rq.body, &len);
	struct document doc;
	const char *wrong;
	enum sq_fault fault;

	if (!text) {
		conn_fail(c, SQ_FAULT_MEMORY, NULL);
	} else if ((wrong = read_document(&doc, text, len))) {
		conn_fail(c, SQ_FAULT_BAD_DOCUMENT, wrong);
	} else if (!request_is_name(doc.chain, strlen(doc.chain))) {
		conn_fail(c, SQ_FAULT_NO_CHAIN, NULL);
	} else {
		fault = set_input(c, doc.input);
		if (fault)
			conn_fail(c, fault, NULL);
		else
			begin(c, doc.chain, doc.wait_ns);
	}
	free(text);
}

static void serve(struct conn *c)
{
	if (c->rq.json_input)
		serve_new(c);
	else
		serve_one(c);
}

const struct dialect dialect_runs = {.claim = claim, .serve = serve};
