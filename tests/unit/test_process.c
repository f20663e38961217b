/* The embedded function host: real processes on a real loop. */
#define _GNU_SOURCE 1

#include "worker_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1u << 20)

/* ThreadSanitizer makes a fork of a vfork: the reason of a failed execve does not come back. */
#if defined(__SANITIZE_THREAD__)
#define REAL_FORK
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REAL_FORK
#endif
#endif

static char dir[] = "/tmp/sq-functions.XXXXXX";
static int fail_watch; /* this one from now on fails, as if out of memory; 0: none */

/* In place of the C library's. */
int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *e)
{
	if (op == EPOLL_CTL_ADD && fail_watch > 0 && --fail_watch == 0) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, epoll_fd, op, fd, e);
}

static void put(const char *name, mode_t mode, const char *script)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, script, strlen(script)), strlen(script));
	close(fd);
}

static struct rig *begin(void)
{
	struct rig *r = rig_new();

	r->conf.functions = dir;
	return r;
}

static struct rig *opened(void)
{
	struct rig *r = begin();

	rig_open(r, &sq_backend_process);
	return r;
}

static void test_echo(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "POST", "echo", "", NULL, 0);

	(void)state;
	call_body(c, "h\xc3\xa9llo\n");
	call_expect(c, SQ_FAULT_NONE, 200, "h\xc3\xa9llo\n");
	assert_string_equal(call_header(c, "Content-Type"), "text/plain; charset=utf-8");
	assert_null(call_header(c, "X-Sequoia-Exit"));
	assert_int_equal(c->inv.answer.length, 7);
	assert_int_equal(c->heads + c->datas, 0);
	call_free(c);
	c = call_new(r, "GET", "echo", "", NULL, 0); /* no body: stdin is empty */
	call_expect(c, SQ_FAULT_NONE, 200, "");
	call_free(c);
	c = call_new(r, "GET", "binary", "", NULL, 0);
	call_expect(c, SQ_FAULT_NONE, 200, "\xff\xfe");
	assert_string_equal(call_header(c, "Content-Type"), "application/octet-stream");
	call_free(c);
	rig_free(r);
}

static void test_knows(void **state)
{
	static const struct {
		const char *name;
		bool known;
	} rows[] = {
		{"echo", true},     {"link", true},     {"plain", false},       {"folder", false},
		{"absent", false},  {".hidden", false}, {"..", false},          {"", false},
		{"../echo", false}, {"a b", false},     {"folder/echo", false},
	};
	struct rig *r = opened();
	int turn;
	size_t i;

	(void)state;
	for (turn = 0; turn < 3; turn++) {
		for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			assert_int_equal(r->backend.ops->knows(&r->backend, rows[i].name),
					 rows[i].known);
	}
	rig_free(r);
}

static bool has_line(const char *text, const char *line)
{
	const char *at = strstr(text, line);

	return at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static void test_environment(void **state)
{
	static const char headers[] =
		"Content-Type: text/x\r\nx-plan: gold\r\nX-Plan: tin\r\n"
		"ACCEPT-language: de\r\nX-Sequoia-Run: forged\r\nPath: /evil\r\n"
		"Odd_name: 1\r\nproxy: http://trap/\r\n";
	struct rig *r = opened();
	struct call *c = call_new(r, "PUT", "env", "/a%20b?q=1&r", headers, 10);
	char *env, id[SQ_ID_HEX], line[100];
	int n = 0;

	(void)state;
	setenv("LD_PRELOAD_SECRET", "x", 1);
	call_expect(c, SQ_FAULT_NONE, 200, NULL);
	env = call_answer(c);
	assert_true(has_line(env, "Http_Method=PUT"));
	assert_true(has_line(env, "Http_Path=/a%20b"));
	assert_true(has_line(env, "Http_Query=q=1&r"));
	assert_true(has_line(env, "Http_ContentLength=10"));
	assert_true(has_line(env, "Http_Content_Length=10"));
	assert_true(has_line(env, "Http_Content_Type=text/x"));
	assert_true(has_line(env, "Http_X_Plan=gold"));
	assert_false(has_line(env, "Http_X_Plan=tin"));
	assert_true(has_line(env, "Http_Accept_Language=de"));
	assert_true(has_line(env, "Http_Odd_name=1"));
	assert_true(has_line(env, "Http_Path=/a%20b"));
	assert_null(strstr(env, "forged"));
	assert_null(strstr(env, "evil"));
	assert_null(strstr(env, "trap"));
	assert_null(strstr(env, "SECRET"));
	sq_id_show(id, c->inv.id);
	snprintf(line, sizeof(line), "Http_X_Sequoia_Run=%s", id);
	assert_true(has_line(env, line));
	snprintf(line, sizeof(line), "Http_Idempotency_Key=%s/0", id);
	assert_true(has_line(env, line));
	for (const char *p = env; (p = strchr(p, '\n')); p++)
		n++;
	assert_in_range(n, 18, 21); /* the shell adds PWD and the like */
	free(env);
	call_free(c);
	rig_free(r);
}

static void test_exit_codes(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "GET", "fails", "", NULL, 0);

	(void)state;
	call_expect(c, SQ_FAULT_NONE, 500, "sorry\n");
	assert_string_equal(call_header(c, "X-Sequoia-Exit"), "3");
	call_free(c);
	c = call_new(r, "GET", "dies", "", NULL, 0);
	call_expect(c, SQ_FAULT_BACKEND_BROKEN, 0, NULL);
	assert_string_equal(c->detail, "killed by signal 11 (Segmentation fault)");
	call_free(c);
	c = call_new(r, "GET", "../echo", "", NULL, 0);
	call_expect(c, SQ_FAULT_NO_FUNCTION, 0, NULL);
	call_free(c);
#ifndef REAL_FORK
	c = call_new(r, "GET", "absent", "", NULL, 0);
	call_expect(c, SQ_FAULT_NO_FUNCTION, 0, NULL);
	call_free(c);
	c = call_new(r, "GET", "plain", "", NULL, 0);
	call_expect(c, SQ_FAULT_FUNCTION_FAILED, 0, NULL);
	call_free(c);
	c = call_new(r, "GET", "noise", "", NULL, 0);
	call_expect(c, SQ_FAULT_FUNCTION_FAILED, 0, NULL);
	assert_string_equal(c->detail, "execve: Exec format error");
	call_free(c);
#endif
	rig_free(r);
}

/* In memory through the pipe, and from a file, which is the stdin itself; twice, by two calls. */
static void test_big(void **state)
{
	static const size_t sizes[] = {1, 65536, 65537, 200000, 5 * MIB};
	struct rig *r = opened();
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct call *a = call_new(r, "POST", "echo", "", NULL, sizes[i]);
		struct call *b = call_new(r, "POST", "echo", "", NULL, 0);

		b->request.body = sq_blob_ref(a->request.body);
		call_start(a);
		call_start(b);
		call_wait(a);
		call_wait(b);
		assert_int_equal(a->inv.answer.status, 200);
		assert_true(blob_is_filled(a->inv.answer.body, sizes[i]));
		assert_true(blob_is_filled(b->inv.answer.body, sizes[i]));
		call_free(a);
		call_free(b);
	}
	rig_free(r);
}

/* It does not read its stdin: no fault, no signal to us. */
static void test_unread(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "POST", "deaf", "", NULL, 250000);

	(void)state;
	call_expect(c, SQ_FAULT_NONE, 200, "done\n");
	call_free(c);
	rig_free(r);
}

static void test_too_large(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "GET", "endless", "", NULL, 0);

	(void)state;
	r->settings.limit_answer = MIB;
	call_expect(c, SQ_FAULT_ANSWER_TOO_LARGE, 0, NULL);
	call_free(c);
	c = call_new(r, "GET", "large", "", NULL, 0); /* ends before it is read */
	call_expect(c, SQ_FAULT_ANSWER_TOO_LARGE, 0, NULL);
	call_free(c);
	rig_free(r);
}

/* Reads "PID PID" written by the function `tree`. */
static bool is_tree_alive(void)
{
	char path[200];
	int a = 0, b = 0, found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/pids", dir);
	f = fopen(path, "r");
	if (f) {
		found = fscanf(f, "%d %d", &a, &b);
		fclose(f);
	}
	assert_int_equal(found, 2);
	return kill(a, 0) == 0 || kill(b, 0) == 0;
}

static void wait_for_tree_to_go(void)
{
	int i;

	/* Killed, but init has to reap the orphan. */
	for (i = 0; i < 500 && is_tree_alive(); i++)
		usleep(10000);
	assert_false(is_tree_alive());
}

static void test_timeout(void **state)
{
	struct rig *r = begin();
	struct call *c;

	(void)state;
	r->conf.timeout_ns = 300 * SQ_MS;
	rig_open(r, &sq_backend_process);
	c = call_new(r, "GET", "tree", "", NULL, 0);
	call_expect(c, SQ_FAULT_FUNCTION_TIMEOUT, 0, NULL);
	assert_true(c->inv.overrun);
	assert_true(c->ended_ns - c->inv.granted_ns >= 300 * SQ_MS);
	assert_true(c->ended_ns - c->inv.granted_ns < 3 * SQ_S);
	assert_int_equal(r->counts[SQ_COUNT_OVERRUNS], 1);
	wait_for_tree_to_go();
	call_free(c);
	rig_free(r);
}

/* It ends, but its child holds stdout: the answer comes after the grace, the child is killed. */
static void test_holder(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "GET", "holder", "", NULL, 0);

	(void)state;
	call_expect(c, SQ_FAULT_NONE, 200, "begun\n");
	assert_true(c->ended_ns - c->inv.granted_ns >= SQ_S);
	assert_true(c->ended_ns - c->inv.granted_ns < 3 * SQ_S);
	call_free(c);
	/* One that closes it in time is waited for. */
	c = call_new(r, "GET", "helper", "", NULL, 0);
	call_expect(c, SQ_FAULT_NONE, 200, "begun\nended\n");
	call_free(c);
	rig_free(r);
}

static void test_abort(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "GET", "tree", "", NULL, 0);

	(void)state;
	call_start(c);
	loop_run_for(r, 200 * SQ_MS);
	r->backend.ops->abort(&c->inv);
	call_wait(c);
	assert_int_equal(c->fault, SQ_FAULT_DRAINING);
	wait_for_tree_to_go();
	call_free(c);
	rig_free(r);
}

static void test_descriptors(void **state)
{
	struct rig *r = opened();
	struct rlimit was, low;
	struct call *c;
	int before, i, keep;

	(void)state;
	keep = open("/dev/null", O_RDONLY); /* without O_CLOEXEC: not inherited all the same */
	c = call_new(r, "GET", "fds", "", NULL, 0);
	call_expect(c, SQ_FAULT_NONE, 200, "0\n1\n2\n");
	call_free(c);
	close(keep);
	before = count_descriptors();
	for (i = 0; i < 100; i++) {
		c = call_new(r, "POST", i % 3 ? "echo" : "fails", "", NULL, i % 2 ? 300000 : 10);
		call_start(c);
		call_wait(c);
		call_free(c);
	}
	assert_int_equal(count_descriptors(), before);
	getrlimit(RLIMIT_NOFILE, &was);
	for (i = 0; i < 8; i++) { /* fails at each of the descriptors in turn */
		c = call_new(r, "POST", "echo", "", NULL, i % 2 ? 300000 : 10);
		low = (struct rlimit){(rlim_t)(before - 3 + i), was.rlim_max};
		setrlimit(RLIMIT_NOFILE, &low);
		call_start(c);
		setrlimit(RLIMIT_NOFILE, &was);
		call_wait(c);
		if (c->fault)
			assert_int_equal(c->fault, SQ_FAULT_BACKEND_CONNECT);
		else
			assert_int_equal(c->inv.answer.status, 200);
		call_free(c);
		assert_int_equal(count_descriptors(), before);
	}
	c = call_new(r, "POST", "echo", "", NULL, 10);
	call_expect(c, SQ_FAULT_NONE, 200, NULL);
	call_free(c);
	rig_free(r);
}

/* The process, each of its pipes: whatever is not watched, the call ends and nothing is left. */
static void test_unwatched(void **state)
{
	struct rig *r = opened();
	int before, i;

	(void)state;
	before = count_descriptors();
	for (i = 1; i <= 4; i++) {
		struct call *c = call_new(r, "POST", "deaf", "", NULL, 250000);

		fail_watch = i;
		call_start(c);
		assert_int_equal(fail_watch, 0);
		call_wait(c);
		assert_int_equal(c->fault, SQ_FAULT_BACKEND_CONNECT);
		loop_run_for(r, 200 * SQ_MS);
		assert_int_equal(count_descriptors(), before);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(errno, ECHILD);
		call_free(c);
	}
	rig_free(r);
}

/*
 * The log's lines: with the run, quoted, cut, and not without end. The function's name is the
 * engine's only while the call is started.
 */
static void test_stderr(void **state)
{
	struct rig *r = opened();
	char name[] = "talks";
	struct call *c = call_new(r, "GET", name, "", NULL, 0);
	int pipe_fds[2], saved = dup(2);
	char log[16384], id[SQ_ID_HEX], want[100];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(pipe_fds[1], 2);
	call_start(c);
	memset(name, '!', sizeof(name) - 1);
	call_wait(c);
	dup2(saved, 2);
	close(saved);
	n = read(pipe_fds[0], log, sizeof(log) - 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_true(n > 0);
	log[n] = '\0';
	assert_int_equal(c->inv.answer.status, 200);
	snprintf(want, sizeof(want), "run=%s function=talks text=one", sq_id_show(id, c->inv.id));
	assert_non_null(strstr(log, want));
	assert_non_null(strstr(log, "text=\"two words\""));
	assert_non_null(strstr(log, "cut=1"));
	assert_non_null(strstr(log, "text=unended"));
	call_free(c);
	rig_free(r);
}

/* Signals 32 and 33 are the C library's own: no program can reset what it inherits of them. */
#define LIBRARY_SIGNALS 0x180000000ULL

/* Signals and terminal matters of the proxy are not the function's. */
static void test_clean_start(void **state)
{
	struct rig *r = opened();
	struct call *c = call_new(r, "GET", "signals", "", NULL, 0);
	char *text, *line;

	(void)state;
	call_expect(c, SQ_FAULT_NONE, 200, NULL);
	text = call_answer(c);
	line = strstr(text, "SigIgn:");
	assert_non_null(line);
	assert_int_equal(strtoull(line + 7, NULL, 16) & ~LIBRARY_SIGNALS, 0);
	line = strstr(text, "SigBlk:");
	assert_int_equal(strtoull(line + 7, NULL, 16) & ~LIBRARY_SIGNALS, 0);
	free(text);
	call_free(c);
	rig_free(r);
}

static int set_up(void **state)
{
	char path[200];

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	put("echo", 0755, "#!/bin/sh\nexec cat\n");
	put("binary", 0755, "#!/bin/sh\nprintf '\\377\\376'\n");
	put("env", 0755, "#!/bin/sh\nexec env\n");
	put("fails", 0755, "#!/bin/sh\necho sorry\nexit 3\n");
	put("dies", 0755, "#!/bin/sh\nulimit -c 0\nkill -SEGV $$\n");
	put("plain", 0644, "#!/bin/sh\necho never\n");
	put("noise", 0755, "\x01\x02\x03\n");
	put("deaf", 0755, "#!/bin/sh\nexec 0</dev/null\nsleep 0.1\necho done\n");
	put("endless", 0755, "#!/bin/sh\nexec cat /dev/zero\n");
	put("large", 0755, "#!/bin/sh\nhead -c 1100000 /dev/zero\n");
	put("tree", 0755, "#!/bin/sh\nsleep 100 &\necho $$ $! >pids\nwait\n");
	put("holder", 0755, "#!/bin/sh\necho begun\nsleep 100 &\n");
	put("helper", 0755, "#!/bin/sh\necho begun\n(sleep 0.2; echo ended) &\n");
	put("fds", 0755,
	    "#!/bin/sh\nfor i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do\n"
	    "test -e /proc/$$/fd/$i && test $i -ne 10 && echo $i; done; exit 0\n");
	put("talks", 0755,
	    "#!/bin/sh\necho one >&2\necho two words >&2\nhead -c 3000 /dev/zero | tr '\\0' x >&2\n"
	    "echo >&2\nprintf unended >&2\n");
	put("signals", 0755, "#!/bin/sh\nexec cat /proc/self/status\n");
	put(".hidden", 0755, "#!/bin/sh\n");
	snprintf(path, sizeof(path), "%s/folder", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/link", dir);
	return symlink("echo", path);
}

static int tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),        cmocka_unit_test(test_knows),
		cmocka_unit_test(test_environment), cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_big),         cmocka_unit_test(test_unread),
		cmocka_unit_test(test_too_large),   cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_holder),      cmocka_unit_test(test_abort),
		cmocka_unit_test(test_descriptors), cmocka_unit_test(test_stderr),
		cmocka_unit_test(test_unwatched),   cmocka_unit_test(test_clean_start),
	};

	return cmocka_run_group_tests_name("process", tests, set_up, tear_down);
}
