/*
 * Two daemons may be started at once on one path, and a dead one leaves its socket file behind. The
 * folder is locked from the look at the old file until the new socket listens: whoever comes second
 * finds either a socket that answers, and gives up, or one that does not, and replaces it.
 */
#define _GNU_SOURCE 1 /* strdupa, O_PATH */
#include "admin/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16
#define MODE 0660

static int address_of(const char *path, struct sockaddr_un *a, struct sq_error *e)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a->sun_path))
		return sq_error_set(
			e, ENAMETOOLONG,
			"%s: too long for a socket (%zu bytes at most): set admin.socket", path,
			sizeof(a->sun_path) - 1);
	strcpy(a->sun_path, path);
	return 0;
}

/* The folder, made if need be, locked: closing the descriptor unlocks it. */
static int lock_folder(const char *path, struct sq_error *e)
{
	const char *folder = dirname(strdupa(path));
	int fd;

	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return sq_error_set(e, errno, "%s: cannot make the folder: %s", folder,
				    strerror(errno));
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return sq_error_set(e, errno, "%s: %s", folder, strerror(errno));
	while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
		;
	return fd;
}

/* Removes the socket of a daemon that is no more; a live one's, or another file, is refused. */
static int clear_path(const struct sockaddr_un *a, struct sq_error *e)
{
	struct stat st;
	int fd, err;

	if (lstat(a->sun_path, &st) < 0)
		return errno == ENOENT
			       ? 0
			       : sq_error_set(e, errno, "%s: %s", a->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return sq_error_set(e, EEXIST, "%s: is there and is no socket: move it away",
				    a->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return sq_error_set(e, errno, "socket: %s", strerror(errno));
	/* EAGAIN: its backlog is full, so somebody listens. */
	err = connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 ? errno : 0;
	close(fd);
	if (err != ECONNREFUSED)
		return sq_error_set(
			e, EADDRINUSE,
			"%s: another daemon answers there: stop it, or set admin.socket",
			a->sun_path);
	if (unlink(a->sun_path) < 0 && errno != ENOENT)
		return sq_error_set(e, errno, "%s: cannot remove the old socket: %s", a->sun_path,
				    strerror(errno));
	return 0;
}

static int listen_on(const struct sockaddr_un *a, struct sq_error *e)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return sq_error_set(e, errno, "socket: %s", strerror(errno));
	/* On Linux the file takes the socket's mode: at no time is it wider than it shall be. */
	if (fchmod(fd, MODE) == 0 && bind(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 &&
	    chmod(a->sun_path, MODE) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = errno;
	close(fd);
	return sq_error_set(e, err, "%s: cannot listen: %s", a->sun_path, strerror(err));
}

int sq_admin_socket_open(const char *path, struct sq_error *e)
{
	struct sockaddr_un a;
	int folder, fd = address_of(path, &a, e);

	if (fd < 0)
		return fd;
	folder = lock_folder(path, e);
	if (folder < 0)
		return folder;
	fd = clear_path(&a, e);
	if (fd == 0)
		fd = listen_on(&a, e);
	close(folder);
	return fd;
}

/* A listening socket's own file, by asking who answers there: nobody, once fd is closed. */
void sq_admin_socket_close(int fd, const char *path)
{
	struct sockaddr_un a;
	int folder = lock_folder(path, NULL);

	close(fd);
	if (address_of(path, &a, NULL) == 0)
		(void)clear_path(&a, NULL);
	if (folder >= 0)
		close(folder);
}
