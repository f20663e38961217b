/*
 * Held calls (hold=KEY): they answer when a test says so, not when a clock does. The list is in
 * order of arrival over all loops; a release moves a call to the list of the loop that owns its
 * connection and wakes that loop. One lock covers the list and every loop's list of released.
 */
#include "mock.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mock_held held = TAILQ_HEAD_INITIALIZER(held);
static uint64_t held_count;

void mock_hold_add(struct mock_conn *c)
{
	pthread_mutex_lock(&lock);
	c->held = true;
	TAILQ_INSERT_TAIL(&held, c, hold_link);
	held_count++;
	pthread_mutex_unlock(&lock);
}

/* The connection ends: off whichever list it is on. */
void mock_hold_drop(struct mock_conn *c)
{
	pthread_mutex_lock(&lock);
	if (c->held) {
		TAILQ_REMOVE(&held, c, hold_link);
		held_count--;
		c->held = false;
	} else {
		TAILQ_REMOVE(mock_loop_released(c->loop), c, hold_link);
	}
	pthread_mutex_unlock(&lock);
}

/* key 0: any; n 0: all. Returns how many. */
uint64_t mock_hold_release(uint64_t key, uint64_t n)
{
	uint64_t done = 0;
	struct mock_conn *c, *next;

	pthread_mutex_lock(&lock);
	for (c = TAILQ_FIRST(&held); c && (n == 0 || done < n); c = next) {
		next = TAILQ_NEXT(c, hold_link);
		if (key && c->call.plan.hold != key)
			continue;
		TAILQ_REMOVE(&held, c, hold_link);
		c->held = false;
		held_count--;
		done++;
		TAILQ_INSERT_TAIL(mock_loop_released(c->loop), c, hold_link);
		mock_loop_wake(c->loop);
	}
	pthread_mutex_unlock(&lock);
	return done;
}

uint64_t mock_hold_count(void)
{
	pthread_mutex_lock(&lock);
	uint64_t n = held_count;
	pthread_mutex_unlock(&lock);
	return n;
}

/* The next released call of this loop, off every list, or NULL. */
struct mock_conn *mock_hold_next(struct mock_loop *loop)
{
	struct mock_held *list = mock_loop_released(loop);
	struct mock_conn *c;

	pthread_mutex_lock(&lock);
	c = TAILQ_FIRST(list);
	if (c)
		TAILQ_REMOVE(list, c, hold_link);
	pthread_mutex_unlock(&lock);
	return c;
}
