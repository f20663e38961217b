/*
 * The line server under the admin commands: accepts, reads lines, hands them on, writes the
 * answers. It bounds what a client can cost: how many, how long a line, how long it may take. It
 * knows nothing of commands.
 */
#ifndef SQ_ADMIN_SERVER_H
#define SQ_ADMIN_SERVER_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sq_admin_server {
	int listen_fd;      /* non-blocking */
	int stop_fd;        /* readable: end */
	size_t clients_max; /* at most SQ_ADMIN_CLIENTS; the next one is told "busy" */
	size_t line_max;
	int64_t deadline_ns;  /* for a line once begun to be complete, for an answer to move on */
	int64_t idle_ns;      /* between commands */
	const char *greeting; /* a line */
	/* Appends the answer to the line (NUL-terminated), a line too. -ENOMEM: cuts the client. */
	int (*answer)(void *arg, uid_t peer, const char *line, size_t len, struct sq_buf *out);
	void *arg;
};

#define SQ_ADMIN_CLIENTS 16

/* Serves on the caller's thread until stop_fd is readable. */
void sq_admin_serve(const struct sq_admin_server *s);

#endif
