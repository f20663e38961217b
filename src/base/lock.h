/*
 * A mutex with a name. Adaptive: it spins for a moment before it sleeps, which is right for holds
 * of less than a microsecond. It knows its holder, so that what needs the lock can assert it. With
 * -DSQ_LOCK_STATS (in all files or none) it also knows its longest hold.
 */
#ifndef SQ_BASE_LOCK_H
#define SQ_BASE_LOCK_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#ifdef SQ_LOCK_STATS
#include "base/clock.h"
#endif

struct sq_lock {
	pthread_mutex_t mutex;
	const char *name;
	_Atomic pthread_t holder; /* 0: nobody; glibc's pthread_self() is never 0 */
#ifdef SQ_LOCK_STATS
	int64_t taken_ns;
	_Atomic int64_t longest_ns;
#endif
};

/* name is borrowed for the life of the lock. */
static inline void sq_lock_init(struct sq_lock *l, const char *name)
{
	pthread_mutexattr_t attr;
	int rc = pthread_mutexattr_init(&attr);

	rc |= pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	rc |= pthread_mutex_init(&l->mutex, &attr);
	assert(rc == 0);
	(void)rc;
	pthread_mutexattr_destroy(&attr);
	l->name = name;
	atomic_init(&l->holder, (pthread_t)0);
#ifdef SQ_LOCK_STATS
	l->taken_ns = 0;
	atomic_init(&l->longest_ns, 0);
#endif
}

static inline bool sq_lock_held(const struct sq_lock *l)
{
	return atomic_load_explicit(&l->holder, memory_order_relaxed) == pthread_self();
}

static inline void sq_lock_assert_held(const struct sq_lock *l)
{
	assert(sq_lock_held(l));
	(void)l;
}

static inline void sq_lock_take(struct sq_lock *l)
{
	assert(!sq_lock_held(l));
	pthread_mutex_lock(&l->mutex);
	atomic_store_explicit(&l->holder, pthread_self(), memory_order_relaxed);
#ifdef SQ_LOCK_STATS
	l->taken_ns = sq_clock_ns();
#endif
}

static inline void sq_lock_release(struct sq_lock *l)
{
#ifdef SQ_LOCK_STATS
	int64_t held_ns = sq_clock_ns() - l->taken_ns;

	if (held_ns > atomic_load_explicit(&l->longest_ns, memory_order_relaxed))
		atomic_store_explicit(&l->longest_ns, held_ns, memory_order_relaxed);
#endif
	assert(sq_lock_held(l));
	atomic_store_explicit(&l->holder, (pthread_t)0, memory_order_relaxed);
	pthread_mutex_unlock(&l->mutex);
}

static inline void sq_lock_destroy(struct sq_lock *l)
{
	assert(atomic_load_explicit(&l->holder, memory_order_relaxed) == 0);
	pthread_mutex_destroy(&l->mutex);
}

#ifdef SQ_LOCK_STATS
/* The longest hold since the start; any thread. */
static inline int64_t sq_lock_longest_ns(const struct sq_lock *l)
{
	return atomic_load_explicit(&l->longest_ns, memory_order_relaxed);
}
#endif

#endif
