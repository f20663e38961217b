/*
 * Who does what: a loop fills its ring and its counters and never waits; the metric thread wakes
 * each second, or when a ring is half full, and moves all rows into the database in one
 * transaction. Rows leave a ring only after the commit: while the disk is full or the file is
 * locked they stay, and what no longer fits is dropped by the loops, and counted.
 */
#define _GNU_SOURCE 1 /* pthread_setname_np, ppoll */
#include "metric/metric.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "metric/db.h"
#include "metric/names.h"
#include "metric/prometheus.h"
#include "metric/ring.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_ROWS 32768
#define GAUGES_MAX 1024
#define RETAIN_SLICES 20 /* before the rings are looked at again */
#define RETRY_MAX_NS (5 * SQ_S)

/* One per loop, and one more for the metric thread: only its owner writes it. */
struct part {
	_Alignas(SQ_CACHE_LINE) _Atomic uint64_t counts[SQ_COUNT_COUNT];
	struct sq_ring ring;
};

struct sq_metrics {
	struct sq_metrics_conf conf; /* path is ours */
	struct sq_names *names;
	struct part *parts; /* conf.loops + 1 */

	/* The thread's, from here to the lock. */
	pthread_t thread;
	int wake_fd;
	_Atomic bool stop;
	struct sq_metric_db *db;       /* NULL: to be opened again */
	int64_t retry_at_ns, retry_ns; /* after a failure: not before, and how long that was */
	bool behind;                   /* retention has more to do */
	uint64_t rows_written;
	struct sq_ring_span *taken; /* of each ring, by the transaction under way */

	struct sq_lock gauges_lock;
	struct sq_metric_gauge *gauges; /* the last ones */
	size_t n_gauges, n_gauges_due;  /* due: not yet in the database */
};

/* ---- the loops' side ---- */

void sq_metrics_count(struct sq_metrics *m, unsigned loop, enum sq_counter c, uint64_t n)
{
	_Atomic uint64_t *count = &m->parts[loop].counts[c];

	/* One writer: no need for a locked add. */
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void wake(struct sq_metrics *m)
{
	uint64_t one = 1;

	/* It can only fail because it was woken 2^64 times. */
	if (write(m->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

static struct sq_row *claim(struct sq_metrics *m, unsigned loop, enum sq_row_kind kind)
{
	struct sq_row *row;

	if (!m->conf.enabled)
		return NULL;
	row = sq_ring_claim(&m->parts[loop].ring);
	if (row)
		row->kind = kind;
	else
		sq_metrics_count(m, loop, SQ_COUNT_ROWS_DROPPED, 1);
	return row;
}

static void publish(struct sq_metrics *m, unsigned loop)
{
	if (sq_ring_publish(&m->parts[loop].ring))
		wake(m);
}

void sq_metrics_arrival(struct sq_metrics *m, unsigned loop, const struct sq_metric_arrival *a)
{
	struct sq_row *row = claim(m, loop, SQ_ROW_ARRIVAL);

	if (!row)
		return;
	row->arrival = *a;
	publish(m, loop);
}

void sq_metrics_invocation(struct sq_metrics *m, unsigned loop,
			   const struct sq_metric_invocation *i)
{
	struct sq_row *row = claim(m, loop, SQ_ROW_INVOCATION);

	if (!row)
		return;
	row->invocation = *i;
	publish(m, loop);
}

/* ---- any thread ---- */

sq_name_t sq_metrics_name(struct sq_metrics *m, const char *name)
{
	return sq_names_intern(m->names, name);
}

uint64_t sq_metrics_read(const struct sq_metrics *m, enum sq_counter c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i <= m->conf.loops; i++)
		sum += atomic_load_explicit(&m->parts[i].counts[c], memory_order_relaxed);
	return sum;
}

int sq_metrics_prometheus(struct sq_metrics *m, struct sq_buf *out)
{
	struct sq_metric_gauge *rows = malloc(GAUGES_MAX * sizeof(*rows));
	size_t n;
	int err;

	if (!rows)
		return -ENOMEM;
	sq_lock_take(&m->gauges_lock);
	n = m->n_gauges;
	memcpy(rows, m->gauges, n * sizeof(*rows));
	sq_lock_release(&m->gauges_lock);
	err = sq_prometheus_counters(m, out);
	if (err == 0)
		err = sq_prometheus_gauges(rows, n, m->names, out);
	free(rows);
	return err;
}

/* ---- the metric thread ---- */

static void sample(struct sq_metrics *m)
{
	struct sq_metric_gauge *rows;
	size_t n;

	if (!m->conf.sample)
		return;
	rows = malloc(GAUGES_MAX * sizeof(*rows));
	if (!rows)
		return;
	n = m->conf.sample(m->conf.sample_arg, rows, GAUGES_MAX);
	assert(n <= GAUGES_MAX);
	sq_lock_take(&m->gauges_lock);
	free(m->gauges);
	m->gauges = rows;
	m->n_gauges = n;
	sq_lock_release(&m->gauges_lock);
	m->n_gauges_due = n;
}

/* Says what the database said, gives it up or back, and sets the time of the next try. */
static void failed(struct sq_metrics *m, int err, const char *doing)
{
	char why[256], quoted[512];

	snprintf(why, sizeof(why), "%s", sq_metric_db_why(m->db));
	sq_log_limited(SQ_LOG_WARN, "metrics-write-failed", "doing=%s error=%s", doing,
		       sq_log_quote(quoted, sizeof(quoted), why));
	sq_metrics_count(m, m->conf.loops, SQ_COUNT_ROWS_DROPPED, m->n_gauges_due);
	m->n_gauges_due = 0;
	if (err == -EUCLEAN) {
		sq_metric_db_close(m->db);
		m->db = NULL;
		sq_metric_db_set_aside(m->conf.path, why);
		return; /* a new one is opened at once */
	}
	sq_metric_db_rollback(m->db);
	m->retry_ns = m->retry_ns == 0 ? SQ_S : m->retry_ns * 2;
	if (m->retry_ns > RETRY_MAX_NS)
		m->retry_ns = RETRY_MAX_NS;
	m->retry_at_ns = sq_clock_ns() + m->retry_ns;
}

static int write_all(struct sq_metrics *m)
{
	int err = sq_metric_db_begin(m->db, sq_clock_wall_ns());

	for (unsigned i = 0; i < m->conf.loops; i++)
		m->taken[i].n = sq_ring_ready(m->taken[i].ring);
	if (err == 0)
		err = sq_metric_db_rows(m->db, m->taken, m->conf.loops);
	/* Only this thread replaces the gauges: it may read them without the lock. */
	for (size_t k = 0; k < m->n_gauges_due && err == 0; k++)
		err = sq_metric_db_gauge(m->db, &m->gauges[k]);
	return err == 0 ? sq_metric_db_commit(m->db) : err;
}

static size_t rows_ready(const struct sq_metrics *m)
{
	size_t n = 0;

	for (unsigned i = 0; i < m->conf.loops; i++)
		n += sq_ring_ready(&m->parts[i].ring);
	return n;
}

static int reopen(struct sq_metrics *m)
{
	struct sq_error e = {""};
	char why[sizeof(e.text)];

	if (m->db)
		return 0;
	m->db = sq_metric_db_open(m->conf.path, m->conf.instance, m->names, &e);
	if (m->db)
		return 0;
	sq_log_limited(SQ_LOG_WARN, "metrics-open-failed", "error=%s",
		       sq_log_quote(why, sizeof(why), e.text));
	m->retry_at_ns = sq_clock_ns() + SQ_S;
	return -EIO;
}

/* One transaction with all that is ready. 0, or -errno: the rows are still in the rings. */
static int drain(struct sq_metrics *m)
{
	int err = reopen(m);

	if (err < 0 || rows_ready(m) + m->n_gauges_due == 0)
		return err;
	err = write_all(m);
	if (err < 0) {
		failed(m, err, "insert");
		return err;
	}
	for (unsigned i = 0; i < m->conf.loops; i++) {
		sq_ring_release(&m->parts[i].ring, m->taken[i].n);
		m->rows_written += m->taken[i].n;
	}
	m->n_gauges_due = 0;
	m->retry_ns = 0;
	return 0;
}

static void retain(struct sq_metrics *m)
{
	int rc = 1;

	for (int i = 0; i < RETAIN_SLICES && rc == 1; i++)
		rc = sq_metric_db_retain(m->db, sq_clock_wall_ns(), m->conf.raw_ns, m->conf.bytes);
	m->behind = rc == 1;
	if (rc < 0)
		failed(m, rc, "retention");
}

/* Until the next second, a half-full ring, or the stop. */
static void sleep_until(struct sq_metrics *m, int64_t at_ns)
{
	struct pollfd p = {.fd = m->wake_fd, .events = POLLIN};
	int64_t left = m->behind ? 0 : at_ns - sq_clock_ns();
	struct timespec ts;
	uint64_t n;

	if (left < 0)
		left = 0;
	ts = (struct timespec){.tv_sec = left / SQ_S, .tv_nsec = left % SQ_S};
	if (ppoll(&p, 1, &ts, NULL) > 0 && read(m->wake_fd, &n, sizeof(n)) < 0)
		assert(errno == EAGAIN);
}

static void *run(void *arg)
{
	struct sq_metrics *m = arg;
	int64_t tick_ns = sq_clock_ns();
	bool tick;

	while (!atomic_load_explicit(&m->stop, memory_order_acquire)) {
		sleep_until(m, tick_ns);
		tick = sq_clock_ns() >= tick_ns;
		if (tick) {
			tick_ns = sq_clock_ns() + SQ_S;
			sample(m);
		}
		if (sq_clock_ns() < m->retry_at_ns)
			continue;
		if (drain(m) == 0 && (tick || m->behind))
			retain(m);
	}
	return NULL;
}

/* ---- birth and death ---- */

static void *start_thread(struct sq_metrics *m, struct sq_error *e)
{
	sigset_t all, before;
	int err;

	m->db = sq_metric_db_open(m->conf.path, m->conf.instance, m->names, e);
	if (!m->db)
		return NULL;
	m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->wake_fd < 0) {
		sq_error_set(e, errno, "metrics: eventfd: %s", strerror(errno));
		return NULL;
	}
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		sq_error_set(e, err, "metrics: cannot start the thread: %s", strerror(err));
		return NULL;
	}
	pthread_setname_np(m->thread, "sq-metric");
	return m;
}

static void release(struct sq_metrics *m)
{
	sq_metric_db_close(m->db);
	if (m->wake_fd >= 0)
		close(m->wake_fd);
	for (unsigned i = 0; m->parts && i < m->conf.loops; i++)
		sq_ring_free(&m->parts[i].ring);
	free(m->parts);
	free(m->taken);
	free(m->gauges);
	sq_names_free(m->names);
	sq_lock_destroy(&m->gauges_lock);
	free((char *)m->conf.path);
	free(m);
}

static int allocate(struct sq_metrics *m, const char *path)
{
	size_t rows = m->conf.ring_rows ? m->conf.ring_rows : RING_ROWS;
	size_t bytes = (m->conf.loops + 1) * sizeof(*m->parts);

	m->names = sq_names_new();
	m->gauges = malloc(sizeof(*m->gauges));
	m->parts = aligned_alloc(_Alignof(struct part), bytes);
	m->taken = calloc(m->conf.loops + 1, sizeof(*m->taken));
	if (!m->names || !m->gauges || !m->parts || !m->taken)
		return -ENOMEM;
	memset(m->parts, 0, bytes);
	if (!m->conf.enabled)
		return 0;
	m->conf.path = strdup(path);
	if (!m->conf.path)
		return -ENOMEM;
	for (unsigned i = 0; i < m->conf.loops; i++) {
		m->taken[i].ring = &m->parts[i].ring;
		if (sq_ring_init(&m->parts[i].ring, rows) < 0)
			return -ENOMEM;
	}
	return 0;
}

struct sq_metrics *sq_metrics_start(const struct sq_metrics_conf *conf, struct sq_error *e)
{
	struct sq_metrics *m = calloc(1, sizeof(*m));

	if (!m) {
		sq_error_set(e, ENOMEM, "metrics: no memory");
		return NULL;
	}
	m->conf = *conf;
	m->wake_fd = -1;
	sq_lock_init(&m->gauges_lock, "metric gauges");
	m->conf.path = NULL;
	if (allocate(m, conf->path) < 0) {
		sq_error_set(e, ENOMEM, "metrics: no memory");
		release(m);
		return NULL;
	}
	if (conf->enabled && !start_thread(m, e)) {
		release(m);
		return NULL;
	}
	return m;
}

void sq_metrics_stop(struct sq_metrics *m)
{
	if (!m)
		return;
	if (m->conf.enabled) {
		atomic_store_explicit(&m->stop, true, memory_order_release);
		wake(m);
		pthread_join(m->thread, NULL);
		/* Nothing is produced any more: one transaction takes all; a second, if it found
		 * damage. */
		if (drain(m) < 0 && drain(m) < 0)
			sq_log(SQ_LOG_WARN, "metrics-lost", "rows=%zu", rows_ready(m));
		sq_log(SQ_LOG_DEBUG, "metrics-stopped", "rows=%" PRIu64, m->rows_written);
	}
	release(m);
}
