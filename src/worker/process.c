/*
 * The backend kind `process`: the embedded function host. A folder of executables is a FaaS: a call
 * runs the one of its name.
 */
#include "base/log.h"
#include "worker/job.h"
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Descriptors 0 to 2 must be taken, or a pipe might be one of them. */
static int open_null(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2);
	return fd;
}

static void process_close(struct sq_backend *b)
{
	struct sq_function_host *h = b->state;

	if (!h)
		return;
	b->state = NULL;
	sq_cgroup_close(h->cgroup);
	sq_function_dir_close(h->dir);
	if (h->null_fd >= 0)
		close(h->null_fd);
	free(h);
}

static void open_cgroup(struct sq_backend *b, struct sq_function_host *h)
{
	const struct sq_backend_conf *c = b->conf;
	struct sq_error why = {""};
	char quoted[600];

	if (c->memory_bytes == 0 && c->cpus <= 0)
		return;
	h->cgroup = sq_cgroup_open(c->name, c->memory_bytes, c->cpus, &why);
	if (!h->cgroup)
		sq_log(SQ_LOG_WARN, "no-limits", "backend=%s memory=%s cpus=%s why=%s", c->name,
		       c->memory_bytes ? "unlimited" : "unset", c->cpus > 0 ? "unlimited" : "unset",
		       sq_log_quote(quoted, sizeof(quoted), why.text));
}

static int process_open(struct sq_backend *b, struct sq_error *e)
{
	struct sq_function_host *h;

	if (!b->conf->functions)
		return sq_error_set(e, EINVAL, "functions: is missing");
	h = calloc(1, sizeof(*h));
	if (!h)
		return sq_error_set(e, ENOMEM, "out of memory");
	b->state = h;
	h->null_fd = open_null();
	h->dir = sq_function_dir_open(b->conf->functions, e);
	if (!h->dir || h->null_fd < 0) {
		process_close(b);
		return -EINVAL;
	}
	open_cgroup(b, h);
	/* A function may close its stdin while we write. (For sockets there is MSG_NOSIGNAL.) */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, the kernel would reap what is ours to reap */
	return 0;
}

static bool process_knows(struct sq_backend *b, const char *function)
{
	const struct sq_function_host *h = b->state;

	return sq_function_dir_has(h->dir, function);
}

static void *process_port_open(struct sq_backend *b, struct sq_home *home, struct sq_error *e)
{
	return sq_job_port_open(b, home, b->state, e);
}

static void process_port_close(void *port)
{
	sq_job_port_close(port);
}

static void process_start(void *port, struct sq_invocation *inv)
{
	sq_job_start(port, inv);
}

/* The answer is taken as it comes, whether it is wanted or not. */
static void process_resume(struct sq_invocation *inv)
{
	(void)inv;
}

const struct sq_backend_ops sq_backend_process = {
	.kind = "process",
	.open = process_open,
	.close = process_close,
	.knows = process_knows,
	.port_open = process_port_open,
	.port_close = process_port_close,
	.start = process_start,
	.resume = process_resume,
	.abort = sq_job_abort,
};
