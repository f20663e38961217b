#include "metric/names.h"

#include "base/lock.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#define OTHER "(other)"

struct name {
	sq_name_t id;
	char text[];
};

struct sq_names {
	struct sq_lock lock;
	struct sq_map *by_text; /* text -> struct name */
	struct name **by_id;    /* by_id[id - 1] */
	uint32_t count, cap;
};

struct sq_names *sq_names_new(void)
{
	struct sq_names *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->by_text = sq_map_new();
	if (!n->by_text) {
		free(n);
		return NULL;
	}
	sq_lock_init(&n->lock, "metric names");
	return n;
}

void sq_names_free(struct sq_names *n)
{
	if (!n)
		return;
	sq_map_free(n->by_text);
	for (uint32_t i = 0; i < n->count; i++)
		free(n->by_id[i]);
	free(n->by_id);
	sq_lock_destroy(&n->lock);
	free(n);
}

static int make_room(struct sq_names *n)
{
	uint32_t cap = n->cap ? n->cap * 2 : 64;
	struct name **by_id;

	if (n->count < n->cap)
		return 0;
	by_id = realloc(n->by_id, cap * sizeof(*by_id));
	if (!by_id)
		return -1;
	n->by_id = by_id;
	n->cap = cap;
	return 0;
}

static struct name *add(struct sq_names *n, const char *text, size_t len)
{
	struct name *name;

	if (make_room(n) < 0)
		return NULL;
	name = malloc(sizeof(*name) + len + 1);
	if (!name)
		return NULL;
	name->id = n->count + 1;
	memcpy(name->text, text, len + 1);
	if (sq_map_put(n->by_text, name->text, len, name) < 0) {
		free(name);
		return NULL;
	}
	n->by_id[n->count++] = name;
	return name;
}

static struct name *find_or_add(struct sq_names *n, const char *text)
{
	size_t len = strlen(text);
	struct name *name = sq_map_get(n->by_text, text, len);

	if (name)
		return name;
	if (n->count < SQ_NAMES_MAX)
		return add(n, text, len);
	name = sq_map_get(n->by_text, OTHER, strlen(OTHER));
	return name ? name : add(n, OTHER, strlen(OTHER));
}

sq_name_t sq_names_intern(struct sq_names *n, const char *name)
{
	struct name *found;

	if (!name)
		return 0;
	sq_lock_take(&n->lock);
	found = find_or_add(n, name);
	sq_lock_release(&n->lock);
	return found ? found->id : 0;
}

const char *sq_names_get(struct sq_names *n, sq_name_t id)
{
	const char *text = NULL;

	sq_lock_take(&n->lock);
	if (id > 0 && id <= n->count)
		text = n->by_id[id - 1]->text;
	sq_lock_release(&n->lock);
	return text;
}
