/* What db.c (rows), db_schema.c, db_source.c, db_open.c (the file) and db_retain.c share; theirs
 * alone. */
#ifndef SQ_METRIC_DB_INSIDE_H
#define SQ_METRIC_DB_INSIDE_H

#include "metric/db.h"
#include "tables/errors.h"

#include <sqlite3.h>

#define SQ_METRIC_APPLICATION 0x53514d54 /* "SQMT" */
#define SQ_METRIC_SCHEMA 1
#define SQ_ID_SHIFT 24
#define SQ_METRIC_TRIGGERS 3 /* of enum sq_trigger */

enum sq_metric_stmt {
	SQ_STMT_BEGIN,
	SQ_STMT_COMMIT,
	SQ_STMT_ROLLBACK,
	SQ_STMT_NAME,
	SQ_STMT_ARRIVALS,
	SQ_STMT_INVOCATIONS,
	SQ_STMT_GAUGE,
	SQ_STMT_OLDEST,
	SQ_STMT_CUT_ARRIVALS,
	SQ_STMT_CUT_INVOCATIONS,
	SQ_STMT_CUT_GAUGES,
	SQ_STMT_PAGES,
	SQ_STMT_FREE_PAGES,
	SQ_STMT_COUNT
};

struct sq_metric_db {
	sqlite3 *sql;
	sqlite3_stmt *stmt[SQ_STMT_COUNT];
	struct sq_names *names;
	uint16_t instance;
	int64_t page_bytes;
	/*
	 * A row's id is the second it was written << SQ_ID_SHIFT, plus a number: rows are appended,
	 * and age is a range of ids. It never falls, also when the wall clock does.
	 */
	int64_t next_id;
	int64_t cut_before_s; /* retention under way: what was written before this second goes */
	int64_t now_ns;       /* of this transaction */
	const struct sq_ring_span *spans; /* what the insert under way reads */
	size_t n_spans;
	/* Our number of a name -> the database's; 0: not known yet. All forgotten on rollback. */
	int64_t *name_ids;
	size_t n_name_ids;
	sq_name_t trigger_names[SQ_METRIC_TRIGGERS], fault_names[SQ_FAULT_COUNT];
};

extern const char sq_metric_db_schema[]; /* statements that make an empty file ours */

int sq_metric_db_errno(int rc); /* of a result code that is not OK, ROW or DONE */
/* Runs a statement without rows and resets it; 0 or -errno. */
int sq_metric_db_step(struct sq_metric_db *db, enum sq_metric_stmt s);
/* Runs a statement that gives one number (0 for NULL); 0 or -errno. */
int sq_metric_db_number(struct sq_metric_db *db, enum sq_metric_stmt s, int64_t *out);

/* Makes the rings readable in SQL; an SQLite result code. */
int sq_metric_db_source(struct sq_metric_db *db);
/* The database's id of a name that sq_metric_db_rows has entered; 0 for no name. */
static inline int64_t sq_metric_db_name(const struct sq_metric_db *db, sq_name_t name)
{
	return name < db->n_name_ids ? db->name_ids[name] : 0;
}

#endif
