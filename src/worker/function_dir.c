#include "worker/function_dir.h"

#include "base/clock.h"
#include "base/lock.h"
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS 256u
#define NAME_MAX_BYTES 129
#define BELIEVED_NS SQ_S

/* One name per slot, the last asked for: bounded whatever names are asked. */
struct slot {
	char name[NAME_MAX_BYTES];
	bool has;
	int64_t until_ns;
};

struct sq_function_dir {
	char *path;
	int fd;
	struct sq_lock lock; /* over the slots */
	struct slot slots[SLOTS];
};

struct sq_function_dir *sq_function_dir_open(const char *path, struct sq_error *e)
{
	struct sq_function_dir *d = calloc(1, sizeof(*d));

	if (d)
		d->path = strdup(path);
	if (!d || !d->path) {
		free(d);
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0) {
		sq_error_set(e, errno, "functions: %s: %s", path, strerror(errno));
		free(d->path);
		free(d);
		return NULL;
	}
	sq_lock_init(&d->lock, "functions");
	return d;
}

void sq_function_dir_close(struct sq_function_dir *d)
{
	if (!d)
		return;
	sq_lock_destroy(&d->lock);
	close(d->fd);
	free(d->path);
	free(d);
}

const char *sq_function_dir_path(const struct sq_function_dir *d)
{
	return d->path;
}

static bool look(const struct sq_function_dir *d, const char *name)
{
	struct stat st;

	return fstatat(d->fd, name, &st, 0) == 0 && S_ISREG(st.st_mode) &&
	       faccessat(d->fd, name, X_OK, AT_EACCESS) == 0;
}

static struct slot *slot_of(struct sq_function_dir *d, const char *name)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return &d->slots[(h ^ h >> 16) % SLOTS];
}

bool sq_function_dir_has(struct sq_function_dir *d, const char *name)
{
	int64_t now = sq_clock_ns();
	bool known, has = false;
	struct slot *s;

	if (!sq_function_name_ok(name))
		return false;
	s = slot_of(d, name);
	sq_lock_take(&d->lock);
	known = s->until_ns > now && strcmp(s->name, name) == 0;
	if (known)
		has = s->has;
	sq_lock_release(&d->lock);
	if (known)
		return has;
	has = look(d, name);
	sq_lock_take(&d->lock);
	strcpy(s->name, name); /* the name was checked: at most 128 bytes */
	s->has = has;
	s->until_ns = now + BELIEVED_NS;
	sq_lock_release(&d->lock);
	return has;
}
