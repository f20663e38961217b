/* An open-addressing hash map from byte keys (borrowed: they live in the value) to pointers. */
#ifndef SQ_BASE_MAP_H
#define SQ_BASE_MAP_H

#include <stddef.h>

struct sq_map;

struct sq_map *sq_map_new(void); /* NULL: no memory */
void sq_map_free(struct sq_map *m); /* not the values */
void *sq_map_get(const struct sq_map *m, const void *key, size_t len);
/* The key must stay valid and unchanged while it is in. 0, -EEXIST or -ENOMEM. */
int sq_map_put(struct sq_map *m, const void *key, size_t len, void *value)
	__attribute__((warn_unused_result));
void *sq_map_remove(struct sq_map *m, const void *key, size_t len); /* the value, or NULL */
size_t sq_map_count(const struct sq_map *m);
/* Walks in table order: start with *cursor = 0; NULL at the end. No put or remove during a walk. */
void *sq_map_next(const struct sq_map *m, size_t *cursor);

#endif
