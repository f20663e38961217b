#include "daemon/worker_thread.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "front/front.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_CHECK (10 * SQ_MS)

struct worker {
	struct sq_pool *pool;
	unsigned index;
	pthread_t thread;
	bool started;
	struct sq_loop *loop;
	struct sq_home *home;
	struct sq_front *front;
	struct sq_error error;
	struct sq_mail stop_listening;
	struct sq_timer idle_check;
	_Atomic bool idle;
};

struct sq_pool {
	const struct sq_pool_conf *conf; /* during the start only */
	unsigned n;
	pthread_barrier_t homes_built, fronts_open, loops_done;
	_Atomic bool failed;
	struct worker workers[];
};

/* ---- a thread's life ---- */

static int listen_all(const struct sq_pool_conf *conf, int *fds, struct sq_error *e)
{
	size_t n = conf->n_given > 0 ? conf->n_given : conf->settings->n_listens;

	for (size_t i = 0; i < n; i++) {
		fds[i] = conf->n_given > 0
				 ? fcntl(conf->given_fds[i], F_DUPFD_CLOEXEC, 3)
				 : sq_front_listen(conf->settings->listens[i].address, true, e);
		if (fds[i] >= 0)
			continue;
		while (i-- > 0)
			close(fds[i]);
		return -1;
	}
	return (int)n;
}

static void open_front(struct worker *w)
{
	const struct sq_pool_conf *conf = w->pool->conf;
	size_t most = conf->n_given + conf->settings->n_listens;
	int *fds = calloc(most, sizeof(*fds));
	int n = fds ? listen_all(conf, fds, &w->error) : -1;

	if (n >= 0)
		w->front = sq_front_new(w->home, conf->settings, fds, (size_t)n, &w->error);
	if (!w->front)
		atomic_store(&w->pool->failed, true);
	free(fds);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct sq_pool *p = w->pool;
	char name[16];

	snprintf(name, sizeof(name), "sequoia-w%u", w->index);
	pthread_setname_np(pthread_self(), name);
	sq_rcu_register_thread();
	w->home = sq_home_new(p->conf->engine, w->index, w->loop, &w->error);
	if (!w->home)
		atomic_store(&p->failed, true);
	/* No loop may grant to a home that is not there yet. */
	pthread_barrier_wait(&p->homes_built);
	if (!atomic_load(&p->failed))
		open_front(w);
	pthread_barrier_wait(&p->fronts_open);
	if (!atomic_load(&p->failed))
		sq_loop_run(w->loop);
	if (w->front)
		sq_front_free(w->front);
	/* Until all loops are done, one may ask another's home. */
	pthread_barrier_wait(&p->loops_done);
	sq_home_free(w->home);
	sq_rcu_unregister_thread();
	return NULL;
}

/* ---- draining ---- */

static void check_idle(struct sq_timer *t)
{
	struct worker *w = caa_container_of(t, struct worker, idle_check);

	atomic_store(&w->idle, sq_front_idle(w->front));
	sq_timer_set(w->loop, t, sq_loop_now(w->loop) + IDLE_CHECK);
}

static void stop_listening(struct sq_mail *m)
{
	struct worker *w = caa_container_of(m, struct worker, stop_listening);

	sq_front_stop_listening(w->front);
	w->idle_check.fn = check_idle;
	check_idle(&w->idle_check);
}

void sq_pool_stop_listening(struct sq_pool *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		p->workers[i].stop_listening.fn = stop_listening;
		sq_loop_post(p->workers[i].loop, &p->workers[i].stop_listening);
	}
}

bool sq_pool_idle(const struct sq_pool *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!atomic_load(&p->workers[i].idle))
			return false;
	return true;
}

/* ---- start and stop ---- */

static int probe_all(const struct sq_pool_conf *conf, struct sq_error *e)
{
	size_t n = conf->n_given > 0 ? 0 : conf->settings->n_listens;

	for (size_t i = 0; i < n; i++)
		if (sq_front_probe(conf->settings->listens[i].address, e) < 0)
			return -1;
	return 0;
}

static int make_loops(struct sq_pool *p, struct sq_error *e)
{
	for (unsigned i = 0; i < p->n; i++) {
		p->workers[i].pool = p;
		p->workers[i].index = i;
		p->workers[i].loop = sq_loop_new();
		if (!p->workers[i].loop)
			return sq_error_set(e, errno, "event loop: %s", strerror(errno));
	}
	return 0;
}

/* All threads or none: the barriers count them, so a thread that cannot be made is the end. */
static void make_threads(struct sq_pool *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		int err = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);

		if (err) {
			sq_log(SQ_LOG_ERROR, "thread-failed", "error=\"%s\"", strerror(err));
			_exit(71); /* EX_OSERR */
		}
		p->workers[i].started = true;
	}
}

static void first_error(const struct sq_pool *p, struct sq_error *e)
{
	for (unsigned i = 0; i < p->n; i++) {
		if (!p->workers[i].error.text[0])
			continue;
		*e = p->workers[i].error;
		return;
	}
}

struct sq_pool *sq_pool_start(const struct sq_pool_conf *conf, struct sq_error *e)
{
	struct sq_pool *p;

	if (probe_all(conf, e) < 0)
		return NULL;
	p = calloc(1, sizeof(*p) + conf->threads * sizeof(p->workers[0]));
	if (!p) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	p->conf = conf;
	p->n = conf->threads;
	pthread_barrier_init(&p->homes_built, NULL, p->n + 1);
	pthread_barrier_init(&p->fronts_open, NULL, p->n + 1);
	pthread_barrier_init(&p->loops_done, NULL, p->n);
	if (make_loops(p, e) == 0) {
		make_threads(p);
		pthread_barrier_wait(&p->homes_built);
		pthread_barrier_wait(&p->fronts_open);
		if (!atomic_load(&p->failed))
			return p;
		first_error(p, e);
	}
	sq_pool_stop(p);
	return NULL;
}

void sq_pool_stop(struct sq_pool *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		if (p->workers[i].started)
			sq_loop_stop(p->workers[i].loop);
	for (unsigned i = 0; i < p->n; i++)
		if (p->workers[i].started)
			pthread_join(p->workers[i].thread, NULL);
	for (unsigned i = 0; i < p->n; i++)
		sq_loop_free(p->workers[i].loop);
	pthread_barrier_destroy(&p->homes_built);
	pthread_barrier_destroy(&p->fronts_open);
	pthread_barrier_destroy(&p->loops_done);
	free(p);
}
