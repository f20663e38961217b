/*
 * What the engine asks of a backend kind. Implemented in worker/, one file per kind; the engine
 * never includes worker. A backend is shared by all loops; what a loop needs of it (connections) is
 * its port.
 */
#ifndef SQ_ENGINE_BACKEND_H
#define SQ_ENGINE_BACKEND_H

#include "base/error.h"
#include "conf/settings.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sq_cap;
struct sq_home;
struct sq_invocation;
struct sq_backend;

struct sq_backend_ops {
	const char *kind;
	/* Once, before the loops run: 0 or -errno with e filled; may set b->state. */
	int (*open)(struct sq_backend *b, struct sq_error *e);
	void (*close)(struct sq_backend *b);
	/* Does it serve this function? Any thread, no blocking beyond a stat(2). */
	bool (*knows)(struct sq_backend *b, const char *function);

	/* Per loop, on that loop's thread (or before it runs). NULL with e filled: failed. */
	void *(*port_open)(struct sq_backend *b, struct sq_home *home, struct sq_error *e);
	void (*port_close)(void *port); /* nothing is in flight */
	/*
	 * Begins an attempt on the loop; the seat is held. Reports by
	 * sq_invocation_head/_data/_ended, the last exactly once, also from within start.
	 */
	void (*start)(void *port, struct sq_invocation *inv);
	/* The consumer has room again, or the answer is no longer wanted (inv->discard). */
	void (*resume)(struct sq_invocation *inv);
	/* Stops the function now (drain's end; never for a client's sake): ends with _ended soon.
	 */
	void (*abort)(struct sq_invocation *inv);
};

struct sq_backend {
	const struct sq_backend_conf *conf;
	const struct sq_backend_ops *ops;
	int id;             /* index in the engine's table */
	uint32_t name;      /* interned for metrics */
	struct sq_cap *cap; /* its seats in sched; NULL: only the pool */
	void *state;
	/* For people; relaxed. */
	_Atomic uint64_t started, failed, connects, in_flight;
	_Atomic int64_t last_failure_wall_ns;
};

#endif
