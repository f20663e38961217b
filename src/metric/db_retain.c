/*
 * Forgetting. Ids begin with the second of writing, so what is too old is a range at the low end of
 * each table; it goes in slices small enough for the rings to be drained between them. Whole
 * minutes go, so that a minute in a view is either complete or absent.
 */
#include "metric/db_inside.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>

#define SLICE_ROWS 5000
#define VACUUM_PAGES 1000
#define MINUTE 60

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int is_over(struct sq_metric_db *db, uint64_t bytes)
{
	int64_t pages, free_pages;
	int err = sq_metric_db_number(db, SQ_STMT_PAGES, &pages);

	if (err == 0)
		err = sq_metric_db_number(db, SQ_STMT_FREE_PAGES, &free_pages);
	return err < 0 ? err : (uint64_t)(pages - free_pages) * (uint64_t)db->page_bytes > bytes;
}

/*
 * Sets cut_before_s by age and size. By size the oldest minute goes, or, if that is all there is,
 * its oldest second. A cut that was begun is finished first. 1: there are rows to cut, 0, or
 * -errno.
 */
static int plan(struct sq_metric_db *db, int64_t now_s, int64_t raw_s, uint64_t bytes)
{
	int64_t oldest, minute_end;
	int over, err = sq_metric_db_number(db, SQ_STMT_OLDEST, &oldest);

	if (err < 0 || oldest == INT64_MAX)
		return err;
	oldest >>= SQ_ID_SHIFT;
	if (oldest < db->cut_before_s)
		return 1;
	db->cut_before_s = max64(0, (now_s - raw_s) / MINUTE * MINUTE);
	over = is_over(db, bytes);
	if (over < 0)
		return over;
	if (over) {
		minute_end = oldest / MINUTE * MINUTE + MINUTE;
		db->cut_before_s =
			max64(db->cut_before_s, minute_end <= now_s ? minute_end : oldest + 1);
	}
	return oldest < db->cut_before_s;
}

static int cut_table(struct sq_metric_db *db, enum sq_metric_stmt s)
{
	int err;

	sqlite3_bind_int64(db->stmt[s], 1, db->cut_before_s << SQ_ID_SHIFT);
	sqlite3_bind_int64(db->stmt[s], 2, SLICE_ROWS);
	err = sq_metric_db_step(db, s);
	return err < 0 ? err : sqlite3_changes(db->sql);
}

static int cut(struct sq_metric_db *db)
{
	int n, s, err = sq_metric_db_step(db, SQ_STMT_BEGIN);

	for (s = SQ_STMT_CUT_ARRIVALS; s <= SQ_STMT_CUT_GAUGES && err == 0; s++) {
		n = cut_table(db, (enum sq_metric_stmt)s);
		err = n < 0 ? n : 0;
	}
	if (err == 0)
		err = sq_metric_db_step(db, SQ_STMT_COMMIT);
	if (err < 0)
		sq_metric_db_rollback(db);
	return err;
}

/*
 * Free pages are filled again by the next rows, so they are given back only when the file is over
 * its size or a quarter of it is free. 1: there is more to give.
 */
static int shrink(struct sq_metric_db *db, uint64_t bytes)
{
	int64_t pages, free_pages;
	int rc, err = sq_metric_db_number(db, SQ_STMT_PAGES, &pages);
	char sql[64];

	if (err == 0)
		err = sq_metric_db_number(db, SQ_STMT_FREE_PAGES, &free_pages);
	if (err < 0)
		return err;
	if (free_pages == 0 || (free_pages < pages / 4 + VACUUM_PAGES &&
				(uint64_t)pages * (uint64_t)db->page_bytes <= bytes))
		return 0;
	snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
	rc = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? free_pages > VACUUM_PAGES : sq_metric_db_errno(rc);
}

int sq_metric_db_retain(struct sq_metric_db *db, int64_t wall_ns, int64_t raw_ns, uint64_t bytes)
{
	int planned = plan(db, wall_ns / SQ_S, raw_ns / SQ_S, bytes);
	int err;

	if (planned < 0)
		return planned;
	if (planned == 0)
		return shrink(db, bytes);
	err = cut(db);
	return err < 0 ? err : 1;
}
