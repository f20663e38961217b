#include "base/clock.h"

#include <assert.h>
#include <time.h>

static int64_t read_ns(clockid_t clock)
{
	struct timespec t;
	int rc = clock_gettime(clock, &t);

	assert(rc == 0);
	(void)rc;
	return (int64_t)t.tv_sec * SQ_S + t.tv_nsec;
}

int64_t sq_clock_ns(void)
{
	return read_ns(CLOCK_MONOTONIC);
}

int64_t sq_clock_wall_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}
