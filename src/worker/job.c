/*
 * One process per call: the body on its stdin, its stdout the answer.
 *
 *   RUNNING --exit--> EXITED --stdout closed, or GRACE--> finish (200, 500 + X-Sequoia-Exit, or
 * 502) |                                                    |
 *      +--timeout, too large, abort--> KILLED --exit--------+--> finish (the fault)
 *
 * In flight ends at finish: the process has ended, and whoever inherited its stdout has closed it
 * or was killed. Nothing of its process group outlives that: the group is killed at the end
 * whatever happened, before the leader is reaped (a zombie keeps the group's number from being
 * given to others). Only what leaves the group by setsid(2) escapes, unless it has a cgroup.
 *
 * The status depends on the exit code, so there is no head before the end, and streams are answered
 * whole. A process in the kernel's uninterruptible sleep does not die of SIGKILL: after GRACE the
 * call ends without it (LINGERING: no invocation any more) and the job waits for it alone, as it
 * does for a cgroup that cannot be removed yet.
 *
 * A job is taken from the port's list at start and put back when nothing of the process is left.
 * finish() tells the engine last, which may start the next call within; start() itself never ends a
 * call on the spot, it leaves that to `task`.
 */
#include "worker/job.h"

#include "base/clock.h"
#include "base/log.h"
#include "worker/answer_sink.h"
#include "worker/child.h"
#include "worker/child_env.h"
#include "worker/stderr_log.h"
#include "worker/utf8.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>
#include <urcu/compiler.h>

#define BUFFER (64u * 1024)
#define DRAIN_READS 64 /* of BUFFER each, of what is in the pipes when the process has ended */
#define GRACE_NS SQ_S
#define LINGER_NS (50 * SQ_MS)

enum job_state { IDLE, FAILING, RUNNING, EXITED, KILLED, LINGERING };

struct job {
	enum job_state state;
	struct sq_job_port *port;
	struct sq_invocation *inv; /* NULL: IDLE, LINGERING */
	struct sq_child child;
	struct sq_watch exit, in, out, err;
	struct sq_timer timer;
	struct sq_task task; /* of FAILING */
	int code;            /* exit status, or -signal */
	bool ended;          /* the process, but it is not reaped */
	enum sq_fault fault; /* of FAILING, KILLED */
	char detail[160];
	char cgroup[64];      /* "": none */
	LIST_ENTRY(job) link; /* spare, or lingering */
	struct sq_stderr_log log;
};

LIST_HEAD(job_list, job);

struct sq_job_port {
	struct sq_backend *backend;
	struct sq_home *home;
	struct sq_loop *loop;
	struct sq_function_host *host;
	struct job_list spares, lingering;
	struct sq_child_env env;
	char buffer[BUFFER];
};

/* --- the end --- */

static void close_watched(struct job *j, struct sq_watch *w, int *fd)
{
	sq_loop_unwatch(j->port->loop, w);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void put_back(struct job *j)
{
	j->state = IDLE;
	LIST_INSERT_HEAD(&j->port->spares, j, link);
}

/* Kills and reaps all there is. False: something is not dead yet. */
static bool clear_away(struct job *j)
{
	struct sq_cgroup *g = j->port->host->cgroup;

	/* Asked, too, not only told: its exit is not watched if epoll had no memory for it. */
	if (!j->ended && j->child.pidfd >= 0)
		j->ended = sq_child_ended(&j->child, &j->code);
	if (j->ended) {
		sq_child_kill(&j->child);
		sq_loop_unwatch(j->port->loop, &j->exit);
		sq_child_reap(&j->child);
		j->ended = false;
	}
	if (j->child.pidfd >= 0)
		return false;
	if (j->cgroup[0] && sq_cgroup_remove(g, j->cgroup) < 0)
		return false;
	j->cgroup[0] = '\0';
	return true;
}

static void wait_for(struct job *j, int64_t ns)
{
	int rc = sq_timer_set(j->port->loop, &j->timer, sq_time_add(sq_clock_ns(), ns));

	(void)rc; /* the loop's timers do not fail */
}

static void retire(struct job *j)
{
	sq_timer_stop(j->port->loop, &j->timer);
	close_watched(j, &j->in, &j->child.in);
	close_watched(j, &j->out, &j->child.out);
	close_watched(j, &j->err, &j->child.err);
	if (clear_away(j)) {
		put_back(j);
		return;
	}
	j->state = LINGERING;
	LIST_INSERT_HEAD(&j->port->lingering, j, link);
	wait_for(j, LINGER_NS);
}

static void linger(struct job *j)
{
	if (!clear_away(j)) {
		wait_for(j, LINGER_NS);
		return;
	}
	LIST_REMOVE(j, link);
	put_back(j);
}

static void count_failure(struct sq_invocation *inv)
{
	struct sq_backend *b = inv->backend;

	if (inv->overrun)
		sq_home_count(inv->home, SQ_COUNT_OVERRUNS, 1);
	atomic_fetch_add_explicit(&b->failed, 1, memory_order_relaxed);
	atomic_store_explicit(&b->last_failure_wall_ns, sq_clock_wall_ns(), memory_order_relaxed);
}

static void finish(struct job *j, enum sq_fault fault)
{
	struct sq_invocation *inv = j->inv;
	char detail[sizeof(j->detail)];

	memcpy(detail, j->detail, sizeof(detail));
	sq_stderr_end(&j->log);
	j->inv = NULL;
	retire(j);
	if (fault != SQ_FAULT_NONE)
		count_failure(inv);
	inv->slot = NULL;
	atomic_fetch_sub_explicit(&inv->backend->in_flight, 1, memory_order_relaxed);
	sq_invocation_ended(inv, fault, fault != SQ_FAULT_NONE && detail[0] ? detail : NULL);
}

/* --- the answer --- */

static void add_header(struct sq_header *h, const char *name, const char *value)
{
	h->name = name;
	h->name_len = (uint32_t)strlen(name);
	h->value = value;
	h->value_len = (uint32_t)strlen(value);
}

/*
 * Text if it reads as text, as Go's watchdogs sniff it. (The classic one would echo the caller's
 * own type, which is wrong as often as a function turns one thing into another.)
 */
static const char *type_of(const struct sq_blob *body)
{
	const char *bytes = body ? sq_blob_bytes(body) : "";
	size_t n = body ? (size_t)sq_blob_size(body) : 0;

	return bytes && sq_utf8_is_text(bytes, n) ? "text/plain; charset=utf-8"
						  : "application/octet-stream";
}

static enum sq_fault make_answer(struct job *j)
{
	struct sq_answer *a = &j->inv->answer;
	char code[8];

	a->headers = sq_arena_alloc(j->inv->arena, 2 * sizeof(*a->headers));
	snprintf(code, sizeof(code), "%d", j->code);
	if (!a->headers || sq_answer_end(j->inv, false) != SQ_FAULT_NONE)
		return SQ_FAULT_MEMORY;
	add_header(&a->headers[a->n_headers++], "Content-Type", type_of(a->body));
	if (j->code != 0) {
		const char *kept = sq_arena_strndup(j->inv->arena, code, strlen(code));

		if (!kept)
			return SQ_FAULT_MEMORY;
		add_header(&a->headers[a->n_headers++], "X-Sequoia-Exit", kept);
	}
	a->status = j->code == 0 ? 200 : 500;
	a->length = a->body ? (int64_t)sq_blob_size(a->body) : 0;
	return SQ_FAULT_NONE;
}

/* The process has ended and its stdout is closed, or what is left of it is not waited for. */
static void conclude(struct job *j)
{
	if (j->state == KILLED) {
		finish(j, j->fault);
	} else if (j->code < 0) {
		snprintf(j->detail, sizeof(j->detail), "killed by signal %d (%s)", -j->code,
			 strsignal(-j->code));
		finish(j, SQ_FAULT_BACKEND_BROKEN);
	} else {
		finish(j, make_answer(j));
	}
}

/* --- killing --- */

static void kill_for(struct job *j, enum sq_fault fault, const char *detail)
{
	j->state = KILLED;
	j->fault = fault;
	snprintf(j->detail, sizeof(j->detail), "%s", detail);
	close_watched(j, &j->in, &j->child.in);
	close_watched(j, &j->out, &j->child.out);
	sq_child_kill(&j->child);
	wait_for(j, j->ended ? 0 : GRACE_NS);
}

static void timer_fired(struct sq_timer *t)
{
	struct job *j = caa_container_of(t, struct job, timer);

	switch (j->state) {
	case RUNNING:
		j->inv->overrun = true;
		kill_for(j, SQ_FAULT_FUNCTION_TIMEOUT, "killed at the backend's timeout");
		break;
	case EXITED:
	case KILLED:
		conclude(j);
		break;
	case LINGERING:
		linger(j);
		break;
	case IDLE:
	case FAILING:
		break;
	}
}

/* --- what the process does --- */

/* One read of its stdout; 0 at its end, -EAGAIN when there is nothing. */
static ssize_t read_out(struct job *j)
{
	ssize_t n = read(j->child.out, j->port->buffer, BUFFER);
	enum sq_fault fault;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0) {
		close_watched(j, &j->out, &j->child.out);
		return 0;
	}
	fault = sq_answer_add(j->inv, j->port->buffer, (size_t)n);
	if (fault != SQ_FAULT_NONE) {
		kill_for(j, fault, "");
		return 0;
	}
	return n;
}

static void out_ready(struct sq_watch *w, uint32_t events)
{
	struct job *j = caa_container_of(w, struct job, out);

	(void)events;
	if (read_out(j) == 0 && j->ended)
		conclude(j);
}

static ssize_t read_err(struct job *j)
{
	ssize_t n = read(j->child.err, j->port->buffer, BUFFER);

	if (n > 0)
		sq_stderr_add(&j->log, j->port->buffer, (size_t)n);
	else if (n == 0)
		close_watched(j, &j->err, &j->child.err);
	return n;
}

static void err_ready(struct sq_watch *w, uint32_t events)
{
	(void)events;
	read_err(caa_container_of(w, struct job, err));
}

/* It may close its stdin and go on: what it does not want is not sent. */
static void in_ready(struct sq_watch *w, uint32_t events)
{
	struct job *j = caa_container_of(w, struct job, in);

	(void)events;
	if (sq_child_feed(&j->child, j->inv->request->body) <= 0)
		close_watched(j, &j->in, &j->child.in);
}

/* All that it wrote before its end is in the pipes by now. */
static void drain(struct job *j)
{
	int turns = DRAIN_READS;

	while (j->child.err >= 0 && turns-- > 0 && read_err(j) > 0)
		;
	turns = DRAIN_READS;
	while (j->child.out >= 0 && turns-- > 0 && read_out(j) > 0)
		;
}

static void exited(struct sq_watch *w, uint32_t events)
{
	struct job *j = caa_container_of(w, struct job, exit);

	(void)events;
	if (!sq_child_ended(&j->child, &j->code))
		return;
	j->ended = true;
	sq_loop_unwatch(j->port->loop, w);
	if (j->state == LINGERING)
		return; /* the timer sees to it */
	if (j->state == RUNNING) {
		close_watched(j, &j->in, &j->child.in);
		j->state = EXITED;
		drain(j);
		wait_for(j, GRACE_NS);
	}
	if (j->state == KILLED || j->child.out < 0)
		conclude(j);
}

/* --- the beginning --- */

static void end_failing(struct sq_task *t)
{
	struct job *j = caa_container_of(t, struct job, task);

	if (j->state == FAILING)
		finish(j, j->fault);
}

/* Lets the call end before the loop sleeps. */
static void fail_later(struct job *j, enum sq_fault fault, const char *what, int err)
{
	j->state = FAILING;
	j->fault = fault;
	snprintf(j->detail, sizeof(j->detail), "%s: %s", what, strerror(err));
	sq_loop_defer(j->port->loop, &j->task);
}

static void fail_start(struct job *j, int err, bool executing)
{
	if (executing && err == ENOENT)
		fail_later(j, SQ_FAULT_NO_FUNCTION, "execve", err);
	else if (executing && err != ENOMEM && err != EAGAIN)
		fail_later(j, SQ_FAULT_FUNCTION_FAILED, "execve", err);
	else {
		sq_log_limited(SQ_LOG_ERROR, "function-not-started", "function=%s error=\"%s\"",
			       j->inv->function, strerror(err));
		sq_home_count(j->port->home, SQ_COUNT_CONNECT_FAILED, 1);
		fail_later(j, SQ_FAULT_BACKEND_CONNECT, "cannot start a process", err);
	}
}

static int watch(struct job *j, struct sq_watch *w, int fd, uint32_t events)
{
	return fd < 0 ? 0 : sq_loop_watch(j->port->loop, w, fd, events);
}

static int watch_all(struct job *j)
{
	int rc = watch(j, &j->exit, j->child.pidfd, EPOLLIN);

	if (rc == 0)
		rc = watch(j, &j->out, j->child.out, EPOLLIN);
	if (rc == 0)
		rc = watch(j, &j->err, j->child.err, EPOLLIN);
	if (rc == 0)
		rc = watch(j, &j->in, j->child.in, EPOLLOUT);
	return rc;
}

static int enter_cgroup(struct job *j)
{
	char run[SQ_ID_HEX];

	if (!j->port->host->cgroup)
		return -1;
	snprintf(j->cgroup, sizeof(j->cgroup), "%s-%u-%u", sq_id_show(run, j->inv->id),
		 j->inv->node, j->inv->attempt);
	return sq_cgroup_make(j->port->host->cgroup, j->cgroup);
}

/* 0, or -errno. */
static int launch(struct job *j, bool *executing)
{
	struct sq_function_host *h = j->port->host;
	const char *dir = sq_function_dir_path(h->dir);
	struct sq_child_conf conf = {
		.dir = dir, .body = j->inv->request->body, .null_fd = h->null_fd};
	char path[4096 + 160];
	int rc;

	*executing = false;
	snprintf(path, sizeof(path), "%s/%s", dir, j->inv->function);
	conf.path = path;
	if (sq_child_env_build(&j->port->env, j->inv, dir) < 0)
		return -ENOMEM;
	conf.env = j->port->env.list;
	conf.cgroup_fd = enter_cgroup(j);
	if (conf.cgroup_fd < -1)
		return conf.cgroup_fd;
	rc = sq_child_start(&j->child, &conf, executing);
	if (conf.cgroup_fd >= 0)
		close(conf.cgroup_fd);
	return rc;
}

static struct job *new_job(struct sq_job_port *p)
{
	struct job *j = LIST_FIRST(&p->spares);

	if (j) {
		LIST_REMOVE(j, link);
		return j;
	}
	j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->port = p;
	j->exit = (struct sq_watch){.fn = exited, .fd = -1};
	j->in = (struct sq_watch){.fn = in_ready, .fd = -1};
	j->out = (struct sq_watch){.fn = out_ready, .fd = -1};
	j->err = (struct sq_watch){.fn = err_ready, .fd = -1};
	j->timer.fn = timer_fired;
	j->task.fn = end_failing;
	return j;
}

static void run(struct job *j)
{
	struct sq_backend *b = j->port->backend;
	bool executing;
	int rc;

	if (!sq_function_name_ok(j->inv->function)) {
		fail_later(j, SQ_FAULT_NO_FUNCTION, "its name", EINVAL);
		return;
	}
	rc = launch(j, &executing);
	if (rc < 0) {
		fail_start(j, -rc, executing);
		return;
	}
	atomic_fetch_add_explicit(&b->connects, 1, memory_order_relaxed);
	j->state = RUNNING;
	rc = watch_all(j);
	if (rc < 0)
		kill_for(j, SQ_FAULT_BACKEND_CONNECT, strerror(-rc));
	else
		wait_for(j, b->conf->timeout_ns);
}

void sq_job_start(struct sq_job_port *p, struct sq_invocation *inv)
{
	struct job *j = new_job(p);

	atomic_fetch_add_explicit(&p->backend->started, 1, memory_order_relaxed);
	if (!j) {
		sq_invocation_ended(inv, SQ_FAULT_MEMORY, "out of memory");
		return;
	}
	atomic_fetch_add_explicit(&p->backend->in_flight, 1, memory_order_relaxed);
	j->inv = inv;
	inv->slot = j;
	inv->stream = false;
	j->child = (struct sq_child){.pidfd = -1, .in = -1, .out = -1, .err = -1};
	j->ended = false;
	j->code = 0;
	j->detail[0] = '\0';
	sq_stderr_begin(&j->log, inv->function, inv->id);
	run(j);
}

void sq_job_abort(struct sq_invocation *inv)
{
	struct job *j = inv->slot;

	if (j && (j->state == RUNNING || j->state == EXITED))
		kill_for(j, SQ_FAULT_DRAINING, "the proxy is stopping");
}

/* --- ports --- */

struct sq_job_port *sq_job_port_open(struct sq_backend *b, struct sq_home *home,
				     struct sq_function_host *host, struct sq_error *e)
{
	struct sq_job_port *p = calloc(1, sizeof(*p));

	if (!p) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	p->backend = b;
	p->home = home;
	p->loop = sq_home_loop(home);
	p->host = host;
	LIST_INIT(&p->spares);
	LIST_INIT(&p->lingering);
	return p;
}

static void free_job(struct job *j)
{
	LIST_REMOVE(j, link);
	sq_timer_stop(j->port->loop, &j->timer);
	sq_loop_unwatch(j->port->loop, &j->exit);
	if (j->child.pidfd >= 0)
		close(j->child.pidfd);
	free(j);
}

void sq_job_port_close(struct sq_job_port *p)
{
	struct job *j;

	while ((j = LIST_FIRST(&p->lingering))) {
		clear_away(j);
		free_job(j);
	}
	while ((j = LIST_FIRST(&p->spares)))
		free_job(j);
	sq_child_env_free(&p->env);
	free(p);
}
