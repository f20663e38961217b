/* metrics.db: what is forgotten and when; full disks, locks, damage, files of others. */
#include "base/log.h"
#include "metric/db.h"
#include "metric_help.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static size_t set_aside_files(void)
{
	char pattern[128];
	glob_t g;
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s.corrupt-*Z", path);
	n = glob(pattern, 0, NULL, &g) == 0 ? g.gl_pathc : 0;
	globfree(&g);
	return n;
}

/* ---- retention ---- */

static struct sq_metric_db *open_metric_db(struct sq_names *names)
{
	struct sq_error e = {""};
	struct sq_metric_db *db = sq_metric_db_open(path, 1, names, &e);

	if (!db)
		fail_msg("%s", e.text);
	return db;
}

static void fill(struct sq_metric_db *db, int64_t wall_s, unsigned rows)
{
	struct sq_ring *r = aligned_alloc(SQ_CACHE_LINE, sizeof(*r));
	struct sq_ring_span span = {.ring = r, .n = rows};
	struct sq_metric_gauge g = {.limit = 1};
	struct sq_row *row;

	memset(r, 0, sizeof(*r));
	assert_int_equal(sq_ring_init(r, rows), 0);
	for (unsigned i = 0; i < rows; i++) {
		row = sq_ring_claim(r);
		row->kind = SQ_ROW_INVOCATION;
		row->invocation = invocation(i);
		sq_ring_publish(r);
	}
	assert_int_equal(sq_metric_db_begin(db, wall_s * SQ_S), 0);
	assert_int_equal(sq_metric_db_rows(db, &span, 1), 0);
	sq_ring_free(r);
	free(r);
	assert_int_equal(sq_metric_db_gauge(db, &g), 0);
	assert_int_equal(sq_metric_db_commit(db), 0);
}

static int retain_all(struct sq_metric_db *db, int64_t now_s, int64_t raw_s, uint64_t bytes)
{
	int rc, slices = 0;

	do {
		rc = sq_metric_db_retain(db, now_s * SQ_S, raw_s * SQ_S, bytes);
		slices++;
		assert_true(slices < 10000);
	} while (rc == 1);
	assert_int_equal(rc, 0);
	return slices;
}

#define T0 1700000040LL /* a full minute */

static void test_retention_by_age(void **state)
{
	struct sq_names *names = sq_names_new();
	struct sq_metric_db *db = open_metric_db(names);

	(void)state;
	for (int second = 0; second < 300; second += 10)
		fill(db, T0 + second, 1000);
	/* At 4:35, two minutes are kept: minutes 0 and 1 go, 2 stays whole. */
	assert_true(retain_all(db, T0 + 275, 120, 1u << 30) >= 3);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), 18000);
	assert_int_equal(number_db("SELECT count(*) FROM gauges"), 18);
	assert_int_equal(number_db("SELECT min(id) >> 24 FROM invocations"), T0 + 120);
	assert_int_equal(retain_all(db, T0 + 275, 120, 1u << 30), 1);
	/* The wall clock fell by a day: rows are still appended, nothing is lost or stuck. */
	fill(db, T0 - 86400, 10);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), 18010);
	retain_all(db, T0 + 86400, 120, 1u << 30);
	assert_int_equal(number_db("SELECT count(*) FROM invocations"), 0);
	sq_metric_db_close(db);
	sq_names_free(names);
}

static void test_retention_by_size(void **state)
{
	struct sq_names *names = sq_names_new();
	struct sq_metric_db *db = open_metric_db(names);
	uint64_t full, limit;
	struct stat st;

	(void)state;
	for (int minute = 0; minute < 20; minute++)
		fill(db, T0 + 60 * minute, 5000);
	full = number_db("PRAGMA page_count") * 4096;
	limit = full / 2;
	retain_all(db, T0 + 20 * 60, 86400, limit);
	assert_true(number_db("SELECT count(*) FROM invocations") >= 45000);
	assert_int_equal(number_db("SELECT count(*) % 5000 FROM invocations"), 0);
	assert_true(number_db("PRAGMA page_count") * 4096 <= limit);
	/* A limit below one minute: seconds go, and what was just written may. */
	fill(db, T0 + 20 * 60 + 5, 5000);
	retain_all(db, T0 + 20 * 60 + 5, 86400, 64 * 1024);
	sq_metric_db_close(db);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= 64 * 1024);
	assert_int_equal(number_db("PRAGMA freelist_count"), 0);
	sq_names_free(names);
}

/* ---- trouble ---- */

static void test_disk_full(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 4096);
	struct rlimit before, small = {.rlim_cur = 4096};
	struct sq_metric_invocation row;
	struct sq_metrics *m = start(&conf);

	(void)state;
	/* The kernel refuses to make files larger, as it does on a full disk. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	for (uint64_t n = 0; n < 5000; n++) {
		row = invocation(n);
		row.function = sq_metrics_name(m, n % 2 ? "odd" : "even");
		sq_metrics_invocation(m, 0, &row);
		/* Half the ring: it is tried and fails. Then the rest, so that it overflows. */
		if (n == 2047)
			usleep(300000);
	}
	assert_int_equal(count_dropped(m), 5000 - 4096);
	setrlimit(RLIMIT_FSIZE, &before);
	/* Room again: what was kept is written, exactly once, with its names. */
	assert_true(wait_for(count_invocations, 4096));
	sq_metrics_stop(m);
	assert_string_equal(ask_db("SELECT count(*), count(DISTINCT run), max(queue_ms) * 1e6 "
				   "FROM invocations_named WHERE function IN ('odd', 'even')"),
			    "4096|4096|4095.0");
	assert_int_equal(set_aside_files(), 0);
}

static void test_locked(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 64);
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m = start(&conf);
	sqlite3 *sql = open_db();

	(void)state;
	assert_int_equal(sqlite3_exec(sql, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (int i = 0; i < 64; i++)
		sq_metrics_invocation(m, 0, &row);
	usleep(400000); /* the half-full ring woke the thread, which found the lock */
	assert_int_equal(count_dropped(m), 0);
	sq_metrics_invocation(m, 0, &row);
	assert_int_equal(count_dropped(m), 1);
	assert_int_equal(sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
	assert_true(wait_for(count_invocations, 64));
	sq_metrics_stop(m);
	assert_int_equal(count_invocations(), 64);
}

static void write_file(const char *text, size_t at, size_t times)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t i = 0; i < times; i++)
		assert_int_equal(pwrite(fd, text, strlen(text), (off_t)(at + i * strlen(text))),
				 strlen(text));
	close(fd);
}

static void test_corrupt_at_start(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m;

	(void)state;
	write_file("this is no database ", 0, 1000);
	m = start(&conf);
	sq_metrics_invocation(m, 0, &row);
	sq_metrics_stop(m);
	assert_int_equal(set_aside_files(), 1);
	assert_int_equal(count_invocations(), 1);
	/* A table is missing: as bad. */
	exec_db("DROP TABLE gauges");
	sleep(1); /* the names of set-aside files are of the second */
	m = start(&conf);
	sq_metrics_stop(m);
	assert_int_equal(set_aside_files(), 2);
	assert_int_equal(count_invocations(), 0);
}

static void test_corrupt_while_running(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_metric_invocation row = invocation(1);
	struct sq_metrics *m = start(&conf);

	(void)state;
	for (int i = 0; i < 1000; i++)
		sq_metrics_invocation(m, 0, &row);
	assert_true(wait_for(count_invocations, 1000));
	/* Everything into the file itself, and then all but page 1 is spoilt. */
	exec_db("PRAGMA wal_checkpoint(TRUNCATE)");
	write_file("spoilt! ", 4096, 20 * 4096 / 8);
	exec_db("PRAGMA user_version = 1"); /* a change, so that pages are read anew */
	for (int i = 0; i < 10; i++)
		sq_metrics_invocation(m, 0, &row);
	sq_metrics_stop(m);
	assert_int_equal(set_aside_files(), 1);
	assert_int_equal(count_invocations(), 10);
}

static void expect_refusal(const char *words)
{
	struct sq_metrics_conf conf = conf_of(1, 0);
	struct sq_error e = {""};

	assert_null(sq_metrics_start(&conf, &e));
	if (!strstr(e.text, words) || !strstr(e.text, conf.path))
		fail_msg("expected \"%s\" in: %s", words, e.text);
}

static void test_refused(void **state)
{
	struct sq_metrics_conf conf = conf_of(1, 0);

	(void)state;
	sq_metrics_stop(start(&conf));
	exec_db("PRAGMA user_version = 2");
	expect_refusal("written by another version of Sequoia (schema 2, this one knows 1)");
	unlink(path);
	exec_db("CREATE TABLE dear(letter TEXT)");
	expect_refusal("not of Sequoia's metrics");
	assert_int_equal(set_aside_files(), 0);
	snprintf(path, sizeof(path), "%s/none/metrics.db", dir);
	expect_refusal("unable to open");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_retention_by_age), TEST(test_retention_by_size),
		TEST(test_disk_full),        TEST(test_locked),
		TEST(test_corrupt_at_start), TEST(test_corrupt_while_running),
		TEST(test_refused),
	};

	sq_log_set_level(SQ_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
