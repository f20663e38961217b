/* A growable byte buffer. Zero-initialised is empty and valid. NUL-terminated when non-empty. */
#ifndef SQ_BASE_BUF_H
#define SQ_BASE_BUF_H

#include <stddef.h>

struct sq_buf {
	char *data;
	size_t len, cap;
};

void sq_buf_free(struct sq_buf *b); /* frees the memory; b is empty and valid again */
/* All return 0 or -ENOMEM (b unchanged). */
int sq_buf_reserve(struct sq_buf *b, size_t more) __attribute__((warn_unused_result));
int sq_buf_add(struct sq_buf *b, const void *data, size_t len) __attribute__((warn_unused_result));
int sq_buf_addf(struct sq_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), warn_unused_result));
void sq_buf_consume(struct sq_buf *b, size_t n); /* drops the first n bytes */

#endif
