/* lock.h and rcu.h; most useful under ThreadSanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/lock.h"
#include "base/rcu.h"

#include <stdatomic.h>
#include <stdlib.h>

#define THREADS 4

static struct sq_lock lock;
static long shared_count;
static _Atomic int wrong;

static void *count_up(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 50000; i++) {
		if (sq_lock_held(&lock))
			wrong++;
		sq_lock_take(&lock);
		sq_lock_assert_held(&lock);
		shared_count++;
		sq_lock_release(&lock);
	}
	return NULL;
}

static void lock_excludes(void **state)
{
	pthread_t threads[THREADS];
	int i;

	(void)state;
	sq_lock_init(&lock, "test");
	assert_string_equal(lock.name, "test");
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared_count, THREADS * 50000);
	assert_int_equal(wrong, 0);
#ifdef SQ_LOCK_STATS
	assert_true(sq_lock_longest_ns(&lock) > 0);
#endif
	sq_lock_destroy(&lock);
}

/* A snapshot whose two halves must agree, replaced again and again under the readers' eyes. */
struct snapshot {
	struct sq_rcu_head rcu;
	long a, b;
};

static struct snapshot *current;
static _Atomic bool finish;
static int freed_later, freed_now; /* by liburcu's thread; here */

static void *read_snapshots(void *arg)
{
	(void)arg;
	sq_rcu_register_thread();
	while (!finish) {
		struct snapshot *s;

		sq_rcu_read_lock();
		sq_rcu_read_lock(); /* sections nest */
		sq_rcu_read_unlock();
		s = sq_rcu_dereference(&current);
		if (s->a != s->b)
			wrong++;
		sq_rcu_read_unlock();
	}
	sq_rcu_unregister_thread();
	return NULL;
}

static void free_snapshot(struct sq_rcu_head *h)
{
	struct snapshot *s = (struct snapshot *)h;

	s->a = -1; /* a reader that still looks is caught by this, too */
	free(s);
	freed_later++;
}

static struct snapshot *snapshot_new(long n)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->a = s->b = n;
	return s;
}

static void rcu_replaces(void **state)
{
	enum { CHANGES = 400 };
	pthread_t threads[THREADS];
	int i;

	(void)state;
	sq_rcu_register_thread();
	sq_rcu_assign(&current, snapshot_new(0));
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_snapshots, NULL), 0);
	for (i = 1; i <= CHANGES; i++) {
		struct snapshot *old = current;

		sq_rcu_assign(&current, snapshot_new(i));
		if (i % 2) {
			sq_rcu_call(&old->rcu, free_snapshot);
		} else {
			sq_rcu_synchronize();
			old->a = -1;
			free(old);
			freed_now++;
		}
	}
	finish = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	sq_rcu_barrier();
	assert_int_equal(freed_now, CHANGES / 2);
	assert_int_equal(freed_later, CHANGES / 2);
	assert_int_equal(wrong, 0);
	free(current);
	sq_rcu_unregister_thread();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock_excludes),
		cmocka_unit_test(rcu_replaces),
	};

	return cmocka_run_group_tests_name("base/lock, rcu", tests, NULL, NULL);
}
