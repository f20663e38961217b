/*
 * A connection: read a head, read its body, wait, write, again. Edge-triggered: `readable` holds
 * until a read comes up short, so that the plain call costs one recv and one send and no
 * epoll_ctl. Pipelined bytes stay in the buffer until the call before them is answered.
 */
#include "mock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_NS 500000000u
#define ECHO_MAX_BYTES (512u << 20)

static char *known; /* ",a,b,": the functions of -f */

enum step { STEP_ON, STEP_BLOCKED, STEP_GONE };

void mock_conn_functions(const char *list)
{
	if (asprintf(&known, ",%s,", list) < 0)
		abort();
}

struct mock_conn *mock_conn_new(int fd, struct mock_loop *loop)
{
	struct mock_conn *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->loop = loop;
	c->in_cap = 4096;
	c->in = malloc(c->in_cap);
	if (!c->in)
		abort();
	mock_count_conns(1);
	/* Pairs with mock_conn_event: epoll orders the two, but ThreadSanitizer does not know
	 * epoll_pwait2. */
	__atomic_store_n(&c->fd, fd, __ATOMIC_RELEASE);
	return c;
}

static void call_free(struct mock_call *call)
{
	free(call->head);
	free(call->body);
	call->head = call->body = NULL;
}

static void conn_free(struct mock_conn *c)
{
	bool partial = c->state == MOCK_HEAD && c->in_len > c->in_off && !c->doomed;

	if (partial) {
		mock_heads_add(c->in + c->in_off, c->in_len - c->in_off);
		mock_count_partial();
	}
	mock_loop_disarm(c);
	if (c->state == MOCK_WAIT && c->call.plan.hold)
		mock_hold_drop(c);
	mock_count_leave(&c->call.seat, true);
	mock_count_conns(-1);
	call_free(&c->call);
	close(c->fd);
	free(c->in);
	free(c->made);
	free(c);
}

static void room(struct mock_conn *c)
{
	size_t want = c->state == MOCK_BODY ? 65536 : c->in_cap * 2;

	if (c->in_off == c->in_len) {
		c->in_off = c->in_len = 0;
	} else if (c->in_off) {
		memmove(c->in, c->in + c->in_off, c->in_len - c->in_off);
		c->in_len -= c->in_off;
		c->in_off = 0;
	}
	if (c->in_len < c->in_cap && (c->state != MOCK_BODY || c->in_cap >= want))
		return;
	c->in = realloc(c->in, want);
	if (!c->in)
		abort();
	c->in_cap = want;
}

static enum step conn_read(struct mock_conn *c)
{
	ssize_t n;

	if (!c->readable)
		return STEP_BLOCKED;
	if (c->in_off || c->in_len == c->in_cap || c->state == MOCK_BODY)
		room(c);
	n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
	if (n == 0)
		return STEP_GONE;
	if (n < 0) {
		c->readable = false;
		return errno == EAGAIN || errno == EINTR ? STEP_BLOCKED : STEP_GONE;
	}
	c->in_len += (size_t)n;
	if (c->in_len < c->in_cap && !c->peer_gone)
		c->readable = false;
	return STEP_ON;
}

static struct mock_slice function_name(struct mock_slice path)
{
	static const char prefix[] = "/function/";
	struct mock_slice s = path;
	const char *slash;

	if (path.n <= sizeof(prefix) - 1 || memcmp(path.p, prefix, sizeof(prefix) - 1) != 0)
		return path;
	s.p += sizeof(prefix) - 1;
	s.n -= sizeof(prefix) - 1;
	slash = memchr(s.p, '/', s.n);
	if (slash)
		s.n = (size_t)(slash - s.p);
	return s;
}

static bool is_known(struct mock_slice name)
{
	char *text = NULL;
	bool found;

	if (!known)
		return true;
	if (asprintf(&text, ",%.*s,", (int)name.n, name.p) < 0)
		abort();
	found = strstr(known, text) != NULL;
	free(text);
	return found;
}

static void list_functions(struct mock_call *call)
{
	char text[8192] = "[", *copy = strdup(known ? known : ""), *save = NULL;
	size_t n = 1;

	for (char *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save))
		n += (size_t)snprintf(text + n, n < 8000 ? 8000 - n : 0,
				      "%s{\"name\": \"%s\", \"replicas\": 1}", n > 1 ? ", " : "",
				      s);
	memcpy(text + (n < 8000 ? n : 8000), "]\n", 3);
	mock_answer_text(call, 200, text);
	call->type = "application/json";
	free(copy);
}

/* What is answered without being a call; true when it was. */
static bool not_a_call(struct mock_conn *c, const struct mock_head *h)
{
	struct mock_call *call = &c->call;

	if (h->path.n > 7 && memcmp(h->path.p, "/_mock/", 7) == 0) {
		mock_admin(call, h);
	} else if (mock_slice_is(h->path, "/healthz")) {
		mock_answer_text(call, 200, "healthy\n");
	} else if (mock_slice_is(h->path, "/system/functions")) {
		list_functions(call);
	} else if (!is_known(function_name(h->path))) {
		mock_answer_text(call, 404, "error finding function\n");
	} else {
		return false;
	}
	return true;
}

static void keep_head(struct mock_call *call, const char *p, size_t n)
{
	struct mock_head h;

	call->head = malloc(n);
	if (!call->head)
		abort();
	memcpy(call->head, p, n);
	call->head_bytes = n;
	if (mock_head_parse(call->head, n, &h) == 0)
		call->plan.query = h.query;
}

static void begin_call(struct mock_conn *c, const struct mock_head *h, const char *p, size_t n)
{
	struct mock_call *call = &c->call;
	struct mock_plan *plan = &call->plan;

	if (not_a_call(c, h)) {
		plan->query.n = 0;
		return;
	}
	mock_heads_add(p, n);
	call->plain = h->query.n == 0 && !call->is_head && !plan->close;
	if (!mock_count_enter(&call->seat, function_name(h->path),
			      plan->tenant.n ? plan->tenant : h->tenant, plan->id))
		mock_answer_text(call, 429, "over the limit\n");
	else if (h->query.n)
		keep_head(call, p, n);
}

static void head_done(struct mock_conn *c, const char *p, size_t n)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct mock_call *call = &c->call;
	struct mock_head h;

	memset(call, 0, sizeof(*call));
	c->state = MOCK_BODY;
	if (mock_head_parse(p, n, &h) != 0) {
		mock_heads_add(p, n);
		mock_answer_refuse(call, "the mock refuses this request\n");
		return;
	}
	mock_plan_read(&call->plan, h.query);
	call->plan.close |= h.close;
	call->is_head = mock_slice_is(h.method, "HEAD");
	begin_call(c, &h, p, n);
	call->in.left = h.body_bytes;
	call->in.chunked = h.chunked;
	if (call->in.chunked)
		call->in.left = 0;
	if (h.expect && !mock_body_done(&call->in))
		(void)!send(c->fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL);
}

static enum step step_head(struct mock_conn *c)
{
	const char *from = c->in + c->in_off, *end;
	size_t have = c->in_len - c->in_off, skip = c->in_scan > 3 ? c->in_scan - 3 : 0;

	if (c->doomed && (c->readable || have))
		return STEP_GONE; /* unread bytes make this close a reset: a stale connection */
	end = have > skip ? memmem(from + skip, have - skip, "\r\n\r\n", 4) : NULL;
	if (end) {
		size_t n = (size_t)(end - from) + 4;

		mock_loop_disarm(c);
		c->in_scan = 0;
		c->in_off += n;
		head_done(c, from, n);
		return STEP_ON;
	}
	c->in_scan = have;
	return have > MOCK_HEAD_MAX ? STEP_GONE : conn_read(c);
}

static void keep_body(struct mock_call *call, struct mock_slice data)
{
	if (!call->plan.echo || call->body_len + data.n > ECHO_MAX_BYTES)
		return;
	if (call->body_len + data.n > call->body_cap) {
		call->body_cap = (call->body_len + data.n) * 2;
		call->body = realloc(call->body, call->body_cap);
		if (!call->body)
			abort();
	}
	if (data.n)
		memcpy(call->body + call->body_len, data.p, data.n);
	call->body_len += data.n;
}

static void start_service(struct mock_conn *c)
{
	const struct mock_plan *p = &c->call.plan;
	uint64_t ns = p->delay_ns;

	if (p->jitter_ns) {
		uint64_t swing = mock_loop_random(c->loop) % (2 * p->jitter_ns + 1);
		ns = ns + swing > p->jitter_ns ? ns + swing - p->jitter_ns : 0;
	}
	if (p->hold) {
		c->state = MOCK_WAIT;
		mock_hold_add(c);
	} else if (ns || c->call.poll) {
		c->state = MOCK_WAIT;
		mock_loop_arm(c, mock_now_ns() + (c->call.poll ? 0 : ns));
	} else {
		mock_conn_release(c);
	}
}

/* The service is over: the answer may be made. */
void mock_conn_release(struct mock_conn *c)
{
	c->state = MOCK_WRITE;
	c->out_len = c->out_off = 0;
	if (c->call.plain) {
		mock_count_leave(&c->call.seat, false);
		c->call.phase = PHASE_OVER;
		c->call.end = END_KEEP;
		c->out = mock_answer_plain(&c->out_len);
	} else {
		mock_answer_begin(c);
	}
}

static enum step step_body(struct mock_conn *c)
{
	struct mock_call *call = &c->call;
	struct mock_slice data;
	long n;

	while (!mock_body_done(&call->in)) {
		if (c->in_off == c->in_len) {
			enum step s = conn_read(c);

			if (s != STEP_ON)
				return s;
		}
		n = mock_body_eat(&call->in, c->in + c->in_off, c->in_len - c->in_off, &data);
		if (n < 0) {
			mock_answer_refuse(call, "the mock refuses this body\n");
			memset(&call->in, 0, sizeof(call->in));
			break;
		}
		keep_body(call, data);
		call->got_bytes += data.n;
		c->in_off += (size_t)n;
	}
	start_service(c);
	return STEP_ON;
}

/* The answer is out; what becomes of the connection? */
static enum step after_answer(struct mock_conn *c)
{
	const struct mock_plan *p = &c->call.plan;
	struct linger now = {1, 0};
	char drop[4096];

	switch (c->call.end) {
	case END_RST:
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		return STEP_GONE;
	case END_FIN:
		shutdown(c->fd, SHUT_WR);
		while (recv(c->fd, drop, sizeof(drop), 0) > 0)
			; /* close() with unread bytes would turn the FIN into a reset */
		return STEP_GONE;
	case END_LINGER:
		shutdown(c->fd, SHUT_WR);
		mock_loop_arm(c, mock_now_ns() + LINGER_NS);
		c->state = MOCK_HANG;
		return STEP_ON;
	case END_HANG:
		c->state = MOCK_HANG;
		return STEP_ON;
	case END_KEEP:
	default:
		break;
	}
	c->state = MOCK_HEAD;
	c->doomed = p->fault == FAULT_STALE || p->fault == FAULT_STALENEXT;
	if (p->fault == FAULT_STALE)
		mock_loop_arm(c, mock_now_ns() + p->after_ns);
	call_free(&c->call);
	return STEP_ON;
}

static enum step step_write(struct mock_conn *c)
{
	ssize_t n;

	while (c->out_off == c->out_len) {
		enum mock_more more = c->call.phase == PHASE_OVER ? MORE_END : mock_answer_next(c);

		if (more == MORE_END)
			return after_answer(c);
		if (more == MORE_LATER)
			return STEP_BLOCKED;
	}
	n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? STEP_BLOCKED : STEP_GONE;
	c->out_off += (size_t)n;
	return STEP_ON;
}

static void conn_run(struct mock_conn *c)
{
	enum step s = STEP_ON;

	while (s == STEP_ON) {
		switch (c->state) {
		case MOCK_HEAD:
			s = step_head(c);
			break;
		case MOCK_BODY:
			s = step_body(c);
			break;
		case MOCK_WRITE:
			s = step_write(c);
			break;
		case MOCK_WAIT:
		case MOCK_HANG:
		default:
			s = c->peer_gone && !c->call.plan.orphan ? STEP_GONE : STEP_BLOCKED;
			break;
		}
	}
	if (s == STEP_GONE)
		conn_free(c);
}

void mock_conn_event(struct mock_conn *c, uint32_t events)
{
	(void)__atomic_load_n(&c->fd, __ATOMIC_ACQUIRE);
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->peer_gone = true;
	conn_run(c);
}

void mock_conn_timer(struct mock_conn *c)
{
	if (c->state == MOCK_HEAD || c->state == MOCK_HANG) { /* fault=stale; lingering */
		conn_free(c);
		return;
	}
	if (c->state == MOCK_WAIT && c->call.poll && !mock_admin_poll(&c->call)) {
		mock_loop_arm(c, mock_now_ns() + 1000000);
		return;
	}
	c->call.ticked = true;
	if (c->state == MOCK_WAIT)
		mock_conn_release(c);
	conn_run(c);
}
