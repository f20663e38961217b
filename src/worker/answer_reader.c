/*
 * Lines are found by memchr and read where they lie; only a line that is split over two reads is
 * put together in `held`. So the result does not depend on how the bytes were cut, and a byte is
 * looked at a fixed number of times whatever the cut.
 */
#include "worker/answer_reader.h"

#include <string.h>

static const char no_memory[] = "out of memory";
static const char tab[] = "tab in a framing field";

static enum sq_read bad(struct sq_answer_reader *r, const char *reason)
{
	r->state = SQ_READER_BROKEN;
	r->reason = reason;
	r->keep = false;
	return SQ_READ_BAD;
}

static void begin_head(struct sq_answer_reader *r)
{
	r->state = SQ_READER_STATUS;
	r->keep = false;
	r->keep_alive_s = 0;
	r->http10 = r->chunked = r->has_length = false;
	r->n_options = 0;
	r->left = 0;
	r->answer->n_headers = 0;
	r->answer->event_stream = false;
	r->answer->length = -1;
}

void sq_answer_reader_begin(struct sq_answer_reader *r, struct sq_answer *answer,
			    struct sq_arena *arena, bool is_head)
{
	r->answer = answer;
	r->arena = arena;
	r->head_request = is_head;
	r->reason = NULL;
	r->interim = 0;
	r->head_bytes = r->headers_cap = r->held.len = 0;
	answer->headers = NULL;
	answer->status = 0;
	begin_head(r);
}

void sq_answer_reader_free(struct sq_answer_reader *r)
{
	sq_buf_free(&r->held);
}

enum sq_fault sq_answer_reader_fault(const struct sq_answer_reader *r)
{
	return r->reason == no_memory ? SQ_FAULT_MEMORY : SQ_FAULT_BACKEND_BROKEN;
}

/* --- lines --- */

/*
 * The next line, without its CRLF: MORE when its end has not come, BODY (any event would do) when
 * *line is set, BAD. max counts the CRLF too; a line longer than that is refused as too_long before
 * its end is known.
 */
static enum sq_read take_line(struct sq_answer_reader *r, struct sq_bytes *in, size_t max,
			      const char *too_long, struct sq_bytes *line)
{
	const char *lf = in->len ? memchr(in->data, '\n', in->len) : NULL;
	size_t n = lf ? (size_t)(lf - in->data) + 1 : in->len;

	if (r->held.len + n > max)
		return bad(r, too_long);
	*line = (struct sq_bytes){in->data, n};
	if (!lf || r->held.len > 0) {
		if (n > 0 && sq_buf_add(&r->held, in->data, n) < 0)
			return bad(r, no_memory);
		*line = (struct sq_bytes){r->held.data, r->held.len};
	}
	in->data += n;
	in->len -= n;
	if (!lf)
		return SQ_READ_MORE;
	r->held.len = 0; /* the bytes stay where they are until the next line */
	if (line->len < 2 || line->data[line->len - 2] != '\r')
		return bad(r, "line ended by a bare LF");
	line->len -= 2;
	return SQ_READ_BODY;
}

/* A line of a head or of trailers, which share one budget. */
static enum sq_read take_head_line(struct sq_answer_reader *r, struct sq_bytes *in,
				   struct sq_bytes *line)
{
	enum sq_read got = take_line(r, in, SQ_ANSWER_HEAD_MAX - r->head_bytes,
				     "head larger than 64 KiB", line);

	if (got == SQ_READ_BODY)
		r->head_bytes += line->len + 2;
	return got;
}

/* --- the status line --- */

/* As far as it has come. What is not HTTP may never end its line, so do not wait for that. */
static bool may_be_status(const struct sq_answer_reader *r, const struct sq_bytes *in)
{
	static const char prefix[7] = "HTTP/1.";
	size_t held = r->held.len < sizeof(prefix) ? r->held.len : sizeof(prefix);
	size_t more = in->len < sizeof(prefix) - held ? in->len : sizeof(prefix) - held;

	return (held == 0 || memcmp(r->held.data, prefix, held) == 0) &&
	       (more == 0 || memcmp(in->data, prefix + held, more) == 0);
}

/* HTTP/1.x SP 3DIGIT [SP reason]. Many servers leave out the space when there is no reason. */
static const char *read_status(struct sq_answer_reader *r, struct sq_bytes line)
{
	const char *p = line.data;
	int status;

	if (line.len < 12 || !sq_http_is_digit(p[7]) || p[8] != ' ')
		return "malformed status line";
	if (!sq_http_is_digit(p[9]) || !sq_http_is_digit(p[10]) || !sq_http_is_digit(p[11]))
		return "malformed status code";
	if (line.len > 12 && p[12] != ' ')
		return "malformed status code";
	if (sq_http_has_control(p + 12, line.len - 12))
		return "control character in the status line";
	status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	if (status < 100)
		return "status code below 100";
	r->http10 = p[7] == '0';
	r->answer->status = status;
	return NULL;
}

/* --- header lines --- */

static const char *split_header(struct sq_bytes line, struct sq_bytes *name, struct sq_bytes *value)
{
	const char *colon;

	if (line.data[0] == ' ' || line.data[0] == '\t')
		return "folded header line";
	colon = memchr(line.data, ':', line.len);
	if (!colon)
		return "header line without a colon";
	*name = (struct sq_bytes){line.data, (size_t)(colon - line.data)};
	if (!sq_http_is_token(name->data, name->len))
		return "header name is not a token";
	*value = sq_http_trim(colon + 1, line.data + line.len);
	if (sq_http_has_control(value->data, value->len))
		return "control character in a header";
	return NULL;
}

/* Allowed around a value, but readers are known that take "chunked\t" for another coding. */
static bool has_tab(struct sq_bytes line)
{
	return memchr(line.data, '\t', line.len) != NULL;
}

static const char *read_length(struct sq_answer_reader *r, struct sq_bytes v)
{
	int64_t n = 0;
	size_t i;

	if (r->has_length)
		return "Content-Length twice";
	if (v.len == 0)
		return "malformed Content-Length";
	for (i = 0; i < v.len; i++) {
		if (!sq_http_is_digit(v.data[i]))
			return "malformed Content-Length";
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, v.data[i] - '0', &n))
			return "Content-Length overflows";
	}
	r->has_length = true;
	r->answer->length = n;
	return NULL;
}

static const char *read_coding(struct sq_answer_reader *r, struct sq_bytes v)
{
	if (r->chunked || !SQ_HTTP_IS(v, "chunked"))
		return "Transfer-Encoding other than chunked";
	r->chunked = true;
	return NULL;
}

/* Keep-Alive: timeout=5, max=100. What is not understood is left aside. */
static void read_keep_alive(struct sq_answer_reader *r, struct sq_bytes v)
{
	size_t i, at = sizeof("timeout=") - 1;

	if (v.len <= at || !sq_http_same((struct sq_bytes){v.data, at}, "timeout=", at))
		return;
	r->keep_alive_s = 0;
	for (i = at; i < v.len && i < at + 6 && sq_http_is_digit(v.data[i]); i++)
		r->keep_alive_s = r->keep_alive_s * 10 + (unsigned)(v.data[i] - '0');
}

static struct sq_header *new_header(struct sq_answer_reader *r)
{
	struct sq_answer *a = r->answer;
	struct sq_header *bigger;
	size_t cap;

	if (a->n_headers < r->headers_cap)
		return &a->headers[a->n_headers++];
	cap = r->headers_cap ? r->headers_cap * 2 : 16;
	bigger = sq_arena_alloc(r->arena, cap * sizeof(*bigger));
	if (!bigger)
		return NULL;
	if (a->n_headers > 0)
		memcpy(bigger, a->headers, a->n_headers * sizeof(*bigger));
	a->headers = bigger;
	r->headers_cap = cap;
	return &a->headers[a->n_headers++];
}

static const char *keep_header(struct sq_answer_reader *r, struct sq_bytes name,
			       struct sq_bytes value)
{
	struct sq_header *h;
	char *text;

	if (r->answer->n_headers == SQ_ANSWER_HEADERS_MAX)
		return "too many headers";
	text = sq_arena_alloc(r->arena, name.len + value.len + 2);
	h = text ? new_header(r) : NULL;
	if (!h)
		return no_memory;
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	memcpy(text + name.len + 1, value.data, value.len);
	text[name.len + 1 + value.len] = '\0';
	h->name = text;
	h->name_len = (uint32_t)name.len;
	h->value = text + name.len + 1;
	h->value_len = (uint32_t)value.len;
	return NULL;
}

/* The options are looked at when the head is complete; the value must outlive the input. */
static const char *read_connection(struct sq_answer_reader *r, struct sq_bytes v)
{
	char *copy;

	if (r->n_options == SQ_ANSWER_OPTIONS_MAX)
		return "too many Connection headers";
	copy = sq_arena_strndup(r->arena, v.data, v.len);
	if (!copy)
		return no_memory;
	r->options[r->n_options++] = (struct sq_bytes){copy, v.len};
	return NULL;
}

static bool is_event_stream(struct sq_bytes v)
{
	static const char type[] = "text/event-stream";
	size_t n = sizeof(type) - 1;

	return v.len >= n && sq_http_same((struct sq_bytes){v.data, n}, type, n) &&
	       (v.len == n || v.data[n] == ';' || v.data[n] == ' ' || v.data[n] == '\t');
}

/* RFC 9110 section 7.6.1; Trailer, since trailers are dropped. */
static bool is_of_hop(struct sq_bytes name)
{
	return SQ_HTTP_IS(name, "TE") || SQ_HTTP_IS(name, "Upgrade") ||
	       SQ_HTTP_IS(name, "Trailer") || SQ_HTTP_IS(name, "Proxy-Connection") ||
	       SQ_HTTP_IS(name, "Proxy-Authenticate");
}

/* Framing and hop-by-hop fields are used up here; the others are kept. */
static const char *read_header(struct sq_answer_reader *r, struct sq_bytes line)
{
	struct sq_bytes name, value;
	const char *fault = split_header(line, &name, &value);

	if (fault)
		return fault;
	switch (name.len) {
	case 2:
	case 7:
	case 16:
	case 18:
		if (is_of_hop(name))
			return NULL;
		break;
	case 10:
		if (SQ_HTTP_IS(name, "Connection"))
			return read_connection(r, value);
		if (SQ_HTTP_IS(name, "Keep-Alive")) {
			read_keep_alive(r, value);
			return NULL;
		}
		break;
	case 12:
		if (SQ_HTTP_IS(name, "Content-Type"))
			r->answer->event_stream = is_event_stream(value);
		break;
	case 14:
		if (SQ_HTTP_IS(name, "Content-Length"))
			return has_tab(line) ? tab : read_length(r, value);
		break;
	case 17:
		if (SQ_HTTP_IS(name, "Transfer-Encoding"))
			return has_tab(line) ? tab : read_coding(r, value);
		break;
	default:
		break;
	}
	return keep_header(r, name, value);
}

/* --- the end of the head --- */

static void drop_header(struct sq_answer *a, struct sq_bytes name)
{
	size_t i, kept = 0;

	for (i = 0; i < a->n_headers; i++) {
		if (!sq_http_same(name, a->headers[i].name, a->headers[i].name_len))
			a->headers[kept++] = a->headers[i];
	}
	a->n_headers = kept;
}

/* Applies the Connection options: close, keep-alive, and names of headers to be dropped. */
static const char *apply_options(struct sq_answer_reader *r)
{
	bool close = false, keep_alive = false;
	unsigned i, named = 0;

	for (i = 0; i < r->n_options; i++) {
		const char *p = r->options[i].data, *end = p + r->options[i].len;

		while (p < end) {
			const char *comma = memchr(p, ',', (size_t)(end - p));
			struct sq_bytes option = sq_http_trim(p, comma ? comma : end);

			p = comma ? comma + 1 : end;
			if (SQ_HTTP_IS(option, "close"))
				close = true;
			else if (SQ_HTTP_IS(option, "keep-alive"))
				keep_alive = true;
			else if (option.len > 0 && ++named > SQ_ANSWER_NAMED_MAX)
				return "Connection names too many headers";
			else if (option.len > 0)
				drop_header(r->answer, option);
		}
	}
	r->keep = !close && (!r->http10 || keep_alive);
	return NULL;
}

/* RFC 9112 section 6.3, in its order. */
static enum sq_read begin_body(struct sq_answer_reader *r)
{
	struct sq_answer *a = r->answer;

	if (r->chunked && (r->has_length || r->http10 || a->status == 204))
		return bad(r, "Transfer-Encoding where none may be");
	if (a->status == 204) {
		r->keep = r->keep && (!r->has_length || a->length == 0);
		a->length = 0;
		r->state = SQ_READER_DONE;
	} else if (r->head_request || a->status == 304) {
		r->state = SQ_READER_DONE;
	} else if (r->chunked) {
		r->state = SQ_READER_CHUNK_SIZE;
	} else if (r->has_length) {
		r->left = (uint64_t)a->length;
		r->state = r->left > 0 ? SQ_READER_LENGTH : SQ_READER_DONE;
	} else {
		r->keep = false;
		r->state = SQ_READER_UNTIL_CLOSE;
	}
	return SQ_READ_HEAD;
}

static enum sq_read end_head(struct sq_answer_reader *r)
{
	const char *fault = apply_options(r);

	if (fault)
		return bad(r, fault);
	if (r->answer->status >= 200)
		return begin_body(r);
	if (r->answer->status == 101)
		return bad(r, "101 that nobody asked for");
	if (r->chunked || (r->has_length && r->answer->length > 0))
		return bad(r, "an interim answer with a body");
	if (++r->interim > SQ_ANSWER_INTERIM_MAX)
		return bad(r, "too many interim answers");
	r->answer->status = 0;
	begin_head(r);
	return SQ_READ_MORE;
}

static enum sq_read read_head(struct sq_answer_reader *r, struct sq_bytes *in)
{
	struct sq_bytes line;
	const char *fault;
	enum sq_read got;

	for (;;) {
		if (r->state == SQ_READER_STATUS && !may_be_status(r, in))
			return bad(r, "not an HTTP/1.x status line");
		got = take_head_line(r, in, &line);
		if (got != SQ_READ_BODY)
			return got;
		if (r->state == SQ_READER_STATUS) {
			fault = read_status(r, line);
			r->state = SQ_READER_HEADERS;
		} else if (line.len > 0) {
			fault = read_header(r, line);
		} else {
			got = end_head(r);
			if (got != SQ_READ_MORE)
				return got;
			continue;
		}
		if (fault)
			return bad(r, fault);
	}
}

/* --- the body --- */

static enum sq_read take_body(struct sq_bytes *in, uint64_t most, struct sq_bytes *body)
{
	size_t n = in->len < most ? in->len : (size_t)most;

	if (n == 0)
		return SQ_READ_MORE;
	*body = (struct sq_bytes){in->data, n};
	in->data += n;
	in->len -= n;
	return SQ_READ_BODY;
}

static int hex(char c)
{
	if (sq_http_is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 1*HEXDIG [";" extension], at most 15 digits: below 2^60. */
static enum sq_read read_chunk_size(struct sq_answer_reader *r, struct sq_bytes line)
{
	uint64_t size = 0;
	size_t i;

	for (i = 0; i < line.len && hex(line.data[i]) >= 0; i++) {
		if (i == 15)
			return bad(r, "chunk size overflows");
		size = size << 4 | (unsigned)hex(line.data[i]);
	}
	if (i == 0 || (i < line.len && line.data[i] != ';'))
		return bad(r, "malformed chunk size");
	if (sq_http_has_control(line.data + i, line.len - i))
		return bad(r, "control character in a chunk extension");
	r->head_bytes += line.len - i;
	if (r->head_bytes > SQ_ANSWER_HEAD_MAX)
		return bad(r, "chunk extensions larger than 64 KiB");
	r->left = size;
	r->state = size > 0 ? SQ_READER_CHUNK : SQ_READER_TRAILERS;
	return SQ_READ_MORE;
}

/* Dropped, but a trailer that speaks of framing is an attempt at something. */
static enum sq_read read_trailer(struct sq_answer_reader *r, struct sq_bytes line)
{
	struct sq_bytes name, value;
	const char *fault;

	if (line.len == 0) {
		r->state = SQ_READER_DONE;
		return SQ_READ_MORE;
	}
	fault = split_header(line, &name, &value);
	if (fault)
		return bad(r, fault);
	if (SQ_HTTP_IS(name, "Content-Length") || SQ_HTTP_IS(name, "Transfer-Encoding"))
		return bad(r, "framing field in the trailers");
	return SQ_READ_MORE;
}

static enum sq_read read_chunk_data(struct sq_answer_reader *r, struct sq_bytes *in,
				    struct sq_bytes *body)
{
	enum sq_read got = take_body(in, r->left, body);

	if (got == SQ_READ_BODY) {
		r->left -= body->len;
		if (r->left == 0)
			r->state = SQ_READER_CHUNK_END;
	}
	return got;
}

/* A line between the chunks. Returns BODY to go on, like take_line. */
static enum sq_read read_chunk_line(struct sq_answer_reader *r, struct sq_bytes *in)
{
	struct sq_bytes line;
	enum sq_read got;

	if (r->state == SQ_READER_TRAILERS) {
		got = take_head_line(r, in, &line);
		if (got == SQ_READ_BODY && read_trailer(r, line) == SQ_READ_BAD)
			return SQ_READ_BAD;
		return got;
	}
	if (r->state == SQ_READER_CHUNK_SIZE) {
		got = take_line(r, in, SQ_ANSWER_CHUNK_LINE_MAX, "chunk size line too long", &line);
		if (got == SQ_READ_BODY && read_chunk_size(r, line) == SQ_READ_BAD)
			return SQ_READ_BAD;
		return got;
	}
	got = take_line(r, in, 2, "chunk not ended by CRLF", &line);
	if (got == SQ_READ_BODY)
		r->state = SQ_READER_CHUNK_SIZE;
	return got;
}

static enum sq_read read_chunks(struct sq_answer_reader *r, struct sq_bytes *in,
				struct sq_bytes *body)
{
	for (;;) {
		enum sq_read got;

		if (r->state == SQ_READER_DONE)
			return SQ_READ_END;
		if (r->state == SQ_READER_CHUNK)
			return read_chunk_data(r, in, body);
		got = read_chunk_line(r, in);
		if (got != SQ_READ_BODY)
			return got;
	}
}

static enum sq_read read_counted(struct sq_answer_reader *r, struct sq_bytes *in,
				 struct sq_bytes *body)
{
	enum sq_read got = take_body(in, r->left, body);

	if (got == SQ_READ_BODY) {
		r->left -= body->len;
		if (r->left == 0)
			r->state = SQ_READER_DONE;
	}
	return got;
}

enum sq_read sq_answer_read(struct sq_answer_reader *r, struct sq_bytes *in, struct sq_bytes *body)
{
	switch (r->state) {
	case SQ_READER_STATUS:
	case SQ_READER_HEADERS:
		return read_head(r, in);
	case SQ_READER_LENGTH:
		return read_counted(r, in, body);
	case SQ_READER_CHUNK_SIZE:
	case SQ_READER_CHUNK:
	case SQ_READER_CHUNK_END:
	case SQ_READER_TRAILERS:
		return read_chunks(r, in, body);
	case SQ_READER_UNTIL_CLOSE:
		return take_body(in, UINT64_MAX, body);
	case SQ_READER_DONE:
		return SQ_READ_END;
	case SQ_READER_BROKEN:
		break;
	}
	return SQ_READ_BAD;
}

enum sq_read sq_answer_closed(struct sq_answer_reader *r)
{
	switch (r->state) {
	case SQ_READER_UNTIL_CLOSE:
		r->state = SQ_READER_DONE;
		return SQ_READ_END;
	case SQ_READER_DONE:
		return SQ_READ_END;
	case SQ_READER_BROKEN:
		return SQ_READ_BAD;
	case SQ_READER_STATUS:
	case SQ_READER_HEADERS:
		return bad(r, "closed before the answer's head was complete");
	default:
		return bad(r, "closed before the answer's body was complete");
	}
}
