/* What a client asked and what a function answered. Plain data; strings live in the run's arena. */
#ifndef SQ_MODEL_REQUEST_H
#define SQ_MODEL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sq_arena;
struct sq_blob;

/* How a run was asked for; policies match on it. */
enum sq_trigger { SQ_TRIGGER_SYNC, SQ_TRIGGER_ASYNC, SQ_TRIGGER_NESTED };

/*
 * The request as a root node's function will see it. Header names and values were checked by the
 * front's guard: no control characters, no hop-by-hop fields, no credentials of ours.
 */
struct sq_request {
	const char *method;
	const char *path;  /* what follows the function's name: "" or "/...", percent-encoding
			      untouched */
	const char *query; /* without '?'; NULL when there was none */
	const char *
		headers; /* end-to-end fields in wire form, "Name: value\r\n" each, no blank line */
	size_t headers_len;
	struct sq_blob *body; /* sealed; the run owns one count; NULL: no body */
};

struct sq_header {
	const char *name, *value; /* NUL-terminated */
	uint32_t name_len, value_len;
};

/* A function's answer; headers are end-to-end only. */
struct sq_answer {
	int status; /* 0: no head yet */
	size_t n_headers;
	struct sq_header *headers;
	int64_t length;       /* declared body bytes, or -1 when not known beforehand */
	struct sq_blob *body; /* grows until complete (then sealed); NULL: empty */
	bool complete;
	bool event_stream; /* text/event-stream: back-pressure instead of spooling */
};

#endif
