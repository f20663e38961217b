#define _GNU_SOURCE 1 /* accept4, struct ucred, ppoll */
#include "admin/server.h"

#include "admin/answer.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 4096

struct client {
	int fd;
	uid_t peer;
	struct sq_buf in, out;
	size_t sent;      /* of out */
	uint64_t taken;   /* bytes the client took, ever */
	int64_t until_ns; /* cut if nothing has happened by then */
	bool last;        /* closed when out is sent */
};

struct server {
	const struct sq_admin_server *conf;
	struct client clients[SQ_ADMIN_CLIENTS + 1]; /* the one too many is told so */
	size_t n;
};

static void cut(struct server *s, size_t i)
{
	struct client *c = &s->clients[i];

	close(c->fd);
	sq_buf_free(&c->in);
	sq_buf_free(&c->out);
	*c = s->clients[--s->n];
}

/* All sent, some, or the client is gone (-1). */
static int send_out(struct client *c)
{
	ssize_t n;

	while (c->sent < c->out.len) {
		n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		c->sent += (size_t)n;
		c->taken += (uint64_t)n;
	}
	sq_buf_free(&c->out); /* a long answer does not stay with an idle client */
	c->sent = 0;
	return c->last ? -1 : 0;
}

/* Answers the first line, if it is complete. 1: done, 0: not complete, -1: cut the client. */
static int answer_line(const struct sq_admin_server *conf, struct client *c)
{
	char *end = c->in.len > 0 ? memchr(c->in.data, '\n', c->in.len) : NULL;
	size_t len = end ? (size_t)(end - c->in.data) : c->in.len;
	int err;

	if (len > conf->line_max) {
		c->last = true;
		err = sq_admin_refuse(&c->out, "too_long", "The line is too long");
		return err < 0 ? -1 : 1;
	}
	if (!end)
		return 0;
	*end = '\0';
	err = conf->answer(conf->arg, c->peer, c->in.data, len, &c->out);
	sq_buf_consume(&c->in, len + 1);
	return err < 0 ? -1 : 1;
}

/* Answers what is there, until an answer does not fit into the socket. */
static int answer_lines(const struct sq_admin_server *conf, struct client *c)
{
	int rc = 1;

	while (rc == 1 && c->out.len == 0) {
		rc = answer_line(conf, c);
		if (rc == 1 && send_out(c) < 0)
			rc = -1;
	}
	return rc < 0 ? -1 : 0;
}

static int receive(struct client *c)
{
	ssize_t n;

	if (sq_buf_reserve(&c->in, READ_BYTES) < 0)
		return -1;
	n = read(c->fd, c->in.data + c->in.len, READ_BYTES);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	c->in.len += (size_t)n;
	c->in.data[c->in.len] = '\0';
	return 0;
}

/* The client's socket is ready. -1: cut it. */
static int handle(const struct sq_admin_server *conf, struct client *c, int64_t now)
{
	bool idle = c->in.len == 0 && c->out.len == 0;
	uint64_t taken = c->taken;

	if ((c->out.len > 0 ? send_out(c) : receive(c)) < 0 || answer_lines(conf, c) < 0)
		return -1;
	if (c->in.len == 0 && c->out.len == 0)
		c->until_ns = now + conf->idle_ns;
	else if (idle || c->taken != taken)
		c->until_ns = now + conf->deadline_ns;
	return 0;
}

static void greet(struct server *s, int fd, int64_t now)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	struct client *c = &s->clients[s->n];
	bool busy = s->n >= s->conf->clients_max;
	int err = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);

	*c = (struct client){
		.fd = fd, .peer = cred.uid, .last = busy, .until_ns = now + s->conf->idle_ns};
	s->n++;
	if (err == 0)
		err = busy ? sq_admin_refuse(&c->out, "busy",
					     "Too many admin clients are connected: try again")
			   : sq_buf_add(&c->out, s->conf->greeting, strlen(s->conf->greeting));
	if (err < 0 || send_out(c) < 0)
		cut(s, s->n - 1);
}

static void accept_clients(struct server *s, int64_t now)
{
	int fd;

	while (s->n <= s->conf->clients_max) {
		fd = accept4(s->conf->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			greet(s, fd, now);
		else if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	if (s->n <= s->conf->clients_max && errno != EAGAIN) {
		sq_log_limited(SQ_LOG_WARN, "admin-accept-failed", "errno=%d", errno);
		usleep(10000); /* out of descriptors: no reason to spin */
	}
}

static int fill_poll(const struct server *s, struct pollfd *p)
{
	p[0] = (struct pollfd){.fd = s->conf->stop_fd, .events = POLLIN};
	/* One too many is being told so: the next ones wait in the backlog. */
	p[1] = (struct pollfd){.fd = s->n <= s->conf->clients_max ? s->conf->listen_fd : -1,
			       .events = POLLIN};
	for (size_t i = 0; i < s->n; i++)
		p[2 + i] = (struct pollfd){.fd = s->clients[i].fd,
					   .events = s->clients[i].out.len > 0 ? POLLOUT : POLLIN};
	return (int)s->n + 2;
}

static int wait_events(const struct server *s, struct pollfd *p, int n)
{
	int64_t left, until = SQ_NEVER;
	struct timespec ts;

	for (size_t i = 0; i < s->n; i++)
		if (s->clients[i].until_ns < until)
			until = s->clients[i].until_ns;
	left = until == SQ_NEVER ? 0 : until - sq_clock_ns();
	left = left < 0 ? 0 : left + SQ_MS;
	ts = (struct timespec){left / SQ_S, left % SQ_S};
	return ppoll(p, (nfds_t)n, until == SQ_NEVER ? NULL : &ts, NULL);
}

void sq_admin_serve(const struct sq_admin_server *conf)
{
	struct server s = {.conf = conf};
	struct pollfd p[SQ_ADMIN_CLIENTS + 3];
	int64_t now;

	assert(conf->clients_max <= SQ_ADMIN_CLIENTS);
	for (;;) {
		if (wait_events(&s, p, fill_poll(&s, p)) < 0)
			continue; /* EINTR */
		if (p[0].revents)
			break;
		now = sq_clock_ns();
		/* Backwards, since a cut moves the last client, which was seen, into the gap. */
		for (size_t i = s.n; i-- > 0;)
			if ((p[2 + i].revents && handle(conf, &s.clients[i], now) < 0) ||
			    s.clients[i].until_ns <= now)
				cut(&s, i);
		if (p[1].revents)
			accept_clients(&s, now);
	}
	while (s.n > 0)
		cut(&s, s.n - 1);
}
