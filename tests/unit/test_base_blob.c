/*
 * The faults of a disk are played by this program's own open() and pwrite(), which the linker takes
 * before the C library's.
 */
#define _GNU_SOURCE 1

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MANY (1ull << 40)

static struct {
	int open_errno;     /* of every open with O_TMPFILE */
	size_t write_most;  /* bytes per pwrite; 0: no limit */
	int interrupt_each; /* every so many calls fail with EINTR */
	int write_errno;    /* once the countdown has run out */
	int countdown;
	int calls;
} fault;

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	if ((flags & O_TMPFILE) == O_TMPFILE && fault.open_errno) {
		errno = fault.open_errno;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	fault.calls++;
	if (fault.interrupt_each && fault.calls % fault.interrupt_each == 0) {
		errno = EINTR;
		return -1;
	}
	if (fault.write_errno && fault.countdown-- <= 0) {
		errno = fault.write_errno;
		return -1;
	}
	if (fault.write_most && len > fault.write_most)
		len = fault.write_most;
	return syscall(SYS_pwrite64, fd, data, len, offset);
}

struct fixture {
	char dir[64];
	struct sq_blob_store *st;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&fault, 0, sizeof(fault));
	strcpy(f.dir, "/tmp/sq-blob-XXXXXX");
	if (!mkdtemp(f.dir))
		return -1;
	f.st = sq_blob_store_new(f.dir, MANY);
	*state = &f;
	return f.st ? 0 : -1;
}

/* Whatever a test does: no memory is left charged, and no file. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	uint64_t left = sq_blob_store_memory(f->st);

	sq_blob_store_free(f->st);
	return left || rmdir(f->dir) ? -1 : 0;
}

static unsigned char byte_at(uint64_t offset)
{
	return (unsigned char)(offset * 131 + (offset >> 8) * 7);
}

static int append(struct sq_blob *b, size_t len)
{
	uint64_t from = sq_blob_size(b);
	char *data = malloc(len ? len : 1);
	size_t i;
	int rc;

	assert_non_null(data);
	for (i = 0; i < len; i++)
		data[i] = (char)byte_at(from + i);
	rc = sq_blob_append(b, data, len);
	free(data);
	return rc;
}

/* Reads all, in odd pieces, and compares. */
static void check_content(const struct sq_blob *b, uint64_t size)
{
	unsigned char piece[4099];
	uint64_t at = 0;
	ssize_t n, i;

	assert_int_equal(sq_blob_size(b), size);
	while ((n = sq_blob_read(b, at, piece, sizeof(piece))) > 0) {
		for (i = 0; i < n; i++) {
			if (piece[i] != byte_at(at + (uint64_t)i))
				fail_msg("byte %llu", (unsigned long long)at + (unsigned)i);
		}
		at += (uint64_t)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(at, size);
	assert_int_equal(sq_blob_read(b, size + 1, piece, 1), 0);
	assert_int_equal(sq_blob_read(b, UINT64_MAX, piece, 1), 0);
}

static void empty(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 0);
	char c;

	assert_non_null(b);
	assert_int_equal(sq_blob_append(b, NULL, 0), 0);
	assert_false(sq_blob_sealed(b));
	sq_blob_seal(b);
	assert_true(sq_blob_sealed(b));
	assert_int_equal(sq_blob_size(b), 0);
	assert_non_null(sq_blob_bytes(b));
	assert_int_equal(sq_blob_fd(b), -1);
	assert_int_equal(sq_blob_read(b, 0, &c, 1), 0);
	sq_blob_unref(b);
	sq_blob_unref(NULL);
}

static void exact_hint_is_one_allocation(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 10000);
	uint64_t charged = sq_blob_store_memory(f->st);
	const void *bytes = sq_blob_bytes(b);
	int i;

	assert_true(charged >= 10000 && charged <= 10000 + 128);
	for (i = 0; i < 100; i++)
		assert_int_equal(append(b, 100), 0);
	sq_blob_seal(b);
	assert_ptr_equal(sq_blob_bytes(b), bytes);
	assert_int_equal(sq_blob_store_memory(f->st), charged);
	check_content(b, 10000);
	sq_blob_unref(b);
}

/* Hints true, false, none and absurd; pieces small and large; read while it grows. */
static void grows(void **state)
{
	static const size_t hints[] = {0,       1, 1000, 5000, SQ_BLOB_SPOOL, SQ_BLOB_SPOOL + 1,
				       SIZE_MAX};
	static const size_t pieces[] = {
		1, 100, 1024, 5000, 65536, SQ_BLOB_SPOOL, SQ_BLOB_SPOOL + 1};
	struct fixture *f = *state;
	size_t h, p, i;

	for (h = 0; h < sizeof(hints) / sizeof(hints[0]); h++) {
		for (p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
			struct sq_blob *b = sq_blob_new(f->st, hints[h]);

			assert_non_null(b);
			for (i = 1; i <= 20; i++) {
				assert_int_equal(append(b, pieces[p]), 0);
				check_content(b, pieces[p] * i);
			}
			sq_blob_seal(b);
			check_content(b, pieces[p] * 20);
			assert_int_equal(sq_blob_fd(b) >= 0, pieces[p] * 20 > SQ_BLOB_SPOOL);
			sq_blob_unref(b);
			assert_int_equal(sq_blob_store_memory(f->st), 0);
		}
	}
}

static void spools_beyond_the_limit_of_one(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 0);
	struct stat s;

	assert_int_equal(append(b, SQ_BLOB_SPOOL), 0);
	assert_int_equal(sq_blob_fd(b), -1);
	assert_non_null(sq_blob_bytes(b));
	assert_true(sq_blob_store_memory(f->st) >= SQ_BLOB_SPOOL);
	assert_int_equal(append(b, 1), 0);
	assert_true(sq_blob_fd(b) >= 0);
	assert_null(sq_blob_bytes(b));
	assert_true(sq_blob_store_memory(f->st) < 256);
	assert_int_equal(fcntl(sq_blob_fd(b), F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(sq_blob_fd(b), &s), 0);
	assert_int_equal(s.st_nlink, 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	check_content(b, SQ_BLOB_SPOOL + 1);
	sq_blob_unref(b);
}

static void spools_when_memory_is_short(void **state)
{
	struct fixture *f = *state;
	struct sq_blob_store *st = sq_blob_store_new(f->dir, 10000);
	struct sq_blob *a = sq_blob_new(st, 8000), *b = sq_blob_new(st, 4000), *c;

	assert_int_equal(append(a, 8000), 0);
	assert_int_equal(sq_blob_fd(a), -1);
	assert_int_equal(append(b, 4000), 0);
	assert_true(sq_blob_fd(b) >= 0);
	assert_false(sq_blob_store_full(st));
	sq_blob_store_charge(st, 3000);
	assert_true(sq_blob_store_full(st));
	c = sq_blob_new(st, 0);
	assert_int_equal(append(c, 10), 0);
	assert_true(sq_blob_fd(c) >= 0);
	sq_blob_store_charge(st, -3000);
	assert_false(sq_blob_store_full(st));
	/* What began in memory goes on in the file when it would pass the limit. */
	assert_int_equal(append(a, 4000), 0);
	assert_true(sq_blob_fd(a) >= 0);
	check_content(a, 12000);
	check_content(b, 4000);
	check_content(c, 10);
	sq_blob_unref(a);
	sq_blob_unref(b);
	sq_blob_unref(c);
	sq_blob_store_charge(st, -5);
	assert_int_equal(sq_blob_store_memory(st), 0);
	sq_blob_store_free(st);
}

static void seal_gives_slack_back(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 0);
	uint64_t before;

	assert_int_equal(append(b, 100000), 0);
	assert_int_equal(append(b, 40000), 0);
	before = sq_blob_store_memory(f->st);
	assert_true(before > 200000);
	sq_blob_seal(b);
	assert_true(sq_blob_store_memory(f->st) < 140256);
	check_content(b, 140000);
	sq_blob_unref(b);
}

static void without_tmpfile(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, SQ_BLOB_SPOOL + 1);
	struct stat s;

	fault.open_errno = EOPNOTSUPP;
	assert_int_equal(append(b, SQ_BLOB_SPOOL + 1), 0);
	assert_int_equal(fcntl(sq_blob_fd(b), F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(sq_blob_fd(b), &s), 0);
	assert_int_equal(s.st_nlink, 0);
	check_content(b, SQ_BLOB_SPOOL + 1);
	sq_blob_unref(b);
}

static void short_and_interrupted_writes(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 0);

	fault.write_most = 1021;
	fault.interrupt_each = 3;
	assert_int_equal(append(b, 200000), 0);
	assert_int_equal(append(b, 200000), 0);
	assert_true(fault.calls > 391);
	check_content(b, 400000);
	sq_blob_unref(b);
}

static void open_failures_are_told(void **state)
{
	static const int rows[][2] = {
		{ENOSPC, -ENOSPC}, {EDQUOT, -ENOSPC}, {EMFILE, -EMFILE}, {ENFILE, -EMFILE},
		{EIO, -EIO},       {EACCES, -EIO},    {ENOENT, -EIO},    {ENOMEM, -ENOMEM},
	};
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 0);
	size_t i;

	assert_int_equal(append(b, 1000), 0);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fault.open_errno = rows[i][0];
		assert_int_equal(append(b, SQ_BLOB_SPOOL), rows[i][1]);
		check_content(b, 1000);
	}
	fault.open_errno = 0;
	assert_int_equal(append(b, SQ_BLOB_SPOOL), 0);
	check_content(b, 1000 + SQ_BLOB_SPOOL);
	sq_blob_unref(b);
}

/* A failed append leaves the content as it was: in memory when the move fails, and in the file. */
static void write_failures_lose_nothing(void **state)
{
	static const int rows[][2] = {{ENOSPC, -ENOSPC}, {EIO, -EIO}, {EFBIG, -ENOSPC}};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sq_blob *b = sq_blob_new(f->st, 0);

		assert_int_equal(append(b, 200000), 0);
		fault.write_most = 1000;
		fault.write_errno = rows[i][0];
		fault.countdown = 100;
		assert_int_equal(append(b, 200000), rows[i][1]);
		assert_int_equal(sq_blob_fd(b), -1);
		check_content(b, 200000);
		fault.write_errno = 0;
		assert_int_equal(append(b, 200000), 0);
		check_content(b, 400000);
		fault.write_errno = rows[i][0];
		fault.countdown = 100;
		assert_int_equal(append(b, 200000), rows[i][1]);
		check_content(b, 400000);
		fault.write_errno = 0;
		assert_int_equal(append(b, 200000), 0);
		check_content(b, 600000);
		sq_blob_unref(b);
	}
}

static void file_size_limit(void **state)
{
	struct rlimit old, tight = {.rlim_cur = 300000};
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, 0);

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(append(b, 290000), 0);
	assert_int_equal(append(b, 20000), -ENOSPC);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_content(b, 290000);
	assert_int_equal(append(b, 20000), 0);
	check_content(b, 310000);
	sq_blob_unref(b);
}

static void full_file_system(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b;

	if (mount("sq", f->dir, "tmpfs", MS_NODEV | MS_NOSUID, "size=1m") < 0)
		skip();
	b = sq_blob_new(f->st, 0);
	assert_int_equal(append(b, 900000), 0);
	assert_int_equal(append(b, 200000), -ENOSPC);
	check_content(b, 900000);
	sq_blob_unref(b);
	assert_int_equal(umount(f->dir), 0);
}

static void truncated_file_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct sq_blob *b = sq_blob_new(f->st, SIZE_MAX);
	char c;

	assert_int_equal(append(b, 300000), 0);
	assert_int_equal(ftruncate(sq_blob_fd(b), 1000), 0);
	assert_int_equal(sq_blob_read(b, 999, &c, 1), 1);
	assert_int_equal(sq_blob_read(b, 1000, &c, 1), -EIO);
	sq_blob_unref(b);
}

struct share {
	struct sq_blob *blobs[8];
	struct sq_blob_store *st;
	unsigned seed;
	int wrong;
};

static void *use_blobs(void *arg)
{
	struct share *s = arg;
	int i;

	for (i = 0; i < 20000; i++) {
		struct sq_blob *b = sq_blob_ref(s->blobs[i % 8]);
		uint64_t at = (uint64_t)rand_r(&s->seed) % sq_blob_size(b);
		unsigned char c = 0;

		if (sq_blob_read(b, at, &c, 1) != 1 || c != byte_at(at))
			s->wrong++;
		sq_blob_unref(b);
		/* Some blobs of its own too, for the account. */
		b = sq_blob_new(s->st, (size_t)(i % 3000));
		if (!b || sq_blob_append(b, "own", 3) < 0)
			s->wrong++;
		sq_blob_unref(b);
	}
	for (i = 0; i < 8; i++)
		sq_blob_unref(s->blobs[i]);
	return NULL;
}

/* Each thread holds a count of its own; the last one frees, whichever that is. */
static void shared_between_threads(void **state)
{
	enum { THREADS = 4 };
	struct fixture *f = *state;
	struct share shares[THREADS] = {0};
	pthread_t threads[THREADS];
	int i, k;

	for (k = 0; k < 8; k++) {
		struct sq_blob *b = sq_blob_new(f->st, 0);

		assert_int_equal(append(b, k % 2 ? 300000 : 3000), 0);
		sq_blob_seal(b);
		for (i = 0; i < THREADS; i++)
			shares[i].blobs[k] = i ? sq_blob_ref(b) : b;
	}
	for (i = 0; i < THREADS; i++) {
		shares[i].st = f->st;
		shares[i].seed = (unsigned)i;
		assert_int_equal(pthread_create(&threads[i], NULL, use_blobs, &shares[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(shares[i].wrong, 0);
	}
	assert_int_equal(sq_blob_store_memory(f->st), 0);
}

static int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void descriptors_are_closed(void **state)
{
	struct fixture *f = *state;
	int before = open_descriptors(), i;

	for (i = 0; i < 100; i++) {
		struct sq_blob *b = sq_blob_new(f->st, 0);

		assert_int_equal(append(b, 1000), 0);
		fault.write_errno = i % 2 ? ENOSPC : 0;
		fault.countdown = 0;
		assert_int_equal(append(b, 300000), i % 2 ? -ENOSPC : 0);
		sq_blob_unref(b);
	}
	assert_int_equal(open_descriptors(), before);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(empty),
		TEST(exact_hint_is_one_allocation),
		TEST(grows),
		TEST(spools_beyond_the_limit_of_one),
		TEST(spools_when_memory_is_short),
		TEST(seal_gives_slack_back),
		TEST(without_tmpfile),
		TEST(short_and_interrupted_writes),
		TEST(open_failures_are_told),
		TEST(write_failures_lose_nothing),
		TEST(file_size_limit),
		TEST(full_file_system),
		TEST(truncated_file_is_an_error),
		TEST(shared_between_threads),
		TEST(descriptors_are_closed),
	};

	return cmocka_run_group_tests_name("base/blob", tests, NULL, NULL);
}
