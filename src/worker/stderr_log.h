/* What a function writes on its stderr, line by line, into the log. */
#ifndef SQ_WORKER_STDERR_LOG_H
#define SQ_WORKER_STDERR_LOG_H

#include "base/id.h"

#include <stdbool.h>
#include <stddef.h>

#define SQ_STDERR_LINE 1024u /* a longer line is cut */

struct sq_stderr_log {
	char function[129]; /* sq_function_name_ok has no longer one */
	struct sq_id run;
	size_t len;
	bool cut; /* the rest of this line is skipped */
	char line[SQ_STDERR_LINE + 1];
};

void sq_stderr_begin(struct sq_stderr_log *l, const char *function, struct sq_id run);
void sq_stderr_add(struct sq_stderr_log *l, const char *data, size_t n);
void sq_stderr_end(struct sq_stderr_log *l); /* a last line may lack its newline */

#endif
