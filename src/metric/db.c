/* Rows into metrics.db, with prepared statements, in transactions that the metric thread bounds. */
#include "metric/db_inside.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sq_metric_db_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EACCES;
	default:
		return -EIO;
	}
}

int sq_metric_db_step(struct sq_metric_db *db, enum sq_metric_stmt s)
{
	int rc = sqlite3_step(db->stmt[s]);

	sqlite3_reset(db->stmt[s]);
	return rc == SQLITE_DONE ? 0 : sq_metric_db_errno(rc);
}

int sq_metric_db_number(struct sq_metric_db *db, enum sq_metric_stmt s, int64_t *out)
{
	int rc = sqlite3_step(db->stmt[s]);

	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(db->stmt[s], 0);
	sqlite3_reset(db->stmt[s]);
	return rc == SQLITE_ROW ? 0 : sq_metric_db_errno(rc);
}

const char *sq_metric_db_why(struct sq_metric_db *db)
{
	return sqlite3_errmsg(db->sql);
}

int sq_metric_db_begin(struct sq_metric_db *db, int64_t wall_ns)
{
	int64_t id = wall_ns / SQ_S << SQ_ID_SHIFT;

	db->now_ns = wall_ns;
	if (db->next_id < id)
		db->next_id = id;
	return sq_metric_db_step(db, SQ_STMT_BEGIN);
}

int sq_metric_db_commit(struct sq_metric_db *db)
{
	return sq_metric_db_step(db, SQ_STMT_COMMIT);
}

void sq_metric_db_rollback(struct sq_metric_db *db)
{
	/* SQLite may have rolled back by itself; then there is nothing to do, and it says so. */
	(void)sq_metric_db_step(db, SQ_STMT_ROLLBACK);
	if (db->n_name_ids > 0)
		memset(db->name_ids, 0, db->n_name_ids * sizeof(*db->name_ids));
}

static int name_room(struct sq_metric_db *db, sq_name_t name)
{
	size_t n = db->n_name_ids ? db->n_name_ids : 64;
	int64_t *ids;

	if (name < db->n_name_ids)
		return 0;
	while (n <= name)
		n *= 2;
	ids = realloc(db->name_ids, n * sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	memset(ids + db->n_name_ids, 0, (n - db->n_name_ids) * sizeof(*ids));
	db->name_ids = ids;
	db->n_name_ids = n;
	return 0;
}

/* Finds the database's id of a name, which is entered when it is new. */
static int enter(struct sq_metric_db *db, sq_name_t name)
{
	sqlite3_stmt *st = db->stmt[SQ_STMT_NAME];
	const char *text;
	int err;

	if (name == 0 || sq_metric_db_name(db, name) != 0)
		return 0;
	err = name_room(db, name);
	text = sq_names_get(db->names, name);
	if (err < 0 || !text)
		return err;
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	return sq_metric_db_number(db, SQ_STMT_NAME, &db->name_ids[name]);
}

static int enter_all(struct sq_metric_db *db, const sq_name_t *names, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i++)
		err = enter(db, names[i]);
	return err;
}

static int enter_row(struct sq_metric_db *db, const struct sq_row *row)
{
	const struct sq_metric_arrival *a = &row->arrival;
	const struct sq_metric_invocation *i = &row->invocation;

	if (row->kind == SQ_ROW_ARRIVAL)
		return enter_all(db, (const sq_name_t[]){a->chain, a->function, a->tenant}, 3);
	return enter_all(db, (const sq_name_t[]){i->chain, i->function, i->tenant, i->backend}, 4);
}

/* While the rows are inserted no other statement can run: their names come first. */
static int enter_names(struct sq_metric_db *db, const struct sq_ring_span *spans, size_t n)
{
	int err = enter_all(db, db->trigger_names, SQ_METRIC_TRIGGERS);

	if (err == 0)
		err = enter_all(db, db->fault_names, SQ_FAULT_COUNT);
	for (size_t s = 0; s < n; s++)
		for (size_t i = 0; i < spans[s].n && err == 0; i++)
			err = enter_row(db, sq_ring_at(spans[s].ring, i));
	return err;
}

int sq_metric_db_rows(struct sq_metric_db *db, const struct sq_ring_span *spans, size_t n)
{
	int err = enter_names(db, spans, n);

	db->spans = spans;
	db->n_spans = n;
	if (err == 0)
		err = sq_metric_db_step(db, SQ_STMT_ARRIVALS);
	if (err == 0)
		err = sq_metric_db_step(db, SQ_STMT_INVOCATIONS);
	db->n_spans = 0;
	return err;
}

int sq_metric_db_gauge(struct sq_metric_db *db, const struct sq_metric_gauge *g)
{
	sqlite3_stmt *st = db->stmt[SQ_STMT_GAUGE];
	int err = enter(db, g->scope);

	if (err < 0)
		return err;
	sqlite3_bind_int64(st, 1, db->next_id++);
	sqlite3_bind_int(st, 2, db->instance);
	sqlite3_bind_int64(st, 3, db->now_ns);
	sqlite3_bind_int64(st, 4, sq_metric_db_name(db, g->scope));
	sqlite3_bind_int64(st, 5, g->limit);
	sqlite3_bind_int64(st, 6, g->used);
	sqlite3_bind_int64(st, 7, g->waiting);
	return sq_metric_db_step(db, SQ_STMT_GAUGE);
}
