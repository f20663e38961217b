/*
 * One turn of the loop: sleep in epoll until something happens; then events, mail, timers that are
 * due, deferred tasks; all of it with one reading of the clock. Each of the four does at most what
 * was there when it began, so that none can starve the others: what a callback adds for "at once"
 * makes the next sleep a mere poll.
 *
 * The mailbox is one atomic word, and it tells the loop's state too:
 *
 *   NULL       awake, no mail
 *   &asleep    in epoll_wait or about to be, no mail
 *   a mail     a stack of mail, the last posted on top
 *
 * The loop goes to sleep by exchanging NULL for &asleep, which fails if there is mail. A poster
 * puts its mail on top; whoever found &asleep there writes the eventfd. So mail never waits for a
 * sleeping loop, and a sleep costs one write(2) for all posters together. The loop takes the whole
 * stack at once and turns it over, which keeps the order of each poster.
 *
 * The eventfd is watched edge-triggered: each write is an event of its own, so it is never read,
 * and its count would need 2^64 writes to be full.
 */
#define _GNU_SOURCE 1 /* epoll_pwait2 */

#include "base/loop.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256
#define CACHE_LINE 64

struct sq_loop {
	/* What other threads write, on a line of its own. */
	_Alignas(CACHE_LINE) _Atomic bool stop;
	struct sq_mail *_Atomic mail;
	/* From here on the loop's thread alone, but for the reading of thread and event_fd. */
	_Alignas(CACHE_LINE) _Atomic pthread_t thread; /* 0: not running */
	int epoll_fd, event_fd;
	bool coarse; /* no epoll_pwait2: sleeps are rounded up to ms */
	int64_t now_ns;
	struct sq_heap timers;
	struct sq_task *tasks, **last_task;
	size_t n_tasks;
	int event, n_events; /* the present one of the batch, and how many */
	struct epoll_event events[BATCH];
};

static struct sq_mail asleep;

static bool timer_less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return sq_heap_entry(a, struct sq_timer, node)->at_ns <
	       sq_heap_entry(b, struct sq_timer, node)->at_ns;
}

struct sq_loop *sq_loop_new(void)
{
	struct epoll_event wake = {.events = EPOLLIN | EPOLLET};
	struct sq_loop *l = aligned_alloc(CACHE_LINE, sizeof(*l));
	int saved;

	if (!l)
		return NULL;
	*l = (struct sq_loop){.last_task = &l->tasks};
	sq_heap_init(&l->timers, timer_less);
	l->now_ns = sq_clock_ns();
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll_fd >= 0 && l->event_fd >= 0 &&
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->event_fd, &wake) == 0)
		return l;
	saved = errno;
	sq_loop_free(l);
	errno = saved;
	return NULL;
}

void sq_loop_free(struct sq_loop *l)
{
	if (!l)
		return;
	assert(l->thread == 0);
	if (l->event_fd >= 0)
		close(l->event_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	free(l);
}

int64_t sq_loop_now(const struct sq_loop *l)
{
	return l->now_ns;
}

bool sq_loop_here(const struct sq_loop *l)
{
	return atomic_load_explicit(&l->thread, memory_order_relaxed) == pthread_self();
}

/* While it does not run, the loop may be prepared by whoever owns it. */
static void assert_owner(const struct sq_loop *l)
{
	pthread_t t = atomic_load_explicit(&l->thread, memory_order_relaxed);

	assert(t == 0 || t == pthread_self());
	(void)t;
}

static void wake_up(const struct sq_loop *l)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(l->event_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

/* --- descriptors --- */

int sq_loop_watch(struct sq_loop *l, struct sq_watch *w, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};

	assert_owner(l);
	assert(w->fn && fd >= 0);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
		w->fd = -1;
		return -errno;
	}
	w->fd = fd;
	return 0;
}

/* What the batch still holds for w is cut down to these events. */
static void cut_batch(struct sq_loop *l, const struct sq_watch *w, uint32_t events)
{
	int i;

	for (i = l->event + 1; i < l->n_events; i++) {
		if (l->events[i].data.ptr == w)
			l->events[i].events &= events;
	}
}

int sq_loop_rewatch(struct sq_loop *l, struct sq_watch *w, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};

	assert_owner(l);
	assert(w->fd >= 0);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &e) < 0)
		return -errno;
	cut_batch(l, w, events | EPOLLERR | EPOLLHUP);
	return 0;
}

void sq_loop_unwatch(struct sq_loop *l, struct sq_watch *w)
{
	int rc;

	assert_owner(l);
	if (w->fd < 0)
		return;
	rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	/* Failing is no harm: a zeroed watch that never was one looks like descriptor 0. But a
	 * descriptor that was closed first may be another's by now. */
	assert(rc == 0 || errno != EBADF);
	(void)rc;
	w->fd = -1;
	cut_batch(l, w, 0);
}

static void run_events(struct sq_loop *l)
{
	for (l->event = 0; l->event < l->n_events; l->event++) {
		struct epoll_event *e = &l->events[l->event];
		struct sq_watch *w = e->data.ptr;

		/* NULL: the eventfd, it only ends the sleep. 0: cut while it was in the batch. */
		if (w && e->events)
			w->fn(w, e->events);
	}
	l->n_events = 0;
}

/* --- timers --- */

int sq_timer_set(struct sq_loop *l, struct sq_timer *t, int64_t at_ns)
{
	assert_owner(l);
	assert(t->fn);
	t->at_ns = at_ns;
	if (sq_heap_linked(&t->node))
		sq_heap_update(&l->timers, &t->node);
	else
		sq_heap_push(&l->timers, &t->node);
	return 0;
}

void sq_timer_stop(struct sq_loop *l, struct sq_timer *t)
{
	assert_owner(l);
	if (sq_heap_linked(&t->node))
		sq_heap_remove(&l->timers, &t->node);
}

bool sq_timer_is_set(const struct sq_timer *t)
{
	return sq_heap_linked(&t->node);
}

static struct sq_timer *first_timer(const struct sq_loop *l)
{
	return sq_heap_entry(sq_heap_top(&l->timers), struct sq_timer, node);
}

static void run_timers(struct sq_loop *l)
{
	size_t n = l->timers.count;
	struct sq_timer *t;

	while (n-- > 0 && (t = first_timer(l)) && t->at_ns <= l->now_ns) {
		sq_heap_remove(&l->timers, &t->node);
		t->fn(t);
	}
}

/* --- mail --- */

void sq_loop_post(struct sq_loop *l, struct sq_mail *m)
{
	struct sq_mail *top = atomic_load_explicit(&l->mail, memory_order_relaxed);

	do
		m->next = top == &asleep ? NULL : top;
	while (!atomic_compare_exchange_weak_explicit(&l->mail, &top, m, memory_order_release,
						      memory_order_relaxed));
	if (top == &asleep)
		wake_up(l);
}

/* Says in the mailbox that posters must wake us; false: there is mail already. */
static bool fall_asleep(struct sq_loop *l)
{
	struct sq_mail *none = NULL;

	return atomic_compare_exchange_strong(&l->mail, &none, &asleep);
}

/* At once after the sleep, so that no poster pays for a wake-up that is not needed. */
static void awake(struct sq_loop *l)
{
	struct sq_mail *was = &asleep;

	atomic_compare_exchange_strong(&l->mail, &was, NULL);
}

static bool has_mail(const struct sq_loop *l)
{
	return atomic_load_explicit(&l->mail, memory_order_relaxed) != NULL;
}

/* All mail in order of posting. */
static struct sq_mail *take_mail(struct sq_loop *l)
{
	struct sq_mail *m, *next, *first = NULL;

	if (!has_mail(l))
		return NULL;
	for (m = atomic_exchange_explicit(&l->mail, NULL, memory_order_acquire); m; m = next) {
		next = m->next;
		m->next = first;
		first = m;
	}
	return first;
}

static void run_mail(struct sq_loop *l)
{
	struct sq_mail *m, *next;

	for (m = take_mail(l); m; m = next) {
		next = m->next; /* fn may free m */
		m->fn(m);
	}
}

/* --- deferred tasks --- */

void sq_loop_defer(struct sq_loop *l, struct sq_task *t)
{
	assert_owner(l);
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*l->last_task = t;
	l->last_task = &t->next;
	l->n_tasks++;
}

static void run_tasks(struct sq_loop *l)
{
	size_t n = l->n_tasks;

	while (n-- > 0) {
		struct sq_task *t = l->tasks;

		l->tasks = t->next;
		if (!l->tasks)
			l->last_task = &l->tasks;
		l->n_tasks--;
		t->queued = false;
		t->fn(t);
	}
}

/* --- turning --- */

/*
 * How long nothing is to be done: ns, 0 to poll, SQ_NEVER. By the real time and not sq_loop_now: a
 * turn that took long must not make the timers late by as much.
 */
static int64_t idle_ns(const struct sq_loop *l)
{
	const struct sq_timer *t = first_timer(l);
	int64_t ns;

	if (l->n_tasks > 0)
		return 0;
	if (!t || t->at_ns == SQ_NEVER)
		return SQ_NEVER;
	if (t->at_ns <= l->now_ns)
		return 0;
	ns = t->at_ns - sq_clock_ns();
	return ns > 0 ? ns : 0;
}

static int wait_ms(struct sq_loop *l, int64_t ns)
{
	int64_t ms = ns == SQ_NEVER ? -1 : ns / SQ_MS + (ns % SQ_MS != 0);

	return epoll_wait(l->epoll_fd, l->events, BATCH, ms > INT_MAX ? INT_MAX : (int)ms);
}

static int wait_ns(struct sq_loop *l, int64_t ns)
{
#if __GLIBC_PREREQ(2, 35)
	struct timespec t = {.tv_sec = ns / SQ_S, .tv_nsec = ns % SQ_S};
	int n;

	/* The plain call for what needs no timespec: it is older, cheaper and known to tracers. */
	if (ns > 0 && ns < SQ_NEVER && !l->coarse) {
		n = epoll_pwait2(l->epoll_fd, l->events, BATCH, &t, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		l->coarse = true;
	}
#endif
	return wait_ms(l, ns);
}

static void turn(struct sq_loop *l)
{
	int64_t ns = idle_ns(l);
	bool sleeps = ns > 0 && fall_asleep(l);
	int n = wait_ns(l, sleeps ? ns : 0);

	assert(n >= 0 || errno == EINTR);
	if (sleeps)
		awake(l);
	l->now_ns = sq_clock_ns();
	l->n_events = n > 0 ? n : 0;
	run_events(l);
	run_mail(l);
	run_timers(l);
	run_tasks(l);
}

/* After the stop: nothing that was posted or deferred before it is left undone. */
static void drain(struct sq_loop *l)
{
	do {
		run_mail(l);
		run_tasks(l);
	} while (l->n_tasks > 0 || has_mail(l));
}

void sq_loop_run(struct sq_loop *l)
{
	pthread_t none = 0;
	bool mine = atomic_compare_exchange_strong(&l->thread, &none, pthread_self());

	assert(mine);
	(void)mine;
	l->now_ns = sq_clock_ns();
	while (!atomic_load(&l->stop))
		turn(l);
	drain(l);
	atomic_store(&l->stop, false);
	atomic_store(&l->thread, (pthread_t)0);
}

/*
 * The write comes after the flag, and always: whichever sleep it ends, the flag is seen after it.
 * Fit for a signal handler.
 */
void sq_loop_stop(struct sq_loop *l)
{
	int saved = errno;

	atomic_store(&l->stop, true);
	wake_up(l);
	errno = saved;
}
