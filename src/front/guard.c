#include "front/guard.h"

#include <string.h>
#include <strings.h>

#define METHOD_MAX 32

/* ---- bytes ---- */

static bool is_token_byte(char c)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
		return true;
	return c != '\0' && strchr(others, c) != NULL;
}

static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_token_byte(s[i]))
			return false;
	return len > 0;
}

/* HTAB, visible ASCII, blank and obs-text (0x80-0xff); no other control. */
static bool is_value(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* ---- the request line ---- */

static enum sq_fault bad(struct sq_guard_verdict *v, enum sq_fault fault, const char *reason)
{
	v->fault = fault;
	v->reason = reason;
	return fault;
}

static enum sq_fault check_method(const char *m, struct sq_guard_verdict *v)
{
	size_t len = strlen(m);

	for (size_t i = 0; i < len; i++)
		if (!(m[i] >= 'A' && m[i] <= 'Z') && m[i] != '-' && m[i] != '_')
			return bad(v, SQ_FAULT_BAD_REQUEST, "the method is not a name in capitals");
	if (len == 0 || len > METHOD_MAX)
		return bad(v, SQ_FAULT_BAD_REQUEST, "the method's name has no sensible length");
	if (strcmp(m, "CONNECT") == 0 || strcmp(m, "TRACE") == 0 || strcmp(m, "TRACK") == 0)
		return bad(v, SQ_FAULT_METHOD, "CONNECT and TRACE are not served");
	return SQ_FAULT_NONE;
}

/* One character of a path, decoded; *at moves behind it. -1: a broken or forbidden escape. */
static int path_char(const char *s, size_t len, size_t *at)
{
	int hi, lo, c;

	if (s[*at] != '%')
		return (unsigned char)s[(*at)++];
	if (len - *at < 3)
		return -1;
	hi = hex(s[*at + 1]);
	lo = hex(s[*at + 2]);
	c = hi * 16 + lo;
	if (hi < 0 || lo < 0 || c < ' ' || c == 0x7f)
		return -1;
	*at += 3;
	return c;
}

/*
 * No segment may be `..`, however it is written: encoded, ended by %2f, %5c or a backslash, or with
 * parameters (`..;x`): functions and their file systems read these as one level up.
 */
static const char *check_path(const char *s, size_t len)
{
	size_t at = 0;
	int dots = 0; /* of the segment so far; -1: it has something else */

	while (at < len) {
		int c = path_char(s, len, &at);

		if (c < 0)
			return "the path has a broken escape or an encoded control character";
		if (c == '/' || c == '\\' || c == ';') {
			if (dots == 2)
				return "the path has a `..` segment";
			dots = c == ';' ? -1 : 0;
		} else if (c == '.' && dots >= 0) {
			dots++;
		} else {
			dots = -1;
		}
	}
	return dots == 2 ? "the path has a `..` segment" : NULL;
}

static enum sq_fault check_target(const char *t, size_t len, struct sq_guard_verdict *v)
{
	const char *query = memchr(t, '?', len), *why;
	size_t path_len = query ? (size_t)(query - t) : len;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)t[i];

		if (c <= ' ' || c >= 0x7f || c == '#')
			return bad(v, SQ_FAULT_BAD_REQUEST,
				   "the target has a blank, a control, a # or a byte beyond ASCII");
	}
	if (len == 0 || t[0] != '/')
		return bad(v, SQ_FAULT_BAD_REQUEST, "the target is not a path (origin-form)");
	if (memchr(t, '\\', path_len))
		return bad(v, SQ_FAULT_BAD_REQUEST, "the path has a backslash");
	why = check_path(t, path_len);
	return why ? bad(v, SQ_FAULT_BAD_REQUEST, why) : SQ_FAULT_NONE;
}

static enum sq_fault check_version(const char *s, struct sq_guard_verdict *v)
{
	if (strncmp(s, "HTTP/1.", 7) != 0 || s[7] < '0' || s[7] > '9' || s[8] != '\0')
		return bad(v, SQ_FAULT_BAD_REQUEST, "the version is not HTTP/1.0 or HTTP/1.1");
	v->http_1_0 = s[7] == '0';
	return SQ_FAULT_NONE;
}

/* ---- fields ---- */

static enum sq_fault check_length(const struct sq_field *f, struct sq_guard_verdict *v)
{
	int64_t n = 0;

	if (v->length >= 0)
		return bad(v, SQ_FAULT_BAD_REQUEST, "Content-Length is repeated");
	if (f->value_len == 0 || f->value_len > 18)
		return bad(v, SQ_FAULT_BAD_REQUEST,
			   "Content-Length is not a number of sensible size");
	for (size_t i = 0; i < f->value_len; i++) {
		if (f->value[i] < '0' || f->value[i] > '9')
			return bad(v, SQ_FAULT_BAD_REQUEST, "Content-Length is not a number");
		n = n * 10 + (f->value[i] - '0');
	}
	v->length = n;
	return SQ_FAULT_NONE;
}

static enum sq_fault check_coding(const struct sq_field *f, struct sq_guard_verdict *v)
{
	if (v->chunked)
		return bad(v, SQ_FAULT_BAD_REQUEST, "Transfer-Encoding is repeated");
	if (f->value_len != 7 || strncasecmp(f->value, "chunked", 7) != 0)
		return bad(v, SQ_FAULT_BAD_REQUEST, "Transfer-Encoding is not exactly chunked");
	if (v->http_1_0)
		return bad(v, SQ_FAULT_BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding");
	v->chunked = true;
	return SQ_FAULT_NONE;
}

/* uri-host [ ":" port ] by its alphabet: what can be copied into X-Forwarded-Host without harm. */
static enum sq_fault check_host(const struct sq_field *f, struct sq_guard_verdict *v)
{
	size_t len = sq_field_trimmed(f);

	if (v->host)
		return bad(v, SQ_FAULT_BAD_REQUEST, "Host is repeated");
	for (size_t i = 0; i < len; i++) {
		char c = f->value[i];
		bool word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

		if (!word && (c == '\0' || !strchr("-._~%!$&'()*+;=:[]", c)))
			return bad(v, SQ_FAULT_BAD_REQUEST, "Host is not a host");
	}
	if (len == 0 || len > 255 + 6)
		return bad(v, SQ_FAULT_BAD_REQUEST, "Host has no sensible length");
	v->host = f;
	return SQ_FAULT_NONE;
}

static enum sq_fault check_expect(const struct sq_field *f, struct sq_guard_verdict *v)
{
	if (f->value_len != 12 || strncasecmp(f->value, "100-continue", 12) != 0)
		return bad(v, SQ_FAULT_EXPECTATION, NULL);
	return SQ_FAULT_NONE;
}

static enum sq_fault check_connection(const struct sq_field *f, struct sq_guard_verdict *v)
{
	const char *token;
	size_t at = 0, len, n = 0;

	while (sq_field_token(f, &at, &token, &len))
		if (++n > SQ_GUARD_TOKENS || !is_token(token, len))
			return bad(v, SQ_FAULT_BAD_REQUEST,
				   "Connection is not a short list of names");
	return SQ_FAULT_NONE;
}

static enum sq_fault check_field(struct sq_field *f, struct sq_guard_verdict *v)
{
	if (!is_token(f->name, f->name_len))
		return bad(v, SQ_FAULT_BAD_REQUEST, "a header's name is not a name");
	if (!is_value(f->value, f->value_len))
		return bad(v, SQ_FAULT_BAD_REQUEST, "a header's value has a control character");
	if (sq_field_is_alias(f->name, f->name_len))
		return bad(v, SQ_FAULT_BAD_REQUEST,
			   "a header's name imitates one with a meaning here");
	f->kind = sq_field_kind(f->name, f->name_len);
	switch (f->kind) {
	case SQ_FIELD_CONTENT_LENGTH:
		return check_length(f, v);
	case SQ_FIELD_TRANSFER_ENCODING:
		return check_coding(f, v);
	case SQ_FIELD_HOST:
		return check_host(f, v);
	case SQ_FIELD_EXPECT:
		return check_expect(f, v);
	case SQ_FIELD_CONNECTION:
		return check_connection(f, v);
	default:
		return SQ_FAULT_NONE;
	}
}

static enum sq_fault check_fields(const struct sq_guard_head *h, struct sq_guard_verdict *v)
{
	size_t bytes = strlen(h->method) + h->target_len + 14;

	if (h->n_fields > SQ_GUARD_FIELDS)
		return bad(v, SQ_FAULT_HEADERS_TOO_LARGE, "more than 100 header fields");
	for (size_t i = 0; i < h->n_fields; i++) {
		if (check_field(&h->fields[i], v))
			return v->fault;
		bytes += h->fields[i].name_len + h->fields[i].value_len + 4;
	}
	if (bytes > h->max_bytes)
		return bad(v, SQ_FAULT_HEADERS_TOO_LARGE, NULL);
	return SQ_FAULT_NONE;
}

void sq_guard_check(const struct sq_guard_head *head, struct sq_guard_verdict *v)
{
	*v = (struct sq_guard_verdict){.length = -1};
	if (check_version(head->version, v) || check_method(head->method, v) ||
	    check_target(head->target, head->target_len, v) || check_fields(head, v))
		return;
	if (v->chunked && v->length >= 0)
		bad(v, SQ_FAULT_BAD_REQUEST, "both Content-Length and Transfer-Encoding");
	else if (!v->host && !v->http_1_0)
		bad(v, SQ_FAULT_BAD_REQUEST, "Host is missing");
}

/* ---- the gaps ---- */

/* Is it all NUL, but for blanks, from a to b: a colon and what may stand around a value? */
static bool only_blanks(const char *a, const char *b)
{
	for (; a < b; a++)
		if (*a != ' ' && *a != '\t')
			return false;
	return true;
}

const char *sq_guard_gaps(const struct sq_guard_place *p)
{
	const char *at = p->version + strlen(p->version);

	if (p->target != p->method + strlen(p->method) + 1 ||
	    p->version != p->target + p->target_len + 1)
		return "the request line has more blanks than two, or a NUL";
	for (size_t i = 0; i < p->n_fields; i++) {
		const struct sq_field *f = &p->fields[i];

		if (f->name != at + 2)
			return "a line of the head is folded, has a NUL, or ends with a bare LF";
		if (f->value <= f->name + f->name_len ||
		    !only_blanks(f->name + f->name_len + 1, f->value))
			return "a header's name is folded or has a NUL";
		at = f->value + f->value_len;
	}
	return p->end == at + 4 ? NULL : "a line of the head has a NUL or ends with a bare LF";
}
