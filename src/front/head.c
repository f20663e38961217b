/* What the head of a request becomes: a tenant, and the fields that the function gets. */
#include "front/conn.h"
#include "front/guard.h"

#include <gnutls/crypto.h>
#include <string.h>
#include <strings.h>

#define SHA256 32

/* ---- who asks ---- */

static bool equal(const uint8_t *a, const uint8_t *b)
{
	unsigned differ = 0;

	for (size_t i = 0; i < SHA256; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

/* All keys are looked at, and each to its end: the time tells nothing about them. */
static const char *whose(const struct sq_settings *s, const char *key, size_t len)
{
	uint8_t sum[SHA256];
	const char *name = NULL;

	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, key, len, sum) < 0)
		return NULL;
	for (size_t i = 0; i < s->n_tenants; i++)
		if (equal(sum, s->tenants[i].key_sha256))
			name = s->tenants[i].name;
	return name;
}

/* The token of `Bearer TOKEN`; false: another scheme. */
static bool bearer(const struct sq_field *f, const char **key, size_t *len)
{
	size_t n = sq_field_trimmed(f), at = 7;

	if (n < 7 || strncasecmp(f->value, "Bearer ", 7) != 0)
		return false;
	while (at < n && f->value[at] == ' ')
		at++;
	*key = f->value + at;
	*len = n - at;
	return true;
}

/*
 * X-Api-Key is ours; without it, so is a bearer token; with it, Authorization is the function's.
 * The credential's field is marked as not to be handed on. Where no tenants are configured, nothing
 * is a credential of ours. NULL: none; *twice: more than one.
 */
static struct sq_field *credential(struct sq_field *fields, size_t n, const char **key, size_t *len,
				   bool *twice)
{
	struct sq_field *found = NULL, *authorization = NULL;

	for (size_t i = 0; i < n; i++) {
		struct sq_field *f = &fields[i];

		if (f->kind == SQ_FIELD_API_KEY) {
			*twice |= found != NULL;
			found = f;
			*key = f->value;
			*len = sq_field_trimmed(f);
		} else if (f->kind == SQ_FIELD_AUTHORIZATION) {
			*twice |= authorization != NULL;
			authorization = f;
		}
	}
	if (!found && authorization && bearer(authorization, key, len))
		found = authorization;
	return found;
}

enum sq_fault head_tenant(struct conn *c, const struct sq_settings *s, struct sq_field *fields,
			  size_t n)
{
	struct request *rq = &c->rq;
	struct sq_field *f = NULL;
	const char *key = NULL, *name = NULL;
	size_t len = 0;
	bool twice = false;

	if (s->n_tenants > 0)
		f = credential(fields, n, &key, &len, &twice);
	if (twice) {
		rq->detail = "more than one credential";
		return SQ_FAULT_BAD_REQUEST;
	}
	if (f) {
		f->kind = SQ_FIELD_OURS;
		name = whose(s, key, len);
	} else if (s->anonymous) {
		rq->tenant = "anonymous";
		return SQ_FAULT_NONE;
	}
	if (!name)
		return SQ_FAULT_UNAUTHORIZED;
	/* Settings may be replaced while the body comes. */
	rq->tenant = sq_arena_strndup(rq->arena, name, strlen(name));
	return rq->tenant ? SQ_FAULT_NONE : SQ_FAULT_MEMORY;
}

/* ---- what is handed on ---- */

struct names {
	size_t n;
	struct {
		const char *name;
		size_t len;
	} at[SQ_GUARD_TOKENS];
};

/* What Connection names, but for what it cannot name away. The guard has bounded their number. */
static void hop_names(const struct sq_field *fields, size_t n, struct names *out)
{
	const char *token;
	size_t at, len;

	out->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (fields[i].kind != SQ_FIELD_CONNECTION)
			continue;
		for (at = 0; sq_field_token(&fields[i], &at, &token, &len);) {
			if (out->n == SQ_GUARD_TOKENS)
				return;
			out->at[out->n].name = token;
			out->at[out->n++].len = len;
		}
	}
}

static bool named(const struct names *names, const struct sq_field *f)
{
	for (size_t i = 0; i < names->n; i++)
		if (names->at[i].len == f->name_len &&
		    strncasecmp(names->at[i].name, f->name, f->name_len) == 0)
			return true;
	return false;
}

static bool handed_on(const struct request *rq, const struct sq_field *f,
		      const struct names *names)
{
	if (rq->json_input && f->name_len > 8 && strncasecmp(f->name, "content-", 8) == 0)
		return false;
	switch (f->kind) {
	case SQ_FIELD_PLAIN:
	case SQ_FIELD_CALLBACK:
		return !named(names, f);
	case SQ_FIELD_PINNED:
	case SQ_FIELD_AUTHORIZATION:
	case SQ_FIELD_API_KEY: /* no tenants configured: it is the function's */
		return true;
	default:
		return false;
	}
}

static char *put(char *p, const char *s, size_t len)
{
	memcpy(p, s, len);
	return p + len;
}

static char *put_field(char *p, const char *name, size_t name_len, const char *value,
		       size_t value_len)
{
	p = put(p, name, name_len);
	p = put(p, ": ", 2);
	p = put(p, value, value_len);
	return put(p, "\r\n", 2);
}

static const struct sq_field *find(const struct sq_field *fields, size_t n, enum sq_field_kind kind)
{
	for (size_t i = 0; i < n; i++)
		if (fields[i].kind == kind)
			return &fields[i];
	return NULL;
}

/* RFC 7239's predecessors: each proxy adds the address it sees at the end. */
static char *put_forwarded_for(char *p, const struct conn *c, const struct sq_field *fields,
			       size_t n)
{
	p = put(p, "X-Forwarded-For: ", 17);
	for (size_t i = 0; i < n; i++) {
		size_t len = sq_field_trimmed(&fields[i]);

		if (fields[i].kind != SQ_FIELD_FORWARDED_FOR || len == 0)
			continue;
		p = put(p, fields[i].value, len);
		p = put(p, ", ", 2);
	}
	p = put(p, c->peer, strlen(c->peer));
	return put(p, "\r\n", 2);
}

/*
 * A proxy in front that speaks TLS says so by X-Forwarded-Proto, and is believed: a lie harms the
 * liar. A host is not: links that functions make of it reach others.
 */
static char *put_forwarded(char *p, const struct conn *c, const struct sq_field *host,
			   const struct sq_field *fields, size_t n)
{
	const struct sq_field *proto = find(fields, n, SQ_FIELD_FORWARDED_PROTO);
	bool https = proto && sq_field_trimmed(proto) == 5 &&
		     strncasecmp(proto->value, "https", 5) == 0;

	p = put_forwarded_for(p, c, fields, n);
	p = https ? put(p, "X-Forwarded-Proto: https\r\n", 26)
		  : put(p, "X-Forwarded-Proto: http\r\n", 25);
	if (host)
		p = put_field(p, "X-Forwarded-Host", 16, host->value, sq_field_trimmed(host));
	return p;
}

static char *put_trace(char *p, struct conn *c, const struct sq_field *fields, size_t n)
{
	const struct sq_field *in = find(fields, n, SQ_FIELD_TRACEPARENT);
	struct sq_random *random = sq_home_random(c->front->home);
	char out[SQ_TRACEPARENT];

	sq_traceparent(out, in ? in->value : NULL, in ? sq_field_trimmed(in) : 0, c->rq.id, random);
	return put_field(p, "traceparent", 11, out, sizeof(out) - 1);
}

int head_build(struct conn *c, const struct sq_field *host, const struct sq_field *fields, size_t n)
{
	struct request *rq = &c->rq;
	struct names names;
	size_t bytes = 256 + sizeof(c->peer);
	char *p;

	for (size_t i = 0; i < n; i++)
		bytes += fields[i].name_len + fields[i].value_len + 4;
	p = sq_arena_alloc(rq->arena, bytes);
	if (!p)
		return -1;
	rq->headers = p;
	hop_names(fields, n, &names);
	for (size_t i = 0; i < n; i++)
		if (handed_on(rq, &fields[i], &names))
			p = put_field(p, fields[i].name, fields[i].name_len, fields[i].value,
				      sq_field_trimmed(&fields[i]));
	if (rq->json_input)
		p = put(p, "Content-Type: application/json\r\n", 32);
	p = put_forwarded(p, c, host, fields, n);
	p = put_trace(p, c, fields, n);
	rq->headers_len = (size_t)(p - rq->headers);
	return 0;
}
