/*
 * An event loop: epoll, timers, a mailbox for other threads. One thread runs it; every function but
 * sq_loop_post, sq_loop_stop and sq_loop_new/free is for that thread alone.
 */
#ifndef SQ_BASE_LOOP_H
#define SQ_BASE_LOOP_H

#include "base/heap.h"

#include <stdbool.h>
#include <stdint.h>

struct sq_loop;

struct sq_loop *sq_loop_new(void); /* NULL: errno says why */
void sq_loop_free(struct sq_loop *l);
/*
 * Until stopped; deferred tasks and mail are done first. A stop is kept for the next run if none is
 * going on: so stop and run once more, when the other threads have ended, does what they left.
 */
void sq_loop_run(struct sq_loop *l);
void sq_loop_stop(struct sq_loop *l); /* any thread, or a signal handler */
int64_t sq_loop_now(const struct sq_loop *l); /* monotonic ns, read once per wake-up */
bool sq_loop_here(const struct sq_loop *l); /* is the caller the loop's thread */

/* A watched descriptor; embed it. fn may unwatch and free any watch, its own too. */
struct sq_watch {
	void (*fn)(struct sq_watch *w, uint32_t events);
	int fd; /* -1: not watched */
};
int sq_loop_watch(struct sq_loop *l, struct sq_watch *w, int fd, uint32_t events)
	__attribute__((warn_unused_result)); /* 0 or -errno; w->fn set before */
int sq_loop_rewatch(struct sq_loop *l, struct sq_watch *w, uint32_t events)
	__attribute__((warn_unused_result));
void sq_loop_unwatch(struct sq_loop *l, struct sq_watch *w); /* before close(fd); twice is fine */

/* A timer; embed it, zeroed but for fn. Fires once, in order of time. */
struct sq_timer {
	void (*fn)(struct sq_timer *t);
	int64_t at_ns;
	struct sq_heap_node node;
};
/* Sets or moves it. May fail only with -ENOMEM if the heap can fail. */
int sq_timer_set(struct sq_loop *l, struct sq_timer *t, int64_t at_ns);
void sq_timer_stop(struct sq_loop *l, struct sq_timer *t); /* twice is fine */
bool sq_timer_is_set(const struct sq_timer *t);

/* A message; embed it. Owned by the loop from post until fn is called there. */
struct sq_mail {
	struct sq_mail *next;
	void (*fn)(struct sq_mail *m);
};
void sq_loop_post(struct sq_loop *l, struct sq_mail *m); /* any thread; wakes the loop */

/* Runs before the loop sleeps again, in order. From the loop's thread only; embed it. */
struct sq_task {
	struct sq_task *next;
	void (*fn)(struct sq_task *t);
	bool queued;
};
void sq_loop_defer(struct sq_loop *l, struct sq_task *t); /* no effect if it is queued already */

#endif
