#include "conf/address.h"
#include "front/front.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static socklen_t fill(const struct sq_address *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->family == AF_INET) {
		struct sockaddr_in *four = (struct sockaddr_in *)ss;

		four->sin_family = AF_INET;
		four->sin_port = htons(a->port);
		memcpy(&four->sin_addr, a->host, 4);
		return sizeof(*four);
	}
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ss;

	six->sin6_family = AF_INET6;
	six->sin6_port = htons(a->port);
	memcpy(&six->sin6_addr, a->host, 16);
	return sizeof(*six);
}

enum use { PROBE, ALONE, SHARED };

static int open_socket(const struct sq_address *a, enum use use)
{
	struct sockaddr_storage ss;
	socklen_t len = fill(a, &ss);
	int yes = 1, no = 0, err;
	int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
	    (use != SHARED || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0) &&
	    (a->family != AF_INET6 ||
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) == 0) &&
	    bind(fd, (struct sockaddr *)&ss, len) == 0 &&
	    (use == PROBE || listen(fd, SOMAXCONN) == 0))
		return fd;
	err = errno;
	close(fd);
	return -err;
}

static int open_at(const char *address, enum use use, struct sq_error *e)
{
	static const uint8_t any[16];
	struct sq_address a;
	int fd;

	if (!sq_address_parse(address, &a))
		return sq_error_set(e, EINVAL, "%s is not an address to listen at", address);
	fd = open_socket(&a, use);
	/* `*` on a machine without IPv6. */
	if (fd == -EAFNOSUPPORT && a.family == AF_INET6 && memcmp(a.host, any, 16) == 0) {
		a.family = AF_INET;
		fd = open_socket(&a, use);
	}
	if (fd >= 0)
		return fd;
	return sq_error_set(e, -fd, "cannot listen at %s: %s%s", address, strerror(-fd),
			    fd == -EADDRINUSE ? ": another sequoiad or program listens there" : "");
}

int sq_front_listen(const char *address, bool reuseport, struct sq_error *e)
{
	return open_at(address, reuseport ? SHARED : ALONE, e);
}

int sq_front_probe(const char *address, struct sq_error *e)
{
	int fd = open_at(address, PROBE, e);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
