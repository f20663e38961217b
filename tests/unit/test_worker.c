/* The HTTP exchange against a scripted backend, over real sockets and a real loop. */
#define _GNU_SOURCE 1

#include "worker_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1u << 20)
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* One call over one script. */
static struct peer *peer;

static struct rig *begin(const struct script *script)
{
	struct rig *r = rig_new();

	peer = peer_start(script);
	peer_url(peer, r, "");
	return r;
}

static void end(struct rig *r)
{
	rig_free(r);
	peer_join(peer);
}

static void one(const struct script *script, const char *method, enum sq_fault fault, int status,
		const char *body)
{
	struct rig *r = begin(script);
	struct call *c;

	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, method, "f", "", NULL, 0);
	call_expect(c, fault, status, body);
	call_free(c);
	end(r);
}

static void test_request(void **state)
{
	static const struct script script[] = {{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {SEND, OK2, 0},
					       {TELL, 0, 0},   {GONE, 0, 0},    {DONE, 0, 0}};
	struct rig *r = begin(script);
	char want[700], id[SQ_ID_HEX];
	struct call *c;

	(void)state;
	peer_url(peer, r, "/gate/");
	rig_open(r, &sq_backend_openfaas);
	assert_true(sq_backend_openfaas.knows(&r->backend, "f-1.ns_x"));
	assert_false(sq_backend_openfaas.knows(&r->backend, ".."));
	assert_false(sq_backend_openfaas.knows(&r->backend, "a/b"));
	assert_false(sq_backend_openfaas.knows(&r->backend, ""));
	c = call_new(r, "POST", "f", "/a%2fb?x=1&y=%20", "Accept: */*\r\nContent-Type: t/p\r\n", 5);
	call_expect(c, SQ_FAULT_NONE, 200, "ok");
	assert_int_equal(c->heads + c->datas, 0); /* all at once */
	assert_int_equal(c->inv.answer.length, 2);
	sq_id_show(id, c->inv.id);
	snprintf(want, sizeof(want),
		 "POST /gate/function/f/a%%2fb?x=1&y=%%20 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
		 "Accept: */*\r\nContent-Type: t/p\r\nContent-Length: 5\r\nX-Call-Id: %s\r\n"
		 "X-Sequoia-Run: %s\r\nX-Sequoia-Node: 0\r\nX-Sequoia-Attempt: 1\r\n"
		 "Idempotency-Key: %s/0\r\n\r\nepdsg",
		 peer->port, id, id, id);
	sem_wait(&peer->told);
	want[strlen(want) - 5] = '\0';
	assert_memory_equal(peer->request, want, strlen(want));
	assert_int_equal(peer->body_bytes, 5);
	assert_true(peer->body_good);
	call_free(c);
	end(r);
}

static void test_keep_alive(void **state)
{
	static const struct script script[] = {{ACCEPT, 0, 0},  {REQUEST, 0, 0}, {SEND, OK2, 0},
					       {REQUEST, 0, 0}, {SEND, OK2, 0},  {REQUEST, 0, 0},
					       {SEND, OK2, 0},  {GONE, 0, 0},    {DONE, 0, 0}};
	struct rig *r = begin(script);
	int i;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	for (i = 0; i < 3; i++) {
		struct call *c = call_new(r, "POST", "f", "", NULL, 10);

		call_expect(c, SQ_FAULT_NONE, 200, "ok");
		call_free(c);
	}
	assert_int_equal(r->counts[SQ_COUNT_CONNECTS], 1);
	assert_int_equal(atomic_load(&r->backend.connects), 1);
	assert_int_equal(atomic_load(&r->backend.started), 3);
	assert_int_equal(atomic_load(&r->backend.failed), 0);
	end(r);
}

/* The answer says close; the second call gets a connection of its own. */
static void test_close(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 0},
		{GONE, 0, 0},
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.0 200 OK\r\n\r\nuntil the end", 0},
		{CLOSE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *a, *b;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	a = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(a, SQ_FAULT_NONE, 200, "ok");
	b = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(b, SQ_FAULT_NONE, 200, "until the end");
	assert_int_equal(r->counts[SQ_COUNT_CONNECTS], 2);
	call_free(a);
	call_free(b);
	end(r);
}

/* An idle connection that the backend closes is never used. */
static void test_idle_eof(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {SEND, OK2, 0},  {WAIT, 0, 0},   {CLOSE, 0, 0},
		{TELL, 0, 0},   {ACCEPT, 0, 0},  {REQUEST, 0, 0}, {SEND, OK2, 0}, {DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *a, *b;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	a = call_new(r, "POST", "f", "", NULL, 0);
	call_expect(a, SQ_FAULT_NONE, 200, "ok");
	sem_post(&peer->go);
	sem_wait(&peer->told);
	loop_run_for(r, 5 * SQ_MS);
	b = call_new(r, "POST", "f", "", NULL, 0);
	call_expect(b, SQ_FAULT_NONE, 200, "ok");
	assert_int_equal(r->counts[SQ_COUNT_CONNECTS], 2);
	assert_int_equal(r->counts[SQ_COUNT_RETRIES], 0);
	call_free(a);
	call_free(b);
	end(r);
}

/* Closed just when we send: what is idempotent is repeated, the rest is not, or when not sent. */
static void stale(const char *method, size_t body_bytes, enum act how, bool repeated)
{
	const struct script script[] = {{ACCEPT, 0, 0},
					{REQUEST, 0, 0},
					{SEND, OK2, 0},
					{WAIT, 0, 0},
					{how, 0, 0},
					{TELL, 0, 0},
					{repeated ? ACCEPT : CLOSE, 0, 0},
					{repeated ? REQUEST : CLOSE, 0, 0},
					{repeated ? SEND : CLOSE, OK2, 0},
					{repeated ? GONE : CLOSE, 0, 0},
					{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *a, *b;

	rig_open(r, &sq_backend_openfaas);
	a = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(a, SQ_FAULT_NONE, 200, "ok");
	b = call_new(r, method, "f", "", NULL, body_bytes);
	sem_post(&peer->go);
	sem_wait(&peer->told);
	usleep(2000);
	call_expect(b, repeated ? SQ_FAULT_NONE : SQ_FAULT_BACKEND_BROKEN, 200, "ok");
	assert_int_equal(b->inv.retried, repeated);
	assert_int_equal(r->counts[SQ_COUNT_RETRIES], repeated);
	assert_int_equal(r->counts[SQ_COUNT_BROKEN], !repeated);
	if (repeated)
		assert_true(body_bytes == 0 || (peer->body_good && peer->body_bytes == body_bytes));
	call_free(a);
	call_free(b);
	end(r);
}

static void test_stale(void **state)
{
	(void)state;
	stale("GET", 0, CLOSE, true);
	stale("PUT", 3000, CLOSE, true);
	stale("GET", 0, RESET, true);
	stale("POST", 0, CLOSE, false);
	stale("POST", 0, RESET, true);       /* the send itself fails */
	stale("POST", 8 * MIB, CLOSE, true); /* cannot have been sent wholly */
}

static void test_refused(void **state)
{
	struct rig *r = rig_new();
	struct call *c;

	(void)state;
	r->conf.url = strdup("http://127.0.0.1:1");
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(c, SQ_FAULT_BACKEND_CONNECT, 0, NULL);
	assert_non_null(strstr(c->detail, "127.0.0.1"));
	assert_int_equal(r->counts[SQ_COUNT_CONNECT_FAILED], 1);
	assert_int_equal(atomic_load(&r->backend.failed), 1);
	call_free(c);
	rig_free(r);
}

/* 192.0.2.0/24 is for documentation: nobody answers, or the network is unreachable. */
static void test_connect_timeout(void **state)
{
	struct rig *r = rig_new();
	struct call *c;

	(void)state;
	r->conf.url = strdup("http://192.0.2.1:80");
	r->conf.connect_timeout_ns = 50 * SQ_MS;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(c, SQ_FAULT_BACKEND_CONNECT, 0, NULL);
	call_free(c);
	rig_free(r);
}

static void test_urls(void **state)
{
	static const char *const bad[] = {"ftp://h", "http://u:p@h", "http://h/?q", "http://h/#f",
					  "http://"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct rig *r = rig_new();
		struct sq_error e = {""};

		r->conf.url = strdup(bad[i]);
		assert_true(sq_backend_openfaas.open(&r->backend, &e) < 0);
		assert_non_null(strstr(e.text, "url"));
		rig_free(r);
	}
}

static void test_broken(void **state)
{
	static const struct script reset[] = {
		{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {RESET, 0, 0}, {DONE, 0, 0}};
	static const struct script closed[] = {
		{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {CLOSE, 0, 0}, {DONE, 0, 0}};
	static const struct script half[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0},
		{CLOSE, 0, 0},
		{DONE, 0, 0}};
	static const struct script garbage[] = {{ACCEPT, 0, 0},
						{REQUEST, 0, 0},
						{SEND, "\x16\x03\x01 hello", 0},
						{GONE, 0, 0},
						{DONE, 0, 0}};
	static const struct script both[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
		 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	static const struct script late[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0},
		{SLEEP, 0, 20},
		{RESET, 0, 0},
		{DONE, 0, 0}};

	(void)state;
	one(reset, "GET", SQ_FAULT_BACKEND_BROKEN, 0, NULL);
	one(closed, "GET", SQ_FAULT_BACKEND_BROKEN, 0, NULL);
	one(half, "GET", SQ_FAULT_BACKEND_BROKEN, 0, NULL);
	one(garbage, "GET", SQ_FAULT_BACKEND_BROKEN, 0, NULL);
	one(both, "GET", SQ_FAULT_BACKEND_BROKEN, 0, NULL);
	one(late, "GET", SQ_FAULT_BACKEND_BROKEN, 0, NULL);
}

static void test_odd_but_good(void **state)
{
	static const struct script interim[] = {
		{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {SEND, "HTTP/1.1 100 Continue\r\n\r\n", 0},
		{SLEEP, 0, 10}, {SEND, OK2, 0},  {GONE, 0, 0},
		{DONE, 0, 0}};
	static const struct script more[] = {/* two answers: the second is nobody's */
					     {ACCEPT, 0, 0},
					     {REQUEST, 0, 0},
					     {SEND, OK2 OK2, 0},
					     {GONE, 0, 0},
					     {DONE, 0, 0}};
	static const struct script head[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	static const struct script none[] = {{ACCEPT, 0, 0},
					     {REQUEST, 0, 0},
					     {SEND, "HTTP/1.1 204 No Content\r\n\r\n", 0},
					     {GONE, 0, 0},
					     {DONE, 0, 0}};
	static const struct script dribble[] = {{ACCEPT, 0, 0},
						{REQUEST, 0, 0},
						{SEND, "HTTP/1.1 2", 0},
						{SLEEP, 0, 5},
						{SEND, "00 OK\r\nContent-Le", 0},
						{SLEEP, 0, 5},
						{SEND, "ngth: 4\r\n\r\n", 0},
						{SLEEP, 0, 5},
						{SEND, "slo", 0},
						{SLEEP, 0, 5},
						{SEND, "w", 0},
						{GONE, 0, 0},
						{DONE, 0, 0}};

	(void)state;
	one(interim, "POST", SQ_FAULT_NONE, 200, "ok");
	one(more, "GET", SQ_FAULT_NONE, 200, "ok");
	one(head, "HEAD", SQ_FAULT_NONE, 200, "");
	one(none, "GET", SQ_FAULT_NONE, 204, "");
	one(dribble, "GET", SQ_FAULT_NONE, 200, "slow");
}

/* Bodies that are in files on both sides; and one in memory that fills the socket. */
static void test_big(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 5242880\r\n\r\n", 0},
		{FILL, 0, 5 * MIB},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
		{TELL, 0, 0},
		{WAIT, 0, 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	static const struct script second[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
		{CHUNKS, 0, 3 * MIB},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *c;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "POST", "f", "", NULL, 3 * MIB);
	assert_null(sq_blob_bytes(c->request.body));
	call_expect(c, SQ_FAULT_NONE, 200, NULL);
	assert_true(blob_is_filled(c->inv.answer.body, 5 * MIB));
	assert_int_equal(c->heads, 1);
	call_free(c);
	c = call_new(r, "POST", "f", "", NULL, 200000);
	call_start(c);
	sem_wait(&peer->told);
	assert_true(peer->body_good);
	assert_int_equal(peer->body_bytes, 200000);
	c->rig->backend.ops->abort(&c->inv);
	call_wait(c);
	assert_int_equal(c->fault, SQ_FAULT_DRAINING);
	sem_post(&peer->go);
	call_free(c);
	end(r);

	r = begin(second);
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "POST", "f", "", NULL, 10);
	call_expect(c, SQ_FAULT_NONE, 200, NULL);
	assert_true(blob_is_filled(c->inv.answer.body, 3 * MIB));
	call_free(c);
	end(r);
}

/* The backend answers without reading the body; and goes away. */
static void test_early_answer(void **state)
{
	static const char too_large[] = "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno";
	static const struct script stays[] = {
		{ACCEPT, 0, 0}, {HEAD, 0, 0}, {SEND, too_large, 0}, {GONE, 0, 0}, {DONE, 0, 0}};
	static const struct script goes[] = {
		{ACCEPT, 0, 0}, {HEAD, 0, 0}, {SEND, too_large, 0}, {CLOSE, 0, 0}, {DONE, 0, 0}};
	const struct script *scripts[] = {stays, goes};
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct rig *r = begin(scripts[i]);
		struct call *c;

		rig_open(r, &sq_backend_openfaas);
		c = call_new(r, "POST", "f", "", NULL, 20 * MIB);
		call_expect(c, SQ_FAULT_NONE, 413, "no");
		call_free(c);
		end(r);
	}
}

/* take: how fast the client is; sleeps: it takes nothing before the exchange has paused. */
static void stream(size_t take, bool sleeps)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
		{CHUNKS, 0, 8 * MIB},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *c;

	rig_open(r, &sq_backend_openfaas);
	r->settings.limit_answer = MIB; /* not for streams */
	c = call_new(r, "GET", "f", "", NULL, 0);
	c->inv.stream = true;
	c->take = take;
	c->sleeps_until = sleeps ? SQ_FLOW_HIGH : 0;
	call_expect(c, SQ_FAULT_NONE, 200, "");
	while (c->inv.flow.len > 0)
		loop_run_for(r, SQ_MS);
	assert_int_equal(c->flow_total, 8 * MIB);
	assert_false(c->flow_bad);
	assert_true(c->flow_max > SQ_FLOW_HIGH || !sleeps);
	assert_true(c->flow_max <= SQ_FLOW_HIGH + 65536);
	assert_int_equal(c->heads, 1);
	call_free(c);
	end(r);
}

static void test_stream(void **state)
{
	(void)state;
	stream(100000, true);
	stream(0, true); /* pauses again and again, and always goes on */
	stream(0, false);
}

static void test_events(void **state)
{
	static const struct script events[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", 0},
		{FILL, 0, 10},
		{WAIT, 0, 0},
		{FILL, 0, 10},
		{CLOSE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(events);
	struct call *c;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "GET", "f", "", NULL, 0);
	call_start(c);
	while (!c->heads)
		loop_run_for(r, SQ_MS);
	sem_post(&peer->go);
	call_wait(c);
	assert_int_equal(c->fault, SQ_FAULT_NONE);
	assert_true(c->inv.stream && c->inv.answer.event_stream);
	assert_int_equal(c->flow_total + c->inv.flow.len, 20);
	call_free(c);
	end(r);
}

/* A short stream that came at once is an answer like any other. */
static void test_short_stream(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND,
		 "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
		 "Content-Length: 2\r\n\r\nok",
		 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *c;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "GET", "f", "", NULL, 0);
	c->inv.stream = true;
	call_expect(c, SQ_FAULT_NONE, 200, "ok");
	assert_false(c->inv.stream);
	assert_int_equal(c->heads, 0);
	call_free(c);
	end(r);
}

/* Nobody wants it any more: it is drained, the connection kept, nothing stored. */
static void test_discard(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n", 0},
		{FILL, 0, 1000},
		{WAIT, 0, 0},
		{FILL, 0, 4 * MIB - 1000},
		{REQUEST, 0, 0},
		{SEND, OK2, 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *c;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "GET", "f", "", NULL, 0);
	c->discard_at_head = true;
	call_start(c);
	while (!c->heads)
		loop_run_for(r, SQ_MS);
	sem_post(&peer->go);
	call_wait(c);
	assert_int_equal(c->fault, SQ_FAULT_NONE);
	assert_true(!c->inv.answer.body || sq_blob_size(c->inv.answer.body) <= 1000);
	call_free(c);
	c = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(c, SQ_FAULT_NONE, 200, "ok");
	assert_int_equal(r->counts[SQ_COUNT_CONNECTS], 1);
	call_free(c);
	end(r);
}

static void test_timeout(void **state)
{
	static const struct script silent[] = {
		{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {GONE, 0, 0}, {DONE, 0, 0}};
	static const struct script halfway[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	const struct script *scripts[] = {silent, halfway};
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct rig *r = begin(scripts[i]);
		struct call *c;

		r->conf.timeout_ns = 100 * SQ_MS;
		rig_open(r, &sq_backend_openfaas);
		c = call_new(r, "GET", "f", "", NULL, 0);
		call_expect(c, SQ_FAULT_FUNCTION_TIMEOUT, 0, NULL);
		assert_true(c->inv.overrun);
		assert_true(c->ended_ns - c->inv.granted_ns >= 100 * SQ_MS);
		assert_int_equal(r->counts[SQ_COUNT_OVERRUNS], 1);
		assert_int_equal(c->heads, i);
		call_free(c);
		end(r);
	}
}

static void test_too_large(void **state)
{
	static const struct script declared[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", 0},
		{FILL, 0, 2000000},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	static const struct script chunked[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
		{CHUNKS, 0, 2000000},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	const struct script *scripts[] = {declared, chunked};
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct rig *r = begin(scripts[i]);
		struct call *c;

		r->settings.limit_answer = MIB;
		rig_open(r, &sq_backend_openfaas);
		c = call_new(r, "GET", "f", "", NULL, 0);
		call_expect(c, SQ_FAULT_ANSWER_TOO_LARGE, 0, NULL);
		if (i == 0) {
			assert_int_equal(c->heads, 0);
			assert_null(c->inv.answer.body);
		}
		call_free(c);
		end(r);
	}
}

static void test_abort(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0},
		{GONE, 0, 0},
		{DONE, 0, 0}};
	struct rig *r = begin(script);
	struct call *c;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "GET", "f", "", NULL, 0);
	c->abort_at_head = true;
	call_expect(c, SQ_FAULT_DRAINING, 0, NULL);
	call_free(c);
	/* and while it is being connected */
	c = call_new(r, "GET", "f", "", NULL, 0);
	call_start(c);
	r->backend.ops->abort(&c->inv);
	call_wait(c);
	assert_int_equal(c->fault, SQ_FAULT_DRAINING);
	call_free(c);
	end(r);
}

/* Out of descriptors: this call fails, the next one works. */
static void test_descriptors(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0}, {REQUEST, 0, 0}, {SEND, OK2, 0}, {GONE, 0, 0}, {DONE, 0, 0}};
	struct rig *r = begin(script);
	struct rlimit was, low;
	struct call *c;

	(void)state;
	rig_open(r, &sq_backend_openfaas);
	getrlimit(RLIMIT_NOFILE, &was);
	low = (struct rlimit){3, was.rlim_max};
	c = call_new(r, "GET", "f", "", NULL, 0);
	setrlimit(RLIMIT_NOFILE, &low);
	call_expect(c, SQ_FAULT_BACKEND_CONNECT, 0, NULL);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_non_null(strstr(c->detail, "Too many open files"));
	call_free(c);
	c = call_new(r, "GET", "f", "", NULL, 0);
	call_expect(c, SQ_FAULT_NONE, 200, "ok");
	call_free(c);
	end(r);
}

static void test_tls(void **state)
{
	static const struct script script[] = {
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, OK2, 0},
		{REQUEST, 0, 0},
		{SEND, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
		{CHUNKS, 0, 3 * MIB},
		{WAIT, 0, 0},
		{CLOSE, 0, 0},
		{TELL, 0, 0},
		{ACCEPT, 0, 0},
		{REQUEST, 0, 0},
		{SEND, OK2, 0},
		{REQUEST, 0, 0},
		{CLOSE, 0, 0},
		{DONE, 0, 0}};
	static const size_t bodies[] = {10, 4 * MIB, 200000, 0};
	struct rig *r = rig_new();
	struct call *c;
	int i;

	(void)state;
	peer = peer_start_tls(script);
	peer_url(peer, r, "");
	rig_open(r, &sq_backend_openfaas);
	for (i = 0; i < 4; i++) {
		c = call_new(r, "POST", "f", "", NULL, bodies[i]);
		if (i == 2) { /* closed while idle */
			sem_post(&peer->go);
			sem_wait(&peer->told);
			loop_run_for(r, 5 * SQ_MS);
		}
		call_expect(c, i < 3 ? SQ_FAULT_NONE : SQ_FAULT_BACKEND_BROKEN, 200,
			    i == 1 ? NULL : "ok");
		if (i == 1)
			assert_true(blob_is_filled(c->inv.answer.body, 3 * MIB));
		assert_int_equal(r->counts[SQ_COUNT_CONNECTS], i < 2 ? 1 : 2);
		call_free(c);
	}
	end(r);
}

static void test_tls_verify(void **state)
{
	static const struct script script[] = {{ACCEPT, 0, 0}, {DONE, 0, 0}};
	struct rig *r = rig_new();
	struct call *c;

	(void)state;
	peer = peer_start_tls(script);
	peer_url(peer, r, "");
	r->conf.verify = true;
	rig_open(r, &sq_backend_openfaas);
	c = call_new(r, "POST", "f", "", NULL, 0);
	call_expect(c, SQ_FAULT_BACKEND_CONNECT, 0, NULL);
	assert_non_null(strcasestr(c->detail, "certificate"));
	call_free(c);
	end(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_idle_eof),
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_odd_but_good),
		cmocka_unit_test(test_big),
		cmocka_unit_test(test_early_answer),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_short_stream),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_verify),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
