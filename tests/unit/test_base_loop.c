/* The loop always runs in the test's own thread, where cmocka may fail; the others only post. */
#define _GNU_SOURCE 1

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sq_loop *loop;
static bool old_kernel;
static _Atomic int coarse_waits; /* two loops may run */

/* Both are taken by the linker before the C library's. */
int epoll_pwait2(int fd, struct epoll_event *events, int most, const struct timespec *timeout,
		 const sigset_t *mask)
{
	if (old_kernel) {
		errno = ENOSYS;
		return -1;
	}
	return (int)syscall(SYS_epoll_pwait2, fd, events, most, timeout, mask, sizeof(*mask));
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
	coarse_waits++;
	return (int)syscall(SYS_epoll_pwait, fd, events, most, timeout_ms, NULL, sizeof(sigset_t));
}

static int setup(void **state)
{
	(void)state;
	loop = sq_loop_new();
	return loop ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	sq_loop_free(loop);
	loop = NULL;
	return 0;
}

/* --- descriptors --- */

#define PIPES 200

struct end {
	struct sq_watch watch;
	int fds[2];
	uint32_t events;
	int calls;
};

static struct end *ends[PIPES];
static int total_calls;

/* A pipe that can be read at once. */
static struct end *end_new(void (*fn)(struct sq_watch *w, uint32_t events))
{
	struct end *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	assert_int_equal(pipe2(e->fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(write(e->fds[1], "x", 1), 1);
	e->watch.fn = fn;
	assert_int_equal(sq_loop_watch(loop, &e->watch, e->fds[0], EPOLLIN), 0);
	return e;
}

static void end_free(struct end *e)
{
	sq_loop_unwatch(loop, &e->watch);
	sq_loop_unwatch(loop, &e->watch);
	assert_int_equal(e->watch.fd, -1);
	close(e->fds[0]);
	close(e->fds[1]);
	free(e);
}

static void free_all_ends(struct sq_watch *w, uint32_t events)
{
	int i;

	(void)w;
	assert_int_equal(events, EPOLLIN);
	total_calls++;
	for (i = 0; i < PIPES; i++) {
		end_free(ends[i]);
		ends[i] = NULL;
	}
	sq_loop_stop(loop);
}

/* All are in one batch; the first one called frees them all, itself too. */
static void unwatched_within_a_batch(void **state)
{
	int i;

	(void)state;
	total_calls = 0;
	for (i = 0; i < PIPES; i++)
		ends[i] = end_new(free_all_ends);
	sq_loop_run(loop);
	assert_int_equal(total_calls, 1);
}

static void renew_all_ends(struct sq_watch *w, uint32_t events)
{
	int i;

	(void)w;
	(void)events;
	if (total_calls++ > 0) {
		sq_loop_stop(loop);
		return;
	}
	/* New watches, likely at the old addresses and descriptors: the old events are not theirs.
	 */
	for (i = 0; i < PIPES; i++)
		end_free(ends[i]);
	for (i = 0; i < PIPES; i++) {
		char c;

		ends[i] = end_new(renew_all_ends);
		if (i > 0)
			assert_int_equal(read(ends[i]->fds[0], &c, 1), 1);
	}
}

static void old_events_do_not_reach_new_watches(void **state)
{
	int i;

	(void)state;
	total_calls = 0;
	for (i = 0; i < PIPES; i++)
		ends[i] = end_new(renew_all_ends);
	sq_loop_run(loop);
	assert_int_equal(total_calls, 2);
	for (i = 0; i < PIPES; i++)
		end_free(ends[i]);
}

static void silence_others(struct sq_watch *w, uint32_t events)
{
	int i;

	(void)events;
	total_calls++;
	for (i = 0; i < PIPES; i++) {
		if (&ends[i]->watch != w)
			assert_int_equal(sq_loop_rewatch(loop, &ends[i]->watch, 0), 0);
	}
	sq_loop_stop(loop);
}

static void rewatched_within_a_batch(void **state)
{
	int i;

	(void)state;
	total_calls = 0;
	for (i = 0; i < PIPES; i++)
		ends[i] = end_new(silence_others);
	sq_loop_run(loop);
	assert_int_equal(total_calls, 1);
	for (i = 0; i < PIPES; i++)
		end_free(ends[i]);
}

static void note_end(struct sq_watch *w, uint32_t events)
{
	struct end *e = (struct end *)w;

	e->calls++;
	e->events = events;
	sq_loop_stop(loop);
}

static void hang_up_is_seen(void **state)
{
	struct end *e = end_new(note_end);

	(void)state;
	close(e->fds[1]);
	e->fds[1] = dup(e->fds[0]);
	sq_loop_run(loop);
	assert_int_equal(e->events, EPOLLIN | EPOLLHUP);
	end_free(e);
}

static void watch_failures(void **state)
{
	struct sq_watch never = {0}, w = {.fn = note_end}, again = {.fn = note_end};
	int fds[2];

	(void)state;
	sq_loop_unwatch(loop, &never); /* zeroed, never watched */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(sq_loop_watch(loop, &w, fds[0], EPOLLIN), 0);
	assert_int_equal(sq_loop_watch(loop, &again, fds[0], EPOLLIN), -EEXIST);
	assert_int_equal(again.fd, -1);
	assert_int_equal(sq_loop_watch(loop, &again, 1 << 20, EPOLLIN), -EBADF);
	sq_loop_unwatch(loop, &again);
	sq_loop_unwatch(loop, &w);
	close(fds[0]);
	close(fds[1]);
}

/* --- timers --- */

#define TIMERS 2000

static struct sq_timer timers[TIMERS];
static int64_t last_at;
static int fired;

static void note_timer(struct sq_timer *t)
{
	assert_false(sq_timer_is_set(t));
	assert_true(t->at_ns >= last_at);
	assert_true(t->at_ns <= sq_loop_now(loop));
	assert_true(sq_loop_now(loop) <= sq_clock_ns());
	last_at = t->at_ns;
	if (--fired == 0)
		sq_loop_stop(loop);
}

static void timers_fire_in_order(void **state)
{
	int64_t now = sq_clock_ns();
	struct sq_random r;
	int i;

	(void)state;
	sq_random_init(&r);
	last_at = 0;
	fired = TIMERS;
	for (i = 0; i < TIMERS; i++) {
		timers[i] = (struct sq_timer){.fn = note_timer};
		assert_int_equal(sq_timer_set(loop, &timers[i], now + SQ_NEVER / 4), 0);
	}
	for (i = 0; i < TIMERS; i++) {
		int64_t in = (int64_t)(sq_random_next(&r) % (20 * SQ_MS)) - SQ_MS;

		assert_int_equal(sq_timer_set(loop, &timers[i], now + in), 0);
		assert_true(sq_timer_is_set(&timers[i]));
		if (i % 4 == 0) {
			sq_timer_stop(loop, &timers[i]);
			sq_timer_stop(loop, &timers[i]);
			assert_false(sq_timer_is_set(&timers[i]));
			fired--;
		}
	}
	sq_loop_run(loop);
	assert_int_equal(fired, 0);
}

static void stop_the_other(struct sq_timer *t)
{
	fired++;
	sq_timer_stop(loop, &timers[t == &timers[0] ? 1 : 0]);
	sq_loop_stop(loop);
}

static void stopped_by_another_that_is_due_too(void **state)
{
	(void)state;
	fired = 0;
	timers[0] = timers[1] = (struct sq_timer){.fn = stop_the_other};
	assert_int_equal(sq_timer_set(loop, &timers[0], 1), 0);
	assert_int_equal(sq_timer_set(loop, &timers[1], 2), 0);
	sq_loop_run(loop);
	assert_int_equal(fired, 1);
	assert_int_equal(timers[1].at_ns, 2);
	assert_false(sq_timer_is_set(&timers[1]));
}

static void set_at_once(struct sq_timer *t)
{
	fired++;
	assert_int_equal(sq_timer_set(loop, t, 0), 0);
}

static void timers_do_not_starve_events(void **state)
{
	struct end *e = end_new(note_end);
	struct sq_timer t = {.fn = set_at_once}, never = {.fn = note_timer};

	(void)state;
	fired = 0;
	assert_int_equal(sq_timer_set(loop, &t, 0), 0);
	assert_int_equal(sq_timer_set(loop, &never, SQ_NEVER), 0);
	sq_loop_run(loop);
	assert_int_equal(e->calls, 1);
	assert_true(fired <= 2);
	sq_timer_stop(loop, &t);
	sq_timer_stop(loop, &never);
	end_free(e);
}

static int64_t late_ns;

static void measure(struct sq_timer *t)
{
	late_ns = sq_clock_ns() - t->at_ns;
	sq_loop_stop(loop);
}

/* Never early, and finer than a millisecond where the kernel can. The best of ten: others run too.
 */
static void timers_are_exact(void **state)
{
	struct sq_timer t = {.fn = measure};
	int64_t best = SQ_NEVER;
	int i;

	(void)state;
	for (i = 0; i < 10; i++) {
		assert_int_equal(sq_timer_set(loop, &t, sq_clock_ns() + 300 * SQ_US), 0);
		sq_loop_run(loop);
		assert_true(late_ns >= 0);
		best = late_ns < best ? late_ns : best;
	}
	assert_true(best < 2 * SQ_MS);
}

static void timers_on_an_old_kernel(void **state)
{
	struct sq_timer t = {.fn = measure};
	int i;

	(void)state;
	old_kernel = true;
	coarse_waits = 0;
	for (i = 0; i < 10; i++) {
		assert_int_equal(sq_timer_set(loop, &t, sq_clock_ns() + 300 * SQ_US), 0);
		sq_loop_run(loop);
		assert_true(late_ns >= 0);
	}
	old_kernel = false;
	assert_true(coarse_waits <= 20); /* rounded up: asleep, not turning round and round */
}

/* --- mail --- */

#define SENDERS 4
#define EACH 250000

struct letter {
	struct sq_mail mail;
	int sender, number;
};

static struct letter *letters[SENDERS];
static int expected[SENDERS], to_come, out_of_order;

static void receive(struct sq_mail *m)
{
	struct letter *l = (struct letter *)m;

	out_of_order += expected[l->sender]++ != l->number;
	if (--to_come == 0)
		sq_loop_stop(loop);
}

static void *send_letters(void *arg)
{
	struct letter *l = arg;
	int i;

	for (i = 0; i < EACH; i++) {
		sq_loop_post(loop, &l[i].mail);
		if (i % 1000 == 0)
			sched_yield();
	}
	return NULL;
}

static void a_million_mails(void **state)
{
	pthread_t threads[SENDERS];
	int i, k;

	(void)state;
	to_come = SENDERS * EACH;
	out_of_order = 0;
	memset(expected, 0, sizeof(expected));
	for (i = 0; i < SENDERS; i++) {
		letters[i] = calloc(EACH, sizeof(*letters[i]));
		assert_non_null(letters[i]);
		for (k = 0; k < EACH; k++)
			letters[i][k] = (struct letter){{NULL, receive}, i, k};
		assert_int_equal(pthread_create(&threads[i], NULL, send_letters, letters[i]), 0);
	}
	sq_loop_run(loop);
	assert_int_equal(to_come, 0);
	assert_int_equal(out_of_order, 0);
	for (i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(expected[i], EACH);
		free(letters[i]);
	}
}

/* Two loops, each asleep nearly always when the other writes: no wake-up may be lost. */
static struct sq_loop *far_loop;
static struct sq_mail ball;
static int bounces;

static void hit_here(struct sq_mail *m);

static void hit_there(struct sq_mail *m)
{
	m->fn = hit_here;
	sq_loop_post(loop, m);
}

static void hit_here(struct sq_mail *m)
{
	assert_true(sq_loop_here(loop));
	assert_false(sq_loop_here(far_loop));
	if (--bounces == 0) {
		sq_loop_stop(far_loop);
		sq_loop_stop(loop);
		return;
	}
	m->fn = hit_there;
	sq_loop_post(far_loop, m);
}

static void *run_far_loop(void *arg)
{
	sq_loop_run(arg);
	return NULL;
}

static void no_wake_up_is_lost(void **state)
{
	pthread_t thread;

	(void)state;
	far_loop = sq_loop_new();
	assert_non_null(far_loop);
	bounces = 20000;
	ball.fn = hit_here;
	sq_loop_post(loop, &ball);
	assert_int_equal(pthread_create(&thread, NULL, run_far_loop, far_loop), 0);
	sq_loop_run(loop);
	pthread_join(thread, NULL);
	assert_int_equal(bounces, 0);
	sq_loop_free(far_loop);
}

static int posts_left;

static void post_again(struct sq_mail *m)
{
	if (posts_left-- > 0)
		sq_loop_post(loop, m);
}

/* Mail that the loop posts to itself comes in a later turn: events are not starved. */
static void mail_to_itself(void **state)
{
	struct end *e = end_new(note_end);
	struct sq_mail m = {.fn = post_again};

	(void)state;
	posts_left = 1000;
	sq_loop_post(loop, &m);
	sq_loop_run(loop);
	assert_int_equal(e->calls, 1);
	assert_int_equal(posts_left, -1); /* and what was left at the stop was done */
	end_free(e);
}

/* --- stop --- */

static void *stop_later(void *arg)
{
	struct timespec t = {0, 5000000};

	(void)arg;
	nanosleep(&t, NULL); /* only to let the loop fall asleep; right without it too */
	sq_loop_stop(loop);
	return NULL;
}

static void stopped_by_another_thread(void **state)
{
	pthread_t thread;
	int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		assert_int_equal(pthread_create(&thread, NULL, stop_later, NULL), 0);
		sq_loop_run(loop);
		pthread_join(thread, NULL);
		assert_false(sq_loop_here(loop));
	}
}

static char order[64];

struct step {
	struct sq_task task;
	struct sq_mail mail;
	char name;
	struct step *defers;
};

static void note_step(const struct step *s)
{
	order[strlen(order)] = s->name;
	if (s->defers) {
		sq_loop_defer(loop, &s->defers->task);
		sq_loop_defer(loop, &s->defers->task);
	}
}

static void do_task(struct sq_task *t)
{
	note_step((struct step *)t);
}

static void do_mail(struct sq_mail *m)
{
	note_step((struct step *)((char *)m - offsetof(struct step, mail)));
}

#define STEP(c, next)                                                                              \
	{                                                                                          \
		{NULL, do_task, false}, {NULL, do_mail}, c, next                                   \
	}

/* A loop that is stopped before it runs does what it was given, and returns. */
static void stop_does_what_is_left_first(void **state)
{
	struct step d = STEP('d', NULL), c = STEP('c', &d), b = STEP('b', NULL), a = STEP('a', &c),
		    m = STEP('m', &b);

	(void)state;
	memset(order, 0, sizeof(order));
	sq_loop_defer(loop, &a.task);
	sq_loop_defer(loop, &b.task);
	sq_loop_post(loop, &m.mail);
	sq_loop_stop(loop);
	sq_loop_run(loop);
	assert_string_equal(order, "mabcd"); /* b was queued already when m deferred it */
	memset(order, 0, sizeof(order));
	sq_loop_defer(loop, &b.task);
	sq_loop_stop(loop);
	sq_loop_run(loop);
	assert_string_equal(order, "b");
}

/* --- deferred tasks --- */

static int spins;

static void spin(struct sq_task *t)
{
	spins++;
	sq_loop_defer(loop, t);
}

static void unspin(struct sq_task *t)
{
	(void)t;
}

static struct sq_task spinner;

static void note_and_unspin(struct sq_watch *w, uint32_t events)
{
	spinner.fn = unspin;
	note_end(w, events);
}

static void tasks_do_not_starve_events(void **state)
{
	struct end *e = end_new(note_and_unspin);
	char c;

	(void)state;
	assert_int_equal(read(e->fds[0], &c, 1), 1);
	spins = 0;
	spinner = (struct sq_task){.fn = spin};
	sq_loop_defer(loop, &spinner);
	assert_int_equal(write(e->fds[1], "x", 1), 1);
	sq_loop_run(loop);
	assert_int_equal(e->calls, 1);
	assert_true(spins <= 2);
	end_free(e);
}

static void free_task(struct sq_task *t)
{
	free(t);
	if (--fired == 0)
		sq_loop_stop(loop);
}

static void tasks_may_free_themselves(void **state)
{
	int i;

	(void)state;
	fired = 100;
	for (i = 0; i < 100; i++) {
		struct sq_task *t = calloc(1, sizeof(*t));

		assert_non_null(t);
		t->fn = free_task;
		sq_loop_defer(loop, t);
	}
	sq_loop_run(loop);
	assert_int_equal(fired, 0);
}

static void out_of_descriptors(void **state)
{
	struct rlimit old, tight;
	int next = fcntl(0, F_DUPFD_CLOEXEC, 0), room;

	(void)state;
	close(next); /* the descriptor that would come next */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (room = 0; room < 2; room++) {
		tight = (struct rlimit){(rlim_t)(next + room), old.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
		assert_null(sq_loop_new());
		assert_int_equal(errno, EMFILE);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unwatched_within_a_batch),
		TEST(old_events_do_not_reach_new_watches),
		TEST(rewatched_within_a_batch),
		TEST(hang_up_is_seen),
		TEST(watch_failures),
		TEST(timers_fire_in_order),
		TEST(stopped_by_another_that_is_due_too),
		TEST(timers_do_not_starve_events),
		TEST(timers_are_exact),
		TEST(timers_on_an_old_kernel),
		TEST(a_million_mails),
		TEST(no_wake_up_is_lost),
		TEST(mail_to_itself),
		TEST(stopped_by_another_thread),
		TEST(stop_does_what_is_left_first),
		TEST(tasks_do_not_starve_events),
		TEST(tasks_may_free_themselves),
		TEST(out_of_descriptors),
	};

	return cmocka_run_group_tests_name("base/loop", tests, NULL, NULL);
}
