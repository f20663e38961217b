#include "model/run.h"

#include <assert.h>
#include <string.h>

static void effect(struct sq_effects *fx, enum sq_effect_kind kind, unsigned node)
{
	assert(fx->n < fx->cap);
	fx->at[fx->n++] = (struct sq_effect){.kind = kind, .node = node};
}

/* The one function that moves a node, so that the counters always agree with the states. */
static void node_move(struct sq_run_model *r, unsigned node, enum sq_node_state to)
{
	struct sq_run_node *n = &r->nodes[node];

	r->queued -= n->state == SQ_NODE_QUEUED;
	r->in_flight -= n->state == SQ_NODE_IN_FLIGHT;
	n->state = to;
	r->queued += to == SQ_NODE_QUEUED;
	r->in_flight += to == SQ_NODE_IN_FLIGHT;
}

void sq_run_model_init(struct sq_run_model *r, const struct sq_chain *chain,
		       struct sq_run_node *nodes)
{
	memset(r, 0, sizeof(*r));
	memset(nodes, 0, chain->n_nodes * sizeof(*nodes));
	r->chain = chain;
	r->nodes = nodes;
}

bool sq_run_finished(const struct sq_run_model *r)
{
	return r->state >= SQ_RUN_OK;
}

static void submit(struct sq_run_model *r, struct sq_effects *fx)
{
	for (unsigned i = 0; i < r->chain->n_nodes; i++) {
		node_move(r, i, SQ_NODE_QUEUED);
		effect(fx, SQ_EFFECT_ENQUEUE, i);
	}
}

static void unqueue_all(struct sq_run_model *r, struct sq_effects *fx)
{
	for (unsigned i = 0; r->queued > 0 && i < r->chain->n_nodes; i++) {
		if (r->nodes[i].state != SQ_NODE_QUEUED)
			continue;
		node_move(r, i, SQ_NODE_CANCELLED);
		effect(fx, SQ_EFFECT_UNQUEUE, i);
	}
}

static void end(struct sq_run_model *r, enum sq_run_state state, struct sq_effects *fx)
{
	r->state = state;
	effect(fx, SQ_EFFECT_END, 0);
}

/* The run will not end ok: nothing more is started, the client hears at once. */
static void fail(struct sq_run_model *r, enum sq_run_state ending, enum sq_fault fault,
		 unsigned node, struct sq_effects *fx)
{
	unqueue_all(r, fx);
	r->fault = fault;
	r->fault_node = node;
	r->ending = ending;
	r->state = SQ_RUN_FAILING;
	effect(fx, SQ_EFFECT_FAIL, node);
	if (r->in_flight == 0)
		end(r, ending, fx);
}

static void grant(struct sq_run_model *r, unsigned node, struct sq_effects *fx)
{
	if (r->nodes[node].state != SQ_NODE_QUEUED)
		return;
	node_move(r, node, SQ_NODE_IN_FLIGHT);
	r->nodes[node].attempts++;
	if (r->state == SQ_RUN_PENDING)
		r->state = SQ_RUN_RUNNING;
	effect(fx, SQ_EFFECT_START, node);
}

static void ended(struct sq_run_model *r, const struct sq_event *ev, struct sq_effects *fx)
{
	assert(r->nodes[ev->node].state == SQ_NODE_IN_FLIGHT);
	node_move(r, ev->node, ev->fault || ev->failed ? SQ_NODE_FAILED : SQ_NODE_OK);
	if (r->state == SQ_RUN_FAILING) {
		if (r->in_flight == 0)
			end(r, r->ending, fx);
	} else if (ev->fault) {
		fail(r, SQ_RUN_FAILED, ev->fault, ev->node, fx);
	} else if (r->queued == 0 && r->in_flight == 0) {
		effect(fx, SQ_EFFECT_ANSWER, ev->node);
		end(r, ev->failed ? SQ_RUN_FAILED : SQ_RUN_OK, fx);
	}
}

static void expired(struct sq_run_model *r, unsigned node, struct sq_effects *fx)
{
	if (r->nodes[node].state != SQ_NODE_QUEUED)
		return;
	/* The scheduler has unlinked it already. */
	node_move(r, node, SQ_NODE_CANCELLED);
	fail(r, SQ_RUN_FAILED, SQ_FAULT_WAIT_EXPIRED, node, fx);
}

void sq_run_advance(struct sq_run_model *r, const struct sq_event *ev, struct sq_effects *fx)
{
	switch (ev->kind) {
	case SQ_EVENT_SUBMIT:
		submit(r, fx);
		break;
	case SQ_EVENT_GRANT:
		grant(r, ev->node, fx);
		break;
	case SQ_EVENT_ENDED:
		ended(r, ev, fx);
		break;
	case SQ_EVENT_EXPIRED:
		expired(r, ev->node, fx);
		break;
	case SQ_EVENT_CANCEL:
		if (r->state == SQ_RUN_PENDING || r->state == SQ_RUN_RUNNING)
			fail(r, SQ_RUN_CANCELLED, ev->fault ? ev->fault : SQ_FAULT_CANCELLED, 0,
			     fx);
		break;
	}
}

const char *sq_run_state_name(enum sq_run_state s)
{
	static const char *const names[] = {"pending", "running", "failing",
					    "ok",      "failed",  "cancelled"};

	return names[s];
}

const char *sq_node_state_name(enum sq_node_state s)
{
	static const char *const names[] = {"waiting", "queued", "in-flight",
					    "ok",      "failed", "cancelled"};

	return names[s];
}
