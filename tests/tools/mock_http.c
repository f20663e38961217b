/* Reading requests strictly: what a careful backend refuses is evidence against the proxy. */
#include "mock.h"

#include <string.h>
#include <strings.h>

static const char *find(const char *p, const char *end, char ch)
{
	return memchr(p, ch, (size_t)(end - p));
}

static bool is_token(const char *p, size_t n)
{
	static const char ok[256] = {
		['!'] = 1,         ['#'] = 1,         ['$'] = 1,         ['%'] = 1, ['&'] = 1,
		['\''] = 1,        ['*'] = 1,         ['+'] = 1,         ['-'] = 1, ['.'] = 1,
		['^'] = 1,         ['_'] = 1,         ['`'] = 1,         ['|'] = 1, ['~'] = 1,
		['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
	};

	for (size_t i = 0; i < n; i++)
		if (!ok[(unsigned char)p[i]])
			return false;
	return n > 0;
}

static bool named(struct mock_slice s, const char *name, size_t n)
{
	return s.n == n && strncasecmp(s.p, name, n) == 0;
}
#define NAMED(s, text) named(s, text, sizeof(text) - 1)

static bool has_word(struct mock_slice s, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= s.n; i++)
		if (strncasecmp(s.p + i, word, n) == 0)
			return true;
	return false;
}

static int read_length(struct mock_head *h, struct mock_slice v)
{
	if (h->has_length || v.n == 0 || v.n > 18)
		return 400;
	h->has_length = true;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return 400;
		h->body_bytes = h->body_bytes * 10 + (uint64_t)(v.p[i] - '0');
	}
	return 0;
}

static int read_header(struct mock_head *h, struct mock_slice name, struct mock_slice value)
{
	if (NAMED(name, "content-length"))
		return read_length(h, value);
	if (NAMED(name, "transfer-encoding")) {
		if (h->chunked || !NAMED(value, "chunked"))
			return 400;
		h->chunked = true;
	} else if (NAMED(name, "connection")) {
		if (has_word(value, "close"))
			h->close = true;
		else if (has_word(value, "keep-alive"))
			h->close = false;
	} else if (NAMED(name, "x-tenant")) {
		h->tenant = value;
	} else if (NAMED(name, "expect")) {
		h->expect = NAMED(value, "100-continue");
	}
	return 0;
}

/* METHOD SP TARGET SP HTTP/1.x, nothing else. */
static int read_line(struct mock_head *h, const char *p, const char *end)
{
	const char *sp = find(p, end, ' ');
	const char *mark;

	if (!sp || !is_token(p, (size_t)(sp - p)) || end - sp < 11)
		return 400;
	if (memcmp(end - 9, " HTTP/1.", 8) != 0 || (end[-1] != '0' && end[-1] != '1'))
		return 400;
	h->http10 = h->close = end[-1] == '0';
	h->method = (struct mock_slice){p, (size_t)(sp - p)};
	h->target = (struct mock_slice){sp + 1, (size_t)(end - 9 - (sp + 1))};
	for (size_t i = 0; i < h->target.n; i++)
		if ((unsigned char)h->target.p[i] <= ' ' || h->target.p[i] == 127)
			return 400;
	h->path = h->target;
	mark = find(h->target.p, h->target.p + h->target.n, '?');
	if (mark) {
		h->path.n = (size_t)(mark - h->target.p);
		h->query = (struct mock_slice){mark + 1, h->target.n - h->path.n - 1};
	}
	return h->target.n ? 0 : 400;
}

static bool split(const char *p, const char *end, struct mock_slice *name, struct mock_slice *value)
{
	const char *colon = find(p, end, ':');

	if (!colon || !is_token(p, (size_t)(colon - p)))
		return false;
	*name = (struct mock_slice){p, (size_t)(colon - p)};
	for (p = colon + 1; p < end && (*p == ' ' || *p == '\t'); p++)
		;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*value = (struct mock_slice){p, (size_t)(end - p)};
	return !memchr(p, 0, value->n) && !memchr(p, '\r', value->n);
}

int mock_head_parse(const char *p, size_t n, struct mock_head *h)
{
	const char *end = p + n;
	const char *nl = find(p, end, '\n');
	struct mock_slice name, value;

	memset(h, 0, sizeof(*h));
	if (!nl || nl == p || nl[-1] != '\r' || read_line(h, p, nl - 1) != 0)
		return 400;
	for (p = nl + 1; p + 2 < end; p = nl + 1) {
		nl = find(p, end, '\n');
		if (!nl || nl == p || nl[-1] != '\r' || !split(p, nl - 1, &name, &value))
			return 400;
		if (read_header(h, name, value) != 0)
			return 400;
	}
	return h->chunked && (h->has_length || h->http10) ? 400 : 0;
}

bool mock_head_next(const char *p, size_t n, size_t *at, struct mock_slice *name,
		    struct mock_slice *value)
{
	const char *nl = find(p + *at, p + n, '\n');

	if (*at == 0 && nl) {
		*at = (size_t)(nl - p) + 1;
		nl = find(p + *at, p + n, '\n');
	}
	if (!nl || nl - (p + *at) < 2 || !split(p + *at, nl - 1, name, value))
		return false;
	*at = (size_t)(nl - p) + 1;
	return true;
}

static int hex(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if ((ch | 32) >= 'a' && (ch | 32) <= 'f')
		return (ch | 32) - 'a' + 10;
	return -1;
}

static int chunk_size(struct mock_body *b, char ch)
{
	int digit = hex(ch);

	if (digit >= 0 && b->digits < 15) {
		b->left = b->left * 16 + (uint64_t)digit;
		b->digits++;
		return 0;
	}
	if (digit >= 0 || b->digits == 0 || (ch != '\r' && ch != ';'))
		return -1;
	b->state = ch == ';' ? CHUNK_EXT : CHUNK_LF;
	return 0;
}

/* One byte of framing. */
static int chunk_byte(struct mock_body *b, char ch)
{
	switch (b->state) {
	case CHUNK_SIZE:
		return chunk_size(b, ch);
	case CHUNK_EXT:
		b->state = ch == '\r' ? CHUNK_LF : CHUNK_EXT;
		return ch == '\n' || ch == 0 ? -1 : 0;
	case CHUNK_LF:
		b->state = b->left ? CHUNK_DATA : CHUNK_TRAILER;
		b->digits = b->line = 0;
		b->last = 0;
		return ch == '\n' ? 0 : -1;
	case CHUNK_END:
		if (ch != (b->digits ? '\n' : '\r'))
			return -1;
		b->state = b->digits ? CHUNK_SIZE : CHUNK_END;
		b->digits = !b->digits;
		return 0;
	case CHUNK_TRAILER:
		if (ch == '\n') {
			if (b->last != '\r')
				return -1;
			b->state = b->line == 1 ? CHUNK_DONE : CHUNK_TRAILER;
			b->line = 0;
		} else {
			b->line++;
		}
		b->last = ch;
		return b->line > 8192 ? -1 : 0;
	case CHUNK_DATA:
	case CHUNK_DONE:
	default:
		return 0;
	}
}

static size_t take_data(struct mock_body *b, const char *p, size_t n, struct mock_slice *data)
{
	size_t take = b->left < n ? (size_t)b->left : n;

	*data = (struct mock_slice){p, take};
	b->left -= take;
	if (b->chunked && b->left == 0)
		b->state = CHUNK_END;
	return take;
}

long mock_body_eat(struct mock_body *b, const char *p, size_t n, struct mock_slice *data)
{
	size_t at = 0;

	*data = (struct mock_slice){p, 0};
	if (!b->chunked)
		return (long)take_data(b, p, n, data);
	while (at < n && b->state != CHUNK_DATA && b->state != CHUNK_DONE)
		if (chunk_byte(b, p[at++]) < 0)
			return -1;
	if (at < n && b->state == CHUNK_DATA)
		at += take_data(b, p + at, n - at, data);
	return (long)at;
}

bool mock_body_done(const struct mock_body *b)
{
	return b->chunked ? b->state == CHUNK_DONE : b->left == 0;
}
