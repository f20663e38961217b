#include "worker/http_text.h"

#include <stdint.h>
#include <string.h>

#define ONES UINT64_C(0x0101010101010101)

bool sq_http_is_token(const char *p, size_t n)
{
	/* tchar of RFC 9110 section 5.6.2, a bit per character below 128. */
	static const uint32_t tchar[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};
	size_t i;

	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if (!(tchar[c >> 5] >> (c & 31) & 1))
			return false;
	}
	return n > 0;
}

static bool is_control(unsigned char c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* Eight bytes at a time: is one below 0x20 or 0x7f? What a tab may be is then told one by one. */
bool sq_http_has_control(const char *p, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		uint64_t w, del;

		memcpy(&w, p + i, 8);
		del = w ^ (ONES * 0x7f);
		if ((((w - ONES * 0x20) & ~w) | ((del - ONES) & ~del)) & (ONES * 0x80))
			break;
	}
	for (; i < n; i++) {
		if (is_control((unsigned char)p[i]))
			return true;
	}
	return false;
}

struct sq_bytes sq_http_trim(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (p < end && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct sq_bytes){p, (size_t)(end - p)};
}
