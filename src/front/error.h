/* Errors in the shape of our own dialect: {"error": {"code", "message", "run"}}. */
#ifndef SQ_FRONT_ERROR_H
#define SQ_FRONT_ERROR_H

#include "base/id.h"
#include "tables/errors.h"

#include <stddef.h>

#define SQ_FRONT_ERROR_MAX 1024

/*
 * The JSON text; detail (NULL: none) is added to the message, escaped, cut when it is too long; a
 * zero id gives "run": null. Returns its length, below SQ_FRONT_ERROR_MAX; always NUL-terminated.
 */
size_t sq_front_error(char buf[SQ_FRONT_ERROR_MAX], enum sq_fault fault, const char *detail,
		      struct sq_id id);

/* A whole answer in wire form, with Connection: close, for where the HTTP library can send none. */
size_t sq_front_error_wire(char buf[2 * SQ_FRONT_ERROR_MAX], enum sq_fault fault);

#endif
