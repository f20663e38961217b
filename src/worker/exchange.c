/*
 * One attempt over one connection.
 *
 *   start --take--> SENDING --written--> WAITING --first byte--> READING --last byte--> finish
 *     |                ^  |                 |                        |
 *     +--> OPENING ----+  +--- stale: once more on a fresh one ------+--- broken, too large,
 *          (libcurl)               (nothing came back)                    timeout, abort --> finish
 *
 * The states are not exclusive: a backend may answer while we still send, so an exchange has what
 * it sent (`sent` of `total`), what it got (`got_bytes`, the reader's state), and the flags of the
 * connection tell what can be done next: push() sends as long as it is writable, pump() reads as
 * long as it is readable, the client of a stream is not behind, and others have had their turn.
 *
 * Who frees what: an exchange is taken from the port's list at start and put back by finish(), the
 * only way out, which first gives the connection back (or closes it), then the exchange, and tells
 * the engine last: the engine will often start the next invocation there and then, on the same
 * connection, in the same exchange. So after finish() nobody touches either; the functions here
 * that may finish say so by returning false.
 *
 * The engine may call resume() or abort() from within sq_invocation_head and _data, and start()
 * from within anything. None of the three finishes on the spot: what must end or go on is left to
 * `task`, which runs before the loop sleeps. A finished exchange whose task is still queued is
 * put back to the list by the task.
 *
 * Stale connections: a backend may close an idle connection just when we send. The attempt is
 * repeated, once, on a fresh connection, when no byte came back, the connection had been used
 * before, and either the request was not wholly sent or its method is idempotent (RFC 9110
 * section 9.2.2, RFC 9112 section 9.3.1). The seat is held meanwhile.
 */
#include "worker/exchange.h"

#include "base/clock.h"
#include "worker/answer_reader.h"
#include "worker/answer_sink.h"
#include "worker/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <urcu/compiler.h>

#define BUFFER (64u * 1024)
#define READS_PER_TURN 16      /* of BUFFER each, then the other connections have their turn */
#define HEAD_KEEP (16u * 1024) /* a larger head's memory is not kept */
#define IDLE_NS (30 * SQ_S)
#define IDLE_MAX 1024

struct exchange {
	struct sq_conn_user user;
	struct sq_http_port *port;
	struct sq_invocation *inv; /* NULL: not in use */
	struct sq_conn *conn;
	uint64_t sent, total; /* of head and body */
	bool reused;          /* the connection had carried a request before */
	bool open;            /* false: conn is being opened */
	bool send_failed, got_bytes;
	bool told; /* sq_invocation_head was called */
	bool grew; /* since the engine was told last */
	bool pumping;
	enum sq_fault failure; /* for the task to finish with */
	struct sq_answer_reader reader;
	struct sq_buf head;
	struct sq_timer timer;
	struct sq_task task;
	SLIST_ENTRY(exchange) spare;
	char detail[200];
};

SLIST_HEAD(exchange_list, exchange);

struct sq_http_port {
	struct sq_backend *backend;
	struct sq_home *home;
	struct sq_loop *loop;
	const struct sq_http_site *site;
	struct sq_upstream *upstream;
	struct exchange_list spares;
	char buffer[BUFFER];
};

static void begin(struct exchange *x, bool fresh);

/* --- the end --- */

static void put_back(struct exchange *x)
{
	if (x->head.cap > HEAD_KEEP)
		sq_buf_free(&x->head);
	if (x->reader.held.cap > HEAD_KEEP)
		sq_buf_free(&x->reader.held);
	SLIST_INSERT_HEAD(&x->port->spares, x, spare);
}

static void let_go(struct exchange *x, bool keep)
{
	struct sq_conn *c = x->conn;

	x->conn = NULL;
	if (c && keep)
		sq_conn_release(c, x->reader.keep_alive_s);
	else if (c)
		sq_conn_close(c);
}

static void count_failure(struct exchange *x, enum sq_fault fault)
{
	struct sq_backend *b = x->port->backend;

	if (fault == SQ_FAULT_BACKEND_BROKEN)
		sq_home_count(x->port->home, SQ_COUNT_BROKEN, 1);
	if (x->inv->overrun)
		sq_home_count(x->port->home, SQ_COUNT_OVERRUNS, 1);
	atomic_fetch_add_explicit(&b->failed, 1, memory_order_relaxed);
	atomic_store_explicit(&b->last_failure_wall_ns, sq_clock_wall_ns(), memory_order_relaxed);
}

/* The only way out. keep: the connection is fit for another request. */
static void finish(struct exchange *x, bool keep, enum sq_fault fault, const char *detail)
{
	struct sq_invocation *inv = x->inv;
	char copy[sizeof(x->detail)];

	if (fault != SQ_FAULT_NONE) {
		count_failure(x, fault);
		snprintf(copy, sizeof(copy), "%s", detail ? detail : "");
	}
	sq_timer_stop(x->port->loop, &x->timer);
	let_go(x, keep);
	x->inv = NULL;
	if (!x->task.queued)
		put_back(x);
	inv->slot = NULL;
	atomic_fetch_sub_explicit(&inv->backend->in_flight, 1, memory_order_relaxed);
	sq_invocation_ended(inv, fault, fault != SQ_FAULT_NONE && copy[0] ? copy : NULL);
}

static void fail_later(struct exchange *x, enum sq_fault fault, const char *detail)
{
	x->failure = fault;
	snprintf(x->detail, sizeof(x->detail), "%s", detail);
	sq_loop_defer(x->port->loop, &x->task);
}

static void timed_out(struct sq_timer *t)
{
	struct exchange *x = caa_container_of(t, struct exchange, timer);

	x->inv->overrun = true;
	finish(x, false, SQ_FAULT_FUNCTION_TIMEOUT, "the backend's timeout passed");
}

/* --- sending --- */

static bool is_written(const struct exchange *x)
{
	return x->sent == x->total;
}

/* Fills iov with what is to be sent next: the rest of the head, the body or a piece of it. */
static int next_piece(struct exchange *x, struct iovec iov[2])
{
	const struct sq_blob *body = x->inv->request->body;
	uint64_t at = x->sent > x->head.len ? x->sent - x->head.len : 0;
	const char *bytes = body ? sq_blob_bytes(body) : NULL;
	int n = 0;

	if (x->sent < x->head.len)
		iov[n++] = (struct iovec){x->head.data + x->sent, x->head.len - x->sent};
	if (x->total - x->head.len == at)
		return n;
	if (bytes) {
		iov[n++] =
			(struct iovec){(char *)(uintptr_t)bytes + at, x->total - x->head.len - at};
	} else {
		ssize_t got = sq_blob_read(body, at, x->port->buffer, BUFFER);

		if (got <= 0)
			return -EIO;
		iov[n++] = (struct iovec){x->port->buffer, (size_t)got};
	}
	return n;
}

/* Sends what the socket takes. After a failure the answer is read all the same: it may be there. */
static void push(struct exchange *x)
{
	while (!is_written(x) && !x->send_failed && sq_conn_writable(x->conn)) {
		struct iovec iov[2];
		int n = next_piece(x, iov);
		ssize_t sent = n < 0 ? n : sq_conn_send(x->conn, iov, n);

		if (sent >= 0)
			x->sent += (uint64_t)sent;
		else if (sent != -EAGAIN)
			x->send_failed = true;
	}
}

/* --- reading --- */

static bool complete(struct exchange *x, bool nothing_left)
{
	bool keep = nothing_left && x->reader.keep && is_written(x);
	enum sq_fault fault = sq_answer_end(x->inv, x->told);

	finish(x, keep && !fault, fault, NULL);
	return false;
}

static bool broken(struct exchange *x)
{
	finish(x, false, sq_answer_reader_fault(&x->reader), x->reader.reason);
	return false;
}

/* Gives the reader what came. False: finished. */
static bool feed(struct exchange *x, struct sq_bytes in)
{
	struct sq_bytes body;

	for (;;) {
		enum sq_fault fault = SQ_FAULT_NONE;

		switch (sq_answer_read(&x->reader, &in, &body)) {
		case SQ_READ_MORE:
			return true;
		case SQ_READ_HEAD:
			fault = sq_answer_begin(x->inv, x->reader.state != SQ_READER_DONE);
			break;
		case SQ_READ_BODY:
			fault = sq_answer_add(x->inv, body.data, body.len);
			x->grew = true;
			break;
		case SQ_READ_END:
			return complete(x, in.len == 0);
		case SQ_READ_BAD:
			return broken(x);
		}
		if (fault) {
			finish(x, false, fault, NULL);
			return false;
		}
	}
}

static bool is_stale(const struct exchange *x)
{
	return x->reused && !x->got_bytes &&
	       (!is_written(x) || sq_request_idempotent(x->inv->request->method));
}

/* The connection has ended, or an error on it; err 0 or -errno. */
static bool ended(struct exchange *x, int err)
{
	char detail[100];

	if (is_stale(x)) {
		sq_home_count(x->port->home, SQ_COUNT_RETRIES, 1);
		x->inv->retried = true;
		sq_timer_stop(x->port->loop, &x->timer);
		let_go(x, false);
		begin(x, true);
		return false;
	}
	if (err == 0 && sq_answer_closed(&x->reader) == SQ_READ_END)
		return complete(x, false);
	if (err == 0)
		return broken(x);
	snprintf(detail, sizeof(detail), "%s: %s",
		 x->got_bytes ? "within the answer" : "before the answer", strerror(-err));
	finish(x, false, SQ_FAULT_BACKEND_BROKEN, detail);
	return false;
}

static bool has_more(const struct exchange *x)
{
	return sq_conn_readable(x->conn) && !sq_answer_is_behind(x->inv);
}

/* Reads what there is, or as much as is fair. False: finished. */
static bool read_on(struct exchange *x, int *turns)
{
	char *buffer = x->port->buffer;

	while (has_more(x) && (*turns)-- > 0) {
		ssize_t n = sq_conn_recv(x->conn, buffer, BUFFER);

		if (n == -EAGAIN)
			return true;
		if (n <= 0)
			return ended(x, (int)n);
		x->got_bytes = true;
		if (!feed(x, (struct sq_bytes){buffer, (size_t)n}))
			return false;
	}
	return true;
}

static void tell(struct exchange *x)
{
	bool grew = x->grew;

	x->grew = false;
	if (x->inv->answer.status == 0 || x->reader.state <= SQ_READER_HEADERS)
		return;
	if (!x->told) {
		x->told = true;
		sq_invocation_head(x->inv);
	}
	if (grew)
		sq_invocation_data(x->inv);
}

static void pump(struct exchange *x)
{
	int turns = READS_PER_TURN;

	do {
		if (!read_on(x, &turns))
			return;
		x->pumping = true;
		tell(x);
		x->pumping = false;
		if (x->failure) {
			finish(x, false, x->failure, x->detail);
			return;
		}
	} while (turns > 0 && has_more(x));
	if (has_more(x))
		sq_conn_yield(x->conn);
}

static void work(struct exchange *x)
{
	push(x);
	pump(x);
}

/* --- what the connection says --- */

static struct exchange *exchange_of(struct sq_conn_user *u)
{
	return caa_container_of(u, struct exchange, user);
}

static void conn_ready(struct sq_conn_user *u)
{
	work(exchange_of(u));
}

static void send_request(struct exchange *x)
{
	int64_t now = sq_loop_now(x->port->loop);
	int64_t from = now > x->inv->granted_ns ? now : x->inv->granted_ns;
	int64_t until = sq_time_add(from, x->port->backend->conf->timeout_ns);

	x->open = true;
	if (sq_timer_set(x->port->loop, &x->timer, until) < 0)
		fail_later(x, SQ_FAULT_MEMORY, "out of memory");
	push(x);
	if (x->send_failed)
		sq_loop_defer(x->port->loop, &x->task);
}

static void conn_opened(struct sq_conn_user *u)
{
	struct exchange *x = exchange_of(u);
	struct sq_http_port *port = x->port;

	atomic_fetch_add_explicit(&port->backend->connects, 1, memory_order_relaxed);
	sq_home_count(port->home, SQ_COUNT_CONNECTS, 1);
	send_request(x);
}

static void conn_failed(struct sq_conn_user *u, const char *detail)
{
	struct exchange *x = exchange_of(u);

	x->conn = NULL;
	sq_home_count(x->port->home, SQ_COUNT_CONNECT_FAILED, 1);
	finish(x, false, SQ_FAULT_BACKEND_CONNECT, detail);
}

/* --- what the engine asks --- */

static void task_runs(struct sq_task *t)
{
	struct exchange *x = caa_container_of(t, struct exchange, task);

	if (!x->inv)
		put_back(x);
	else if (x->failure)
		finish(x, false, x->failure, x->detail);
	else if (x->open)
		work(x);
}

static struct exchange *new_exchange(struct sq_http_port *port)
{
	struct exchange *x = SLIST_FIRST(&port->spares);

	if (x) {
		SLIST_REMOVE_HEAD(&port->spares, spare);
		return x;
	}
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->port = port;
	x->user = (struct sq_conn_user){conn_opened, conn_failed, conn_ready};
	x->timer.fn = timed_out;
	x->task.fn = task_runs;
	return x;
}

/* On an idle connection if there is one and it need not be fresh. */
static void begin(struct exchange *x, bool fresh)
{
	struct sq_invocation *inv = x->inv;
	bool is_head = strcmp(inv->request->method, "HEAD") == 0;

	sq_answer_reader_begin(&x->reader, &inv->answer, inv->arena, is_head);
	x->sent = 0;
	x->send_failed = x->got_bytes = x->open = false;
	x->conn = fresh ? NULL : sq_conn_take(x->port->upstream, &x->user);
	x->reused = x->conn != NULL;
	if (x->reused) {
		send_request(x);
		return;
	}
	x->conn = sq_conn_open(x->port->upstream, &x->user);
	if (!x->conn)
		fail_later(x, SQ_FAULT_MEMORY, "out of memory");
}

void sq_exchange_start(struct sq_http_port *port, struct sq_invocation *inv)
{
	const struct sq_blob *body = inv->request->body;
	struct exchange *x = new_exchange(port);

	atomic_fetch_add_explicit(&port->backend->started, 1, memory_order_relaxed);
	if (!x) {
		sq_invocation_ended(inv, SQ_FAULT_MEMORY, "out of memory");
		return;
	}
	atomic_fetch_add_explicit(&port->backend->in_flight, 1, memory_order_relaxed);
	inv->slot = x;
	x->inv = inv;
	x->conn = NULL;
	x->told = x->grew = false;
	x->failure = SQ_FAULT_NONE;
	x->head.len = 0;
	if (sq_request_write(&x->head, inv, &port->site->target) < 0) {
		fail_later(x, SQ_FAULT_MEMORY, "out of memory");
		return;
	}
	x->total = x->head.len + (body ? sq_blob_size(body) : 0);
	begin(x, false);
}

void sq_exchange_resume(struct sq_invocation *inv)
{
	struct exchange *x = inv->slot;

	if (x && x->open && !x->pumping && sq_conn_readable(x->conn))
		sq_loop_defer(x->port->loop, &x->task);
}

void sq_exchange_abort(struct sq_invocation *inv)
{
	struct exchange *x = inv->slot;

	if (x)
		fail_later(x, SQ_FAULT_DRAINING, "the proxy is stopping");
}

/* --- ports --- */

struct sq_http_port *sq_http_port_open(struct sq_backend *b, struct sq_home *home,
				       const struct sq_http_site *site, struct sq_error *e)
{
	const struct sq_upstream_conf conf = {
		.dial = {.url = site->url,
			 .tls = site->tls,
			 .verify = b->conf->verify,
			 .connect_timeout_ns = b->conf->connect_timeout_ns},
		.idle_max = IDLE_MAX,
		.idle_ns = IDLE_NS,
	};
	struct sq_http_port *port = calloc(1, sizeof(*port));

	if (!port) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	port->backend = b;
	port->home = home;
	port->loop = sq_home_loop(home);
	port->site = site;
	SLIST_INIT(&port->spares);
	port->upstream = sq_upstream_new(port->loop, &conf, e);
	if (!port->upstream) {
		free(port);
		return NULL;
	}
	return port;
}

void sq_http_port_close(struct sq_http_port *port)
{
	struct exchange *x;

	while ((x = SLIST_FIRST(&port->spares))) {
		SLIST_REMOVE_HEAD(&port->spares, spare);
		sq_answer_reader_free(&x->reader);
		sq_buf_free(&x->head);
		free(x);
	}
	sq_upstream_free(port->upstream);
	free(port);
}
