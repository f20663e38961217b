/* The settings file: defaults, every key, every fault with its place, and what must never crash. */
#define _GNU_SOURCE 1
#include "conf_files.h"

#include "base/clock.h"

/* Reads text as s.yaml and expects these faults, one a line; "" when it is to be good. */
static struct sq_settings *expect(const char *text, const char *faults)
{
	char *report;
	struct sq_settings *s;

	put("s.yaml", text);
	s = settings_of("s.yaml", &report);
	keep_headlines(report);
	assert_string_equal(report, faults);
	if (*faults)
		assert_null(s);
	else
		assert_non_null(s);
	free(report);
	return s;
}

static const char *row_of(const struct sq_setting_row *rows, size_t n, const char *key,
			  const char **origin)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rows[i].key, key) != 0)
			continue;
		*origin = rows[i].origin;
		return rows[i].value;
	}
	fail_msg("there is no row %s", key);
	return NULL;
}

/* ---- defaults ---- */

static void test_defaults(void **state)
{
	char *report;
	struct sq_settings *s = settings_of(NULL, &report);

	(void)state;
	assert_string_equal(report, "");
	assert_string_equal(s->file, "");
	assert_int_equal(s->dir[0], '/');
	assert_int_equal(s->n_listens, 1);
	assert_string_equal(s->listens[0].address, "127.0.0.1:8080");
	assert_int_equal(s->n_backends, 1);
	assert_string_equal(s->backends[0].name, "local");
	assert_int_equal(s->backends[0].type, SQ_BACKEND_PROCESS);
	assert_string_equal(s->backends[0].functions + strlen(s->dir), "/functions");
	assert_int_equal(s->backends[0].timeout_ns, 60 * SQ_S);
	assert_int_equal(s->n_tenants + s->n_routes, 0);
	assert_int_equal(s->n_policy_globs, 0);
	assert_int_equal(s->seats, 64);
	assert_int_equal(s->limit_wait, 50 * SQ_S);
	assert_int_equal(s->limit_body, 6u << 20);
	assert_true(s->anonymous);
	assert_string_equal(s->admin_socket + strlen(s->dir), "/run/sequoia.sock");
	sq_settings_free(s);
	free(report);
	sq_settings_free(NULL);
}

/* conf/sequoia.yaml says what the defaults are, so it must say it rightly, and of every key. */
static void test_example_is_the_defaults(void **state)
{
	char *report, *report2;
	struct sq_settings *s = settings_of(SQ_SRCDIR "/conf/sequoia.yaml", &report), *d;
	struct sq_setting_row *rows, *defaults;
	size_t n, m;

	(void)state;
	assert_string_equal(report, "");
	assert_int_equal(chdir(s->dir), 0);
	d = settings_of(NULL, &report2);
	assert_int_equal(chdir(conf_folder), 0);
	n = sq_settings_rows(s, &rows);
	m = sq_settings_rows(d, &defaults);
	assert_int_equal(n, m);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(rows[i].key, defaults[i].key);
		/* So that it starts where it lies. */
		if (strcmp(rows[i].key, "backends.local.functions") == 0)
			assert_non_null(strstr(rows[i].value, "/conf/../functions"));
		else
			assert_string_equal(rows[i].value, defaults[i].value);
		assert_string_equal(defaults[i].origin, "default");
		/* Those that are commented out: there is no value to write. */
		if (strcmp(rows[i].value, "") && strcmp(rows[i].value, "none") &&
		    strcmp(rows[i].value, "0"))
			assert_non_null(strstr(rows[i].origin, "sequoia.yaml:"));
	}
	sq_settings_rows_free(rows, n);
	sq_settings_rows_free(defaults, m);
	sq_settings_free(s);
	sq_settings_free(d);
	free(report);
	free(report2);
}

/* ---- good values ---- */

static const char whole[] =
	"version: 1\n"
	"listen: [ { address: '*:0' }, { address: '*:0' }, { address: '[::1]:80' },\n"
	"          { address: localhost:80 } ]\n"
	"admin: { socket: /run/s.sock }\n"
	"state: ./data/\n"
	"backends:\n"
	"  zeta: { type: process, functions: /srv/f, memory: 256MiB, cpus: 0.5, seats: 7 }\n"
	"  faas:\n"
	"    type: openfaas\n"
	"    url: \"https://bob:secret@h.example:81/base\"\n"
	"    timeout: 1.5s\n"
	"    connect-timeout: 250ms\n"
	"    settle: 2m\n"
	"    verify: false\n"
	"tenants:\n"
	"  - name: gold\n"
	"    key-sha256: 00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\n"
	"routes:\n"
	"  - { path: /api/*, backend: faas }\n"
	"  - { path: /x, backend: zeta, function: x, stream: true }\n"
	"policies: [a/*.yaml, /b/*.yaml]\n"
	"anonymous: true\n"
	"workers:\n"
	"limits: { wait: 0, body: 1048576, memory: 5MB, queue: 7 }\n"
	"log: { level: debug }\n";

static void test_all_kinds(void **state)
{
	struct sq_settings *s = expect(whole, "");
	const struct sq_backend_conf *b = s->backends;

	(void)state;
	assert_int_equal(s->n_listens, 4);
	assert_string_equal(s->listens[2].address, "[::1]:80");
	assert_string_equal(s->admin_socket, "/run/s.sock");
	assert_string_equal(s->state + strlen(s->dir), "/data/");
	assert_int_equal(s->n_backends, 2);
	assert_string_equal(b[0].name, "zeta");
	assert_string_equal(b[0].functions, "/srv/f");
	assert_int_equal(b[0].memory_bytes, 256u << 20);
	assert_true(b[0].cpus == 0.5);
	assert_int_equal(b[0].seats, 7);
	assert_int_equal(b[1].type, SQ_BACKEND_OPENFAAS);
	assert_string_equal(b[1].url, "https://bob:secret@h.example:81/base");
	assert_int_equal(b[1].timeout_ns, 1500 * SQ_MS);
	assert_int_equal(b[1].connect_timeout_ns, 250 * SQ_MS);
	assert_int_equal(b[1].settle_ns, 120 * SQ_S);
	assert_int_equal(b[1].seats, 0);
	assert_false(b[1].verify);
	assert_string_equal(s->tenants[0].name, "gold");
	assert_int_equal(s->tenants[0].key_sha256[1], 0x11);
	assert_int_equal(s->tenants[0].key_sha256[31], 0xff);
	assert_string_equal(s->routes[0].function, "/api/*");
	assert_false(s->routes[0].stream);
	assert_string_equal(s->routes[1].function, "x");
	assert_true(s->routes[1].stream);
	assert_int_equal(s->n_policy_globs, 2);
	assert_string_equal(s->policy_globs[1], "/b/*.yaml");
	assert_int_equal(s->limit_wait, 0);
	assert_int_equal(s->limit_body, 1u << 20);
	assert_int_equal(s->limit_memory, 5000000);
	sq_settings_free(s);
}

static void test_rows(void **state)
{
	static const struct {
		const char *key, *value, *origin;
	} cases[] = {
		{"listen[3].address", "localhost:80", "s.yaml:3"},
		{"backends.faas.url", "https://(set)@h.example:81/base", "s.yaml:10"},
		{"backends.faas.seats", "none", "default"},
		{"backends.zeta.seats", "7", "s.yaml:7"},
		{"backends.zeta.cpus", "0.5", "s.yaml:7"},
		{"tenants[0].key-sha256", "(set)", "s.yaml:17"},
		{"routes[0].path", "/api/*", "s.yaml:19"},
		{"routes[0].function", "/api/*", "default"},
		{"routes[1].stream", "true", "s.yaml:20"},
		{"policies", NULL, "s.yaml:21"},
		{"workers.seats", "64", "default"},
		{"limits.wait", "0", "s.yaml:24"},
		{"log.level", "debug", "s.yaml:25"},
	};
	struct sq_settings *s = expect(whole, "");
	struct sq_setting_row *rows;
	size_t n = sq_settings_rows(s, &rows);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *origin, *value = row_of(rows, n, cases[i].key, &origin);

		if (cases[i].value)
			assert_string_equal(value, cases[i].value);
		assert_string_equal(origin, cases[i].origin);
	}
	for (size_t i = 0; i < n; i++)
		assert_null(strstr(rows[i].value, "secret"));
	sq_settings_rows_free(rows, n);
	sq_settings_free(s);
}

/* No policies: nothing written, null, or an empty list. */
static void test_no_policies(void **state)
{
	static const char *const none[] = {"", "policies:\n", "policies: []\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		struct sq_setting_row *rows;
		const char *origin;
		char text[60];
		struct sq_settings *s;
		size_t n;

		snprintf(text, sizeof(text), "version: 1\n%s", none[i]);
		s = expect(text, "");
		n = sq_settings_rows(s, &rows);
		assert_int_equal(s->n_policy_globs, 0);
		assert_string_equal(row_of(rows, n, "policies", &origin), "none");
		sq_settings_rows_free(rows, n);
		sq_settings_free(s);
	}
}

/* What is checked beyond the text: folders that are not there, a path that is no socket's. */
static void test_places(void **state)
{
	char *report = NULL, text[400], wanted[600], deep[120];
	struct sq_faults faults = {0};
	struct sq_settings *s;
	size_t len;

	(void)state;
	memset(deep, 'd', sizeof(deep));
	deep[sizeof(deep) - 1] = '\0';
	snprintf(text, sizeof(text),
		 "version: 1\nadmin: { socket: /%s }\nbackends:\n  a: { type: process, functions: "
		 "policies }\n  b: { type: process, functions: none }\n  c:\n    type: process\n"
		 "    functions: s.yaml\n",
		 deep);
	put("s.yaml", text);
	faults.out = open_memstream(&report, &len);
	assert_null(sq_settings_check("s.yaml", &faults));
	assert_int_equal(fclose(faults.out), 0);
	assert_int_equal(faults.errors, 3);
	keep_headlines(report);
	snprintf(wanted, sizeof(wanted),
		 "s.yaml:2:18: error: socket: /%s: too long for a socket: 120 bytes, 107 at most\n"
		 "s.yaml:5:34: error: functions: %s/none: No such file or directory\n"
		 "s.yaml:8:16: error: functions: %s/s.yaml: Not a directory\n",
		 deep, conf_folder, conf_folder);
	assert_string_equal(report, wanted);
	free(report);
	/* Read, they are not looked at; and the defaults have no place. */
	sq_settings_free(expect(text, ""));
	faults.out = open_memstream(&report, &len);
	assert_null(sq_settings_check(NULL, &faults));
	assert_int_equal(fclose(faults.out), 0);
	snprintf(wanted, sizeof(wanted),
		 "settings: error: functions: %s/functions: No such file or directory\n",
		 conf_folder);
	assert_string_equal(report, wanted);
	free(report);
	faults = (struct sq_faults){0};
	put("s.yaml", "version: 1\nbackends: { a: { type: process, functions: policies } }\n");
	s = sq_settings_check("s.yaml", &faults);
	assert_non_null(s);
	sq_settings_free(s);
}

static void test_json(void **state)
{
	struct sq_settings *s =
		expect("{\n\t\"version\": 1,\n\t\"listen\": [{\"address\": \"127.0.0.1:1\"}],\n"
		       "\t\"workers\": {\"seats\": 9, \"threads\": 2}, \"anonymous\": false,\n"
		       "\t\"backends\": {\"b\": {\"type\": \"process\", \"functions\": "
		       "\"\\u0066\\/g\"}},\n"
		       "\t\"limits\": {\"wait\": \"2s\", \"body\": \"1MiB\"}, \"routes\": []\n}\n",
		       "");

	(void)state;
	assert_int_equal(s->seats, 9);
	assert_false(s->anonymous);
	assert_string_equal(s->backends[0].functions + strlen(s->dir), "/f/g");
	assert_int_equal(s->limit_wait, 2 * SQ_S);
	sq_settings_free(s);
}

/* Each scalar of the table: both bounds are good, what lies beyond is not. */
#define BOUNDED(kind, key, min, max) {key, #kind, min, max},
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
static const struct {
	const char *key, *kind, *min, *max;
} bounded[] = {
#define SQ_SETTING_COUNT(field, key, def, min, max, help) BOUNDED(count, key, TEXT(min), TEXT(max))
#define SQ_SETTING_BYTES(field, key, def, min, max, help) BOUNDED(bytes, key, min, max)
#define SQ_SETTING_DURATION(field, key, def, min, max, help) BOUNDED(duration, key, min, max)
#include "tables/settings.tbl"
#include "tables/settings.undef"
};

/* "limits.wait" and "1s" -> a settings file */
static void write_one(char out[200], const char *key, const char *value)
{
	const char *dot = strchr(key, '.');

	if (dot)
		snprintf(out, 200, "version: 1\n%.*s:\n  %s: %s\n", (int)(dot - key), key, dot + 1,
			 value);
	else
		snprintf(out, 200, "version: 1\n%s: %s\n", key, value);
}

static void expect_refused(const char *key, const char *value)
{
	char text[200], *report;

	write_one(text, key, value);
	put("s.yaml", text);
	assert_null(settings_of("s.yaml", &report));
	keep_headlines(report);
	assert_non_null(strstr(report, ": expected "));
	assert_ptr_equal(strchr(report, '\n'), strrchr(report, '\n'));
	free(report);
}

static void test_bounds(void **state)
{
	static const char *const wrong[] = {"-1",     "1x", "abc", "''",  "[1]",
					    "{a: 1}", "~",  "",    "1e3s"};

	(void)state;
	for (size_t i = 0; i < sizeof(bounded) / sizeof(bounded[0]); i++) {
		char text[200];

		write_one(text, bounded[i].key, bounded[i].min);
		sq_settings_free(expect(text, ""));
		write_one(text, bounded[i].key, bounded[i].max);
		sq_settings_free(expect(text, ""));
		for (size_t j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++)
			expect_refused(bounded[i].key, wrong[j]);
		snprintf(text, 60, "9%s", bounded[i].max);
		expect_refused(bounded[i].key, text);
		if (strcmp(bounded[i].min, "1KiB") == 0)
			expect_refused(bounded[i].key, "1023");
		if (strcmp(bounded[i].min, "100ms") == 0)
			expect_refused(bounded[i].key, "99ms");
	}
	expect_refused("anonymous", "yes");
	expect_refused("anonymous", "\"true\"");
	expect_refused("workers.seats", "\"7\"");
	expect_refused("workers.seats", "99999999999999999999");
	expect_refused("state", "\"\"");
	expect_refused("state", "\"a\\nb\"");
	expect_refused("log.level", "loud");
}

/* ---- faults ---- */

#define V "version: 1\n"
#define B "backends:\n  b: { type: process, functions: f, "
#define O "backends:\n  b: { type: openfaas, url: "
#define K0 "0000000000000000000000000000000000000000000000000000000000000000"

static const struct {
	const char *text, *faults;
} broken[] = {
	{"", "s.yaml: error: the file is empty; it needs at least `version: 1`\n"},
	{"# nothing\n", "s.yaml: error: the file is empty; it needs at least `version: 1`\n"},
	{"- a\n", "s.yaml:1:1: error: expected keys with values\n"},
	{"state: x\n", "s.yaml:1:1: error: version is missing\n"},
	{"version: 2\n", "s.yaml:1:10: error: version: only version 1 is known\n"},
	{"version: one\n",
	 "s.yaml:1:10: error: version: expected a whole number from 1 to 2147483647\n"},
	{V "---\nstate: x\n", "s.yaml:3:1: error: the settings are one document, not several\n"
			      "s.yaml:3:1: error: unknown key 'state'\n"},
	{V "states: x\n", "s.yaml:2:1: error: unknown key 'states'; did you mean 'state'?\n"},
	{V "limits: { wiat: 3s }\n",
	 "s.yaml:2:11: error: unknown key 'wiat'; did you mean 'wait'?\n"},
	{V "elephant: 1\n", "s.yaml:2:1: error: unknown key 'elephant'\n"},
	{V "state: a\nstate: b\n", "s.yaml:3:1: error: duplicate key 'state', first in line 2\n"},
	{V "limits: 7\n", "s.yaml:2:9: error: limits: expected keys with values\n"},
	{V "limits: { wait: 3 }\n",
	 "s.yaml:2:17: error: wait: expected a duration such as 100ms, 30s, 5m, 1h or 30d\n"},
	{V "limits: { wait: 31d }\n",
	 "s.yaml:2:17: error: wait: expected a duration from 0 to 30d\n"},
	{V "limits: { body: 1 MiB }\n",
	 "s.yaml:2:17: error: body: expected a size such as 512, 64KiB, 6MiB or 1GiB\n"},
	{V "limits: { body: 1 }\n",
	 "s.yaml:2:17: error: body: expected a size from 1KiB to 1TiB\n"},
	{V "workers: { seats: 0 }\n",
	 "s.yaml:2:19: error: seats: expected a whole number from 1 to 100000\n"},
	{V "anonymous: yes\n", "s.yaml:2:12: error: anonymous: expected true or false\n"},
	{V "log: { level: loud }\n",
	 "s.yaml:2:15: error: level: expected error, warn, info or debug\n"},
	{V "admin: { metrics: 127.0.0.1:9180 }\nmetrics: { windows: 30d }\nchains: c.yaml\n",
	 "s.yaml:2:10: error: metrics: not supported by this version\n"
	 "s.yaml:3:12: error: windows: not supported by this version\n"
	 "s.yaml:4:1: error: chains: not supported by this version\n"},
	{V "state: \"a\\u0007\"\n",
	 "s.yaml:2:8: error: state: expected a text of one line without control characters\n"},
	{V "state: \"a\\0b\"\n", "s.yaml:2:8: error: a NUL character\n"},
	{V "state: &a x\n", "s.yaml:2:8: error: anchors are not supported\n"},
	{V "state: *a\n", "s.yaml:2:8: error: aliases are not supported\n"},
	{V "state: !t x\n", "s.yaml:2:8: error: tags are not supported\n"},
	{V "? [a]\n: x\n", "s.yaml:2:3: error: a key must be a plain word\n"},
	{V "state: [a\n", "s.yaml:3:1: error: flow sequence without a closing bracket\n"},
	{V "state: \"\xff\"\n", "s.yaml:2:9: error: byte 0xff is not UTF-8 text\n"},
	{V "é: \"\xed\xa0\x80\"\n", "s.yaml:2:5: error: byte 0xed is not UTF-8 text\n"},
	/* listen */
	{V "listen: 127.0.0.1:80\n", "s.yaml:2:9: error: listen: expected a list\n"},
	{V "listen: []\n", "s.yaml:2:9: error: listen: expected at least one address\n"},
	{V "listen: [ {} ]\n", "s.yaml:2:11: error: address is missing\n"},
	{V "listen: [ { address: '*:80', tls: {} } ]\n", "s.yaml:2:30: error: unknown key 'tls'\n"},
	{V "listen:\n- address: 1.2.3.4:65536\n- address: :80\n- address: '::1:80'\n- address: "
	   "h:80\n",
	 "s.yaml:3:12: error: address: expected HOST:PORT, the host an IPv4 address, [IPv6], "
	 "localhost or *\n"
	 "s.yaml:4:12: error: address: expected HOST:PORT, the host an IPv4 address, [IPv6], "
	 "localhost or *\n"
	 "s.yaml:5:12: error: address: expected HOST:PORT, the host an IPv4 address, [IPv6], "
	 "localhost or *\n"
	 "s.yaml:6:12: error: address: expected HOST:PORT, the host an IPv4 address, [IPv6], "
	 "localhost or *\n"},
	{V "listen:\n- address: localhost:80\n- address: 127.0.0.1:80\n",
	 "s.yaml:4:12: error: address: 127.0.0.1:80 is there already\n"},
	/* backends */
	{V "backends: [a]\n", "s.yaml:2:11: error: backends: expected keys with values\n"},
	{V "backends:\n  b:\n", "s.yaml:3:3: error: type is missing\n"},
	{V "backends:\n  b: {}\n", "s.yaml:3:3: error: type is missing\n"},
	{V "backends:\n  b: { type: openfas }\n",
	 "s.yaml:3:14: error: type: expected process or openfaas\n"},
	{V "backends:\n  b: { type: process }\n", "s.yaml:3:3: error: functions is missing\n"},
	{V "backends:\n  b: { type: openfaas }\n", "s.yaml:3:3: error: url is missing\n"},
	{V "backends:\n  'a b': { type: process }\n",
	 "s.yaml:3:3: error: a backend's name has 1 to 64 letters, digits, '.', '_', '-'\n"},
	{V B "url: http://h }\n", "s.yaml:3:37: error: url: only for backends of type openfaas\n"},
	{V B "verify: true }\n",
	 "s.yaml:3:37: error: verify: only for backends of type openfaas\n"},
	{V B "seats: 0 }\n",
	 "s.yaml:3:44: error: seats: expected a whole number from 1 to 100000\n"},
	{V B "cpus: 1.2.3 }\n", "s.yaml:3:43: error: cpus: expected a number from 0.01 to 1024\n"},
	{V B "cpus: nan }\n", "s.yaml:3:43: error: cpus: expected a number from 0.01 to 1024\n"},
	{V B "memory: 4KiB }\n",
	 "s.yaml:3:45: error: memory: expected a size from 1MiB to 16TiB\n"},
	{V B "timeout: 0 }\n", "s.yaml:3:46: error: timeout: expected a duration from 1ms to 1d\n"},
	{V O "http://h, cpus: 1 }\n",
	 "s.yaml:3:39: error: cpus: only for backends of type process\n"},
	{V O "ftp://h }\n", "s.yaml:3:29: error: url: expected http:// or https://, not ftp://\n"},
	{V O "h.example/x }\n", "s.yaml:3:29: error: url: expected http://HOST[:PORT][/PATH] or "
				"https://...: Bad scheme\n"},
	{V O "'http://h:99999' }\n",
	 "s.yaml:3:29: error: url: expected http://HOST[:PORT][/PATH] or "
	 "https://...: Port number was not a decimal number between 0 and 65535\n"},
	{V O "'http://h/?q' }\n", "s.yaml:3:29: error: url: expected no query and no fragment\n"},
	{V O "'http://h/#f' }\n", "s.yaml:3:29: error: url: expected no query and no fragment\n"},
	{V "backends:\n  b: { type: process, functions: f }\n  b: { type: openfaas }\n",
	 "s.yaml:4:3: error: duplicate key 'b', first in line 3\n"},
	/* tenants */
	{V "tenants:\n  - # x\n  - {}\n",
	 "s.yaml:3:3: error: expected a tenant's name and key-sha256\n"
	 "s.yaml:4:5: error: name is missing\n"
	 "s.yaml:4:5: error: key-sha256 is missing\n"},
	{V "tenants: [{ name: anonymous, key-sha256: \"" K0 "\" }]\n",
	 "s.yaml:2:19: error: name: 'anonymous' is the tenant of all without a credential\n"},
	{V "tenants: [{ name: a b, key-sha256: abc }]\n",
	 "s.yaml:2:19: error: name: expected a name of 1 to 64 letters, digits, '.', '_', '-'\n"
	 "s.yaml:2:36: error: key-sha256: expected 64 hex digits, the SHA-256 of the key\n"},
	{V "tenants:\n- { name: a, key-sha256: " K0 " }\n- { name: a, key-sha256: " K0 " }\n",
	 "s.yaml:4:11: error: name: there is a tenant 'a' already\n"
	 "s.yaml:4:26: error: key-sha256: tenant 'a' has this key already\n"},
	/* routes */
	{V B "}\nroutes: [{ path: x, backend: bb }, {}]\n",
	 "s.yaml:4:18: error: path: expected a glob that begins with /\n"
	 "s.yaml:4:30: error: backend: there is no backend 'bb'; did you mean 'b'?\n"
	 "s.yaml:4:36: error: path is missing\n"
	 "s.yaml:4:36: error: backend is missing\n"},
	{V "routes: [{ path: '/[a]', backend: elephant, function: a b }]\n",
	 "s.yaml:2:18: error: path: expected a name or glob; only * and ? are special in globs\n"
	 "s.yaml:2:35: error: backend: there is no backend 'elephant'\n"
	 "s.yaml:2:55: error: function: expected a name of 1 to 64 letters, digits, '.', '_', "
	 "'-'\n"},
	/* globs */
	{V "policies: { a: b }\n",
	 "s.yaml:2:11: error: policies: expected one value or a list of at least one\n"},
	{V "policies: [a, [b]]\n", "s.yaml:2:15: error: expected a text\n"},
};

static void test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		expect(broken[i].text, broken[i].faults);
}

/* What is told, to the letter: the line and the caret too, also of lines that are long or strange.
 */
static void test_report(void **state)
{
	char *report;

	(void)state;
	put("s.yaml",
	    "version: 1\r\nstate:\t\"é\\n\"\r\nlog: { level: 'a\x1b[2J' }\nx: 1 # é\r"
	    "limits: {                                             wait: 1s, queue: 10, body: "
	    "2MiB, "
	    "answer: 3 }                                                                   #\n");
	assert_null(settings_of("s.yaml", &report));
	assert_string_equal(
		report,
		"s.yaml:2:8: error: state: expected a text of one line without control characters\n"
		"state:\t\"é\\n\"\n"
		"      \t^~~~~\n"
		"s.yaml:3:15: error: level: expected a text of one line without control "
		"characters\n"
		"log: { level: 'a?[2J' }\n"
		"              ^~~~~~~\n"
		"s.yaml:4:1: error: unknown key 'x'\n"
		"x: 1 # é\n"
		"^\n"
		"s.yaml:5:96: error: answer: expected a size from 1KiB to 1TiB\n"
		"...                   wait: 1s, queue: 10, body: 2MiB, answer: 3 }"
		"                                     ...\n"
		"                                                               ^\n");
	free(report);
	assert_null(settings_of("none.yaml", &report));
	assert_string_equal(report,
			    "none.yaml: error: cannot be read: No such file or directory\n");
	free(report);
	assert_null(settings_of("policies", &report));
	assert_string_equal(report, "policies: error: cannot be read: Is a directory\n");
	free(report);
	assert_null(settings_of("nowhere/s.yaml", &report));
	assert_string_equal(report,
			    "nowhere/s.yaml: error: its folder: No such file or directory\n");
	free(report);
}

/* Of very many faults the first are shown and all are counted. */
static void test_many_faults(void **state)
{
	char *text = malloc(200000), *report, *at = text;

	(void)state;
	at += sprintf(at, "version: 1\n");
	for (int i = 0; i < 9000; i++)
		at += sprintf(at, "key-%d: 1\n", i);
	put("s.yaml", text);
	assert_null(settings_of("s.yaml", &report));
	assert_non_null(strstr(report, "s.yaml:51:1: error: unknown key 'key-49'"));
	assert_null(strstr(report, "s.yaml:52:1:"));
	assert_non_null(strstr(report, "\ns.yaml: 8950 further faults are not shown\n"));
	free(report);
	free(text);
}

static void test_byte_order_mark(void **state)
{
	(void)state;
	sq_settings_free(expect("\xef\xbb\xbfversion: 1\n", ""));
	expect("\xef\xbb\xbfversion: 1\nx: 1\n", "s.yaml:2:1: error: unknown key 'x'\n");
	expect("\xef\xbb\xbfversion: 2\n",
	       "s.yaml:1:10: error: version: only version 1 is known\n");
}

/* ---- mutations ---- */

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

/* A few bytes overwritten, inserted, removed, or a part repeated. */
static size_t mutate(char *text, size_t len, size_t cap, uint64_t *seed)
{
	static const char spice[] = "{}[]:,-?&*!|>'\"%@`#~ \n\t\r\\\0\xff\xc3\xa9"
				    "019smKi";

	for (uint64_t n = 1 + next_random(seed) % 4; n > 0; n--) {
		size_t at = next_random(seed) % len, part = 1 + next_random(seed) % 8;
		char c = spice[next_random(seed) % (sizeof(spice) - 1)];

		switch (next_random(seed) % 4) {
		case 0:
			text[at] = c;
			break;
		case 1:
			memmove(text + at + 1, text + at, len - at);
			text[at] = c;
			len++;
			break;
		case 2:
			part = part < len - at ? part : 0;
			memmove(text + at, text + at + part, len - at - part);
			len -= part;
			break;
		default:
			part = part < len - at ? part : 0;
			memmove(text + at + part, text + at, len - at);
			len += part;
		}
		assert_true(len + 16 < cap);
	}
	return len;
}

static void test_mutations(void **state)
{
	size_t good = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		char text[4096], *report;
		uint64_t random = seed;
		size_t len;
		struct sq_settings *s;

		strcpy(text, whole);
		len = mutate(text, strlen(text), sizeof(text), &random);
		put_bytes("s.yaml", text, len);
		s = settings_of("s.yaml", &report);
		if (!s && !strstr(report, "error: "))
			fail_msg("seed %llu: refused without a word", (unsigned long long)seed);
		good += s != NULL;
		sq_settings_free(s);
		free(report);
	}
	assert_in_range(good, 10, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),    cmocka_unit_test(test_example_is_the_defaults),
		cmocka_unit_test(test_all_kinds),   cmocka_unit_test(test_rows),
		cmocka_unit_test(test_json),        cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_faults),      cmocka_unit_test(test_report),
		cmocka_unit_test(test_many_faults), cmocka_unit_test(test_byte_order_mark),
		cmocka_unit_test(test_mutations),   cmocka_unit_test(test_no_policies),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests(tests, conf_enter, conf_leave);
}
