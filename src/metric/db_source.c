/*
 * The rings as two virtual tables, ring_arrivals and ring_invocations, with the columns of the
 * tables of the same name: one INSERT ... SELECT moves all that is ready, at less than half the CPU
 * of a statement per row. They exist on the write connection only.
 */
#include "metric/db_inside.h"

#include <endian.h>

/* A module per kind of row; the kind is told by which of these is the client data. */
struct source {
	sqlite3_vtab base;
	struct sq_metric_db *db;
	enum sq_row_kind kind;
};

struct cursor {
	sqlite3_vtab_cursor base;
	size_t span, row;        /* the next to look at */
	const struct sq_row *at; /* NULL: the end */
	int64_t id;
};

static int connect(sqlite3 *sql, enum sq_row_kind kind, void *db, sqlite3_vtab **out)
{
	static const char *const columns[] = {
		[SQ_ROW_ARRIVAL] =
			"CREATE TABLE x(id, instance, time_ns, run, chain, function, tenant,"
			" trigger, fault, class, generation, body_bytes)",
		[SQ_ROW_INVOCATION] =
			"CREATE TABLE x(id, instance, run, node, attempt, chain, function, tenant,"
			" backend, queued_ns, queue_ns, service_ns, function_ns, status, fault, "
			"overrun,"
			" cold, generation, in_bytes, out_bytes)",
	};
	struct source *s = sqlite3_malloc(sizeof(*s));

	if (!s)
		return SQLITE_NOMEM;
	*s = (struct source){.db = db, .kind = kind};
	*out = &s->base;
	return sqlite3_declare_vtab(sql, columns[kind]);
}

static int connect_arrivals(sqlite3 *sql, void *db, int argc, const char *const *argv,
			    sqlite3_vtab **out, char **why)
{
	(void)argc, (void)argv, (void)why;
	return connect(sql, SQ_ROW_ARRIVAL, db, out);
}

static int connect_invocations(sqlite3 *sql, void *db, int argc, const char *const *argv,
			       sqlite3_vtab **out, char **why)
{
	(void)argc, (void)argv, (void)why;
	return connect(sql, SQ_ROW_INVOCATION, db, out);
}

static int disconnect(sqlite3_vtab *t)
{
	sqlite3_free(t);
	return SQLITE_OK;
}

static int best_index(sqlite3_vtab *t, sqlite3_index_info *info)
{
	(void)t;
	info->estimatedCost = 1000; /* there is one plan: from the oldest to the newest */
	return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *t, sqlite3_vtab_cursor **out)
{
	struct cursor *c = sqlite3_malloc(sizeof(*c));

	(void)t;
	if (!c)
		return SQLITE_NOMEM;
	*c = (struct cursor){.at = NULL};
	*out = &c->base;
	return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
	sqlite3_free(cursor);
	return SQLITE_OK;
}

static int next(sqlite3_vtab_cursor *cursor)
{
	struct cursor *c = (struct cursor *)cursor;
	const struct source *s = (const struct source *)cursor->pVtab;
	const struct sq_ring_span *span;

	for (; c->span < s->db->n_spans; c->span++, c->row = 0) {
		span = &s->db->spans[c->span];
		while (c->row < span->n) {
			c->at = sq_ring_at(span->ring, c->row++);
			if (c->at->kind == s->kind) {
				c->id = s->db->next_id++;
				return SQLITE_OK;
			}
		}
	}
	c->at = NULL;
	return SQLITE_OK;
}

static int filter(sqlite3_vtab_cursor *cursor, int plan, const char *text, int argc,
		  sqlite3_value **argv)
{
	struct cursor *c = (struct cursor *)cursor;

	(void)plan, (void)text, (void)argc, (void)argv;
	c->span = c->row = 0;
	return next(cursor);
}

static int at_end(sqlite3_vtab_cursor *cursor)
{
	return !((struct cursor *)cursor)->at;
}

static int row_id(sqlite3_vtab_cursor *cursor, sqlite3_int64 *id)
{
	*id = ((struct cursor *)cursor)->id;
	return SQLITE_OK;
}

/* ---- columns ---- */

static void put_unless(sqlite3_context *x, int64_t value, int64_t null)
{
	if (value != null)
		sqlite3_result_int64(x, value); /* otherwise NULL, which it is already */
}

static void put_name(sqlite3_context *x, const struct sq_metric_db *db, sq_name_t name)
{
	put_unless(x, sq_metric_db_name(db, name), 0);
}

static void put_run(sqlite3_context *x, struct sq_id run)
{
	uint64_t big_endian[2] = {htobe64(run.hi), htobe64(run.lo)};

	sqlite3_result_blob(x, big_endian, sizeof(big_endian), SQLITE_TRANSIENT);
}

static sq_name_t fault_name(const struct sq_metric_db *db, uint8_t fault)
{
	return fault < SQ_FAULT_COUNT ? db->fault_names[fault] : 0;
}

static void arrival_column(sqlite3_context *x, const struct sq_metric_db *db,
			   const struct sq_metric_arrival *a, int column)
{
	switch (column) {
	case 2:
		sqlite3_result_int64(x, a->wall_ns);
		break;
	case 3:
		put_run(x, a->run);
		break;
	case 4:
		put_name(x, db, a->chain);
		break;
	case 5:
		put_name(x, db, a->function);
		break;
	case 6:
		put_name(x, db, a->tenant);
		break;
	case 7:
		put_name(x, db,
			 a->trigger < SQ_METRIC_TRIGGERS ? db->trigger_names[a->trigger] : 0);
		break;
	case 8:
		put_name(x, db, fault_name(db, a->fault));
		break;
	case 9:
		sqlite3_result_int(x, (int)a->priority_class - 100);
		break;
	case 10:
		sqlite3_result_int64(x, a->generation);
		break;
	case 11:
		sqlite3_result_int64(x, (int64_t)a->body_bytes);
		break;
	}
}

static void invocation_column(sqlite3_context *x, const struct sq_metric_db *db,
			      const struct sq_metric_invocation *i, int column)
{
	switch (column) {
	case 2:
		put_run(x, i->run);
		break;
	case 3:
		sqlite3_result_int(x, i->node);
		break;
	case 4:
		sqlite3_result_int(x, i->attempt);
		break;
	case 5:
		put_name(x, db, i->chain);
		break;
	case 6:
		put_name(x, db, i->function);
		break;
	case 7:
		put_name(x, db, i->tenant);
		break;
	case 8:
		put_name(x, db, i->backend);
		break;
	case 9:
		sqlite3_result_int64(x, i->queued_wall_ns);
		break;
	case 10:
		sqlite3_result_int64(x, i->queue_ns);
		break;
	case 11:
		sqlite3_result_int64(x, i->service_ns);
		break;
	case 12:
		put_unless(x, i->function_ns, -1);
		break;
	case 13:
		put_unless(x, i->status, 0);
		break;
	case 14:
		put_name(x, db, fault_name(db, i->fault));
		break;
	case 15:
		sqlite3_result_int(x, i->overrun);
		break;
	case 16:
		sqlite3_result_int(x, i->cold);
		break;
	case 17:
		sqlite3_result_int64(x, i->generation);
		break;
	case 18:
		sqlite3_result_int64(x, (int64_t)i->in_bytes);
		break;
	case 19:
		sqlite3_result_int64(x, (int64_t)i->out_bytes);
		break;
	}
}

static int column(sqlite3_vtab_cursor *cursor, sqlite3_context *x, int n)
{
	struct cursor *c = (struct cursor *)cursor;
	const struct source *s = (const struct source *)cursor->pVtab;

	if (n == 0)
		sqlite3_result_int64(x, c->id);
	else if (n == 1)
		sqlite3_result_int(x, s->db->instance);
	else if (s->kind == SQ_ROW_ARRIVAL)
		arrival_column(x, s->db, &c->at->arrival, n);
	else
		invocation_column(x, s->db, &c->at->invocation, n);
	return SQLITE_OK;
}

#define MODULE(connect_fn)                                                                         \
	{                                                                                          \
		.xConnect = (connect_fn), .xBestIndex = best_index, .xDisconnect = disconnect,     \
		.xOpen = open_cursor, .xClose = close_cursor, .xFilter = filter, .xNext = next,    \
		.xEof = at_end, .xColumn = column, .xRowid = row_id,                               \
	}

int sq_metric_db_source(struct sq_metric_db *db)
{
	/* Without xCreate a module is a table of its own name. */
	static const sqlite3_module arrivals = MODULE(connect_arrivals);
	static const sqlite3_module invocations = MODULE(connect_invocations);
	int rc = sqlite3_create_module(db->sql, "ring_arrivals", &arrivals, db);

	return rc == SQLITE_OK
		       ? sqlite3_create_module(db->sql, "ring_invocations", &invocations, db)
		       : rc;
}
