/*
 * metrics.db: the write connection. One thread at a time; SQLite stays inside this room's db*.c.
 * Results are 0 or -errno: -EBUSY another process holds the lock, -ENOSPC the disk is full,
 * -EUCLEAN the file is damaged, -EIO anything else; sq_metric_db_why() tells it in SQLite's words.
 *
 * The file may be thrown away at any time while the daemon is stopped. A damaged one is renamed to
 * metrics.db.corrupt-TIME and a new one begun.
 */
#ifndef SQ_METRIC_DB_H
#define SQ_METRIC_DB_H

#include "base/error.h"
#include "metric/names.h"
#include "metric/ring.h"

struct sq_metric_db;

/* path and names are borrowed. NULL with e filled. */
struct sq_metric_db *sq_metric_db_open(const char *path, uint16_t instance, struct sq_names *names,
				       struct sq_error *e);
void sq_metric_db_close(struct sq_metric_db *db); /* NULL is fine */
/* Renames the file and what belongs to it out of the way; nobody of ours may have it open. */
void sq_metric_db_set_aside(const char *path, const char *why);

/* Rows go in between begin and commit; after any failure only rollback may follow. */
int sq_metric_db_begin(struct sq_metric_db *db, int64_t wall_ns)
	__attribute__((warn_unused_result));
int sq_metric_db_rows(struct sq_metric_db *db, const struct sq_ring_span *spans, size_t n)
	__attribute__((warn_unused_result));
int sq_metric_db_gauge(struct sq_metric_db *db, const struct sq_metric_gauge *g)
	__attribute__((warn_unused_result));
int sq_metric_db_commit(struct sq_metric_db *db) __attribute__((warn_unused_result));
void sq_metric_db_rollback(struct sq_metric_db *db);
const char *sq_metric_db_why(struct sq_metric_db *db);

/*
 * One bounded slice of forgetting: rows written more than raw_ns ago go, and the oldest while the
 * database is larger than `bytes`, by whole minutes. 1: there is more to do, 0: done, or -errno.
 */
int sq_metric_db_retain(struct sq_metric_db *db, int64_t wall_ns, int64_t raw_ns, uint64_t bytes);

#endif
