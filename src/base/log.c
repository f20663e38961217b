#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Not more than a pipe takes in one piece, so that lines of several processes never mix. */
#define LINE_MAX_BYTES PIPE_BUF
#define LINES_PER_S 10

static const char *const names[] = {
	[SQ_LOG_ERROR] = "error",
	[SQ_LOG_WARN] = "warn",
	[SQ_LOG_INFO] = "info",
	[SQ_LOG_DEBUG] = "debug",
};

static _Atomic int threshold = SQ_LOG_INFO;

void sq_log_set_level(enum sq_log_level level)
{
	atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool sq_log_level_parse(const char *name, enum sq_log_level *out)
{
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0) {
			*out = (enum sq_log_level)i;
			return true;
		}
	}
	return false;
}

bool sq_log_enabled(enum sq_log_level level)
{
	return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* RFC 3339 in UTC. Returns the length. */
static size_t put_head(char *line, size_t cap, enum sq_log_level level, const char *event)
{
	int64_t now = sq_clock_wall_ns();
	time_t seconds = (time_t)(now / SQ_S);
	char date[32];
	struct tm t;
	int n;

	gmtime_r(&seconds, &t);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &t);
	n = snprintf(line, cap, "ts=%s.%03dZ level=%s event=%s", date, (int)(now % SQ_S / SQ_MS),
		     names[level], event);
	return (size_t)n < cap ? (size_t)n : cap - 1;
}

/* A caller who forgot to quote may spoil a value, but never forge a second line. */
static void keep_one_line(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
	}
}

void sq_log(enum sq_log_level level, const char *event, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	const size_t cap = sizeof(line) - 1; /* one for the newline */
	int saved = errno;
	va_list args;
	size_t len;
	ssize_t n;

	if (!sq_log_enabled(level))
		return;
	len = put_head(line, cap, level, event);
	if (fmt[0] && len + 2 < cap) {
		line[len++] = ' ';
		va_start(args, fmt);
		vsnprintf(line + len, cap - len, fmt, args);
		va_end(args);
	}
	keep_one_line(line);
	len = strlen(line);
	line[len++] = '\n';
	do
		n = write(STDERR_FILENO, line, len);
	while (n < 0 && errno == EINTR);
	errno = saved;
}

/* Well-formed UTF-8 (RFC 3629, 4) of several bytes, without U+0080 to U+009F, which are controls.
 */
static const struct utf8_form {
	unsigned char first, last; /* the first byte */
	unsigned char low, high;   /* the second; further ones are 80 to bf */
	unsigned char length;
} utf8_forms[] = {
	{0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
	{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
	{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* The length of such a sequence at s, which ends with a NUL; 0: there is none. */
static size_t utf8_length(const unsigned char *s)
{
	const struct utf8_form *f = utf8_forms;
	const struct utf8_form *end = f + sizeof(utf8_forms) / sizeof(utf8_forms[0]);
	size_t i;

	while (f < end && (s[0] < f->first || s[0] > f->last))
		f++;
	if (f == end || s[1] < f->low || s[1] > f->high)
		return 0;
	for (i = 2; i < f->length; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return f->length;
}

static bool plain(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s <= ' ' || *s >= 0x7f || strchr("\"\\=", *s))
			return false;
	}
	return true;
}

/* One character of src as it stands within quotes; returns how many bytes of src it took. */
static size_t escape(char out[8], const unsigned char *src)
{
	static const char from[] = "\"\\\n\r\t", to[] = "\"\\nrt";
	const char *p = strchr(from, *src);
	size_t n = utf8_length(src);

	if (p)
		snprintf(out, 8, "\\%c", to[p - from]);
	else if (n)
		snprintf(out, 8, "%.*s", (int)n, (const char *)src);
	else if (*src < ' ' || *src >= 0x7f)
		snprintf(out, 8, "\\x%02x", *src);
	else
		snprintf(out, 8, "%c", *src);
	return n ? n : 1;
}

const char *sq_log_quote(char *buf, unsigned long cap, const char *src)
{
	const unsigned char *s;
	unsigned long len = 0;
	char one[8];

	if (!src)
		src = "-";
	if (cap < 3) {
		if (cap)
			buf[0] = '\0';
		return buf;
	}
	if (strlen(src) < cap && plain(src))
		return strcpy(buf, src);
	buf[len++] = '"';
	for (s = (const unsigned char *)src; *s;) {
		size_t n;

		s += escape(one, s);
		n = strlen(one);
		if (len + n + 2 > cap)
			break;
		memcpy(buf + len, one, n);
		len += n;
	}
	buf[len++] = '"';
	buf[len] = '\0';
	return buf;
}

/*
 * Threads that meet a new second together may let a line or two more pass: the winner of the
 * exchange resets the count a moment after the others saw the new window.
 */
bool sq_log_allow(struct sq_log_limit *l, uint32_t *dropped)
{
	int64_t now_s = sq_clock_ns() / SQ_S + 1; /* never 0, the window of a fresh limit */
	int64_t seen = atomic_load(&l->window_s);

	if (seen != now_s && atomic_compare_exchange_strong(&l->window_s, &seen, now_s))
		atomic_store(&l->lines, 0);
	if (atomic_fetch_add(&l->lines, 1) >= LINES_PER_S) {
		atomic_fetch_add(&l->dropped, 1);
		return false;
	}
	*dropped = atomic_exchange(&l->dropped, 0);
	return true;
}
