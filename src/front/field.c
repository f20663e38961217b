#include "front/field.h"

#include <string.h>
#include <strings.h>

/* Names that are more than plain; grouped by length, so that most lookups compare nothing. */
static const struct known {
	const char *name;
	enum sq_field_kind kind;
} known[] = {
	{"te", SQ_FIELD_HOP},
	/* Not of HTTP; to a CGI-like function it is HTTP_PROXY, the proxy of its own calls. */
	{"proxy", SQ_FIELD_HOP},
	{"host", SQ_FIELD_HOST},
	{"cookie", SQ_FIELD_PINNED},
	{"expect", SQ_FIELD_EXPECT},
	{"trailer", SQ_FIELD_HOP},
	{"upgrade", SQ_FIELD_HOP},
	{"forwarded", SQ_FIELD_PINNED},
	{"x-api-key", SQ_FIELD_API_KEY},
	{"x-call-id", SQ_FIELD_OURS},
	{"connection", SQ_FIELD_CONNECTION},
	{"keep-alive", SQ_FIELD_HOP},
	{"tracestate", SQ_FIELD_PINNED},
	{"traceparent", SQ_FIELD_TRACEPARENT},
	{"content-type", SQ_FIELD_PINNED},
	{"authorization", SQ_FIELD_AUTHORIZATION},
	{"cache-control", SQ_FIELD_PINNED},
	{"content-range", SQ_FIELD_PINNED},
	{"content-length", SQ_FIELD_CONTENT_LENGTH},
	{"http2-settings", SQ_FIELD_HOP},
	{"idempotency-key", SQ_FIELD_PINNED},
	{"x-forwarded-for", SQ_FIELD_FORWARDED_FOR},
	{"x-callback-url", SQ_FIELD_CALLBACK},
	{"content-encoding", SQ_FIELD_PINNED},
	{"content-language", SQ_FIELD_PINNED},
	{"x-forwarded-host", SQ_FIELD_FORWARDED_HOST},
	{"proxy-connection", SQ_FIELD_HOP},
	{"transfer-encoding", SQ_FIELD_TRANSFER_ENCODING},
	{"x-forwarded-proto", SQ_FIELD_FORWARDED_PROTO},
	{"proxy-authenticate", SQ_FIELD_HOP},
	{"proxy-authorization", SQ_FIELD_HOP},
	{"content-disposition", SQ_FIELD_PINNED},
};

#define OURS "x-sequoia-"

static bool is_ours(const char *name, size_t len)
{
	return len >= sizeof(OURS) - 1 && strncasecmp(name, OURS, sizeof(OURS) - 1) == 0;
}

enum sq_field_kind sq_field_kind(const char *name, size_t len)
{
	char first = len > 0 ? (char)(name[0] | 0x20) : '\0';

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		const char *k = known[i].name;

		if (k[0] == first && strncasecmp(k, name, len) == 0 && k[len] == '\0')
			return known[i].kind;
	}
	return is_ours(name, len) ? SQ_FIELD_OURS : SQ_FIELD_PLAIN;
}

bool sq_field_is_alias(const char *name, size_t len)
{
	char as[32];
	bool odd = false;

	/* Longer than every name we own, but for our prefix: then the prefix decides. */
	if (len >= sizeof(as))
		len = sizeof(as) - 1;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];
		bool word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

		as[i] = word ? c : '-';
		odd |= !word && c != '-';
	}
	if (!odd)
		return false;
	switch (sq_field_kind(as, len)) {
	case SQ_FIELD_PLAIN:
	case SQ_FIELD_PINNED:
		return false;
	default:
		return true;
	}
}

bool sq_field_named(const struct sq_field *f, const char *name)
{
	return strncasecmp(f->name, name, f->name_len) == 0 && name[f->name_len] == '\0';
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

size_t sq_field_trimmed(const struct sq_field *f)
{
	size_t n = f->value_len;

	while (n > 0 && blank(f->value[n - 1]))
		n--;
	return n;
}

bool sq_field_token(const struct sq_field *f, size_t *at, const char **token, size_t *len)
{
	size_t i = *at, end;

	while (i < f->value_len && (blank(f->value[i]) || f->value[i] == ','))
		i++;
	if (i == f->value_len)
		return false;
	*token = f->value + i;
	while (i < f->value_len && f->value[i] != ',')
		i++;
	*at = end = i;
	while (blank(f->value[end - 1]))
		end--;
	*len = (size_t)(f->value + end - *token);
	return true;
}
