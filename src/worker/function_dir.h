/* A folder of executables: which functions it has. Any thread. */
#ifndef SQ_WORKER_FUNCTION_DIR_H
#define SQ_WORKER_FUNCTION_DIR_H

#include "base/error.h"

#include <stdbool.h>

struct sq_function_dir;

struct sq_function_dir *sq_function_dir_open(const char *path, struct sq_error *e); /* NULL: e */
void sq_function_dir_close(struct sq_function_dir *d); /* NULL is fine */

/*
 * Is there an executable regular file of this name (or a link to one)? What stat(2) said is
 * believed for a second: a backend that comes first in the settings is asked for every call of the
 * others.
 */
bool sq_function_dir_has(struct sq_function_dir *d, const char *name);
const char *sq_function_dir_path(const struct sq_function_dir *d);

#endif
