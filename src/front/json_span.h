/* Where a value stands in the text of a JSON object, so that it can be handed on as it was written. */
#ifndef SQ_FRONT_JSON_SPAN_H
#define SQ_FRONT_JSON_SPAN_H

#include <stdbool.h>
#include <stddef.h>

/*
 * text must be a valid JSON object. Finds the value of a key of its own, not of a nested object;
 * the key must be written without escapes. False: there is none.
 */
bool sq_json_span(const char *text, size_t len, const char *key, const char **value,
		  size_t *value_len);

#endif
