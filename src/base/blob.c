#define _GNU_SOURCE 1 /* asprintf, mkostemp, O_TMPFILE */

/*
 * Where the bytes of a blob are:
 *
 *   inside   behind the header, one malloc for both: when the size was told beforehand
 *   heap     a block of its own that grows by doubling: when it was not, or was told wrongly
 *   file     an unlinked file, once the blob is larger than SQ_BLOB_SPOOL or memory is short
 *
 * All malloc'ed bytes of a blob are charged to the store, its header too: so the account is what
 * the process really holds, and it is zero exactly when no blob is left. The limit is read before
 * the charge and not under a lock: threads that race may pass it by one growth each.
 */
#include "base/blob.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_GROWTH 2048u /* of a blob whose size is not known */
#define WORTH_TRIM 4096u   /* slack that is worth a realloc when sealed */

struct sq_blob_store {
	char *dir;
	_Atomic uint64_t limit;
	_Atomic int64_t blobs, others; /* bytes charged */
};

struct sq_blob {
	struct sq_blob_store *store;
	_Atomic uint32_t refs;
	bool sealed;
	int fd; /* -1: in memory */
	uint64_t size;
	char *data; /* inside, heap or NULL */
	size_t cap; /* bytes at data */
	size_t charged;
	char inside[];
};

struct sq_blob_store *sq_blob_store_new(const char *dir, uint64_t memory_limit)
{
	struct sq_blob_store *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->dir = strdup(dir);
	if (!st->dir) {
		free(st);
		return NULL;
	}
	st->limit = memory_limit;
	return st;
}

void sq_blob_store_free(struct sq_blob_store *st)
{
	if (!st)
		return;
	assert(atomic_load(&st->blobs) == 0);
	free(st->dir);
	free(st);
}

uint64_t sq_blob_store_memory(const struct sq_blob_store *st)
{
	int64_t sum = atomic_load_explicit(&st->blobs, memory_order_relaxed) +
		      atomic_load_explicit(&st->others, memory_order_relaxed);

	return sum > 0 ? (uint64_t)sum : 0;
}

void sq_blob_store_set_limit(struct sq_blob_store *st, uint64_t memory_limit)
{
	atomic_store_explicit(&st->limit, memory_limit, memory_order_relaxed);
}

bool sq_blob_store_full(const struct sq_blob_store *st)
{
	return sq_blob_store_memory(st) >=
	       atomic_load_explicit(&st->limit, memory_order_relaxed);
}

void sq_blob_store_charge(struct sq_blob_store *st, int64_t bytes)
{
	atomic_fetch_add_explicit(&st->others, bytes, memory_order_relaxed);
}

static bool has_room(const struct sq_blob_store *st, size_t bytes)
{
	uint64_t used = sq_blob_store_memory(st);

	uint64_t limit = atomic_load_explicit(&st->limit, memory_order_relaxed);

	return used < limit && bytes <= limit - used;
}

static void charge(struct sq_blob *b, size_t bytes)
{
	b->charged += bytes;
	atomic_fetch_add_explicit(&b->store->blobs, (int64_t)bytes, memory_order_relaxed);
}

static void discharge(struct sq_blob *b, size_t bytes)
{
	b->charged -= bytes;
	atomic_fetch_sub_explicit(&b->store->blobs, (int64_t)bytes, memory_order_relaxed);
}

struct sq_blob *sq_blob_new(struct sq_blob_store *st, size_t hint)
{
	/* What is going to be a file anyway gets no memory now. */
	size_t room = hint <= SQ_BLOB_SPOOL && has_room(st, hint) ? hint : 0;
	struct sq_blob *b = malloc(sizeof(*b) + room);

	if (!b)
		return NULL;
	*b = (struct sq_blob){.store = st, .fd = -1, .cap = room};
	atomic_init(&b->refs, 1);
	b->data = room ? b->inside : NULL;
	charge(b, sizeof(*b) + room);
	return b;
}

/* The few ways of failing that the callers tell apart. */
static int file_error(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: /* RLIMIT_FSIZE; the process ignores SIGXFSZ */
		return -ENOSPC;
	case EMFILE:
	case ENFILE:
		return -EMFILE;
	case ENOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static int open_named(const char *dir)
{
	char *path;
	int fd, err;

	if (asprintf(&path, "%s/blob.XXXXXX", dir) < 0)
		return -ENOMEM;
	fd = mkostemp(path, O_CLOEXEC);
	err = fd < 0 ? file_error(errno) : 0;
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd < 0 ? err : fd;
}

static int open_unlinked(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* File systems without O_TMPFILE say EOPNOTSUPP, kernels without it EISDIR. */
	if (errno == EOPNOTSUPP || errno == EISDIR)
		return open_named(dir);
	return file_error(errno);
}

static int write_at(int fd, uint64_t offset, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? file_error(errno) : -EIO;
		data += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* The bytes of the block on the heap; memory inside stays, and stays charged, until the end. */
static size_t heap_bytes(const struct sq_blob *b)
{
	return b->data == b->inside ? 0 : b->cap;
}

static void drop_memory(struct sq_blob *b)
{
	discharge(b, heap_bytes(b));
	if (b->data != b->inside)
		free(b->data);
	b->data = NULL;
	b->cap = 0;
}

/* Moves the content to a file; when that fails the blob is as it was. */
static int spool(struct sq_blob *b)
{
	int fd = open_unlinked(b->store->dir);
	int rc;

	if (fd < 0)
		return fd;
	rc = write_at(fd, 0, b->data, (size_t)b->size);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	drop_memory(b);
	b->fd = fd;
	return 0;
}

/* How large the block on the heap is to be for need bytes. */
static size_t next_cap(const struct sq_blob *b, size_t need)
{
	size_t cap = b->cap < FIRST_GROWTH / 2 ? FIRST_GROWTH : b->cap * 2;

	while (cap < need)
		cap *= 2;
	return cap < SQ_BLOB_SPOOL ? cap : SQ_BLOB_SPOOL;
}

static int grow(struct sq_blob *b, size_t cap)
{
	bool inside = b->data == b->inside;
	char *data = realloc(inside ? NULL : b->data, cap);

	if (!data)
		return -ENOMEM;
	if (inside)
		memcpy(data, b->inside, (size_t)b->size);
	charge(b, cap - heap_bytes(b));
	b->data = data;
	b->cap = cap;
	return 0;
}

/* Makes room for need bytes in all: in memory where that is allowed, else by going to the file. */
static int make_room(struct sq_blob *b, uint64_t need)
{
	size_t cap;

	if (need > SQ_BLOB_SPOOL)
		return spool(b);
	if (need <= b->cap)
		return 0;
	cap = next_cap(b, (size_t)need);
	return has_room(b->store, cap - heap_bytes(b)) ? grow(b, cap) : spool(b);
}

int sq_blob_append(struct sq_blob *b, const void *data, size_t len)
{
	int rc = 0;

	assert(!b->sealed);
	if (len == 0)
		return 0;
	if (len > (uint64_t)INT64_MAX - b->size)
		return -ENOSPC;
	if (b->fd < 0)
		rc = make_room(b, b->size + len);
	if (rc < 0)
		return rc;
	if (b->fd >= 0)
		rc = write_at(b->fd, b->size, data, len);
	else
		memcpy(b->data + b->size, data, len);
	if (rc == 0)
		b->size += len;
	return rc;
}

void sq_blob_seal(struct sq_blob *b)
{
	size_t slack;
	char *data;

	assert(!b->sealed);
	b->sealed = true;
	if (b->fd >= 0 || b->data == b->inside)
		return;
	slack = b->cap - (size_t)b->size;
	if (slack < WORTH_TRIM)
		return;
	data = realloc(b->data, (size_t)b->size);
	if (!data)
		return;
	b->data = data;
	b->cap = (size_t)b->size;
	discharge(b, slack);
}

bool sq_blob_sealed(const struct sq_blob *b)
{
	return b->sealed;
}

struct sq_blob *sq_blob_ref(struct sq_blob *b)
{
	uint32_t was = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);

	assert(was > 0 && was < UINT32_MAX);
	(void)was;
	return b;
}

void sq_blob_unref(struct sq_blob *b)
{
	uint32_t was;

	if (!b)
		return;
	was = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
	assert(was > 0);
	if (was > 1)
		return;
	if (b->fd >= 0)
		close(b->fd);
	if (b->data != b->inside)
		free(b->data);
	discharge(b, b->charged);
	free(b);
}

uint64_t sq_blob_size(const struct sq_blob *b)
{
	return b->size;
}

const void *sq_blob_bytes(const struct sq_blob *b)
{
	if (b->fd >= 0)
		return NULL;
	return b->data ? b->data : "";
}

ssize_t sq_blob_read(const struct sq_blob *b, uint64_t offset, void *buf, size_t len)
{
	ssize_t n;

	if (offset >= b->size || len == 0)
		return 0;
	if (len > b->size - offset)
		len = (size_t)(b->size - offset);
	if (b->fd < 0) {
		memcpy(buf, b->data + offset, len);
		return (ssize_t)len;
	}
	do
		n = pread(b->fd, buf, len, (off_t)offset);
	while (n < 0 && errno == EINTR);
	/* Within the size there is no end of file: a short file was tampered with. */
	return n > 0 ? n : -EIO;
}

int sq_blob_fd(const struct sq_blob *b)
{
	return b->fd;
}
