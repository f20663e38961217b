/* Memory and CPU limits for a function's process: a cgroup v2 of its own for each call. */
#ifndef SQ_WORKER_CGROUP_H
#define SQ_WORKER_CGROUP_H

#include "base/error.h"

#include <stdint.h>

struct sq_cgroup;

/*
 * The folder for a backend's calls, beside a leaf into which the proxy itself moves (cgroup v2
 * wants processes in leaves only). NULL with e filled where cgroup v2 is not delegated to us
 * (systemd: Delegate=yes) or lacks a controller.
 */
struct sq_cgroup *sq_cgroup_open(const char *backend, uint64_t memory_bytes, double cpus,
				 struct sq_error *e);
void sq_cgroup_close(struct sq_cgroup *g); /* NULL is fine */

/* Makes the cgroup `name` with its limits. Its cgroup.procs open for writing, or -errno. */
int sq_cgroup_make(struct sq_cgroup *g, const char *name);
/* Kills what is left in it and removes it: 0, or -EBUSY while something in it is still dying. */
int sq_cgroup_remove(struct sq_cgroup *g, const char *name);

#endif
