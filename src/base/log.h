/* Structured log lines (logfmt) on stderr: `ts=... level=warn event=backend-down backend=faas`. */
#ifndef SQ_BASE_LOG_H
#define SQ_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum sq_log_level { SQ_LOG_ERROR, SQ_LOG_WARN, SQ_LOG_INFO, SQ_LOG_DEBUG };

void sq_log_set_level(enum sq_log_level level);
bool sq_log_level_parse(const char *name, enum sq_log_level *out);
bool sq_log_enabled(enum sq_log_level level);

/*
 * One line of at most 4 KiB, written by one write(2), any thread. fmt gives the further `key=value`
 * pairs; a value that may hold anything is passed through sq_log_quote first. Never call under the
 * sched lock.
 */
void sq_log(enum sq_log_level level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Quotes src for logfmt into buf (always NUL-terminated, cut if too long); returns buf. */
const char *sq_log_quote(char *buf, unsigned long cap, const char *src);

/* At most 10 lines a second from one call site; what was left out is told by the next line. */
struct sq_log_limit {
	_Atomic int64_t window_s;
	_Atomic uint32_t lines, dropped;
};
bool sq_log_allow(struct sq_log_limit *l, uint32_t *dropped);

#define sq_log_limited(level, event, fmt, ...)                                                     \
	do {                                                                                       \
		static struct sq_log_limit sq_limit_;                                              \
		uint32_t sq_dropped_;                                                              \
		if (sq_log_allow(&sq_limit_, &sq_dropped_))                                        \
			sq_log(level, event, fmt " left_out=%u", ##__VA_ARGS__, sq_dropped_);      \
	} while (0)

#endif
