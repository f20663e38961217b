/* What the files that make up the settings share. */
#ifndef SQ_CONF_SETTINGS_IMPL_H
#define SQ_CONF_SETTINGS_IMPL_H

#include "conf/settings.h"
#include "conf/value.h"

enum sq_scalar_kind {
	SQ_SCALAR_STRING,
	SQ_SCALAR_PATH,
	SQ_SCALAR_COUNT,
	SQ_SCALAR_BYTES,
	SQ_SCALAR_DURATION,
	SQ_SCALAR_BOOL,
};

/* A row of tables/settings.tbl. */
struct sq_scalar {
	const char *key; /* "limits.queue" */
	enum sq_scalar_kind kind;
	size_t offset;               /* in struct sq_settings */
	const char *def, *min, *max; /* as written in the file; bounds: NULL where there are none */
};

extern const struct sq_scalar sq_scalars[];
extern const size_t sq_n_scalars;
extern const char *const sq_backend_type_names[]; /* by enum sq_backend_type; ends with NULL */

/* Where each key of the file stands, sorted by key. */
struct sq_origin {
	char *key;
	uint32_t line;
};
struct sq_origins {
	size_t n, cap;
	struct sq_origin *list;
};
/* Of all values of the document; false: out of memory. */
bool sq_origins_collect(struct sq_origins *o, const struct sq_value *root);
uint32_t sq_origins_line(const struct sq_origins *o, const char *key); /* 0: not in the file */
void sq_origins_free(struct sq_origins *o);

/* The part of sq_settings_read that reads what is not a scalar: listen, backends, tenants, ... */
void sq_settings_read_lists(struct sq_settings *s, struct sq_value *root);
/* The entry that the file would have held for what was not given; false: out of memory. */
bool sq_settings_default_lists(struct sq_settings *s);
void sq_settings_free_lists(struct sq_settings *s);

/* dir/path, or a copy of path when it is absolute already; NULL: out of memory. */
char *sq_settings_path(const struct sq_settings *s, const char *path);

#endif
