/* Reading answers with no tolerance: what is not exactly HTTP/1.1 is counted as garbled. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX (1u << 20)

struct head {
	unsigned status, lengths;
	bool chunked, keep;
	uint64_t length;
};

void load_answer_reset(struct load_answer *a, bool is_head, bool check)
{
	char *part = a->part;
	size_t cap = a->part_cap;

	memset(a, 0, sizeof(*a));
	a->part = part;
	a->part_cap = cap;
	a->is_head = is_head;
	a->check = check;
}

static bool is(const char *p, size_t n, const char *word)
{
	return strlen(word) == n && strncasecmp(p, word, n) == 0;
}

static bool read_length(struct head *h, const char *p, size_t n)
{
	if (n == 0 || n > 18 || h->lengths++)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		h->length = h->length * 10 + (uint64_t)(p[i] - '0');
	}
	return true;
}

/* Splits a header line; no blank may stand before the colon, no NUL or CR anywhere. */
static bool split(const char *p, size_t n, size_t *name, const char **value, size_t *value_len)
{
	const char *colon = memchr(p, ':', n), *v, *end = p + n;

	if (!colon || colon == p || memchr(p, 0, n) || memchr(p, '\r', n))
		return false;
	*name = (size_t)(colon - p);
	for (size_t i = 0; i < *name; i++)
		if (p[i] <= ' ' || p[i] == 127)
			return false;
	for (v = colon + 1; v < end && (*v == ' ' || *v == '\t'); v++)
		;
	while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*value = v;
	*value_len = (size_t)(end - v);
	return true;
}

static bool read_header(struct head *h, const char *p, size_t n)
{
	const char *v;
	size_t name, value;

	if (!split(p, n, &name, &v, &value))
		return false;
	if (is(p, name, "content-length"))
		return read_length(h, v, value);
	if (is(p, name, "transfer-encoding")) {
		if (h->chunked || !is(v, value, "chunked"))
			return false;
		h->chunked = true;
	} else if (is(p, name, "connection")) {
		if (memmem(v, value, "close", 5))
			h->keep = false;
		else if (is(v, value, "keep-alive"))
			h->keep = true;
	}
	return true;
}

/* HTTP/1.x SP three digits SP reason; n without the line's end. */
static bool read_status(struct head *h, const char *p, size_t n)
{
	if (n < 13 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ' ||
	    p[12] != ' ')
		return false;
	for (int i = 9; i < 12; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		h->status = h->status * 10 + (unsigned)(p[i] - '0');
	}
	h->keep = p[7] == '1';
	return h->status >= 100;
}

static bool read_head(struct head *h, const char *p, size_t n)
{
	const char *end = p + n - 2, *nl = memchr(p, '\n', n);

	memset(h, 0, sizeof(*h));
	if (nl == p || nl[-1] != '\r' || !read_status(h, p, (size_t)(nl - 1 - p)))
		return false;
	for (p = nl + 1; p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl || nl == p || nl[-1] != '\r' || !read_header(h, p, (size_t)(nl - 1 - p)))
			return false;
	}
	return !(h->chunked && h->lengths);
}

/* RFC 9112, 6.3: how long the body is. */
static int take_head(struct load_answer *a, const char *p, size_t n)
{
	struct head h;

	if (!read_head(&h, p, n))
		return -1;
	a->head_bytes += n;
	if (h.status < 200)
		return h.status == 101 ? -1 : 0; /* we never ask for an upgrade */
	a->status = h.status;
	a->keep = h.keep;
	a->left = h.length;
	if (a->is_head || h.status == 204 || h.status == 304)
		a->phase = ANSWER_DONE;
	else if (h.chunked)
		a->phase = ANSWER_CHUNK;
	else if (h.lengths)
		a->phase = h.length ? ANSWER_LENGTH : ANSWER_DONE;
	else
		a->phase = ANSWER_UNTIL_CLOSE;
	return 0;
}

/* A head in pieces is put together in `part`; a whole one is read where it lies. */
static long eat_head(struct load_answer *a, const char *p, size_t n)
{
	const char *end;
	size_t had = a->part_len, want;

	if (had == 0 && (end = memmem(p, n, "\r\n\r\n", 4)) != NULL) {
		n = (size_t)(end - p) + 4;
		return take_head(a, p, n) < 0 ? -1 : (long)n;
	}
	if (had + n > HEAD_MAX)
		return -1;
	if (had + n > a->part_cap) {
		a->part_cap = (had + n) * 2;
		a->part = realloc(a->part, a->part_cap);
		if (!a->part)
			abort();
	}
	memcpy(a->part + had, p, n);
	a->part_len += n;
	end = memmem(a->part, a->part_len, "\r\n\r\n", 4);
	if (!end)
		return (long)n;
	want = (size_t)(end - a->part) + 4;
	a->part_len = 0;
	return take_head(a, a->part, want) < 0 ? -1 : (long)(want - had);
}

static size_t eat_body(struct load_answer *a, const char *p, size_t n)
{
	if (a->check)
		for (size_t i = 0; i < n; i++)
			a->mismatch |= p[i] != (char)('a' + (a->body_bytes + i) % 26);
	a->body_bytes += n;
	return n;
}

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LF };

static int chunk_size(struct load_answer *a, char ch)
{
	int digit = ch >= '0' && ch <= '9'                 ? ch - '0'
		    : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10
							   : -1;
	if (digit >= 0 && ++a->digits <= 15) {
		a->left = a->left * 16 + (uint64_t)digit;
		return SIZE;
	}
	if (digit >= 0 || a->digits == 0)
		return -1;
	return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : -1;
}

static int chunk_byte(struct load_answer *a, char ch)
{
	switch (a->chunk_state) {
	case SIZE:
		return chunk_size(a, ch);
	case EXTENSION:
		return ch == '\r' ? SIZE_LF : ch == '\n' ? -1 : EXTENSION;
	case SIZE_LF:
		a->line = a->digits = 0;
		return ch != '\n' ? -1 : a->left ? DATA : TRAILER;
	case DATA_CR:
		return ch == '\r' ? DATA_LF : -1;
	case DATA_LF:
		return ch == '\n' ? SIZE : -1;
	case TRAILER:
		if (ch == '\r')
			return TRAILER_LF;
		return ch == '\n' || ++a->line > 8192 ? -1 : TRAILER;
	case TRAILER_LF:
		if (ch == '\n' && a->line == 0)
			a->phase = ANSWER_DONE;
		a->line = 0;
		return ch == '\n' ? TRAILER : -1;
	default:
		return -1;
	}
}

static long eat_chunked(struct load_answer *a, const char *p, size_t n)
{
	size_t at = 0, take;

	while (at < n && a->phase == ANSWER_CHUNK) {
		if (a->chunk_state == DATA) {
			take = a->left < n - at ? (size_t)a->left : n - at;
			at += eat_body(a, p + at, take);
			a->left -= take;
			if (a->left == 0)
				a->chunk_state = DATA_CR;
			continue;
		}
		a->chunk_state = chunk_byte(a, p[at++]);
		if (a->chunk_state < 0)
			return -1;
	}
	return (long)at;
}

static long eat_length(struct load_answer *a, const char *p, size_t n)
{
	size_t take = a->left < n ? (size_t)a->left : n;

	eat_body(a, p, take);
	a->left -= take;
	if (a->left == 0)
		a->phase = ANSWER_DONE;
	return (long)take;
}

long load_answer_eat(struct load_answer *a, const char *p, size_t n)
{
	size_t at = 0;
	long used;

	while (at < n && a->phase != ANSWER_DONE) {
		switch (a->phase) {
		case ANSWER_HEAD:
			used = eat_head(a, p + at, n - at);
			break;
		case ANSWER_LENGTH:
			used = eat_length(a, p + at, n - at);
			break;
		case ANSWER_CHUNK:
			used = eat_chunked(a, p + at, n - at);
			break;
		case ANSWER_UNTIL_CLOSE:
		case ANSWER_DONE:
		default:
			used = (long)eat_body(a, p + at, n - at);
			break;
		}
		if (used < 0)
			return -1;
		at += (size_t)used;
	}
	return (long)at;
}
