/* Birth and death of the admin thread. */
#define _GNU_SOURCE 1 /* pthread_setname_np */
#include "admin/admin.h"

#include "admin/answer.h"
#include "admin/server.h"
#include "admin/socket.h"
#include "base/clock.h"
#include "base/rcu.h"

#include "config.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct sq_admin {
	struct sq_admin_server server;
	struct sq_admin_request request; /* reused: commands come one by one */
	char *path;
	char greeting[96];
	pthread_t thread;
};

static int answer(void *arg, uid_t peer, const char *line, size_t len, struct sq_buf *out)
{
	struct sq_admin *a = arg;

	a->request.peer = peer;
	return sq_admin_answer(&a->request, line, len, out);
}

static void *run(void *arg)
{
	struct sq_admin *a = arg;

	/* The views read the snapshot of settings and policies. */
	sq_rcu_register_thread();
	sq_admin_serve(&a->server);
	sq_rcu_unregister_thread();
	return NULL;
}

static int start_thread(struct sq_admin *a, struct sq_error *e)
{
	sigset_t all, before;
	int err;

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&a->thread, NULL, run, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return sq_error_set(e, err, "admin: cannot start the thread: %s", strerror(err));
	pthread_setname_np(a->thread, "sq-admin");
	return 0;
}

static void release(struct sq_admin *a)
{
	if (a->server.listen_fd >= 0)
		sq_admin_socket_close(a->server.listen_fd, a->path);
	if (a->server.stop_fd >= 0)
		close(a->server.stop_fd);
	free(a->path);
	free(a);
}

static int open_all(struct sq_admin *a, const char *path, struct sq_error *e)
{
	a->path = strdup(path);
	if (!a->path)
		return sq_error_set(e, ENOMEM, "admin: no memory");
	a->server.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (a->server.stop_fd < 0)
		return sq_error_set(e, errno, "admin: eventfd: %s", strerror(errno));
	a->server.listen_fd = sq_admin_socket_open(path, e);
	return a->server.listen_fd < 0 ? a->server.listen_fd : start_thread(a, e);
}

struct sq_admin *sq_admin_start(struct sq_engine *en, const struct sq_settings *settings,
				struct sq_metrics *metrics, struct sq_error *e)
{
	struct sq_admin *a = calloc(1, sizeof(*a));

	if (!a) {
		sq_error_set(e, ENOMEM, "admin: no memory");
		return NULL;
	}
	a->request =
		(struct sq_admin_request){.engine = en, .metrics = metrics};
	a->server = (struct sq_admin_server){
		.listen_fd = -1,
		.stop_fd = -1,
		.clients_max = SQ_ADMIN_CLIENTS,
		.line_max = 64 * 1024,
		.deadline_ns = 10 * SQ_S,
		.idle_ns = 300 * SQ_S,
		.greeting = a->greeting,
		.answer = answer,
		.arg = a,
	};
	snprintf(a->greeting, sizeof(a->greeting), "{\"sequoia-admin\": %d, \"version\": \"%s\"}\n",
		 SQ_ADMIN_PROTOCOL, PACKAGE_VERSION);
	if (open_all(a, settings->admin_socket, e) == 0)
		return a;
	release(a);
	return NULL;
}

void sq_admin_stop(struct sq_admin *a)
{
	uint64_t one = 1;
	ssize_t n;

	if (!a)
		return;
	n = write(a->server.stop_fd, &one, sizeof(one));
	assert(n == sizeof(one));
	(void)n;
	pthread_join(a->thread, NULL);
	release(a);
}
