/* Policy files: what is read of them, every fault with its place, the order of files, the examples.
 */
#define _GNU_SOURCE 1
#include "conf_files.h"

#include "base/clock.h"

#include <dirent.h>

/* The set of the files that the globs name, or NULL; only the headlines are left in *report. */
static struct sq_policy_set *read_globs(const char *globs, char **report)
{
	char text[300], *said;
	struct sq_settings *s;
	struct sq_policy_set *set;
	size_t len;
	FILE *out;

	snprintf(text, sizeof(text), "version: 1\npolicies: %s\n", globs);
	put("s.yaml", text);
	s = settings_of("s.yaml", &said);
	assert_string_equal(said, "");
	free(said);
	out = open_memstream(report, &len);
	set = sq_policies_read(s, &(struct sq_faults){.out = out});
	assert_int_equal(fclose(out), 0);
	sq_settings_free(s);
	keep_headlines(*report);
	return set;
}

static struct sq_policy_set *expect(const char *text, const char *faults)
{
	struct sq_policy_set *set;
	char *report;

	put("p.yaml", text);
	set = read_globs("p.yaml", &report);
	assert_string_equal(report, faults);
	if (strstr(faults, "error: "))
		assert_null(set);
	else
		assert_non_null(set);
	free(report);
	return set;
}

static const struct sq_policy *find(const struct sq_policy_set *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++)
		if (strcmp(set->policies[i].name, name) == 0)
			return &set->policies[i];
	fail_msg("there is no policy %s", name);
	return NULL;
}

/* ---- good files ---- */

static void test_whole_policy(void **state)
{
	struct sq_policy_set *set = expect(
		"# a comment\n"
		"policy: checkout-first\n"
		"match: { chain: 'checkout*', tenant: [gold, s?lver], function: pay,\n"
		"         trigger: [sync, nested] }\n"
		"prioritize: { class: -100, weight: 4, share: tenant, order: deadline, within: "
		"2s,\n"
		"              max-wait: 30s, running-first: never }\n"
		"cap: { seats: 200, per: tenant, rate: 100/s, burst: 50, queue: 10000, wait: 30s,\n"
		"       running: 500 }\n",
		"");
	const struct sq_policy *p = &set->policies[0];

	(void)state;
	assert_int_equal(set->n, 1);
	assert_string_equal(p->name, "checkout-first");
	assert_string_equal(p->file, "p.yaml");
	assert_int_equal(p->line, 2);
	assert_int_equal(p->match.chain.n, 1);
	assert_int_equal(p->match.tenant.n, 2);
	assert_string_equal(p->match.tenant.glob[1], "s?lver");
	assert_int_equal(p->match.triggers, 1u << SQ_TRIGGER_SYNC | 1u << SQ_TRIGGER_NESTED);
	assert_true(p->prioritize.has_class && p->prioritize.class == -100);
	assert_true(p->prioritize.has_weight && p->prioritize.weight == 4);
	assert_true(p->prioritize.has_share && p->prioritize.share == SQ_SHARE_TENANT);
	assert_true(p->prioritize.has_order && p->prioritize.order == SQ_ORDER_DEADLINE);
	assert_true(p->prioritize.has_within && p->prioritize.within_ns == 2 * SQ_S);
	assert_true(p->prioritize.has_max_wait && p->prioritize.max_wait_ns == 30 * SQ_S);
	assert_true(p->prioritize.has_running_first);
	assert_int_equal(p->prioritize.running_first, SQ_RUNNING_FIRST_NEVER);
	assert_true(p->has_cap && p->cap.has_seats && p->cap.seats == 200);
	assert_int_equal(p->cap.per, SQ_PER_TENANT);
	assert_true(p->cap.has_rate && p->cap.rate_per_s == 100.0 && p->cap.burst == 50);
	assert_true(p->cap.has_queue && p->cap.queue == 10000);
	assert_true(p->cap.has_wait && p->cap.wait_ns == 30 * SQ_S);
	assert_true(p->cap.has_running && p->cap.running == 500);
	sq_policy_set_free(set);
	sq_policy_set_free(NULL);
}

static void test_short_forms(void **state)
{
	struct sq_policy_set *set =
		expect("---\n"
		       "policy: header\n"
		       "prioritize: { share: 'header:X-Plan', class: 100 }\n"
		       "---\n"
		       "---\n"
		       "policy: rate\n"
		       "cap: { rate: 90/m, seats: 12.5%, queue: 0, wait: 0 }\n"
		       "---\n"
		       "{ \"policy\": \"json\", \"cap\": { \"rate\": \"30/m\" } }\n"
		       "...\n",
		       "");
	const struct sq_policy *p = find(set, "header");

	(void)state;
	assert_int_equal(set->n, 3);
	assert_int_equal(p->prioritize.share, SQ_SHARE_HEADER);
	assert_string_equal(p->prioritize.share_header, "X-Plan");
	assert_false(p->prioritize.has_order);
	assert_false(p->has_cap);
	assert_int_equal(p->match.triggers, 0);
	p = find(set, "rate");
	assert_int_equal(p->cap.seats, -1);
	assert_true(p->cap.seats_share == 0.125);
	assert_true(p->cap.rate_per_s == 1.5);
	assert_int_equal(p->cap.burst, 2);
	assert_true(p->cap.has_queue && p->cap.queue == 0);
	assert_true(p->cap.has_wait && p->cap.wait_ns == 0);
	assert_int_equal(find(set, "json")->cap.burst, 1);
	sq_policy_set_free(set);
}

/* By the order of the globs, and of one glob by the bytes of the names; each file once. */
static void test_order_of_files(void **state)
{
	static const char *const names[] = {"Z", "a", "b", "z"};
	struct sq_policy_set *set;
	char *report;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		char file[40], text[80];

		snprintf(file, sizeof(file), "policies/%s.yaml", names[3 - i]);
		snprintf(text, sizeof(text), "policy: %s\ncap: { seats: 1 }\n", names[3 - i]);
		put(file, text);
	}
	put("policies/.hidden.yaml", "not a policy");
	put("policies/a.yaml~", "not a policy");
	set = read_globs("[policies/b.yaml, policies/*.yaml, none/*.yaml]", &report);
	assert_string_equal(report, "");
	assert_int_equal(set->n, 4);
	assert_string_equal(set->policies[0].name, "b");
	assert_string_equal(set->policies[1].name, "Z");
	assert_string_equal(set->policies[1].file, "policies/Z.yaml");
	assert_string_equal(set->policies[2].name, "a");
	assert_string_equal(set->policies[3].name, "z");
	sq_policy_set_free(set);
	free(report);
	for (size_t i = 0; i < 4; i++) {
		char file[40];

		snprintf(file, sizeof(file), "policies/%s.yaml", names[i]);
		unlink(file);
	}
	set = read_globs("policies/*.yaml", &report);
	assert_int_equal(set->n, 0);
	assert_string_equal(report, "");
	sq_policy_set_free(set);
	free(report);
}

/* Relative globs are relative to the settings' folder, and faults name files as one typed it. */
static void test_folder(void **state)
{
	char *report;
	struct sq_settings *s;
	size_t len;
	FILE *out;

	(void)state;
	put("policies/s.yaml", "version: 1\npolicies: '*.pol'\n");
	put("policies/x.pol", "policy: p\n");
	s = settings_of("policies/../policies/s.yaml", &report);
	assert_string_equal(report, "");
	free(report);
	out = open_memstream(&report, &len);
	assert_null(sq_policies_read(s, &(struct sq_faults){.out = out}));
	assert_int_equal(fclose(out), 0);
	keep_headlines(report);
	assert_string_equal(report, "policies/../policies/x.pol:1:1: error: the policy does "
				    "nothing: it has neither prioritize nor cap\n");
	free(report);
	sq_settings_free(s);
	unlink("policies/s.yaml");
	unlink("policies/x.pol");
}

/* All that we ship: good, and with something to say. */
static void test_shipped(void **state)
{
	DIR *d = opendir(SQ_SRCDIR "/policies");
	size_t files = 0;

	(void)state;
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		char path[600], *report;
		struct sq_policy_set *set;
		const char *end = strrchr(e->d_name, '.');

		if (e->d_name[0] == '.' || !end || strcmp(end, ".yaml") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/policies/%s", SQ_SRCDIR, e->d_name);
		set = read_globs(path, &report);
		assert_string_equal(report, "");
		assert_true(set->n >= 1);
		sq_policy_set_free(set);
		free(report);
		files++;
	}
	closedir(d);
	assert_true(files >= 2);
}

static void test_tenant_caps(void **state)
{
	char *report;
	struct sq_policy_set *set = read_globs(SQ_SRCDIR "/policies/tenant-caps.yaml", &report);
	struct sq_subject gold = {"f", "f", "gold", SQ_TRIGGER_SYNC};
	struct sq_subject nobody = {"f", "f", "anonymous", SQ_TRIGGER_ASYNC};
	struct sq_treatment t;

	(void)state;
	sq_policy_resolve(set, &gold, &t);
	assert_int_equal(t.n_caps, 1);
	assert_int_equal(t.caps[0]->cap.per, SQ_PER_TENANT);
	assert_true(t.caps[0]->cap.seats_share == 0.5);
	sq_policy_resolve(set, &nobody, &t);
	assert_int_equal(t.n_caps, 2);
	assert_true(t.caps[1]->cap.seats_share == 0.1);
	sq_policy_set_free(set);
	free(report);
}

static void test_fair_tenants(void **state)
{
	char *report;
	struct sq_policy_set *set = read_globs(SQ_SRCDIR "/policies/fair-tenants.yaml", &report);
	struct sq_subject gold = {"f", "f", "gold", SQ_TRIGGER_SYNC};
	struct sq_treatment t;

	(void)state;
	sq_policy_resolve(set, &gold, &t);
	assert_int_equal(t.share, SQ_SHARE_TENANT);
	assert_int_equal(t.n_caps, 0);
	sq_policy_set_free(set);
	free(report);
}

/* ---- faults ---- */

#define P "policy: p\n"
#define C "\ncap: { seats: 1 }\n"
#define YET ": not supported by this version\n"

static const struct {
	const char *text, *faults;
} broken[] = {
	{"- a\n", "p.yaml:1:1: error: expected keys with values\n"},
	{"a\n", "p.yaml:1:1: error: expected keys with values\n"},
	{"cap: { seats: 1 }\n", "p.yaml:1:1: error: policy is missing\n"},
	{"policy: a b" C,
	 "p.yaml:1:9: error: policy: expected a name of 1 to 64 letters, digits, '.', '_', '-'\n"},
	{P, "p.yaml:1:1: error: the policy does nothing: it has neither prioritize nor cap\n"},
	{P "cap:\n",
	 "p.yaml:1:1: error: the policy does nothing: it has neither prioritize nor cap\n"},
	{P "cap: {}\n", "p.yaml:2:6: error: cap: expected at least one key\n"},
	{P "prioritize: {}\n", "p.yaml:2:13: error: prioritize: expected at least one key\n"},
	{P "cap: 7\n", "p.yaml:2:6: error: cap: expected keys with values\n"},
	{P "priority: { class: 1 }" C, "p.yaml:2:1: error: unknown key 'priority'\n"},
	{P "cap: { seats: 1, runing: 2 }\n",
	 "p.yaml:2:18: error: unknown key 'runing'; did you mean 'running'?\n"},
	{P "cap: { seats: 1, Per: tenant }\n",
	 "p.yaml:2:18: error: unknown key 'Per'; did you mean 'per'?\n"},
	{P "x: y: z\n", "p.yaml:2:5: error: invalid nested block mapping on the same line\n"},
	/* of the final syntax, to come */
	{P "match: { header: { X-Plan: gold } }" C, "p.yaml:2:10: error: header" YET},
	{P "match: { path: /x, backend: b }" C,
	 "p.yaml:2:10: error: path" YET "p.yaml:2:20: error: backend" YET},
	{P "while: SELECT 1\nfor: 15s" C,
	 "p.yaml:2:1: error: while" YET "p.yaml:3:1: error: for" YET},
	{P "deploy: { to: [a] }\nalter: {}\n",
	 "p.yaml:2:1: error: deploy" YET "p.yaml:3:1: error: alter" YET},
	{P "cap: { seats: 1, ramp: 1, adaptive: true }\n",
	 "p.yaml:2:18: error: ramp" YET "p.yaml:2:27: error: adaptive" YET},
	/* match */
	{P "match: { function: [] }" C,
	 "p.yaml:2:20: error: function: expected one value or a list of at least one\n"},
	{P "match: { tenant: [gold, '[a-z]'] }" C,
	 "p.yaml:2:25: error: expected a name or glob; only * and ? are special in globs\n"},
	{P "match: { chain: '' }" C,
	 "p.yaml:2:17: error: chain: expected a name or glob; only * and ? are special in globs\n"},
	{P "match: { trigger: [sync, cron] }" C,
	 "p.yaml:2:26: error: expected sync, async or nested\n"},
	{P "match: { trigger: timer }" C,
	 "p.yaml:2:19: error: trigger: expected sync, async or nested\n"},
	{P "match: { trigger: [] }" C,
	 "p.yaml:2:19: error: trigger: expected one value or a list of at least one\n"},
	{P "match: { tennant: gold }" C,
	 "p.yaml:2:10: error: unknown key 'tennant'; did you mean 'tenant'?\n"},
	/* prioritize */
	{P "prioritize: { class: 101 }\n",
	 "p.yaml:2:22: error: class: expected a whole number from -100 to 100\n"},
	{P "prioritize: { class: 1.5, weight: 1001 }\n",
	 "p.yaml:2:22: error: class: expected a whole number from -100 to 100\n"
	 "p.yaml:2:35: error: weight: expected a whole number from 1 to 1000\n"},
	{P "prioritize: { share: tenants }\n",
	 "p.yaml:2:22: error: share: expected none, tenant, chain or function\n"},
	{P "prioritize: { share: 'header:' }\n",
	 "p.yaml:2:22: error: share: expected the name of a header after header:\n"},
	{P "prioritize: { share: 'header:a b' }\n",
	 "p.yaml:2:22: error: share: expected the name of a header after header:\n"},
	{P "prioritize: { order: lifo, running-first: yes }\n",
	 "p.yaml:2:22: error: order: expected fifo, shortest or deadline\n"
	 "p.yaml:2:43: error: running-first: expected flow, class or never\n"},
	{P "prioritize: { within: 0, max-wait: 5 }\n",
	 "p.yaml:2:23: error: within: expected a duration from 1ms to 30d\n"
	 "p.yaml:2:36: error: max-wait: expected a duration such as 100ms, 30s, 5m, 1h or 30d\n"},
	/* cap */
	{P "cap: { seats: 0 }\n",
	 "p.yaml:2:15: error: seats: expected a whole number from 1 to 100000\n"},
	{P "cap: { seats: 0% }\n",
	 "p.yaml:2:15: error: seats: expected a percentage above 0% and up to 100%\n"},
	{P "cap: { seats: 101% }\n",
	 "p.yaml:2:15: error: seats: expected a percentage above 0% and up to 100%\n"},
	{P "cap: { rate: 5 }\n",
	 "p.yaml:2:14: error: rate: expected a rate above 0 such as 100/s, 30/m or 1000/h\n"},
	{P "cap: { rate: 0/s }\n",
	 "p.yaml:2:14: error: rate: expected a rate above 0 such as 100/s, 30/m or 1000/h\n"},
	{P "cap: { seats: 1, burst: 5 }\n",
	 "p.yaml:2:18: error: burst: means nothing without rate\n"},
	{P "cap: { rate: 1/s, burst: 0 }\n",
	 "p.yaml:2:26: error: burst: expected a whole number from 1 to 10000000\n"},
	{P "cap: { per: tenant, wait: 1s }\n",
	 "p.yaml:2:8: error: per: needs seats, rate, queue or running beside it\n"},
	{P "cap: { per: user, seats: 1 }\n",
	 "p.yaml:2:13: error: per: expected none, tenant, chain or function\n"},
	{P "cap: { queue: -1, running: 0, wait: 31d }\n",
	 "p.yaml:2:15: error: queue: expected a whole number from 0 to 10000000\n"
	 "p.yaml:2:28: error: running: expected a whole number from 1 to 10000000\n"
	 "p.yaml:2:37: error: wait: expected a duration from 0 to 30d\n"},
	/* several policies */
	{P "cap: { seats: 1 }\n---\n" P "cap: { seats: 2 }\n",
	 "p.yaml:4:9: error: policy: there is a policy 'p' already, at p.yaml:1\n"},
	{P "cap: { seats: x }\n---\npolicy: q\nprioritize: { class: x }\n",
	 "p.yaml:2:15: error: seats: expected a whole number from 1 to 100000\n"
	 "p.yaml:5:22: error: class: expected a whole number from -100 to 100\n"},
};

static void test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		expect(broken[i].text, broken[i].faults);
}

/* One pass tells the faults of all files, those that cannot be read too. */
static void test_faults_of_all_files(void **state)
{
	char *report, *want;
	struct sq_policy_set *set;

	(void)state;
	put("policies/1.yaml", "policy: a\ncap: { seats: 0 }\n");
	put("policies/2.yaml", "policy: [\n");
	put("policies/3.yaml", "policy: a\ncap: { seats: 1 }\n");
	set = read_globs("[nope.yaml, policies/*.yaml]", &report);
	assert_null(set);
	assert_true(asprintf(&want,
			     "s.yaml:2: error: policies: there is no such file: %s/nope.yaml\n",
			     conf_folder) > 0);
	assert_memory_equal(report, want, strlen(want));
	assert_string_equal(
		report + strlen(want),
		"policies/1.yaml:2:15: error: seats: expected a whole number from 1 to 100000\n"
		"policies/2.yaml:2:1: error: flow sequence without a closing bracket\n"
		"policies/3.yaml:1:9: error: policy: there is a policy 'a' already, at "
		"policies/1.yaml:1\n");
	free(want);
	free(report);
	unlink("policies/1.yaml");
	unlink("policies/2.yaml");
	unlink("policies/3.yaml");
}

/* A warning is told, and the policies hold. */
static void test_warnings(void **state)
{
	char text[4000], *at = text;

	(void)state;
	sq_policy_set_free(expect("policy: a\nprioritize: { class: 1, order: fifo }\n---\n"
				  "policy: b\nprioritize: { class: 2, order: deadline }\n---\n"
				  "policy: c\nprioritize: { class: 1, order: shortest }\n---\n"
				  "policy: d\nprioritize: { class: 1 }\n",
				  "p.yaml:8:32: warning: order: class 1 has order fifo at "
				  "p.yaml:1: these are two flows\n"));
	for (int i = 0; i < 18; i++)
		at += sprintf(at, "policy: p%d\ncap: { %s: 1 }\n---\n", i,
			      i == 3 ? "queue" : "seats");
	sq_policy_set_free(expect(
		text,
		"p.yaml:50:6: warning: cap: more than 16 policies have caps: of those that match a "
		"request, only the first 16 hold\n"));
}

/* ---- mutations ---- */

static void test_mutations(void **state)
{
	static const char whole[] =
		"policy: a\nmatch: { chain: 'c*', tenant: [x, y], trigger: sync }\n"
		"prioritize: { class: 10, weight: 4, share: 'header:X', order: deadline, within: "
		"2s }\n"
		"cap: { seats: 90%, per: tenant, rate: 100/s, burst: 50 }\n---\n"
		"policy: b\ncap: { queue: 5 }\n";
	static const char spice[] = "{}[]:,-?&*!|>'\"%\n\t\0\xff 09sm";
	uint64_t seed = 7;
	size_t good = 0;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		char text[sizeof(whole)], *report;
		struct sq_policy_set *set;

		memcpy(text, whole, sizeof(text));
		for (int j = i % 3; j >= 0; j--) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			text[(seed >> 33) % (sizeof(whole) - 1)] =
				spice[(seed >> 20) % (sizeof(spice) - 1)];
		}
		put_bytes("p.yaml", text, sizeof(text) - 1);
		set = read_globs("p.yaml", &report);
		assert_true(set || strstr(report, "error: "));
		good += set != NULL;
		sq_policy_set_free(set);
		free(report);
	}
	assert_in_range(good, 10, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_policy),
		cmocka_unit_test(test_short_forms),
		cmocka_unit_test(test_order_of_files),
		cmocka_unit_test(test_folder),
		cmocka_unit_test(test_shipped),
		cmocka_unit_test(test_tenant_caps),
		cmocka_unit_test(test_fair_tenants),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_faults_of_all_files),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, conf_enter, conf_leave);
}
