/* Time: monotonic nanoseconds for all decisions, wall time for what people and files see. */
#ifndef SQ_BASE_CLOCK_H
#define SQ_BASE_CLOCK_H

#include <stdint.h>

#define SQ_US 1000LL
#define SQ_MS 1000000LL
#define SQ_S 1000000000LL
#define SQ_NEVER INT64_MAX

int64_t sq_clock_ns(void);      /* CLOCK_MONOTONIC */
int64_t sq_clock_wall_ns(void); /* CLOCK_REALTIME, since 1970 */

/* a + b where b may be SQ_NEVER. */
static inline int64_t sq_time_add(int64_t a, int64_t b)
{
	return b >= SQ_NEVER - a ? SQ_NEVER : a + b;
}

#endif
