/*
 * Typed values out of a document. Each sq_read_* returns true when the value is there and
 * good, the value then being in *out; else false with *out as it was: NULL (the key was not given)
 * is silent, anything wrong is a fault at its place. So `sq_read_count(sq_get(map, "seats"), ...)`
 * leaves a default where nothing is said, and a reader need not look at the result to find all
 * faults.
 */
#ifndef SQ_CONF_VALUE_H
#define SQ_CONF_VALUE_H

#include "conf/document.h"

/* The entry of a map; from now on the key is a known one. NULL: it is not there. */
struct sq_value *sq_get(struct sq_value *map, const char *key);
/* The value as a map or list; NULL when it is NULL, null, or (a fault) something else. */
struct sq_value *sq_as_map(struct sq_value *v);
struct sq_value *sq_as_list(struct sq_value *v);
/* The first entry of a map whose keys are names, or of a list; then by ->next. NULL: none. */
struct sq_value *sq_first(struct sq_value *v);
/* The items of what may be one value or a list of them: item = NULL gives the first. */
struct sq_value *sq_next_item(struct sq_value *v, struct sq_value *item);
/* A fault when the key is there: it is of the final syntax, but not built yet. */
void sq_refuse(struct sq_value *map, const char *key);
/* A fault of the entry when the key is not there. */
void sq_require(struct sq_value *map, const char *key);

/* Replaces *out (freed) by a copy, which the caller frees. Text of one line, not empty. */
bool sq_read_string(struct sq_value *v, char **out);
bool sq_read_glob(struct sq_value *v, char **out); /* with `*` and `?` alone */
bool sq_read_name(struct sq_value *v, char **out); /* [A-Za-z0-9._-]{1,64} */
/* Appends the strings of one value or a list to *list, *n; each is read by `read`. Not empty. */
bool sq_read_list(struct sq_value *v, bool (*read)(struct sq_value *, char **), char ***list,
		  size_t *n);
bool sq_read_bool(struct sq_value *v, bool *out);
/* Bounds are inclusive in all of these. */
bool sq_read_count(struct sq_value *v, int64_t min, int64_t max, int64_t *out);
bool sq_read_decimal(struct sq_value *v, double min, double max, double *out);
bool sq_read_bytes(struct sq_value *v, uint64_t min, uint64_t max, uint64_t *out);
bool sq_read_duration(struct sq_value *v, int64_t min_ns, int64_t max_ns, int64_t *out_ns);
bool sq_read_rate(struct sq_value *v, double *per_s);  /* above 0 */
bool sq_read_percent(struct sq_value *v, double *out); /* above 0 % to 100 % -> ..1.0 */
/* names ends with NULL; *out is the index. */
bool sq_read_enum(struct sq_value *v, const char *const *names, int *out);

/* Whether the scalar is a percentage by its looks: "90%". */
bool sq_is_percent(const struct sq_value *v);
bool sq_is_name(const char *s);

/* The nearest of n names if it is near enough to be a slip of the pen; else NULL. */
const char *sq_closest(const char *word, const char *const *names, size_t n);

/* For sq_doc_close. */
void sq_doc_refuse_unasked(struct sq_doc *d);

#endif
