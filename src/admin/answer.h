/* A line in, a line out: parses a request, checks it against the command table, renders. */
#ifndef SQ_ADMIN_ANSWER_H
#define SQ_ADMIN_ANSWER_H

#include "base/buf.h"
#include "tables/commands.h"

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

struct sq_engine;
struct sq_metrics;

/* What commands act on, and the one under way. */
struct sq_admin_request {
	struct sq_engine *engine;
	struct sq_metrics *metrics;
	uid_t peer;
	json_t *args;     /* borrowed; checked against the table; NULL: none */
	const char *code; /* set by a command that refuses */
	char message[256];
};

/* Answers a line: {"ok": ...} and newline into out. 0 or -ENOMEM. */
int sq_admin_answer(struct sq_admin_request *q, const char *line, size_t len, struct sq_buf *out)
	__attribute__((warn_unused_result));
/* A refusal by the server itself. 0 or -ENOMEM. */
int sq_admin_refuse(struct sq_buf *out, const char *code, const char *message)
	__attribute__((warn_unused_result));

/* A string; bytes of a name that is not UTF-8, as JSON must be, become '?'. NULL: null. */
json_t *sq_admin_text(const char *s);

/* One per command: the data (a new reference), or NULL: no memory, or q->code is set. */
typedef json_t *sq_admin_view(struct sq_admin_request *q);
sq_admin_view sq_admin_view_status, sq_admin_view_queue, sq_admin_view_runs, sq_admin_view_backends,
	sq_admin_view_settings, sq_admin_view_metrics;

#endif
