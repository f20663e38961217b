/*
 * A CONNECT_ONLY handle must stay in its multi as long as its connection is used, and costs some
 * 6 KiB. That is how TLS connections are kept: libcurl has the keys. Of a plain connection we want
 * the socket alone. So the handle's CURLOPT_CLOSESOCKETFUNCTION leaves the socket that was taken
 * open, the handle leaves the multi at once and opens the next connection.
 *
 * libcurl calls back (on_socket, on_timer) from within its own functions: there we only note what
 * it wants. Results are collected after curl_multi_socket_action has returned, in collect().
 */
#include "worker/dial.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include <urcu/compiler.h>

#define SPARE_HANDLES 16

struct sq_handle {
	CURL *easy;
	struct sq_dial *dial; /* NULL: spare */
	int taken_fd;         /* the socket that is no longer libcurl's; -1 */
	int socket_errno;     /* socket(2) failed for want of something */
	SLIST_ENTRY(sq_handle) spare;
	char error[CURL_ERROR_SIZE];
};

/*
 * A socket that libcurl wants watched. We watch a duplicate: libcurl 7.88 closes the sockets of
 * attempts that did not succeed before it tells that it has no more interest in them, and not by
 * CURLOPT_CLOSESOCKETFUNCTION.
 */
struct interest {
	struct sq_watch watch;
	struct sq_dialer *dialer;
	curl_socket_t fd; /* libcurl's own */
};

SLIST_HEAD(handle_list, sq_handle);

struct sq_dialer {
	struct sq_loop *loop;
	CURLM *multi;
	CURLU *url;
	struct sq_dial_conf conf;
	struct sq_timer timer;
	struct handle_list spares;
	unsigned n_spares;
};

/* --- results --- */

static void free_handle(struct sq_handle *h)
{
	curl_easy_cleanup(h->easy);
	free(h);
}

/* Out of the multi, which closes the connection unless the socket was taken. */
static void retire(struct sq_dialer *dl, struct sq_handle *h)
{
	curl_multi_remove_handle(dl->multi, h->easy);
	h->dial->handle = NULL;
	h->dial = NULL;
	h->taken_fd = -1;
	if (dl->n_spares >= SPARE_HANDLES) {
		free_handle(h);
		return;
	}
	SLIST_INSERT_HEAD(&dl->spares, h, spare);
	dl->n_spares++;
}

static void fail(struct sq_dialer *dl, struct sq_handle *h, CURLcode code)
{
	struct sq_dial *d = h->dial;
	char detail[CURL_ERROR_SIZE + 16];

	if (h->socket_errno) {
		sq_log_limited(SQ_LOG_ERROR, "socket-failed", "error=\"%s\"",
			       strerror(h->socket_errno));
		snprintf(detail, sizeof(detail), "socket: %s", strerror(h->socket_errno));
	} else {
		snprintf(detail, sizeof(detail), "%s",
			 h->error[0] ? h->error : curl_easy_strerror(code));
	}
	retire(dl, h);
	d->done(d, -1, detail);
}

static void succeed(struct sq_dialer *dl, struct sq_handle *h)
{
	struct sq_dial *d = h->dial;
	curl_socket_t fd = CURL_SOCKET_BAD;

	curl_easy_getinfo(h->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd == CURL_SOCKET_BAD) {
		fail(dl, h, CURLE_COULDNT_CONNECT);
		return;
	}
	if (!dl->conf.tls) {
		h->taken_fd = fd;
		retire(dl, h);
	}
	d->done(d, fd, NULL);
}

static void collect(struct sq_dialer *dl)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(dl->multi, &left))) {
		CURLcode code = m->data.result;
		struct sq_handle *h = NULL;

		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&h);
		if (m->msg != CURLMSG_DONE)
			continue;
		if (code == CURLE_OK)
			succeed(dl, h);
		else
			fail(dl, h, code);
	}
}

/* --- what libcurl wants of the loop --- */

static void act(struct sq_dialer *dl, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(dl->multi, fd, what, &running);
	collect(dl);
}

static void socket_ready(struct sq_watch *w, uint32_t events)
{
	struct interest *in = (struct interest *)w;
	int what = 0;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		what |= CURL_CSELECT_ERR;
	act(in->dialer, in->fd, what); /* may free in */
}

static void timer_fired(struct sq_timer *t)
{
	act(caa_container_of(t, struct sq_dialer, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
	struct sq_dialer *dl = arg;

	(void)multi;
	if (ms < 0) {
		sq_timer_stop(dl->loop, &dl->timer);
		return 0;
	}
	return sq_timer_set(dl->loop, &dl->timer, sq_clock_ns() + ms * SQ_MS);
}

static void forget(struct sq_dialer *dl, struct interest *in)
{
	int twin = in->watch.fd;

	sq_loop_unwatch(dl->loop, &in->watch);
	if (twin >= 0)
		close(twin);
	free(in);
}

static int add_interest(struct sq_dialer *dl, curl_socket_t fd, uint32_t events)
{
	struct interest *in = calloc(1, sizeof(*in));
	int rc, twin;

	if (!in)
		return -ENOMEM;
	in->dialer = dl;
	in->fd = fd;
	in->watch.fn = socket_ready;
	in->watch.fd = -1;
	twin = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	rc = twin < 0 ? -errno : sq_loop_watch(dl->loop, &in->watch, twin, events);
	if (rc < 0) {
		if (twin >= 0)
			close(twin);
		free(in);
		return rc;
	}
	curl_multi_assign(dl->multi, fd, in);
	return 0;
}

/*
 * A socket that cannot be watched is left to the connect timeout: to tell libcurl of it would end
 * every transfer of the multi.
 */
static void watch_socket(struct sq_dialer *dl, curl_socket_t fd, int what, struct interest *in)
{
	uint32_t events =
		(what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	int rc = in ? sq_loop_rewatch(dl->loop, &in->watch, events) : add_interest(dl, fd, events);

	if (rc < 0)
		sq_log_limited(SQ_LOG_ERROR, "watch-failed", "error=\"%s\"", strerror(-rc));
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct sq_dialer *dl = arg;

	(void)easy;
	if (what != CURL_POLL_REMOVE) {
		watch_socket(dl, fd, what, known);
	} else if (known) {
		forget(dl, known);
		curl_multi_assign(dl->multi, fd, NULL);
	}
	return 0;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct sq_handle *h = arg;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);

	(void)purpose;
	if (fd >= 0)
		return fd;
	if (errno != EAFNOSUPPORT) /* no IPv6 here: another address will do */
		h->socket_errno = errno;
	return CURL_SOCKET_BAD;
}

static int on_close(void *arg, curl_socket_t fd)
{
	const struct sq_handle *h = arg;

	return fd == h->taken_fd ? 0 : close(fd);
}

/* --- handles --- */

static bool set_up(const struct sq_dialer *dl, struct sq_handle *h)
{
	const struct sq_dial_conf *c = &dl->conf;
	long ms = c->connect_timeout_ns / SQ_MS;
	CURL *e = h->easy;
	bool ok = true;

#define SET(option, value) ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK
	SET(CURLOPT_CURLU, dl->url);
	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_CONNECTTIMEOUT_MS, ms > 0 ? ms : 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_SSL_VERIFYPEER, c->verify ? 1L : 0L);
	SET(CURLOPT_SSL_VERIFYHOST, c->verify ? 2L : 0L);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SET(CURLOPT_OPENSOCKETDATA, h);
	SET(CURLOPT_CLOSESOCKETFUNCTION, on_close);
	SET(CURLOPT_CLOSESOCKETDATA, h);
	SET(CURLOPT_ERRORBUFFER, h->error);
	SET(CURLOPT_PRIVATE, h);
#undef SET
	return ok;
}

static struct sq_handle *new_handle(const struct sq_dialer *dl)
{
	struct sq_handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->taken_fd = -1;
	h->easy = curl_easy_init();
	if (h->easy && set_up(dl, h))
		return h;
	free_handle(h);
	return NULL;
}

static struct sq_handle *get_handle(struct sq_dialer *dl)
{
	struct sq_handle *h = SLIST_FIRST(&dl->spares);

	if (!h)
		return new_handle(dl);
	SLIST_REMOVE_HEAD(&dl->spares, spare);
	dl->n_spares--;
	return h;
}

int sq_dial_begin(struct sq_dialer *dl, struct sq_dial *d)
{
	struct sq_handle *h = get_handle(dl);

	if (!h)
		return -ENOMEM;
	h->error[0] = '\0';
	h->socket_errno = 0;
	h->dial = d;
	if (curl_multi_add_handle(dl->multi, h->easy) != CURLM_OK) {
		free_handle(h);
		return -ENOMEM;
	}
	d->handle = h;
	return 0;
}

void sq_dial_end(struct sq_dialer *dl, struct sq_dial *d)
{
	if (d->handle)
		retire(dl, d->handle);
}

CURL *sq_dial_curl(const struct sq_dial *d)
{
	return d->handle->easy;
}

/* --- the dialer --- */

struct sq_dialer *sq_dialer_new(struct sq_loop *loop, const struct sq_dial_conf *conf,
				struct sq_error *e)
{
	struct sq_dialer *dl = calloc(1, sizeof(*dl));

	if (!dl)
		goto no_memory;
	dl->loop = loop;
	dl->conf = *conf;
	dl->timer.fn = timer_fired;
	SLIST_INIT(&dl->spares);
	dl->url = curl_url_dup(conf->url);
	dl->conf.url = dl->url;
	dl->multi = curl_multi_init();
	if (!dl->url || !dl->multi)
		goto no_memory;
	curl_multi_setopt(dl->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(dl->multi, CURLMOPT_SOCKETDATA, dl);
	curl_multi_setopt(dl->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(dl->multi, CURLMOPT_TIMERDATA, dl);
	return dl;

no_memory:
	sq_dialer_free(dl);
	sq_error_set(e, ENOMEM, "out of memory");
	return NULL;
}

void sq_dialer_free(struct sq_dialer *dl)
{
	struct sq_handle *h;

	if (!dl)
		return;
	while ((h = SLIST_FIRST(&dl->spares))) {
		SLIST_REMOVE_HEAD(&dl->spares, spare);
		free_handle(h);
	}
	if (dl->multi)
		curl_multi_cleanup(dl->multi);
	curl_url_cleanup(dl->url);
	sq_timer_stop(dl->loop, &dl->timer);
	free(dl);
}
