/*
 * A connection is OPENING (libcurl has it), BUSY (its user has it) or IDLE (on the list, the last
 * released in front: the tail grows old and goes). It is freed by sq_conn_close alone, or after
 * failed(). Whoever releases or closes it must not use it any more.
 *
 * It is registered with epoll once, edge-triggered, for all events; the flags remember what the
 * last edge said and no attempt has taken back. A read that got less than it asked for has emptied
 * a plain socket, so a whole answer costs one recv. An idle connection that becomes readable was
 * closed by the backend, or is mad: either way it is closed here, before anybody is given it.
 */
#include "worker/upstream.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include <urcu/compiler.h>

#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define TLS_PIECE (64u * 1024)

enum conn_state { OPENING, BUSY, IDLE };

struct sq_conn {
	struct sq_watch watch; /* watch.fd is the socket once open */
	enum conn_state state;
	bool readable, writable;
	bool ending; /* an end or an error was seen: read until it is reached */
	struct sq_conn_user *user;
	struct sq_upstream *up;
	struct sq_dial dial; /* OPENING; with TLS until closed */
	TAILQ_ENTRY(sq_conn) idle;
	int64_t idle_until_ns;
};

TAILQ_HEAD(idle_list, sq_conn);

struct sq_upstream {
	struct sq_loop *loop;
	struct sq_dialer *dialer;
	struct sq_upstream_conf conf;
	struct sq_timer timer; /* set while there are idle ones */
	struct idle_list idle;
	unsigned n_idle, n_used;
};

/* --- idle connections --- */

static void unlink_idle(struct sq_conn *c)
{
	TAILQ_REMOVE(&c->up->idle, c, idle);
	c->up->n_idle--;
	c->up->n_used++;
	c->state = BUSY;
}

/* The list is ordered by the time of release, and nearly so by its end. */
static void idle_timer(struct sq_timer *t)
{
	struct sq_upstream *up = caa_container_of(t, struct sq_upstream, timer);
	int64_t now = sq_loop_now(up->loop);
	struct sq_conn *c;

	while ((c = TAILQ_LAST(&up->idle, idle_list)) && c->idle_until_ns <= now)
		sq_conn_close(c);
	if (c && sq_timer_set(up->loop, t, c->idle_until_ns) < 0)
		sq_conn_close(c);
}

struct sq_conn *sq_conn_take(struct sq_upstream *up, struct sq_conn_user *user)
{
	struct sq_conn *c = TAILQ_FIRST(&up->idle);

	if (!c)
		return NULL;
	unlink_idle(c);
	c->user = user;
	return c;
}

/* Nothing may be left to read: neither bytes nor an end that came together with the answer. */
static bool is_clean(struct sq_conn *c)
{
	char byte;

	return !c->ending && (!c->readable || sq_conn_recv(c, &byte, 1) == -EAGAIN);
}

void sq_conn_release(struct sq_conn *c, unsigned hint_s)
{
	struct sq_upstream *up = c->up;
	int64_t keep_ns = up->conf.idle_ns;

	assert(c->state == BUSY);
	/* We close first, so that no request crosses the backend's closing. */
	if (hint_s > 0 && hint_s * SQ_S * 4 / 5 < keep_ns)
		keep_ns = hint_s * SQ_S * 4 / 5;
	if (up->n_idle >= up->conf.idle_max || !is_clean(c)) {
		sq_conn_close(c);
		return;
	}
	c->user = NULL;
	c->state = IDLE;
	c->idle_until_ns = sq_loop_now(up->loop) + keep_ns;
	TAILQ_INSERT_HEAD(&up->idle, c, idle);
	up->n_idle++;
	up->n_used--;
	if (!sq_timer_is_set(&up->timer) &&
	    sq_timer_set(up->loop, &up->timer, c->idle_until_ns) < 0)
		sq_conn_close(c);
}

/* --- events --- */

static void ready(struct sq_watch *w, uint32_t events)
{
	struct sq_conn *c = (struct sq_conn *)w;
	bool tls = c->up->conf.dial.tls; /* either may wait for the other's bytes */

	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->ending = true;
	if (c->ending || tls || (events & EPOLLIN))
		c->readable = true;
	if (c->ending || tls || (events & EPOLLOUT))
		c->writable = true;
	if (c->state == BUSY)
		c->user->ready(c->user);
	else if (!is_clean(c))
		sq_conn_close(c);
}

bool sq_conn_readable(const struct sq_conn *c)
{
	return c->readable;
}

bool sq_conn_writable(const struct sq_conn *c)
{
	return c->writable;
}

void sq_conn_yield(struct sq_conn *c)
{
	int rc = sq_loop_rewatch(c->up->loop, &c->watch, EVENTS);

	assert(rc == 0); /* a descriptor that is registered can be modified */
	(void)rc;
}

/* --- opening --- */

static void free_conn(struct sq_conn *c)
{
	c->up->n_used--;
	free(c);
}

static void dialled(struct sq_dial *d, int fd, const char *detail)
{
	struct sq_conn *c = caa_container_of(d, struct sq_conn, dial);
	struct sq_conn_user *user = c->user;
	int rc;

	if (fd < 0) {
		free_conn(c);
		user->failed(user, detail);
		return;
	}
	c->state = BUSY;
	c->writable = true;
	c->readable = c->up->conf.dial.tls;
	rc = sq_loop_watch(c->up->loop, &c->watch, fd, EVENTS);
	if (rc < 0) {
		sq_log_limited(SQ_LOG_ERROR, "watch-failed", "error=\"%s\"", strerror(-rc));
		if (!c->up->conf.dial.tls)
			close(fd);
		sq_conn_close(c);
		user->failed(user, strerror(-rc));
		return;
	}
	user->opened(user);
}

struct sq_conn *sq_conn_open(struct sq_upstream *up, struct sq_conn_user *user)
{
	struct sq_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->watch.fn = ready;
	c->watch.fd = -1;
	c->state = OPENING;
	c->up = up;
	c->user = user;
	c->dial.done = dialled;
	if (sq_dial_begin(up->dialer, &c->dial) < 0) {
		free(c);
		return NULL;
	}
	up->n_used++;
	return c;
}

void sq_conn_close(struct sq_conn *c)
{
	struct sq_upstream *up = c->up;
	int fd = c->watch.fd;

	if (c->state == IDLE)
		unlink_idle(c);
	sq_loop_unwatch(up->loop, &c->watch);
	if (fd >= 0 && !up->conf.dial.tls)
		close(fd);
	sq_dial_end(up->dialer, &c->dial);
	free_conn(c);
}

/* --- bytes --- */

static ssize_t curl_errno(CURLcode code)
{
	switch (code) {
	case CURLE_AGAIN:
		return -EAGAIN;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -ECONNRESET;
	}
}

/*
 * One piece: a repeated call after -EAGAIN must bring the same bytes, as the TLS libraries want it.
 */
static ssize_t send_tls(struct sq_conn *c, const struct iovec *iov)
{
	size_t n = 0, len = iov->iov_len < TLS_PIECE ? iov->iov_len : TLS_PIECE;
	CURLcode code = curl_easy_send(sq_dial_curl(&c->dial), iov->iov_base, len, &n);

	return code == CURLE_OK ? (ssize_t)n : curl_errno(code);
}

static ssize_t send_plain(struct sq_conn *c, const struct iovec *iov, int n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	ssize_t sent;

	do
		sent = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

ssize_t sq_conn_send(struct sq_conn *c, const struct iovec *iov, int n)
{
	ssize_t sent = c->up->conf.dial.tls ? send_tls(c, iov) : send_plain(c, iov, n);

	if (sent == -EAGAIN)
		c->writable = false;
	else if (sent < 0)
		c->ending = c->readable = true;
	return sent;
}

static ssize_t recv_plain(struct sq_conn *c, void *buf, size_t len)
{
	ssize_t n;

	do
		n = recv(c->watch.fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* Less than asked for: it is empty, and what comes now is a new edge. */
	if ((size_t)n < len && !c->ending)
		c->readable = false;
	return n;
}

static ssize_t recv_tls(struct sq_conn *c, void *buf, size_t len)
{
	size_t n = 0;
	CURLcode code = curl_easy_recv(sq_dial_curl(&c->dial), buf, len, &n);

	return code == CURLE_OK ? (ssize_t)n : curl_errno(code);
}

ssize_t sq_conn_recv(struct sq_conn *c, void *buf, size_t len)
{
	ssize_t n = c->up->conf.dial.tls ? recv_tls(c, buf, len) : recv_plain(c, buf, len);

	if (n == -EAGAIN)
		c->readable = false;
	return n;
}

/* --- birth and death --- */

struct sq_upstream *sq_upstream_new(struct sq_loop *loop, const struct sq_upstream_conf *conf,
				    struct sq_error *e)
{
	struct sq_upstream *up = calloc(1, sizeof(*up));

	if (!up) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	up->loop = loop;
	up->conf = *conf;
	up->timer.fn = idle_timer;
	TAILQ_INIT(&up->idle);
	up->dialer = sq_dialer_new(loop, &conf->dial, e);
	if (!up->dialer) {
		free(up);
		return NULL;
	}
	return up;
}

void sq_upstream_free(struct sq_upstream *up)
{
	struct sq_conn *c;

	if (!up)
		return;
	while ((c = TAILQ_FIRST(&up->idle)))
		sq_conn_close(c);
	assert(up->n_used == 0);
	sq_timer_stop(up->loop, &up->timer);
	sq_dialer_free(up->dialer);
	free(up);
}
