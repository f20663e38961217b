/* Globs, matching, and what a set of policies says of a subject. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "base/clock.h"
#include "model/glob.h"
#include "model/policy.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void test_globs(void **state)
{
	static const struct {
		const char *glob, *text;
		bool match;
	} cases[] = {
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"**", "abc", true},
		{"a*", "a", true},
		{"a*", "abc", true},
		{"a*", "ba", false},
		{"*a", "bca", true},
		{"*a", "ab", false},
		{"a*c", "abbc", true},
		{"a*c", "abbcd", false},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXcYb", false},
		{"*ab", "aab", true},
		{"*aab", "aaaab", true},
		{"?", "", false},
		{"?", "a", true},
		{"?", "ab", false},
		{"a?c", "abc", true},
		{"*?", "", false},
		{"*?", "a", true},
		{"?*?", "ab", true},
		{"?*?", "a", false},
		{"*.*", "a.b", true},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		{"a\\*", "a\\b", true},
		{"/api/*", "/api/x/y", true},
		{"A", "a", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (sq_glob_match(cases[i].glob, cases[i].text) != cases[i].match)
			fail_msg("%s on %s is not %d", cases[i].glob, cases[i].text,
				 cases[i].match);
}

/* The plain definition, exponential. */
static bool naive(const char *g, const char *t)
{
	if (*g == '\0')
		return *t == '\0';
	if (*g == '*')
		return naive(g + 1, t) || (*t && naive(g, t + 1));
	return *t && (*g == '?' || *g == *t) && naive(g + 1, t + 1);
}

static void test_globs_against_definition(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		char glob[8] = "", text[10] = "";

		for (size_t j = 0; j < 7; j++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			glob[j] = "ab*?\0"[(seed >> 33) % 5];
			text[j] = "aab\0"[(seed >> 40) % 4];
			text[j + 1] = "aab\0"[(seed >> 45) % 4];
		}
		assert_int_equal(sq_glob_match(glob, text), naive(glob, text));
	}
}

/* What takes a backtracking matcher ages takes this one no time. */
static void test_hostile_glob(void **state)
{
	char text[2001];
	clock_t begin = clock();

	(void)state;
	memset(text, 'a', 2000);
	text[2000] = '\0';
	assert_false(sq_glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
	assert_true(clock() - begin < CLOCKS_PER_SEC);
}

/* ---- matching ---- */

static char *one_gold[] = {"gold"};
static char *two[] = {"x", "pay-*"};

static void test_match(void **state)
{
	const struct sq_match all = {0};
	const struct sq_match some = {.function = {2, two},
				      .tenant = {1, one_gold},
				      .triggers = 1u << SQ_TRIGGER_ASYNC | 1u << SQ_TRIGGER_NESTED};
	static const struct {
		struct sq_subject subject;
		bool match;
	} cases[] = {
		{{"pay-a", "c", "gold", SQ_TRIGGER_ASYNC}, true},
		{{"x", "c", "gold", SQ_TRIGGER_NESTED}, true},
		{{"x", "c", "gold", SQ_TRIGGER_SYNC}, false},
		{{"y", "c", "gold", SQ_TRIGGER_ASYNC}, false},
		{{"x", "c", "golden", SQ_TRIGGER_ASYNC}, false},
	};
	const struct sq_match chain = {.chain = {2, two}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(sq_match_accepts(&all, &cases[i].subject));
		assert_false(sq_match_accepts(&chain, &cases[i].subject));
		assert_int_equal(sq_match_accepts(&some, &cases[i].subject), cases[i].match);
	}
}

/* ---- resolve ---- */

static const struct sq_subject subject = {"f", "c", "gold", SQ_TRIGGER_SYNC};

static void test_nothing_matches(void **state)
{
	const struct sq_policy_set set = {0};
	struct sq_treatment t;

	(void)state;
	memset(&t, 0xff, sizeof(t));
	sq_policy_resolve(&set, &subject, &t);
	assert_int_equal(t.class, 0);
	assert_int_equal(t.weight, 1);
	assert_int_equal(t.share, SQ_SHARE_NONE);
	assert_null(t.share_header);
	assert_int_equal(t.order, SQ_ORDER_FIFO);
	assert_int_equal(t.running_first, SQ_RUNNING_FIRST_FLOW);
	assert_true(t.within_ns == SQ_NEVER && t.max_wait_ns == SQ_NEVER && t.wait_ns == SQ_NEVER);
	assert_int_equal(t.n_caps, 0);
}

/* Key by key the last that sets it; the waits: the least; what does not match says nothing. */
static void test_last_wins(void **state)
{
	static char header[] = "X-Plan";
	struct sq_policy p[] = {
		{.prioritize = {.has_class = true,
				.class = 5,
				.has_weight = true,
				.weight = 7,
				.has_share = true,
				.share = SQ_SHARE_HEADER,
				.share_header = header,
				.has_within = true,
				.within_ns = 1}},
		{.prioritize = {.has_class = true,
				.class = -5,
				.has_order = true,
				.order = SQ_ORDER_DEADLINE,
				.has_max_wait = true,
				.max_wait_ns = 2,
				.has_running_first = true,
				.running_first = SQ_RUNNING_FIRST_CLASS},
		 .has_cap = true,
		 .cap = {.has_wait = true, .wait_ns = 10}},
		{.match = {.function = {2, two}},
		 .prioritize = {.has_class = true, .class = 50},
		 .has_cap = true,
		 .cap = {.has_wait = true, .wait_ns = 1, .has_seats = true, .seats = 1}},
		{.prioritize = {.has_share = true, .share = SQ_SHARE_TENANT},
		 .has_cap = true,
		 .cap = {.has_wait = true, .wait_ns = 20, .has_queue = true, .queue = 3}},
	};
	const struct sq_policy_set set = {.n = 4, .policies = p};
	struct sq_treatment t;

	(void)state;
	sq_policy_resolve(&set, &subject, &t);
	assert_int_equal(t.class, -5);
	assert_int_equal(t.weight, 7);
	assert_int_equal(t.share, SQ_SHARE_TENANT);
	assert_null(t.share_header);
	assert_int_equal(t.order, SQ_ORDER_DEADLINE);
	assert_int_equal(t.within_ns, 1);
	assert_int_equal(t.max_wait_ns, 2);
	assert_int_equal(t.running_first, SQ_RUNNING_FIRST_CLASS);
	assert_int_equal(t.wait_ns, 10);
	assert_int_equal(t.n_caps, 1);
	assert_ptr_equal(t.caps[0], &p[3]);
}

static void test_caps_add_up_to_a_bound(void **state)
{
	struct sq_policy *p = calloc(20, sizeof(*p));
	struct sq_policy_set set = {.n = 20, .policies = p};
	struct sq_treatment t;

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		p[i].has_cap = true;
		p[i].cap.has_rate = true;
		p[i].cap.has_wait = true;
		p[i].cap.wait_ns = 100 - (int64_t)i;
	}
	sq_policy_resolve(&set, &subject, &t);
	assert_int_equal(t.n_caps, SQ_TREATMENT_CAPS);
	assert_ptr_equal(t.caps[SQ_TREATMENT_CAPS - 1], &p[SQ_TREATMENT_CAPS - 1]);
	assert_int_equal(t.wait_ns, 81);
	free(p);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(sq_share_name(SQ_SHARE_NONE), "none");
	assert_string_equal(sq_share_name(SQ_SHARE_HEADER), "header");
	assert_string_equal(sq_order_name(SQ_ORDER_SHORTEST), "shortest");
	assert_string_equal(sq_per_name(SQ_PER_FUNCTION), "function");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_globs),
		cmocka_unit_test(test_globs_against_definition),
		cmocka_unit_test(test_hostile_glob),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_nothing_matches),
		cmocka_unit_test(test_last_wins),
		cmocka_unit_test(test_caps_add_up_to_a_bound),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
