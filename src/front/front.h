/*
 * The HTTP server: what clients talk to. One front per loop; all of it runs on that loop's thread,
 * after sq_front_new and before sq_front_free, which may be called while the loop does not run.
 */
#ifndef SQ_FRONT_FRONT_H
#define SQ_FRONT_FRONT_H

#include "base/error.h"
#include "conf/settings.h"

#include <stdbool.h>
#include <stddef.h>

struct sq_front;
struct sq_home;

/*
 * A listening, non-blocking socket for "127.0.0.1:8080", "[::1]:8080" or "*:8080" (IPv4 and IPv6),
 * or -errno with e filled. With reuseport several may be bound to one address: one for each loop.
 * The caller closes it.
 */
int sq_front_listen(const char *address, bool reuseport, struct sq_error *e);

/*
 * Whether the address is free, by binding to it alone for a moment; 0 or -errno with e filled. With
 * reuseport two daemons of one user could share it, each with seats of its own.
 */
int sq_front_probe(const char *address, struct sq_error *e);

/*
 * Serves on these sockets, which may be shared with other loops or come from the service manager.
 * Takes the descriptors, also when it fails (NULL with e filled). SIGPIPE must be ignored.
 */
struct sq_front *sq_front_new(struct sq_home *home, const struct sq_settings *settings,
			      const int *listen_fds, size_t n, struct sq_error *e);

/* Drain: closes the listening sockets; requests go on, their answers say Connection: close. */
void sq_front_stop_listening(struct sq_front *f);
/* No request is being read, waited for or answered. */
bool sq_front_idle(const struct sq_front *f);
/*
 * What has no answer yet gets DRAINING; then every connection is closed. After the loop's end, on
 * its thread, while the home still lives. NULL is fine.
 */
void sq_front_free(struct sq_front *f);

#endif
