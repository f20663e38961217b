/*
 * Connections: new -> connecting -> idle <-> busy; resting after a failed connect. A connection
 * is on the list its state names; move() is the only place that changes either.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REST_NS 10000000u /* do not hammer a listener that refuses */

static struct conn_list *list_of(struct load *l, enum conn_state state)
{
	switch (state) {
	case CONN_BUSY:
	case CONN_CONNECTING:
		return &l->busy;
	case CONN_IDLE:
		return &l->idle;
	case CONN_RESTING:
		return &l->resting;
	case CONN_NEW:
	default:
		return NULL;
	}
}

static void move(struct load *l, struct conn *c, enum conn_state to)
{
	struct conn_list *from = list_of(l, c->state), *list = list_of(l, to);

	if (from != list) {
		if (from)
			TAILQ_REMOVE(from, c, link);
		if (list)
			TAILQ_INSERT_TAIL(list, c, link);
	}
	c->state = to;
}

static void disconnect(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->reused = false;
}

/* The call is over, well or not; what the connection does next is conn_feed's. */
static void finish(struct load *l, struct conn *c, int error, bool keep)
{
	load_finished(l, c, error);
	if (!keep)
		disconnect(c);
	c->reused = keep;
	if (error == ERR_CONNECT) {
		c->rest_ns = load_now_ns() + REST_NS;
		move(l, c, CONN_RESTING);
		return;
	}
	move(l, c, CONN_IDLE);
}

static void send_some(struct conn *c)
{
	while (c->sent < c->request.head_len + c->request.body_len) {
		size_t head = c->request.head_len;
		bool in_head = c->sent < head;
		struct iovec v[2] = {
			{(char *)(uintptr_t)c->request.head + c->sent,
			 in_head ? head - c->sent : 0},
			{(char *)(uintptr_t)c->request.body + (in_head ? 0 : c->sent - head),
			 c->request.body_len - (in_head ? 0 : c->sent - head)},
		};
		struct msghdr m = {.msg_iov = in_head ? v : v + 1, .msg_iovlen = in_head ? 2 : 1};
		ssize_t n;

		if (in_head && v[1].iov_len == 0)
			n = send(c->fd, v[0].iov_base, v[0].iov_len, MSG_NOSIGNAL);
		else
			n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
		if (n < 0)
			return; /* full, or broken: then reading will tell, perhaps with an answer
				 */
		c->sent += (size_t)n;
	}
}

static void open_conn(struct load *l, struct conn *c)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};

	l->connects++;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &e) != 0 ||
	    (connect(c->fd, (struct sockaddr *)&l->address, sizeof(l->address)) != 0 &&
	     errno != EINPROGRESS))
		finish(l, c, ERR_CONNECT, false);
}

static void ask(struct load *l, struct conn *c)
{
	move(l, c, CONN_BUSY);
	if (l->rate <= 0 && !l->form.close)
		c->start_ns = load_now_ns(); /* a kept connection's price is not the call's */
	send_some(c);
}

static void start_call(struct load *l, struct conn *c, uint64_t start_ns)
{
	c->call = l->started++;
	c->url = (unsigned)(c->call % l->urls);
	c->start_ns = start_ns;
	c->sent = 0;
	c->request = load_url_request(l->url[c->url], c->call, &c->scratch, &c->scratch_cap);
	load_answer_reset(&c->answer, strcmp(l->form.method, "HEAD") == 0, l->check);
	move(l, c, CONN_CONNECTING);
	if (c->fd < 0)
		open_conn(l, c);
	else
		ask(l, c);
}

void conn_feed(struct load *l)
{
	struct conn *c;
	uint64_t start_ns;

	while ((c = TAILQ_FIRST(&l->idle)) != NULL && load_next(l, &start_ns))
		start_call(l, c, start_ns);
}

void conn_add(struct load *l)
{
	struct conn *c = &l->conn[l->conns++];

	c->fd = -1;
	move(l, c, CONN_IDLE);
}

/* The connection ended within a call: which word fits? */
static int verdict(const struct conn *c, int err)
{
	bool nothing = c->answer.head_bytes == 0 && c->answer.part_len == 0;

	if (nothing && c->reused)
		return ERR_STALE;
	if (err)
		return ERR_RESET;
	return nothing ? ERR_CLOSED : ERR_TRUNCATED;
}

static void ended(struct load *l, struct conn *c, int err)
{
	if (c->state != CONN_BUSY) { /* idle: the server's right */
		disconnect(c);
		return;
	}
	if (!err && c->answer.phase == ANSWER_UNTIL_CLOSE)
		finish(l, c, c->answer.mismatch ? ERR_MISMATCH : -1, false);
	else
		finish(l, c, verdict(c, err), false);
}

/* Bytes of an answer; true while the connection may be read on. */
static bool take(struct load *l, struct conn *c, const char *p, size_t n)
{
	long used = c->state == CONN_BUSY ? load_answer_eat(&c->answer, p, n) : -1;
	bool whole = c->sent == c->request.head_len + c->request.body_len;

	if (c->state != CONN_BUSY) {
		l->all.error[ERR_GARBLED]++; /* an answer to nothing */
		disconnect(c);
		return false;
	}
	if (used < 0 || (size_t)used < n) {
		finish(l, c, ERR_GARBLED, false);
		return false;
	}
	if (c->answer.phase != ANSWER_DONE)
		return true;
	finish(l, c, c->answer.mismatch ? ERR_MISMATCH : -1,
	       c->answer.keep && whole && !l->form.close);
	return false;
}

static void read_some(struct load *l, struct conn *c, bool to_the_end)
{
	static char buffer[1 << 18];
	ssize_t n;

	do {
		n = recv(c->fd, buffer, sizeof(buffer), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			ended(l, c, n < 0 ? errno : 0);
			return;
		}
		l->bytes += (uint64_t)n;
	} while (take(l, c, buffer, (size_t)n) && (to_the_end || n == sizeof(buffer)));
	if (to_the_end && c->fd >= 0 && c->state == CONN_IDLE)
		disconnect(c); /* its end came with the answer */
}

void conn_event(struct load *l, struct conn *c, uint32_t events)
{
	bool gone = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

	if (c->fd < 0)
		return;
	if (c->state == CONN_CONNECTING) {
		if (events & (EPOLLERR | EPOLLHUP)) {
			finish(l, c, ERR_CONNECT, false);
			return;
		}
		if (events & EPOLLOUT)
			ask(l, c);
	} else if (c->state == CONN_BUSY && (events & EPOLLOUT)) {
		send_some(c);
	}
	if (events & EPOLLIN || gone)
		read_some(l, c, gone);
}

/* The busy list is in order of start, so of timeout; a late one hangs up. */
void conn_times(struct load *l, uint64_t now_ns)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&l->resting)) != NULL && c->rest_ns <= now_ns)
		move(l, c, CONN_IDLE);
	while ((c = TAILQ_FIRST(&l->busy)) != NULL && c->start_ns + l->timeout_ns <= now_ns)
		finish(l, c, ERR_TIMEOUT, false);
}
