/*
 * The fixed pool: one thread per loop, each with its home, its front and its seats' exchanges.
 */
#ifndef SQ_DAEMON_WORKER_THREAD_H
#define SQ_DAEMON_WORKER_THREAD_H

#include "base/error.h"
#include "engine/engine.h"

#include <stdbool.h>

struct sq_pool;

/* What the pool listens on: either addresses (own sockets per loop) or sockets given by systemd. */
struct sq_pool_conf {
	struct sq_engine *engine;
	const struct sq_settings *settings;
	unsigned threads;
	const int *given_fds; /* shared by all loops; borrowed */
	size_t n_given;
};

/* Starts all threads and returns when every loop listens; NULL with e filled, nothing left behind.
 */
struct sq_pool *sq_pool_start(const struct sq_pool_conf *conf, struct sq_error *e);
void sq_pool_stop_listening(struct sq_pool *p);
bool sq_pool_idle(const struct sq_pool *p); /* after stop_listening: no request is being served */
void sq_pool_stop(struct sq_pool *p);       /* joins and frees; NULL is fine */

#endif
