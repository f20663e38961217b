#include "front/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Room for what follows the message. */
#define TAIL 64

struct out {
	char *buf;
	size_t len, cap;
};

static void put(struct out *o, const char *s, size_t n)
{
	if (n > o->cap - o->len)
		n = o->cap - o->len;
	memcpy(o->buf + o->len, s, n);
	o->len += n;
}

/* How many bytes the UTF-8 sequence at s has (RFC 3629, 4); 0: it is none. */
static size_t utf8(const unsigned char *s)
{
	unsigned char least = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char most = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
	size_t n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] < 0xc2 || s[0] > 0xf4 || s[1] < least || s[1] > most)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* One character of a JSON string; returns how many bytes of s it took. */
static size_t put_char(struct out *o, const char *s)
{
	unsigned char c = (unsigned char)*s;
	char esc[8];
	size_t n;

	if (c == '"' || c == '\\') {
		put(o, (char[]){'\\', *s}, 2);
	} else if (c < ' ' || c == 0x7f) {
		put(o, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", c));
	} else if (c < 0x80) {
		put(o, s, 1);
	} else if ((n = utf8((const unsigned char *)s)) > 0) {
		put(o, s, n);
		return n;
	} else {
		put(o, "\\ufffd", 6);
	}
	return 1;
}

static void put_text(struct out *o, const char *s)
{
	/* Whole characters only: the longest has 6 bytes. */
	while (*s && o->cap - o->len >= 6)
		s += put_char(o, s);
}

size_t sq_front_error(char buf[SQ_FRONT_ERROR_MAX], enum sq_fault fault, const char *detail,
		      struct sq_id id)
{
	const struct sq_fault_row *row = sq_fault_row(fault);
	struct out o = {.buf = buf, .cap = SQ_FRONT_ERROR_MAX - 1 - TAIL};
	char hex[SQ_ID_HEX];
	bool known = id.hi | id.lo;

	put(&o, "{\"error\":{\"code\":\"", 18);
	put_text(&o, row->code);
	put(&o, "\",\"message\":\"", 13);
	put_text(&o, row->message);
	if (detail && *detail) {
		put(&o, ": ", 2);
		put_text(&o, detail);
	}
	o.cap += TAIL;
	put(&o, "\",\"run\":", 8);
	if (known) {
		put(&o, "\"", 1);
		put(&o, sq_id_show(hex, id), SQ_ID_HEX - 1);
		put(&o, "\"", 1);
	} else {
		put(&o, "null", 4);
	}
	put(&o, "}}\n", 3);
	o.buf[o.len] = '\0';
	return o.len;
}

static const char *reason(int status)
{
	switch (status) {
	case 408:
		return "Request Timeout";
	case 413:
		return "Content Too Large";
	case 503:
		return "Service Unavailable";
	case 507:
		return "Insufficient Storage";
	default:
		return "Error";
	}
}

size_t sq_front_error_wire(char buf[2 * SQ_FRONT_ERROR_MAX], enum sq_fault fault)
{
	const struct sq_fault_row *row = sq_fault_row(fault);
	char body[SQ_FRONT_ERROR_MAX], retry[40] = "";
	size_t len = sq_front_error(body, fault, NULL, (struct sq_id){0, 0});

	if (row->retry_after_s)
		snprintf(retry, sizeof(retry), "Retry-After: %d\r\n", row->retry_after_s);
	return (size_t)snprintf(buf, 2 * SQ_FRONT_ERROR_MAX,
				"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%s"
				"Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
				row->status, reason(row->status), retry, len, body);
}
