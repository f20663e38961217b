/* Globs over names: `*` is any run of bytes, `?` any one byte; all else, '/' too, is itself. */
#ifndef SQ_MODEL_GLOB_H
#define SQ_MODEL_GLOB_H

#include <stdbool.h>

/* Time is O(glob x text) at worst, for any glob; nothing is allocated. */
bool sq_glob_match(const char *glob, const char *text);

#endif
