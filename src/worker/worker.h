/* The kinds of backend; one file each. */
#ifndef SQ_WORKER_WORKER_H
#define SQ_WORKER_WORKER_H

#include "engine/backend.h"

extern const struct sq_backend_ops sq_backend_openfaas; /* any HTTP gateway with /function/NAME */
extern const struct sq_backend_ops sq_backend_process;  /* the embedded function host */

/* Is it fit to be a file's name and a path segment: [A-Za-z0-9._-]{1,128}, but no dot in front. */
bool sq_function_name_ok(const char *name);

#endif
