#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 64 /* the least that is worth a malloc */

void sq_buf_free(struct sq_buf *b)
{
	free(b->data);
	*b = (struct sq_buf){0};
}

/* Grows to at least the double, so that a long series of small adds is linear in the bytes. */
static int grow(struct sq_buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	char *data;

	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	data = realloc(b->data, cap);
	if (!data)
		return -ENOMEM;
	if (b->len == 0)
		data[0] = '\0';
	b->data = data;
	b->cap = cap;
	return 0;
}

int sq_buf_reserve(struct sq_buf *b, size_t more)
{
	size_t need;

	if (__builtin_add_overflow(b->len, more, &need) || __builtin_add_overflow(need, 1, &need))
		return -ENOMEM;
	return need <= b->cap ? 0 : grow(b, need);
}

int sq_buf_add(struct sq_buf *b, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	if (sq_buf_reserve(b, len) < 0)
		return -ENOMEM;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int sq_buf_addf(struct sq_buf *b, const char *fmt, ...)
{
	va_list args, again;
	size_t room = b->cap - b->len;
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n >= room) {
		/* What did not fit was cut: undo it, make room, print again. */
		if (room)
			b->data[b->len] = '\0';
		if (sq_buf_reserve(b, (size_t)n) < 0)
			n = -1;
		else
			vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	if (n < 0)
		return -ENOMEM;
	b->len += (size_t)n;
	return 0;
}

void sq_buf_consume(struct sq_buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	b->len -= n;
	memmove(b->data, b->data + n, b->len + 1);
}
