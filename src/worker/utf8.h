/* Is it text? */
#ifndef SQ_WORKER_UTF8_H
#define SQ_WORKER_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Valid UTF-8 (RFC 3629) without NUL. Empty is text. */
bool sq_utf8_is_text(const char *p, size_t n);

#endif
