/* Starts a function's process: its own group, three descriptors and no others. */
#ifndef SQ_WORKER_CHILD_H
#define SQ_WORKER_CHILD_H

#include "base/blob.h"

#include <stdbool.h>
#include <sys/types.h>

struct sq_child_conf {
	const char *path;           /* the executable */
	const char *dir;            /* its working folder */
	char *const *env;           /* ends with NULL */
	const struct sq_blob *body; /* sealed; NULL: empty stdin */
	int null_fd;                /* /dev/null, for an empty stdin */
	int cgroup_fd;              /* cgroup.procs of its cgroup, or -1 */
};

struct sq_child {
	pid_t pid;     /* also its process group */
	int pidfd;     /* readable when it has ended */
	int in;        /* write end, non-blocking; -1: stdin has all it gets */
	int out, err;  /* read ends, non-blocking */
	uint64_t sent; /* of the body, into `in` */
};

/*
 * Returns when the executable runs. 0; or -errno and nothing is left. *executing tells a failure of
 * execve (-ENOENT, -EACCES, -ENOEXEC...) from a lack of processes, memory or descriptors.
 */
int sq_child_start(struct sq_child *c, const struct sq_child_conf *conf, bool *executing)
	__attribute__((warn_unused_result));

/* Feeds the body until the pipe is full: 1 there is more, 0 all is sent, -errno (-EPIPE: not
 * wanted). */
int sq_child_feed(struct sq_child *c, const struct sq_blob *body);

/*
 * Has it ended? Its pid stays taken until sq_child_reap, so that the group can still be killed.
 * *code: exit status, or -signal.
 */
bool sq_child_ended(const struct sq_child *c, int *code);
void sq_child_kill(const struct sq_child *c); /* the whole group, SIGKILL */
void sq_child_reap(struct sq_child *c);       /* after it has ended; closes the pidfd */

#endif
