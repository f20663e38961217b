/* The life of a run as a pure state machine: every event in every state that can meet it. */
#include "model/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static const struct sq_node node = {.name = "f", .function = "f"};
static const struct sq_chain chain = {.name = "f", .n_nodes = 1, .nodes = &node};

/* A story: events by letter, and the effects and state that must follow. */
struct story {
	const char *name, *events, *effects;
	enum sq_run_state state;
	enum sq_fault fault;
};

/*
 * S submit, G grant, O ended ok, N ended with an answer >= 400, X ended with a fault, W wait expired, C cancel, D cancel by the
 * end of the proxy. Effects: e enqueue, u unqueue, s start, a answer, f fail, . end.
 */
static const struct story stories[] = {
	{"a call", "SGO", "es a.", SQ_RUN_OK, SQ_FAULT_NONE},
	{"a function that fails", "SGX", "es f.", SQ_RUN_FAILED, SQ_FAULT_BACKEND_BROKEN},
	{"a function that says that it failed: its answer passes", "SGN", "es a.", SQ_RUN_FAILED,
	 SQ_FAULT_NONE},
	{"nobody has a seat in time", "SW", "e f.", SQ_RUN_FAILED, SQ_FAULT_WAIT_EXPIRED},
	{"cancelled while queued", "SC", "e uf.", SQ_RUN_CANCELLED, SQ_FAULT_CANCELLED},
	{"cancelled in flight: told at once, ends later", "SGC", "es f", SQ_RUN_FAILING,
	 SQ_FAULT_CANCELLED},
	{"cancelled in flight, then the function ends", "SGCO", "es f.", SQ_RUN_CANCELLED,
	 SQ_FAULT_CANCELLED},
	{"cancelled in flight, then the function fails", "SGCX", "es f.", SQ_RUN_CANCELLED,
	 SQ_FAULT_CANCELLED},
	{"cancelled twice", "SGCC", "es f", SQ_RUN_FAILING, SQ_FAULT_CANCELLED},
	{"a grant that comes after the cancel", "SCG", "e uf.", SQ_RUN_CANCELLED,
	 SQ_FAULT_CANCELLED},
	{"an expiry that comes after the cancel", "SCW", "e uf.", SQ_RUN_CANCELLED,
	 SQ_FAULT_CANCELLED},
	{"cancel after the end", "SGOC", "es a.", SQ_RUN_OK, SQ_FAULT_NONE},
	{"the proxy stops", "SD", "e uf.", SQ_RUN_CANCELLED, SQ_FAULT_DRAINING},
};

static struct sq_event event_of(char c)
{
	switch (c) {
	case 'S':
		return (struct sq_event){.kind = SQ_EVENT_SUBMIT};
	case 'G':
		return (struct sq_event){.kind = SQ_EVENT_GRANT};
	case 'O':
		return (struct sq_event){.kind = SQ_EVENT_ENDED};
	case 'X':
		return (struct sq_event){.kind = SQ_EVENT_ENDED, .fault = SQ_FAULT_BACKEND_BROKEN};
	case 'N':
		return (struct sq_event){.kind = SQ_EVENT_ENDED, .failed = true};
	case 'W':
		return (struct sq_event){.kind = SQ_EVENT_EXPIRED};
	case 'D':
		return (struct sq_event){.kind = SQ_EVENT_CANCEL, .fault = SQ_FAULT_DRAINING};
	default:
		return (struct sq_event){.kind = SQ_EVENT_CANCEL};
	}
}

static void tell(const struct story *st)
{
	static const char letters[] = "eusaf.";
	struct sq_run_node nodes[1];
	struct sq_run_model run;
	char seen[64] = "", wanted[64] = "";

	sq_run_model_init(&run, &chain, nodes);
	for (const char *e = st->events; *e; e++) {
		struct sq_effect at[8];
		struct sq_effects fx = {.cap = 8, .at = at};
		struct sq_event ev = event_of(*e);

		sq_run_advance(&run, &ev, &fx);
		for (unsigned i = 0; i < fx.n; i++)
			strncat(seen, &letters[at[i].kind], 1);
	}
	for (const char *w = st->effects; *w; w++)
		if (*w != ' ')
			strncat(wanted, w, 1);
	assert_string_equal(seen, wanted);
	assert_int_equal(run.state, st->state);
	assert_int_equal(run.fault, st->fault);
	if (sq_run_finished(&run)) {
		assert_int_equal(run.queued, 0);
		assert_int_equal(run.in_flight, 0);
	}
}

static void test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		print_message("  %s\n", stories[i].name);
		tell(&stories[i]);
	}
}

static void test_attempts_are_counted(void **state)
{
	struct sq_run_node nodes[1];
	struct sq_run_model run;
	struct sq_effect at[8];
	struct sq_effects fx = {.cap = 8, .at = at};

	(void)state;
	sq_run_model_init(&run, &chain, nodes);
	sq_run_advance(&run, &(struct sq_event){.kind = SQ_EVENT_SUBMIT}, &fx);
	assert_int_equal(run.state, SQ_RUN_PENDING);
	assert_int_equal(nodes[0].attempts, 0);
	sq_run_advance(&run, &(struct sq_event){.kind = SQ_EVENT_GRANT}, &fx);
	assert_int_equal(run.state, SQ_RUN_RUNNING);
	assert_int_equal(nodes[0].attempts, 1);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(sq_run_state_name(SQ_RUN_FAILING), "failing");
	assert_string_equal(sq_run_state_name(SQ_RUN_CANCELLED), "cancelled");
	assert_string_equal(sq_node_state_name(SQ_NODE_IN_FLIGHT), "in-flight");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_attempts_are_counted),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
