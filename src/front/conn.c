/*
 * Connections: their states, what becomes overdue, and clients that hang up.
 *
 * The library has only a timeout of inactivity, which a byte now and then defeats, and none at all
 * for a suspended connection. So it gets none, and time is kept here: each state has its list, in
 * order of entering it, and its time to go; one timer per front looks at the head of each list.
 *
 *   IDLE    a moment             closed if the client has; else REST
 *   REST    limits.idle          408 if part of a head has come, closed
 *   HEAD    limits.header-time   the same
 *   BODY    a moment             its socket is watched from now on: UPLOAD
 *   UPLOAD  limits.body-time     408, closed
 *   WAIT    a moment             its socket is watched from now on: WATCH
 *   SEND    limits.stall / 4     closed when nothing was taken in four looks: a slow reader that
 *                                reads is let be, it holds no seat
 *   LINGER  2 s                  closed
 *
 * Deadlines of head and body are absolute: from accept or the last answer for the head's first
 * line, from there to the head's end, from there to the body's end. No byte that comes prolongs
 * them.
 *
 * A moment is 10 ms: what takes longer pays for being watched, two system calls, and the short
 * calls do not. A suspended connection must be watched by us; others, too, since the library misses
 * the end when it comes together with data (a short read lets it forget that the socket was
 * readable).
 *
 * Half-close (shutdown(SHUT_WR), as `nc -N` does) counts as hang-up, as in nginx: it cannot be told
 * from a close without writing, and the library takes it for the end as well.
 */
#include "base/clock.h"
#include "front/conn.h"
#include "front/error.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h> /* the C library's tcp_info is too old */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOMENT_NS (10 * SQ_MS)
#define LINGER_NS (2 * SQ_S)
#define LOOKS 4 /* of limits.stall */
#define PARKED_MAX 64 /* each costs 0.1 us a run of the library; to suspend, 2 us a call */

/* ---- states ---- */

static int64_t time_to_go(const struct sq_front *f, enum conn_state state)
{
	const struct sq_settings *s = sq_home_settings(f->home);

	switch (state) {
	case CONN_IDLE:
	case CONN_BODY:
	case CONN_WAIT:
		return MOMENT_NS;
	case CONN_REST:
		return s->limit_idle;
	case CONN_HEAD:
		return s->limit_header_time;
	case CONN_UPLOAD:
		return s->limit_body_time;
	case CONN_SEND:
		return s->limit_stall / LOOKS;
	case CONN_LINGER:
		return LINGER_NS;
	default:
		return SQ_NEVER;
	}
}

static void sweep_by(struct sq_front *f, int64_t at_ns)
{
	if (at_ns == SQ_NEVER || (sq_timer_is_set(&f->sweep) && f->sweep.at_ns <= at_ns))
		return;
	if (sq_timer_set(f->loop, &f->sweep, at_ns) < 0)
		abort(); /* a front without its sweep would keep dead clients for ever */
}

void conn_move(struct conn *c, enum conn_state state)
{
	struct sq_front *f = c->front;

	if (c->watch.fd >= 0 && state != CONN_LINGER)
		sq_loop_unwatch(f->loop, &c->watch);
	if (state == CONN_SEND && c->state != CONN_SEND)
		c->stalls = 0;
	cds_list_del(&c->node);
	f->counts[c->state]--;
	c->state = state;
	c->since_ns = sq_loop_now(f->loop);
	cds_list_add_tail(&c->node, &f->lists[state]);
	f->counts[state]++;
	/* Only the head of a list can be the first to be overdue. */
	if (f->lists[state].next == &c->node)
		sweep_by(f, sq_time_add(c->since_ns, time_to_go(f, state)));
}

void conn_suspend(struct conn *c)
{
	assert(!c->suspended && !c->parked);
	MHD_suspend_connection(c->mhd);
	c->suspended = true;
	if (c->state != CONN_WATCH)
		conn_move(c, CONN_WAIT);
}

void conn_unpark(struct conn *c)
{
	if (c->parked)
		c->front->parked--;
	c->parked = false;
}

/*
 * To suspend a connection takes it out of the library's epoll; to resume it costs a recv in vain
 * and the way back: three system calls. A short call is cheaper when it is not suspended but
 * parked: the library, finding no response, asks the handler again whenever it runs.
 */
void conn_wait(struct conn *c)
{
	struct sq_front *f = c->front;

	if (c->parked && c->state == CONN_WAIT && f->spins < SPINS)
		return;
	if (!c->parked && f->parked < PARKED_MAX && f->spins < SPINS) {
		c->parked = true;
		f->parked++;
		conn_move(c, CONN_WAIT);
		return;
	}
	conn_unpark(c);
	conn_suspend(c);
}

void conn_resume(struct conn *c)
{
	if (!c->suspended)
		return;
	c->suspended = false;
	conn_move(c, c->cut ? CONN_CUT : CONN_SEND);
	MHD_resume_connection(c->mhd);
	port_run_soon(c->port);
}

/* ---- ends ---- */

/* Neither the run nor the question is to answer any more: it would find nothing to answer on. */
static void give_up(struct request *rq)
{
	if (rq->waits) {
		rq->waits = false;
		sq_run_hangup(rq->run);
	}
	if (rq->ask) {
		ask_orphan(rq->ask);
		rq->ask = NULL;
	}
}

void conn_cut(struct conn *c)
{
	c->cut = true;
	give_up(&c->rq);
	shutdown(c->fd, SHUT_RDWR);
	if (c->suspended)
		conn_resume(c);
	else
		conn_move(c, CONN_CUT);
	if (c->parked)
		port_run_soon(c->port);
}

void conn_reset(struct conn *c)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	/* Dissolving the association sends RST at once; what was not sent yet is dropped. */
	if (connect(c->fd, &none, sizeof(none)) < 0)
		shutdown(c->fd, SHUT_RDWR);
	c->cut = true;
}

void conn_say(struct conn *c, enum sq_fault fault)
{
	char wire[2 * SQ_FRONT_ERROR_MAX];
	size_t len = sq_front_error_wire(wire, fault);

	/* It fits into an empty socket buffer; a client that has filled it does not read anyway. */
	(void)!send(c->fd, wire, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void hung_up(struct sq_watch *w, uint32_t events)
{
	struct conn *c = caa_container_of(w, struct conn, watch);

	(void)events;
	conn_cut(c);
}

/* ---- overdue ---- */

/* Has a part of a request come? Of a later one: anything, well after the last answer. */
static bool has_spoken(const struct conn *c)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);
	int64_t idle_ms = (sq_loop_now(c->front->loop) - c->since_ns) / SQ_MS;

	memset(&ti, 0, sizeof(ti)); /* an old kernel tells less */
	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &len) < 0 || ti.tcpi_bytes_received == 0)
		return false;
	return c->state == CONN_HEAD || ti.tcpi_last_data_recv + 20 < idle_ms;
}

static void too_slow(struct conn *c)
{
	if (c->state == CONN_UPLOAD || has_spoken(c)) {
		sq_home_count(c->front->home, SQ_COUNT_SLOW_CLIENTS, 1);
		conn_say(c, SQ_FAULT_HEADER_TIMEOUT);
	}
	conn_cut(c);
}

static void begin_watch(struct conn *c)
{
	conn_move(c, c->state == CONN_BODY ? CONN_UPLOAD : CONN_WATCH);
	/* Without a watch all goes on, and the answer will find out. */
	(void)!sq_loop_watch(c->front->loop, &c->watch, c->fd, EPOLLRDHUP);
	if (c->parked)
		port_run_soon(c->port); /* which suspends it */
}

static void begin_rest(struct conn *c)
{
	char byte;

	if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		conn_cut(c);
	else
		conn_move(c, CONN_REST);
}

/* Nothing taken in LOOKS looks, and something is there to be taken. */
static void look_for_stall(struct conn *c)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	memset(&ti, 0, sizeof(ti));
	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &len) < 0 ||
	    ti.tcpi_bytes_acked != c->acked || ti.tcpi_unacked + ti.tcpi_notsent_bytes == 0) {
		c->acked = ti.tcpi_bytes_acked;
		c->stalls = 0;
	} else if (++c->stalls >= LOOKS) {
		sq_home_count(c->front->home, SQ_COUNT_SLOW_CLIENTS, 1);
		conn_cut(c);
		return;
	}
	conn_move(c, CONN_SEND);
}

static void overdue(struct conn *c)
{
	switch (c->state) {
	case CONN_IDLE:
		begin_rest(c);
		break;
	case CONN_REST:
	case CONN_HEAD:
	case CONN_UPLOAD:
		too_slow(c);
		break;
	case CONN_BODY:
	case CONN_WAIT:
		begin_watch(c);
		break;
	case CONN_SEND:
		look_for_stall(c);
		break;
	case CONN_LINGER:
		conn_free(c);
		break;
	default:
		assert(false);
	}
}

void conn_sweep(struct sq_timer *t)
{
	struct sq_front *f = caa_container_of(t, struct sq_front, sweep);
	int64_t now = sq_loop_now(f->loop), next = SQ_NEVER;

	for (int s = 0; s < CONN_STATES; s++) {
		int64_t go = time_to_go(f, (enum conn_state)s);
		/* Those that come back to this list while it is swept are not due again. */
		size_t n = f->counts[s];

		while (n-- > 0 && !cds_list_empty(&f->lists[s])) {
			struct conn *c = cds_list_first_entry(&f->lists[s], struct conn, node);
			int64_t at = sq_time_add(c->since_ns, go);

			if (at > now) {
				next = at < next ? at : next;
				break;
			}
			overdue(c);
		}
	}
	sweep_by(f, next);
}

/* ---- birth and death ---- */

void conn_opened(struct conn *c)
{
	struct sq_front *f = c->front;

	c->watch = (struct sq_watch){.fn = hung_up, .fd = -1};
	c->state = CONN_HEAD;
	f->counts[CONN_HEAD]++;
	cds_list_add_tail(&c->node, &f->lists[CONN_HEAD]);
	conn_move(c, CONN_HEAD);
}

void conn_free(struct conn *c)
{
	struct sq_front *f = c->front;

	if (c->watch.fd >= 0)
		sq_loop_unwatch(f->loop, &c->watch);
	if (c->state == CONN_LINGER)
		close(c->fd);
	cds_list_del(&c->node);
	f->counts[c->state]--;
	free(c);
}

static void drop_input(struct sq_watch *w, uint32_t events)
{
	struct conn *c = caa_container_of(w, struct conn, watch);
	char bin[16384];
	ssize_t n = recv(c->fd, bin, sizeof(bin), MSG_DONTWAIT | MSG_TRUNC);

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		conn_free(c);
}

/* Has the client still something to say, so that a plain close would destroy our answer (RST)? */
static bool may_speak(const struct conn *c)
{
	char byte;
	ssize_t n;

	if (c->cut || c->orderly || c->front->stopping)
		return false;
	n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

void conn_closed(struct conn *c)
{
	int fd = may_speak(c) ? dup(c->fd) : -1;

	c->mhd = NULL;
	if (fd < 0) {
		conn_free(c);
		return;
	}
	/* The library closes its descriptor now; the connection stays open by this one. */
	shutdown(fd, SHUT_WR);
	conn_move(c, CONN_LINGER);
	c->fd = fd;
	c->watch.fn = drop_input;
	if (sq_loop_watch(c->front->loop, &c->watch, fd, EPOLLIN | EPOLLRDHUP) < 0)
		conn_free(c);
}
