/* A header field of a request as it lies in the receive buffer, and what we do with its name. */
#ifndef SQ_FRONT_FIELD_H
#define SQ_FRONT_FIELD_H

#include <stdbool.h>
#include <stddef.h>

/* What a field is to us; the order has no meaning. */
enum sq_field_kind {
	SQ_FIELD_PLAIN, /* end-to-end: handed on as it is */
	SQ_FIELD_PINNED, /* end-to-end, and Connection cannot name it away */
	SQ_FIELD_HOST,
	SQ_FIELD_CONTENT_LENGTH,
	SQ_FIELD_TRANSFER_ENCODING,
	SQ_FIELD_EXPECT,
	SQ_FIELD_CONNECTION,
	SQ_FIELD_HOP, /* hop-by-hop by its name: dropped */
	SQ_FIELD_OURS, /* only we may say it: dropped */
	SQ_FIELD_API_KEY,
	SQ_FIELD_AUTHORIZATION,
	SQ_FIELD_FORWARDED_FOR,
	SQ_FIELD_FORWARDED_PROTO,
	SQ_FIELD_FORWARDED_HOST,
	SQ_FIELD_TRACEPARENT,
	SQ_FIELD_CALLBACK,
};

struct sq_field {
	const char *name, *value; /* not NUL-terminated for their readers */
	size_t name_len, value_len;
	enum sq_field_kind kind;
};

/* By the name alone, without regard to case. */
enum sq_field_kind sq_field_kind(const char *name, size_t len);

/*
 * Is it a name that a CGI-like function (HTTP_X_SEQUOIA_RUN) could not tell from one that we own,
 * or that frames the message: X_Sequoia_Run, Content_Length, X.Forwarded.For?
 */
bool sq_field_is_alias(const char *name, size_t len);

bool sq_field_named(const struct sq_field *f, const char *name);
/* Without the blanks at its end. */
size_t sq_field_trimmed(const struct sq_field *f);
/* The comma-separated token at *at of a list, without blanks; false at the end. */
bool sq_field_token(const struct sq_field *f, size_t *at, const char **token, size_t *len);

#endif
