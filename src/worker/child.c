#define _GNU_SOURCE 1 /* vfork, pipe2, close_range, waitid(P_PIDFD) */

/*
 * Why vfork(2) and not posix_spawn(3): a function must die with the proxy (PR_SET_PDEATHSIG), enter
 * its cgroup before its first instruction, and inherit nothing; posix_spawn can do none of these,
 * and a helper program that could costs a second exec. vfork costs what posix_spawn costs, since
 * that is made of the same call (CLONE_VM | CLONE_VFORK): no page tables are copied however large
 * the proxy is.
 *
 * What it demands: the child runs on our memory and stack while this thread waits for its exec. It
 * may therefore make system calls and nothing else: no malloc, no locks, no log, no return. Signals
 * are blocked around it, so that no handler runs in it. Other threads go on meanwhile.
 *
 * PDEATHSIG follows the thread that made the child: the loop's, which lives as long as its calls.
 */
#include "worker/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE (64u * 1024)

/* What the child needs; all of it made before. */
struct plan {
	const struct sq_child_conf *conf;
	pid_t parent;
	int in, out, err;
	volatile int failure; /* errno of its setting up or of execve */
	volatile bool executing;
};

/* --- the child's side: system calls only --- */

static void default_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;
	int s;

	/* exec resets what is handled, not what the proxy ignores (SIGPIPE). */
	for (s = 1; s < 32; s++)
		sigaction(s, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool settle_in(const struct plan *p)
{
	if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return false;
	if (getppid() != p->parent) /* it died before the prctl */
		_exit(127);
	if (p->conf->cgroup_fd >= 0 && write(p->conf->cgroup_fd, "0", 1) < 0)
		return false;
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC); /* ours are so already; what of libraries? */
	return dup2(p->in, 0) == 0 && dup2(p->out, 1) == 1 && dup2(p->err, 2) == 2 &&
	       chdir(p->conf->dir) == 0;
}

__attribute__((noreturn)) static void become(struct plan *p)
{
	char *argv[] = {(char *)(uintptr_t)p->conf->path, NULL};

	if (settle_in(p)) {
		default_signals();
		p->executing = true;
		execve(p->conf->path, argv, p->conf->env);
	}
	p->failure = errno;
	_exit(127);
}

/* --- ours --- */

static pid_t spawn(struct plan *p)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = vfork();
	if (pid == 0)
		become(p);
	if (pid < 0)
		p->failure = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ours is made non-blocking; the child's end stays as programs expect it. */
static int make_pipe(int *ours, int *theirs, bool we_read)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ours = fds[we_read ? 0 : 1];
	*theirs = fds[we_read ? 1 : 0];
	return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/*
 * A body in a file is the stdin itself, opened anew: the blob's own descriptor has an offset that
 * others may use. In memory, it goes through a pipe, which mostly takes all of it at once.
 */
static int make_stdin(struct sq_child *c, const struct sq_child_conf *conf, int *theirs)
{
	char path[40];
	int fd, rc;

	if (!conf->body || sq_blob_size(conf->body) == 0) {
		*theirs = fcntl(conf->null_fd, F_DUPFD_CLOEXEC, 3);
		return *theirs < 0 ? -errno : 0;
	}
	fd = sq_blob_fd(conf->body);
	if (fd >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		*theirs = open(path, O_RDONLY | O_CLOEXEC);
		if (*theirs >= 0 || errno == EMFILE || errno == ENFILE)
			return *theirs < 0 ? -errno : 0;
	}
	rc = make_pipe(&c->in, theirs, false);
	if (rc == 0 && sq_child_feed(c, conf->body) <= 0)
		close_fd(&c->in);
	return rc;
}

static int run(struct sq_child *c, struct plan *p)
{
	c->pid = spawn(p);
	if (c->pid > 0 && p->failure == 0) {
		c->pidfd = pidfd_open(c->pid, 0);
		if (c->pidfd >= 0)
			return 0;
		p->failure = errno;
		p->executing = false;
		kill(-c->pid, SIGKILL);
		kill(c->pid, SIGKILL); /* ThreadSanitizer makes a fork of it: no group yet */
	}
	if (c->pid > 0) {
		while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	return -p->failure;
}

int sq_child_start(struct sq_child *c, const struct sq_child_conf *conf, bool *executing)
{
	struct plan p = {.conf = conf, .parent = getpid(), .in = -1, .out = -1, .err = -1};
	int rc;

	*c = (struct sq_child){.pidfd = -1, .in = -1, .out = -1, .err = -1};
	rc = make_stdin(c, conf, &p.in);
	if (rc == 0)
		rc = make_pipe(&c->out, &p.out, true);
	if (rc == 0)
		rc = make_pipe(&c->err, &p.err, true);
	if (rc == 0)
		rc = run(c, &p);
	close_fd(&p.in);
	close_fd(&p.out);
	close_fd(&p.err);
	if (rc < 0) {
		close_fd(&c->in);
		close_fd(&c->out);
		close_fd(&c->err);
	}
	*executing = p.executing;
	return rc;
}

int sq_child_feed(struct sq_child *c, const struct sq_blob *body)
{
	const char *bytes = sq_blob_bytes(body);
	uint64_t size = sq_blob_size(body);
	char piece[4096];

	while (c->sent < size) {
		size_t left = (size_t)(size - c->sent);
		ssize_t n;

		if (bytes) {
			n = write(c->in, bytes + c->sent, left < PIECE ? left : PIECE);
		} else {
			n = sq_blob_read(body, c->sent, piece, sizeof(piece));
			if (n <= 0)
				return -EIO;
			n = write(c->in, piece, (size_t)n);
		}
		if (n < 0 && errno == EAGAIN)
			return 1;
		if (n < 0)
			return -errno;
		c->sent += (uint64_t)n;
	}
	return 0;
}

bool sq_child_ended(const struct sq_child *c, int *code)
{
	siginfo_t si = {0};

	if (waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
		return false;
	*code = si.si_code == CLD_EXITED ? si.si_status : -si.si_status;
	return true;
}

void sq_child_kill(const struct sq_child *c)
{
	kill(-c->pid, SIGKILL);
}

void sq_child_reap(struct sq_child *c)
{
	siginfo_t si;

	while (waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED) < 0 && errno == EINTR)
		;
	close_fd(&c->pidfd);
}
