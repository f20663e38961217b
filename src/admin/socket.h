/* The listening Unix socket and its place in the file system. */
#ifndef SQ_ADMIN_SOCKET_H
#define SQ_ADMIN_SOCKET_H

#include "base/error.h"

/* The descriptor, listening, non-blocking; or -errno with e filled. */
int sq_admin_socket_open(const char *path, struct sq_error *e);
void sq_admin_socket_close(int fd,
			   const char *path); /* unlinks the path if it is still this socket */

#endif
