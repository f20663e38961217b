/* The characters and small words of HTTP (RFC 9110 section 5). */
#ifndef SQ_WORKER_HTTP_TEXT_H
#define SQ_WORKER_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <strings.h>

struct sq_bytes {
	const char *data;
	size_t len;
};

bool sq_http_is_token(const char *p, size_t n); /* not empty, all tchar */
/* Is there a control character other than tab? CR, LF and NUL are among them. */
bool sq_http_has_control(const char *p, size_t n);
struct sq_bytes sq_http_trim(const char *p, const char *end); /* without blanks at both ends */

static inline bool sq_http_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Names are the same whatever their case. */
static inline bool sq_http_same(struct sq_bytes a, const char *b, size_t n)
{
	return a.len == n && strncasecmp(a.data, b, n) == 0;
}

#define SQ_HTTP_IS(bytes, literal) sq_http_same(bytes, literal, sizeof(literal) - 1)

#endif
