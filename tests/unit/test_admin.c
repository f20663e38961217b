/*
 * The admin socket with a fake engine behind it: the protocol and its limits, garbage, slow
 * clients, the socket file. The fakes stand in for engine/view.h and for the rows of
 * conf/settings.h.
 */
#include "admin/admin.h"
#include "admin/server.h"
#include "admin/socket.h"
#include "base/clock.h"
#include "engine/view.h"

#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

/* ---- the fake engine ---- */

static char asked_state[16];
static size_t asked_limit;

void sq_engine_status(struct sq_engine *en, struct sq_status_view *out)
{
	(void)en;
	*out = (struct sq_status_view){.uptime_ns = 5 * SQ_S,
				       .loops = 2,
				       .seats_limit = 64,
				       .seats_used = 3,
				       .waiting = 9,
				       .accepted = 1ull << 40,
				       .draining = true};
}

long sq_engine_queues(struct sq_engine *en, struct sq_queue_view **rows)
{
	(void)en;
	*rows = calloc(2, sizeof(**rows));
	(*rows)[0] = (struct sq_queue_view){.class = -5,
					    .queue = "PQ",
					    .share = "tenant",
					    .share_value = "g\xffld",
					    .order = "fifo",
					    .state = "parked",
					    .parked_on = "backend:faas",
					    .depth = 7,
					    .oldest_ns = SQ_S};
	(*rows)[1] = (struct sq_queue_view){.queue = "CRQ", .share = "none", .state = "ready"};
	return 2;
}

long sq_engine_caps(struct sq_engine *en, struct sq_cap_view **rows)
{
	(void)en;
	*rows = calloc(1, sizeof(**rows));
	(*rows)[0] = (struct sq_cap_view){
		.name = "pool", .kind = "seats", .limit = 64, .used = 3, .source = "settings"};
	return 1;
}

long sq_engine_backends(struct sq_engine *en, struct sq_backend_view **rows)
{
	(void)en;
	*rows = NULL;
	return -ENOMEM;
}

long sq_engine_runs(struct sq_engine *en, const char *state, size_t limit,
		    struct sq_run_view ***rows)
{
	struct sq_run_view *v = calloc(1, sizeof(*v));

	(void)en;
	snprintf(asked_state, sizeof(asked_state), "%s", state ? state : "all");
	asked_limit = limit;
	v->id = (struct sq_id){1, 2};
	v->chain = strdup("resize");
	v->tenant = strdup("gold");
	v->state = "failed";
	v->trigger = "async";
	v->accepted_wall_ns = 1700000000123456789;
	v->fault = SQ_FAULT_WAIT_EXPIRED;
	*rows = malloc(sizeof(**rows));
	(*rows)[0] = v;
	return 1;
}

void sq_run_view_free(struct sq_run_view *v)
{
	free(v->chain);
	free(v->tenant);
	free(v);
}

size_t sq_engine_settings(struct sq_engine *en, struct sq_setting_row **rows)
{
	static struct sq_setting_row row = {(char *)"workers.seats", (char *)"64",
					    (char *)"default"};

	(void)en;
	*rows = &row;
	return 1;
}

void sq_settings_rows_free(struct sq_setting_row *rows, size_t n)
{
	(void)rows;
	(void)n;
}

/* ---- help ---- */

static char dir[64], path[128];
static struct sq_metrics *metrics;
static struct sq_admin *admin;

static struct sq_admin *start(struct sq_error *e)
{
	struct sq_settings s = {.admin_socket = path};

	return sq_admin_start(NULL, &s, metrics, e);
}

static int begin(void **state)
{
	struct sq_metrics_conf conf = {.loops = 1};
	struct sq_error e = {""};

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sq-admin-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run/a.sock", dir); /* run/ is not there */
	metrics = sq_metrics_start(&conf, &e);
	admin = start(&e);
	if (!admin)
		fail_msg("%s", e.text);
	return 0;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	sq_admin_stop(admin);
	sq_metrics_stop(metrics);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(path) < sizeof(a.sun_path));
	strcpy(a.sun_path, path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* The next line, or NULL at the end; waits at most 5 s. In a buffer that the next call reuses. */
static const char *next_line(int fd)
{
	static char line[1 << 17];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t len = 0;

	do {
		if (poll(&p, 1, 5000) != 1)
			fail_msg("no line within 5 s; so far: %.*s", (int)len, line);
		if (read(fd, line + len, 1) != 1)
			return NULL;
	} while (line[len++] != '\n');
	line[len - 1] = '\0';
	return line;
}

static int dial_greeted(void)
{
	int fd = dial();

	assert_string_equal(next_line(fd),
			    "{\"sequoia-admin\": 1, \"version\": \"" PACKAGE_VERSION "\"}");
	return fd;
}

static void say(int fd, const char *text)
{
	size_t len = strlen(text);

	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

static json_t *ask(int fd, const char *line)
{
	json_t *answer;

	say(fd, line);
	answer = json_loads(next_line(fd), 0, NULL);
	assert_non_null(answer);
	return answer;
}

static void expect(int fd, const char *line, const char *wanted)
{
	say(fd, line);
	assert_string_equal(next_line(fd), wanted);
}

static void expect_code(int fd, const char *line, const char *code)
{
	json_t *answer = ask(fd, line);

	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_string_equal(json_string_value(json_object_get(answer, "code")), code);
	assert_non_null(json_object_get(answer, "message"));
	json_decref(answer);
}

/* ---- commands ---- */

static void test_status(void **state)
{
	int fd = dial_greeted();
	json_t *a = ask(fd, "{\"command\": \"status\"}\n"), *data = json_object_get(a, "data");

	(void)state;
	assert_true(json_is_true(json_object_get(a, "ok")));
	assert_int_equal(json_integer_value(json_object_get(data, "seats_used")), 3);
	assert_int_equal(json_integer_value(json_object_get(data, "accepted")), 1ll << 40);
	assert_int_equal(json_integer_value(json_object_get(data, "pid")), getpid());
	assert_true(json_is_true(json_object_get(data, "draining")));
	json_decref(a);
	close(fd);
}

static void test_rows(void **state)
{
	int fd = dial_greeted();

	(void)state;
	expect(fd, "{\"command\": \"queue\", \"args\": {}}\n",
	       "{\"ok\":true,\"data\":{\"lanes\":[{\"class\":-5,\"queue\":\"PQ\",\"share\":"
	       "\"tenant\","
	       "\"share_value\":\"g?ld\",\"order\":\"fifo\",\"state\":\"parked\",\"depth\":7,"
	       "\"oldest_ns\":1000000000,\"parked_on\":\"backend:faas\"},{\"class\":0,"
	       "\"queue\":\"CRQ\",\"share\":\"none\",\"share_value\":\"\",\"order\":\"\","
	       "\"state\":\"ready\",\"depth\":0,\"oldest_ns\":0,\"parked_on\":null}],"
	       "\"caps\":[{\"cap\":\"pool\",\"kind\":\"seats\",\"limit\":64,\"used\":3,\"parked\":"
	       "0,"
	       "\"source\":\"settings\"}]}}");
	expect(fd, "{\"command\": \"runs\"}\n",
	       "{\"ok\":true,\"data\":{\"runs\":[{\"id\":\"00000000000000010000000000000002\","
	       "\"chain\":\"resize\",\"tenant\":\"gold\",\"trigger\":\"async\",\"state\":"
	       "\"failed\","
	       "\"accepted\":\"2023-11-14T22:13:20.123456Z\",\"started\":null,\"ended\":null,"
	       "\"queue_ns\":null,\"attempts\":0,\"status\":null,\"fault\":\"wait_expired\","
	       "\"detail\":null}]}}");
	assert_string_equal(asked_state, "all");
	assert_int_equal(asked_limit, 100);
	expect(fd, "{\"command\": \"settings\"}\n",
	       "{\"ok\":true,\"data\":{\"settings\":[{\"key\":\"workers.seats\",\"value\":\"64\","
	       "\"origin\":\"default\"}]}}");
	expect_code(fd, "{\"command\": \"backends\"}\n", "no_memory");
	close(fd);
}

static void test_metrics(void **state)
{
	int fd = dial_greeted();
	json_t *a;

	(void)state;
	sq_metrics_count(metrics, 0, SQ_COUNT_REQUESTS, 5);
	a = ask(fd, "{\"command\": \"metrics\"}\n");
	assert_non_null(
		strstr(json_string_value(json_object_get(json_object_get(a, "data"), "text")),
		       "\nsequoia_requests_total 5\n"));
	json_decref(a);
	close(fd);
}

static void test_arguments(void **state)
{
	static const char *const bad[] = {
		"{\"command\": \"runs\", \"args\": {\"state\": \"flying\"}}\n",
		"{\"command\": \"runs\", \"args\": {\"state\": \"runn\"}}\n",
		"{\"command\": \"runs\", \"args\": {\"state\": \"running|failing\"}}\n",
		"{\"command\": \"runs\", \"args\": {\"state\": 3}}\n",
		"{\"command\": \"runs\", \"args\": {\"limit\": 0}}\n",
		"{\"command\": \"runs\", \"args\": {\"limit\": -1}}\n",
		"{\"command\": \"runs\", \"args\": {\"limit\": \"5\"}}\n",
		"{\"command\": \"status\", \"args\": {\"limit\": 5}}\n",
	};
	int fd = dial_greeted();
	json_t *a =
		ask(fd, "{\"command\":\"runs\",\"args\":{\"state\":\"cancelled\",\"limit\":3}}\n");

	(void)state;
	assert_true(json_is_true(json_object_get(a, "ok")));
	assert_string_equal(asked_state, "cancelled");
	assert_int_equal(asked_limit, 3);
	json_decref(a);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_code(fd, bad[i], "bad_argument");
	close(fd);
}

/* ---- what clients may send ---- */

static void test_garbage(void **state)
{
	static const struct {
		const char *line, *code;
	} cases[] = {
		{"\n", "bad_request"},
		{"hello\n", "bad_request"},
		{"{\"command\": \"status\"\n", "bad_request"},
		{"{\"command\": \"status\"} trailing\n", "bad_request"},
		{"{\"command\": \"status\", \"command\": \"queue\"}\n", "bad_request"},
		{"[]\n", "bad_request"},
		{"17\n", "bad_request"},
		{"{}\n", "bad_request"},
		{"{\"command\": 5}\n", "bad_request"},
		{"{\"command\": \"status\", \"args\": [1]}\n", "bad_request"},
		{"{\"command\": \"st\xff\"}\n", "bad_request"},
		{"\xff\xfe\x80\n", "bad_request"},
		{"GET / HTTP/1.1\r\n", "bad_request"},
		{"{\"command\": \"stat\"}\n", "unknown_command"},
		{"{\"command\": \"help\"}\n", "unknown_command"},
		{"{\"command\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		 "\xc3\xa9\"}\n",
		 "unknown_command"}, /* the message is cut within a character */
	};
	int fd = dial_greeted();
	json_t *a;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_code(fd, cases[i].line, cases[i].code);
	assert_int_equal(send(fd, "{\"command\": \"sta\0us\"}\n", 22, 0), 22);
	a = json_loads(next_line(fd), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(a, "code")), "bad_request");
	json_decref(a);
	close(fd);
}

static void test_many_in_one(void **state)
{
	int fd = dial_greeted();

	(void)state;
	say(fd, "{\"command\":\"settings\"}\n{\"command\":\"nope\"}\n{\"comm");
	assert_non_null(strstr(next_line(fd), "workers.seats"));
	assert_non_null(strstr(next_line(fd), "unknown_command"));
	say(fd, "and\":\"settings\"}\n");
	assert_non_null(strstr(next_line(fd), "workers.seats"));
	shutdown(fd, SHUT_WR);
	assert_null(next_line(fd));
	close(fd);
}

static void send_line_of(int fd, size_t len)
{
	char *line = malloc(len + 1);
	size_t sent = 0;
	ssize_t n;

	memset(line, 'x', len);
	line[len] = '\n';
	while (sent <= len) {
		n = send(fd, line + sent, len + 1 - sent, MSG_NOSIGNAL);
		if (n < 0)
			break; /* refused before all was sent */
		sent += (size_t)n;
	}
	free(line);
}

static void test_long_line(void **state)
{
	int fd = dial_greeted();

	(void)state;
	send_line_of(fd, 64 * 1024);
	assert_non_null(strstr(next_line(fd), "\"bad_request\""));
	send_line_of(fd, 64 * 1024 + 1);
	assert_non_null(strstr(next_line(fd), "\"too_long\""));
	assert_null(next_line(fd));
	close(fd);
	fd = dial_greeted();
	send_line_of(fd, 10 << 20);
	assert_non_null(strstr(next_line(fd), "\"too_long\""));
	assert_null(next_line(fd));
	close(fd);
}

static void test_too_many_clients(void **state)
{
	int fd[SQ_ADMIN_CLIENTS], extra;

	(void)state;
	for (int i = 0; i < SQ_ADMIN_CLIENTS; i++)
		fd[i] = dial_greeted();
	for (int i = 0; i < 3; i++) {
		extra = dial();
		assert_non_null(strstr(next_line(extra), "\"busy\""));
		assert_null(next_line(extra));
		close(extra);
	}
	/* The others are served, and a place that is left is free again. */
	expect_code(fd[7], "{\"command\":\"nope\"}\n", "unknown_command");
	close(fd[3]);
	expect_code(fd[15], "{\"command\":\"nope\"}\n", "unknown_command");
	fd[3] = dial_greeted();
	for (int i = 0; i < SQ_ADMIN_CLIENTS; i++)
		close(fd[i]);
}

/* ---- slow clients: the server alone, with short times ---- */

static int long_answer(void *arg, uid_t peer, const char *line, size_t len, struct sq_buf *out)
{
	static char much[1 << 20];

	(void)arg;
	(void)line;
	(void)len;
	assert(peer == geteuid());
	memset(much, 'y', sizeof(much) - 1);
	much[sizeof(much) - 1] = '\n';
	return sq_buf_add(out, much, sizeof(much));
}

static void *serve(void *arg)
{
	sq_admin_serve(arg);
	return NULL;
}

static int64_t cut_after(int fd, bool read_it)
{
	struct pollfd p = {.fd = fd, .events = read_it ? POLLIN : 0};
	int64_t begun = sq_clock_ns();
	char c;

	assert_int_equal(poll(&p, 1, 5000), 1);
	if (read_it)
		assert_int_equal(read(fd, &c, 1), 0);
	return sq_clock_ns() - begun;
}

static void test_slow_clients(void **state)
{
	struct sq_error e = {""};
	struct sq_admin_server s = {.stop_fd = eventfd(0, 0),
				    .clients_max = 4,
				    .line_max = 1000,
				    .deadline_ns = 100 * SQ_MS,
				    .idle_ns = 400 * SQ_MS,
				    .greeting = "hi\n",
				    .answer = long_answer};
	uint64_t one = 1;
	pthread_t thread;
	int64_t after;
	size_t got = 0;
	char buf[4096];
	ssize_t n;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/run/b.sock", dir);
	s.listen_fd = sq_admin_socket_open(path, &e);
	assert_true(s.listen_fd >= 0);
	pthread_create(&thread, NULL, serve, &s);

	fd = dial(); /* idle */
	assert_string_equal(next_line(fd), "hi");
	after = cut_after(fd, true);
	assert_in_range(after, 350 * SQ_MS, 5 * SQ_S);
	close(fd);

	fd = dial(); /* a line that never ends: drops of it do not buy time */
	assert_string_equal(next_line(fd), "hi");
	say(fd, "a");
	usleep(60000);
	say(fd, "b");
	after = cut_after(fd, true);
	assert_true(after < 300 * SQ_MS);
	close(fd);

	fd = dial(); /* an answer that is not read */
	assert_string_equal(next_line(fd), "hi");
	say(fd, "x\n");
	after = cut_after(fd, false);
	assert_true(after < 5 * SQ_S);
	close(fd);

	fd = dial(); /* an answer that is read slowly, but read */
	assert_string_equal(next_line(fd), "hi");
	say(fd, "x\n");
	while (got < 1 << 20) {
		n = read(fd, buf, sizeof(buf));
		assert_true(n > 0);
		got += (size_t)n;
		usleep(1000);
	}
	close(fd);

	fd = dial(); /* there when the server ends */
	assert_string_equal(next_line(fd), "hi");
	assert_int_equal(write(s.stop_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(thread, NULL);
	assert_null(next_line(fd));
	close(fd);
	sq_admin_socket_close(s.listen_fd, path);
	close(s.stop_fd);
}

/* ---- the socket file ---- */

static void expect_refusal(const char *words)
{
	struct sq_error e = {""};
	struct sq_admin *a = start(&e);

	assert_null(a);
	if (!strstr(e.text, words))
		fail_msg("expected \"%s\" in: %s", words, e.text);
}

static void test_socket_file(void **state)
{
	struct sq_error e = {""};
	struct sq_admin *second;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0660);
	expect_refusal("another daemon answers there");
	close(dial_greeted()); /* the first one is as well as before */
	sq_admin_stop(admin);
	assert_int_equal(stat(path, &st), -1);

	/* A socket file whose daemon was killed. */
	fd = sq_admin_socket_open(path, &e);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(stat(path, &st), 0);
	second = start(&e);
	assert_non_null(second);
	close(dial_greeted());

	/* The file was replaced by that of another daemon: it is not ours to remove. */
	unlink(path);
	admin = start(&e);
	assert_non_null(admin);
	sq_admin_stop(second);
	assert_int_equal(stat(path, &st), 0);
	close(dial_greeted());
}

static void test_bad_paths(void **state)
{
	char kept[sizeof(path)];

	(void)state;
	strcpy(kept, path);
	snprintf(path, sizeof(path), "%s/run/file", dir);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	expect_refusal("is no socket");
	snprintf(path, sizeof(path), "/proc/none/run/a.sock");
	expect_refusal("cannot make the folder");
	memset(path, 'x', sizeof(path) - 1);
	expect_refusal("too long for a socket");
	strcpy(path, kept);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_status),       TEST(test_rows),
		TEST(test_metrics),      TEST(test_arguments),
		TEST(test_garbage),      TEST(test_many_in_one),
		TEST(test_long_line),    TEST(test_too_many_clients),
		TEST(test_slow_clients), TEST(test_socket_file),
		TEST(test_bad_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
