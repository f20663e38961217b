#include "worker/utf8.h"

#include <stdint.h>
#include <string.h>

/* How many continuation bytes follow, and the range of the first of them (RFC 3629 section 4). */
static int tail_of(unsigned char c, unsigned char *low, unsigned char *high)
{
	*low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	*high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	if (c >= 0xc2 && c <= 0xdf)
		return 1;
	if (c >= 0xe0 && c <= 0xef)
		return 2;
	return c >= 0xf0 && c <= 0xf4 ? 3 : -1;
}

/* The length of the sequence at p, or 0. */
static size_t sequence(const unsigned char *p, size_t n)
{
	unsigned char low, high;
	int i, tail = tail_of(p[0], &low, &high);

	if (tail < 0 || (size_t)tail >= n || p[1] < low || p[1] > high)
		return 0;
	for (i = 2; i <= tail; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return (size_t)tail + 1;
}

bool sq_utf8_is_text(const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t i = 0, step;

	if (n > 0 && memchr(text, '\0', n))
		return false;
	while (i < n) {
		uint64_t eight;

		if (n - i >= 8 && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
			i += 8;
			continue;
		}
		step = p[i] < 0x80 ? 1 : sequence(p + i, n - i);
		if (step == 0)
			return false;
		i += step;
	}
	return true;
}
