/*
 * The HTTP server of one loop, made of libmicrohttpd daemons (ports), one per listening address.
 * The library parses and writes HTTP; when it runs, what it may believe, how long things may take
 * and who gets in is decided here.
 *
 * A port has no thread. Its epoll descriptor lies in our loop's epoll; when it is readable, or when
 * a connection was resumed, the port is run once at the end of the turn (MHD_run), whatever the
 * number of reasons. As it has no timeouts of its own, MHD_get_timeout says only "again at once" or
 * nothing.
 *
 * The way of a request, by callbacks of the library:
 *
 *   opened      notify, STARTED: a struct conn, the peer's address, limits.connections
 *   uri         the request line is there: request_begin keeps the raw target, since the library
 *               will cut it at `?` and `&` and unescape the pieces
 *   handler 1   the head is there: guard, tenant, dialect, admission. A refusal of a request with a
 *               body is answered now, which makes the library close; else with the last call
 *   handler 2.. pieces of the body
 *   handler n   the request is complete: the dialect serves it. Is there no response at once, the
 *               connection is parked, or suspended, until the engine calls the sink (conn_wait)
 *   completed   the answer is sent, or the connection lost: request_end lets go of run, body, arena
 *   closed      notify, CLOSED: the struct conn goes, or lingers
 *
 * Who frees what: the library frees MHD_Connection and queued responses; a response holds one count
 * of the blob it shows. The struct conn is ours and outlives each request; the request's arena
 * passes to the run at submit. The run outlives the response, since request_end comes before its
 * end.
 *
 * Traps of 0.9.75, each met here or tested:
 *  - A response may be queued from the first or the last call only; from the first it closes the
 *    connection. Between them (body too large) the answer goes past the library: conn_say.
 *  - Its sockets are edge-triggered, and a short read counts as "nothing more": an end that came
 *    with the data is not noticed. Hence the looks and watches of conn.c.
 *  - Suspended connections see no timeout and no hang-up, and MHD_stop_daemon aborts with any left.
 *    Resuming only sets a flag with external polling: the port must be run. Then it walks the list
 *    of all that are suspended, so resumptions are worth batching.
 *  - What a resumed connection does first is recv: a client's half-close ends it there.
 *  - At MHD_OPTION_CONNECTION_LIMIT it stops accepting, silently. So that limit is out of reach,
 *    and ours is kept here, with a 503.
 *  - Out of descriptors it stops accepting until it has closed one of its own connections; and then
 *    it begins again only when it is run once more.
 *  - A dup of a connection's socket is safe at CLOSED only because it takes the socket out of its
 *    epoll before it closes it.
 *  - It answers what it cannot parse in HTML, or (no blank in the first line) not at all.
 *  - In chunked bodies it takes a bare LF for CRLF and cannot be told not to. Where two readers may
 *    differ about the end of a body, nothing behind it is believed: such a request is the last of
 *    its connection.
 *  - Arguments of the query and cookies each cost memory of the connection: with many, 431 comes
 *    early. The query is hidden from it (uri below), cookies cannot be.
 */
#include "base/log.h"
#include "front/conn.h"
#include "front/guard.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Beyond limits.headers: the library's records of fields, and the head of the answer. */
#define POOL_EXTRA (8u * 1024)
/* Beyond limits.connections so many are still accepted to be told so; more are shut at once. */
#define SURPLUS 256

/* Of all loops: the limit is one for the process. */
static _Atomic int64_t open_connections;

/* ---- callbacks of the library ---- */

static struct conn *conn_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void show_peer(struct conn *c, const struct sockaddr *sa)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)sa;

	if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, c->peer, sizeof(c->peer));
	else if (sa->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, c->peer, sizeof(c->peer));
	else if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr,
			  c->peer, sizeof(c->peer));
	if (!c->peer[0])
		memcpy(c->peer, "unknown", 8);
}

static void admit(struct conn *c)
{
	struct sq_front *f = c->front;
	int64_t limit = sq_home_settings(f->home)->limit_connections;
	int64_t n = atomic_fetch_add_explicit(&open_connections, 1, memory_order_relaxed) + 1;

	sq_home_count(f->home, SQ_COUNT_CONNECTIONS, 1);
	if (n <= limit)
		return;
	sq_home_count(f->home, SQ_COUNT_CONNECTIONS_REFUSED, 1);
	sq_log_limited(SQ_LOG_WARN, "too-many-connections", "limit=%lld", (long long)limit);
	c->surplus = true;
	if (n > limit + SURPLUS) {
		conn_say(c, SQ_FAULT_CONNECTIONS);
		conn_cut(c);
	}
}

static void notify_connection(void *cls, struct MHD_Connection *mhd, void **context,
			      enum MHD_ConnectionNotificationCode code)
{
	struct port *p = cls;
	struct conn *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (p->starved)
			port_run_soon(p);
		atomic_fetch_sub_explicit(&open_connections, 1, memory_order_relaxed);
		if (c)
			conn_closed(c);
		*context = NULL;
		return;
	}
	p->starved = false;
	c = calloc(1, sizeof(*c));
	*context = c;
	if (!c) {
		atomic_fetch_add_explicit(&open_connections, 1, memory_order_relaxed);
		return; /* refused by the handler */
	}
	c->front = p->front;
	c->port = p;
	c->mhd = mhd;
	c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	show_peer(c, MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
	conn_opened(c);
	admit(c);
}

static void *uri(void *cls, const char *target, struct MHD_Connection *mhd)
{
	struct conn *c = conn_of(mhd);

	(void)cls;
	if (c)
		request_begin(c, target);
	return c;
}

static size_t leave_escaped(void *cls, struct MHD_Connection *mhd, char *s)
{
	(void)cls;
	(void)mhd;
	return strlen(s);
}

/* After a call of ours: queue what is ready, or suspend until it is. */
static enum MHD_Result settle(struct conn *c)
{
	struct request *rq = &c->rq;
	enum MHD_Result rc;

	if (c->cut)
		return MHD_NO;
	if (!rq->response) {
		if (rq->complete)
			conn_wait(c);
		return MHD_YES;
	}
	if (c->parked)
		c->port->queued = true;
	conn_unpark(c);
	rc = MHD_queue_response(c->mhd, rq->status, rq->response);
	MHD_destroy_response(rq->response);
	rq->response = NULL;
	conn_move(c, CONN_SEND);
	return rc;
}

static enum MHD_Result handler(void *cls, struct MHD_Connection *mhd, const char *url,
			       const char *method, const char *version, const char *data,
			       size_t *size, void **context)
{
	struct conn *c = *context;
	int rc = 0;

	(void)cls;
	(void)url;
	if (!c || c->mhd != mhd)
		return MHD_NO;
	if (c->cut)
		return MHD_NO;
	c->in_handler = true;
	if (!c->rq.headed) {
		request_head(c, method, version);
	} else if (*size > 0) {
		rc = request_body(c, data, *size);
		*size = 0;
	} else if (!c->rq.complete) {
		request_complete(c);
	}
	c->in_handler = false;
	return rc < 0 ? MHD_NO : settle(c);
}

static void completed(void *cls, struct MHD_Connection *mhd, void **context,
		      enum MHD_RequestTerminationCode why)
{
	struct conn *c = *context;

	(void)cls;
	(void)mhd;
	if (!c)
		return;
	c->orderly = why == MHD_REQUEST_TERMINATED_COMPLETED_OK && !c->rq.close;
	request_end(c);
	*context = NULL;
}

/* What the library refuses by itself is known from its log alone. */
static void library_log(void *cls, const char *fmt, va_list va)
{
	struct port *p = cls;
	bool starved = strncmp(fmt, "Hit process or system resource limit", 36) == 0;
	char line[256], quoted[512];

	p->starved |= starved;
	if (strncmp(fmt, "Error processing request", 24) == 0) {
		sq_home_count(p->front->home, SQ_COUNT_REFUSED_GUARD, 1);
		return;
	}
	if (!starved && !sq_log_enabled(SQ_LOG_DEBUG))
		return;
	vsnprintf(line, sizeof(line), fmt, va);
	line[strcspn(line, "\n")] = '\0';
	sq_log_limited(starved ? SQ_LOG_ERROR : SQ_LOG_DEBUG, "http-library", "says=%s",
		       sq_log_quote(quoted, sizeof(quoted), line));
}

/* ---- ports ---- */

void port_run_soon(struct port *p)
{
	if (!p->front->stopping)
		sq_loop_defer(p->front->loop, &p->run);
}

/*
 * MHD_get_timeout tells whether the library has left something to do: always so while a connection
 * is parked. Then our own states tell: is nothing being read or sent, only the parked ones are
 * left. If something is, but comes no further for want of the client, that would be turning in
 * circles: after a few turns the parked are suspended, and nothing is parked until it is clear
 * again.
 */
static bool has_left_something(struct port *p)
{
	struct sq_front *f = p->front;
	MHD_UNSIGNED_LONG_LONG ms;

	if (f->counts[CONN_BODY] + f->counts[CONN_UPLOAD] + f->counts[CONN_SEND] + f->open_heads ==
	    0)
		f->spins = 0;
	else if (f->parked > 0)
		f->spins++;
	if (f->parked > 0 && f->spins == 0)
		return false;
	return MHD_get_timeout(p->mhd, &ms) == MHD_YES && ms == 0;
}

static void run_port(struct sq_task *t)
{
	struct port *p = caa_container_of(t, struct port, run);

	p->queued = false;
	MHD_run(p->mhd);
	if (p->queued)
		MHD_run(p->mhd); /* what was queued for parked ones is sent one run later */
	if (has_left_something(p))
		port_run_soon(p);
}

static void port_readable(struct sq_watch *w, uint32_t events)
{
	struct port *p = caa_container_of(w, struct port, watch);

	(void)events;
	port_run_soon(p);
}

static int port_open(struct port *p, struct sq_front *f, int fd, struct sq_error *e)
{
	int rc;

	p->front = f;
	p->listen_fd = fd;
	p->run.fn = run_port;
	p->watch = (struct sq_watch){.fn = port_readable, .fd = -1};
	/* clang-format off */
	p->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
				  NULL, NULL, handler, p,
				  MHD_OPTION_EXTERNAL_LOGGER, library_log, p,
				  MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_CONNECTION_LIMIT, 10u * 1000 * 1000,
				  MHD_OPTION_CONNECTION_MEMORY_LIMIT, f->pool_bytes,
				  MHD_OPTION_CONNECTION_TIMEOUT, 0u,
				  MHD_OPTION_NOTIFY_CONNECTION, notify_connection, p,
				  MHD_OPTION_NOTIFY_COMPLETED, completed, p,
				  MHD_OPTION_URI_LOG_CALLBACK, uri, p,
				  MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, p,
				  MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
				  MHD_OPTION_END);
	/* clang-format on */
	if (!p->mhd) {
		close(fd);
		p->listen_fd = -1;
		return sq_error_set(e, errno ? errno : EINVAL, "the HTTP library did not start: %s",
				    strerror(errno));
	}
	rc = sq_loop_watch(f->loop, &p->watch,
			   MHD_get_daemon_info(p->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
			   EPOLLIN);
	return rc < 0 ? sq_error_set(e, -rc, "epoll: %s", strerror(-rc)) : 0;
}

static void port_quiesce(struct port *p)
{
	if (!p->mhd || p->listen_fd < 0)
		return;
	/* Who has got through the handshake is let in. */
	MHD_run(p->mhd);
	MHD_quiesce_daemon(p->mhd);
	close(p->listen_fd);
	p->listen_fd = -1;
	port_run_soon(p);
}

/* ---- the front ---- */

struct sq_front *sq_front_new(struct sq_home *home, const struct sq_settings *settings,
			      const int *listen_fds, size_t n, struct sq_error *e)
{
	struct sq_front *f = calloc(1, sizeof(*f));
	size_t i = 0;
	int rc = 0;

	if (!f || !(f->ports = calloc(n, sizeof(*f->ports)))) {
		sq_error_set(e, ENOMEM, "out of memory");
		goto fail;
	}
	f->home = home;
	f->loop = sq_home_loop(home);
	f->pool_bytes = settings->limit_headers + POOL_EXTRA;
	f->sweep.fn = conn_sweep;
	for (int s = 0; s < CONN_STATES; s++)
		CDS_INIT_LIST_HEAD(&f->lists[s]);
	for (; i < n && rc == 0; i++, f->n_ports++)
		rc = port_open(&f->ports[i], f, listen_fds[i], e);
	if (rc == 0)
		return f;
fail:
	while (i < n)
		close(listen_fds[i++]);
	sq_front_free(f);
	return NULL;
}

void sq_front_stop_listening(struct sq_front *f)
{
	f->draining = true;
	for (size_t i = 0; i < f->n_ports; i++)
		port_quiesce(&f->ports[i]);
}

bool sq_front_idle(const struct sq_front *f)
{
	return f->counts[CONN_BODY] + f->counts[CONN_UPLOAD] + f->counts[CONN_WAIT] +
		       f->counts[CONN_WATCH] + f->counts[CONN_SEND] ==
	       0;
}

/* Every request that waits gets its refusal; then all is resumed, and sent as far as it goes. */
static void fail_waiting(struct sq_front *f)
{
	static const enum conn_state waiting[] = {CONN_WAIT, CONN_WATCH};

	for (size_t i = 0; i < 2; i++) {
		while (!cds_list_empty(&f->lists[waiting[i]])) {
			struct conn *c = cds_list_first_entry(&f->lists[waiting[i]], struct conn,
							      node);

			if (c->rq.waits) {
				c->rq.waits = false;
				sq_run_hangup(c->rq.run);
			}
			if (c->rq.answer)
				c->rq.aborted = true;
			else
				conn_fail(c, SQ_FAULT_DRAINING, NULL);
			conn_resume(c);
		}
	}
	for (int turn = 0; turn < 4; turn++)
		for (size_t i = 0; i < f->n_ports; i++)
			if (f->ports[i].mhd)
				MHD_run(f->ports[i].mhd);
}

static void port_close(struct port *p)
{
	assert(!p->run.queued); /* the loop does not run, or has no turn under way */
	sq_loop_unwatch(p->front->loop, &p->watch);
	if (p->mhd)
		MHD_stop_daemon(p->mhd);
	if (p->listen_fd >= 0)
		close(p->listen_fd);
}

void sq_front_free(struct sq_front *f)
{
	if (!f)
		return;
	if (f->ports && f->n_ports > 0) {
		f->stopping = true;
		sq_front_stop_listening(f);
		fail_waiting(f);
	}
	for (size_t i = 0; i < f->n_ports; i++)
		port_close(&f->ports[i]);
	while (f->n_ports > 0 && !cds_list_empty(&f->lists[CONN_LINGER]))
		conn_free(cds_list_first_entry(&f->lists[CONN_LINGER], struct conn, node));
	if (f->loop)
		sq_timer_stop(f->loop, &f->sweep);
	free(f->ports);
	free(f);
}
