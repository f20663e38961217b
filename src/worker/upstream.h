/*
 * The connections of one HTTP backend on one loop: opened by sq_dialer, used by one exchange at a
 * time, kept idle in between.
 */
#ifndef SQ_WORKER_UPSTREAM_H
#define SQ_WORKER_UPSTREAM_H

#include "base/error.h"
#include "base/loop.h"
#include "worker/dial.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sq_upstream;
struct sq_conn;

/* Who uses a connection; embed it. */
struct sq_conn_user {
	/* The connection that was asked for is open. From the loop, never from within sq_conn_open.
	 */
	void (*opened)(struct sq_conn_user *u);
	/* It could not be opened and is gone. */
	void (*failed)(struct sq_conn_user *u, const char *detail);
	/* The connection has become readable or writable. */
	void (*ready)(struct sq_conn_user *u);
};

struct sq_upstream_conf {
	struct sq_dial_conf dial;
	unsigned idle_max;
	int64_t idle_ns; /* an idle connection is kept so long, or less if the backend says so */
};

struct sq_upstream *sq_upstream_new(struct sq_loop *loop, const struct sq_upstream_conf *conf,
				    struct sq_error *e); /* NULL with e filled */
void sq_upstream_free(struct sq_upstream *up);           /* NULL is fine; no connection is in use */

/* The connection that became idle last, or NULL. Borrowed until released or closed. */
struct sq_conn *sq_conn_take(struct sq_upstream *up, struct sq_conn_user *user);
/* Begins to open one; until user->opened it can only be closed. NULL: out of memory. */
struct sq_conn *sq_conn_open(struct sq_upstream *up, struct sq_conn_user *user);
/* Keeps it for the next, or closes it. hint_s: how long the backend keeps it; 0: not said. */
void sq_conn_release(struct sq_conn *c, unsigned hint_s);
void sq_conn_close(struct sq_conn *c); /* opening, in use or idle */

/*
 * Bytes sent or received (0: the peer has closed), -EAGAIN, or -errno. They keep the two flags:
 * true while it may be worth trying. The watch is edge-triggered: without a try there is no event.
 */
ssize_t sq_conn_send(struct sq_conn *c, const struct iovec *iov, int n);
ssize_t sq_conn_recv(struct sq_conn *c, void *buf, size_t len);
bool sq_conn_readable(const struct sq_conn *c);
bool sq_conn_writable(const struct sq_conn *c);
/* Asks for another ready(), soon, though it is readable: others have their turn first. */
void sq_conn_yield(struct sq_conn *c);

#endif
