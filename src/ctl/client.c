/* One question to the daemon, one answer; the protocol is told in admin/admin.h. */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PROTOCOL 1
#define PATIENCE_S 10
#define NEAR "run/sequoia.sock"
#define SYSTEM "/run/sequoia/sequoia.sock"

static const char *socket_path(const struct sq_ctl *c)
{
	const char *path = c->socket ? c->socket : getenv("SEQUOIA_SOCKET");

	if (path && *path)
		return path;
	return access(NEAR, F_OK) == 0 ? NEAR : SYSTEM;
}

static int no_daemon(const struct sq_ctl *c, const char *path, int err)
{
	const char *env = getenv("SEQUOIA_SOCKET");

	if (err == EACCES)
		return sq_ctl_fail(
			SQ_CTL_REFUSED,
			"%s: permission denied: be root, the daemon's user or in its group", path);
	if (!c->socket && !(env && *env) && strcmp(path, SYSTEM) == 0)
		return sq_ctl_fail(SQ_CTL_NO_DAEMON, "no daemon answers at " NEAR " or " SYSTEM
						     ": is sequoiad running? use -s SOCKET");
	return sq_ctl_fail(SQ_CTL_NO_DAEMON,
			   "no daemon answers at %s: is sequoiad running? use -s SOCKET (%s)", path,
			   strerror(err));
}

/* The connection, or minus an exit code. */
static int dial(const struct sq_ctl *c, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int err, fd;

	if (strlen(path) >= sizeof(a.sun_path))
		return -sq_ctl_fail(SQ_CTL_USAGE, "%s: too long for a socket", path);
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -sq_ctl_fail(SQ_CTL_REFUSED, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	err = errno;
	close(fd);
	return -no_daemon(c, path, err);
}

/* The next line as JSON, or NULL: there is none, or it is none. */
static json_t *read_line(FILE *f, const char *path)
{
	json_error_t error;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len = getline(&line, &cap, f);
	json_t *value = len > 0 ? json_loadb(line, (size_t)len, 0, &error) : NULL;

	if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		sq_ctl_fail(0, "%s: the daemon did not answer in %d s", path, PATIENCE_S);
	else if (len < 0)
		sq_ctl_fail(0, "%s: the daemon closed the connection", path);
	else if (!value)
		sq_ctl_fail(0, "%s: what answers there is no sequoiad: %s", path, error.text);
	free(line);
	return value;
}

static int greeted(FILE *f, const char *path)
{
	json_t *hello = read_line(f, path);
	json_int_t protocol = json_integer_value(json_object_get(hello, "sequoia-admin"));
	const char *message = json_string_value(json_object_get(hello, "message"));
	int code = SQ_CTL_DONE;

	if (!hello)
		code = SQ_CTL_NO_DAEMON;
	else if (message)
		code = sq_ctl_fail(SQ_CTL_REFUSED, "%s", message); /* too many clients */
	else if (protocol != PROTOCOL)
		code = sq_ctl_fail(
			SQ_CTL_REFUSED,
			"%s: the daemon speaks protocol %lld, this sequoiactl %d: use the "
			"sequoiactl that came with it",
			path, (long long)protocol, PROTOCOL);
	json_decref(hello);
	return code;
}

static int send_request(int fd, const struct sq_ctl *c, const char *path)
{
	json_t *request = json_pack("{s:s, s:O}", "command", sq_command_row(c->command)->name,
				    "args", c->args);
	char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int code = SQ_CTL_DONE;
	size_t len = line ? strlen(line) : 0;
	ssize_t sent = -1;

	if (line) {
		line[len] =
			'\n'; /* instead of the NUL; it is far shorter than the socket's buffer */
		sent = send(fd, line, len + 1, MSG_NOSIGNAL);
	}
	if (sent != (ssize_t)len + 1)
		code = sq_ctl_fail(SQ_CTL_NO_DAEMON, "%s: cannot ask: %s", path, strerror(errno));
	free(line);
	json_decref(request);
	return code;
}

static int refused(const json_t *answer)
{
	const char *code = json_string_value(json_object_get(answer, "code"));
	const char *message = json_string_value(json_object_get(answer, "message"));
	int exit_code = SQ_CTL_REFUSED;

	if (code && strcmp(code, "not_found") == 0)
		exit_code = SQ_CTL_NOT_FOUND;
	else if (code && strcmp(code, "bad_argument") == 0)
		exit_code = SQ_CTL_USAGE;
	return sq_ctl_fail(exit_code, "%s",
			   message ? message : "the daemon refused, and did not say why");
}

static int read_answer(FILE *f, const char *path, json_t **data)
{
	json_t *answer = read_line(f, path);
	int code = SQ_CTL_DONE;

	if (!answer)
		return SQ_CTL_NO_DAEMON;
	if (json_is_true(json_object_get(answer, "ok")))
		*data = json_incref(json_object_get(answer, "data"));
	else
		code = refused(answer);
	json_decref(answer);
	return code;
}

int sq_ctl_ask(const struct sq_ctl *c, json_t **data)
{
	const char *path = socket_path(c);
	int code, fd = dial(c, path);
	FILE *f;

	if (fd < 0)
		return -fd;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return sq_ctl_fail(SQ_CTL_REFUSED, "%s", strerror(errno));
	}
	code = greeted(f, path);
	if (code == SQ_CTL_DONE)
		code = send_request(fd, c, path);
	if (code == SQ_CTL_DONE)
		code = read_answer(f, path, data);
	fclose(f);
	return code;
}
