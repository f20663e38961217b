/* The file metrics.db: what is accepted as ours, and what happens to a damaged one. */
#include "metric/db_inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "model/request.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUSY_MS 100

/* The ids of a slice are a range at the low end: deleted without a scan. */
#define CUT(table)                                                                                 \
	"DELETE FROM " table " WHERE id <= (SELECT max(id) FROM (SELECT id FROM " table            \
	" WHERE id < ?1 ORDER BY id LIMIT ?2))"
#define NO_ID "9223372036854775807"

static const char *const statements[SQ_STMT_COUNT] = {
	[SQ_STMT_BEGIN] = "BEGIN IMMEDIATE",
	[SQ_STMT_COMMIT] = "COMMIT",
	[SQ_STMT_ROLLBACK] = "ROLLBACK",
	[SQ_STMT_NAME] = "INSERT INTO names(name) VALUES(?1)"
			 " ON CONFLICT(name) DO UPDATE SET name = name RETURNING id",
	[SQ_STMT_ARRIVALS] = "INSERT INTO arrivals SELECT * FROM ring_arrivals",
	[SQ_STMT_INVOCATIONS] = "INSERT INTO invocations SELECT * FROM ring_invocations",
	[SQ_STMT_GAUGE] = "INSERT INTO gauges VALUES(?,?,?,?,?,?,?)",
	[SQ_STMT_OLDEST] = "SELECT min(coalesce((SELECT min(id) FROM arrivals), " NO_ID "),"
			   " coalesce((SELECT min(id) FROM invocations), " NO_ID "),"
			   " coalesce((SELECT min(id) FROM gauges), " NO_ID "))",
	[SQ_STMT_CUT_ARRIVALS] = CUT("arrivals"),
	[SQ_STMT_CUT_INVOCATIONS] = CUT("invocations"),
	[SQ_STMT_CUT_GAUGES] = CUT("gauges"),
	[SQ_STMT_PAGES] = "PRAGMA page_count",
	[SQ_STMT_FREE_PAGES] = "PRAGMA freelist_count",
};

static int fail(struct sq_metric_db *db, int rc, const char *path, struct sq_error *e)
{
	int err = sq_metric_db_errno(rc);
	int cause = db->sql && err == -EACCES ? sqlite3_system_errno(db->sql) : 0;

	if (err == -EUCLEAN)
		return err; /* set aside by the caller, who says so */
	/* SQLite says that it could not; the system may know why. */
	sq_error_set(e, -err, "%s: cannot open it: %s%s%s", path,
		     db->sql ? sqlite3_errmsg(db->sql) : sqlite3_errstr(rc), cause ? ": " : "",
		     cause ? strerror(cause) : "");
	return err;
}

static int query(sqlite3 *sql, const char *text, int64_t *out)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(sql, text, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*out = sqlite3_column_int64(st, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	return rc;
}

static int create(sqlite3 *sql)
{
	/* Both must come before the first table. */
	int rc = sqlite3_exec(sql, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL",
			      NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sql, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sql, sq_metric_db_schema, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sql, "COMMIT", NULL, NULL, NULL);
	return rc;
}

/* Empty: made ours. Ours: accepted. Anything else that is whole: refused, it may be dear. */
static int adopt(struct sq_metric_db *db, const char *path, struct sq_error *e)
{
	int64_t objects, application, version;
	int rc = query(db->sql, "SELECT count(*) FROM sqlite_schema", &objects);

	if (rc == SQLITE_OK)
		rc = query(db->sql, "PRAGMA application_id", &application);
	if (rc == SQLITE_OK)
		rc = query(db->sql, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK && objects == 0)
		rc = create(db->sql);
	else if (rc == SQLITE_OK && application != SQ_METRIC_APPLICATION)
		return sq_error_set(e, EEXIST,
				    "%s: a database, but not of Sequoia's metrics: move it away",
				    path);
	else if (rc == SQLITE_OK && version != SQ_METRIC_SCHEMA)
		return sq_error_set(
			e, EPROTONOSUPPORT,
			"%s: written by another version of Sequoia (schema %lld, this one "
			"knows %d): move it away, or run that version",
			path, (long long)version, SQ_METRIC_SCHEMA);
	return rc == SQLITE_OK ? 0 : fail(db, rc, path, e);
}

static int prepare(struct sq_metric_db *db, const char *path, struct sq_error *e)
{
	int i, rc = sq_metric_db_source(db);

	for (i = 0; i < SQ_STMT_COUNT && rc == SQLITE_OK; i++)
		rc = sqlite3_prepare_v3(db->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
					&db->stmt[i], NULL);
	if (rc == SQLITE_ERROR)
		return -EUCLEAN; /* a table that this schema version has is not there */
	return rc == SQLITE_OK ? 0 : fail(db, rc, path, e);
}

static int connect(struct sq_metric_db *db, const char *path, struct sq_error *e)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int err, rc = sqlite3_open_v2(path, &db->sql, flags, NULL);

	if (rc != SQLITE_OK)
		return fail(db, rc, path, e);
	sqlite3_extended_result_codes(db->sql, 1);
	sqlite3_busy_timeout(db->sql, BUSY_MS);
	err = adopt(db, path, e);
	if (err < 0)
		return err;
	rc = sqlite3_exec(db->sql,
			  "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;"
			  "PRAGMA journal_size_limit = 16777216",
			  NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = query(db->sql, "PRAGMA page_size", &db->page_bytes);
	if (rc == SQLITE_OK)
		rc = query(db->sql,
			   "SELECT max(coalesce((SELECT max(id) FROM arrivals), 0),"
			   " coalesce((SELECT max(id) FROM invocations), 0),"
			   " coalesce((SELECT max(id) FROM gauges), 0)) + 1",
			   &db->next_id);
	if (rc == SQLITE_ERROR)
		return -EUCLEAN;
	return rc == SQLITE_OK ? prepare(db, path, e) : fail(db, rc, path, e);
}

static void intern_words(struct sq_metric_db *db)
{
	static const char *const triggers[SQ_METRIC_TRIGGERS] = {
		[SQ_TRIGGER_SYNC] = "sync",
		[SQ_TRIGGER_ASYNC] = "async",
		[SQ_TRIGGER_NESTED] = "nested",
	};

	for (int i = 0; i < SQ_METRIC_TRIGGERS; i++)
		db->trigger_names[i] = sq_names_intern(db->names, triggers[i]);
	for (int i = SQ_FAULT_NONE + 1; i < SQ_FAULT_COUNT; i++)
		db->fault_names[i] = sq_names_intern(db->names, sq_fault_row((enum sq_fault)i)->code);
}

static struct sq_metric_db *open_once(const char *path, uint16_t instance, struct sq_names *names,
				      int *err, struct sq_error *e)
{
	struct sq_metric_db *db = calloc(1, sizeof(*db));

	if (!db) {
		*err = sq_error_set(e, ENOMEM, "%s: no memory to open it", path);
		return NULL;
	}
	db->names = names;
	db->instance = instance;
	*err = connect(db, path, e);
	if (*err < 0) {
		sq_metric_db_close(db);
		return NULL;
	}
	intern_words(db);
	return db;
}

struct sq_metric_db *sq_metric_db_open(const char *path, uint16_t instance, struct sq_names *names,
				       struct sq_error *e)
{
	int err;
	struct sq_metric_db *db = open_once(path, instance, names, &err, e);

	if (db || err != -EUCLEAN)
		return db;
	sq_metric_db_set_aside(path, "it is damaged");
	db = open_once(path, instance, names, &err, e);
	if (err == -EUCLEAN)
		sq_error_set(e, EUCLEAN, "%s: damaged, and could not be moved away", path);
	return db;
}

void sq_metric_db_close(struct sq_metric_db *db)
{
	if (!db)
		return;
	for (int i = 0; i < SQ_STMT_COUNT; i++)
		sqlite3_finalize(db->stmt[i]);
	sqlite3_close(db->sql);
	free(db->name_ids);
	free(db);
}

void sq_metric_db_set_aside(const char *path, const char *why)
{
	static const char *const parts[] = {"", "-wal", "-shm"};
	time_t now = (time_t)(sq_clock_wall_ns() / SQ_S);
	char from[PATH_MAX], to[PATH_MAX], stamp[32];
	char q_path[PATH_MAX], q_to[PATH_MAX], q_why[256];
	struct tm t;

	gmtime_r(&now, &t);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &t);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(from, sizeof(from), "%s%s", path, parts[i]);
		snprintf(to, sizeof(to), "%s.corrupt-%s%s", path, stamp, parts[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			unlink(from); /* in the way of every metric row otherwise */
	}
	snprintf(to, sizeof(to), "%s.corrupt-%s", path, stamp);
	sq_log(SQ_LOG_ERROR, "metrics-set-aside", "file=%s renamed=%s why=%s",
	       sq_log_quote(q_path, sizeof(q_path), path), sq_log_quote(q_to, sizeof(q_to), to),
	       sq_log_quote(q_why, sizeof(q_why), why));
}
