/* A call of the backend `process` on one loop: a function's process from its start to its burial.
 */
#ifndef SQ_WORKER_JOB_H
#define SQ_WORKER_JOB_H

#include "base/error.h"
#include "engine/engine.h"
#include "worker/cgroup.h"
#include "worker/function_dir.h"

/* What the loops share: read only while they run. */
struct sq_function_host {
	struct sq_function_dir *dir;
	struct sq_cgroup *cgroup; /* NULL: no limits */
	int null_fd;              /* /dev/null */
};

struct sq_job_port;

/* Borrows all. NULL with e filled. */
struct sq_job_port *sq_job_port_open(struct sq_backend *b, struct sq_home *home,
				     struct sq_function_host *host, struct sq_error *e);
void sq_job_port_close(struct sq_job_port *port); /* no call is in flight */

void sq_job_start(struct sq_job_port *port, struct sq_invocation *inv);
void sq_job_abort(struct sq_invocation *inv);

#endif
