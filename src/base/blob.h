/*
 * A body or an output. It grows by append until it is sealed and is immutable from then on; it may
 * be read while it grows. In memory up to 256 KiB (SQ_BLOB_SPOOL), beyond that, or when the store's
 * memory limit is reached, it moves to an unlinked file (O_TMPFILE, else mkstemp + unlink) in the
 * store's folder. The process must ignore SIGXFSZ.
 *
 * Threads: an unsealed blob belongs to one thread. A sealed one may be read and released by any
 * (the count is atomic).
 */
#ifndef SQ_BASE_BLOB_H
#define SQ_BASE_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SQ_BLOB_SPOOL (256u * 1024)

struct sq_blob;
struct sq_blob_store;

/* dir is copied; memory_limit bounds the bytes of all blobs in memory: over it they spool. */
struct sq_blob_store *sq_blob_store_new(const char *dir, uint64_t memory_limit);
void sq_blob_store_set_limit(struct sq_blob_store *st, uint64_t memory_limit); /* any thread */
void sq_blob_store_free(struct sq_blob_store *st); /* asserts that no blob is left */
uint64_t sq_blob_store_memory(const struct sq_blob_store *st); /* malloc'ed now, and charged */
bool sq_blob_store_full(const struct sq_blob_store *st);       /* memory >= limit */
/* Other memory charged to the same limit (runs); may be negative. */
void sq_blob_store_charge(struct sq_blob_store *st, int64_t bytes);

/* hint: expected size, 0 unknown (exact: one allocation). The count is 1. NULL: no memory. */
struct sq_blob *sq_blob_new(struct sq_blob_store *st, size_t hint);
int sq_blob_append(struct sq_blob *b, const void *data, size_t len)
	__attribute__((warn_unused_result)); /* 0, or -ENOMEM, -ENOSPC, -EIO, -EMFILE: b unchanged */
void sq_blob_seal(struct sq_blob *b);
bool sq_blob_sealed(const struct sq_blob *b);
struct sq_blob *sq_blob_ref(struct sq_blob *b); /* returns b */
void sq_blob_unref(struct sq_blob *b);          /* NULL is fine */

uint64_t sq_blob_size(const struct sq_blob *b);
/* The whole content when in memory (valid while sealed and held); NULL when it is in a file. */
const void *sq_blob_bytes(const struct sq_blob *b);
/* Copies up to len bytes from offset; 0 at the present end; -EIO. */
ssize_t sq_blob_read(const struct sq_blob *b, uint64_t offset, void *buf, size_t len);
/* The file's descriptor, or -1 when in memory. Borrowed. */
int sq_blob_fd(const struct sq_blob *b);

#endif
