/*
 * The life of a run as a pure state machine: `sq_run_advance(run, event) -> effects`. No threads,
 *no I/O, no clock. The engine carries the effects out, in order: at once for volatile runs, after
 *the commit for durable ones.
 *
 *	run:   pending -> running -> ok | failed | cancelled
 *	                  running -> failing -> failed | cancelled     (answered, but something is
 *in flight) node:  queued -> in flight -> ok | failed queued -> cancelled
 */
#ifndef SQ_MODEL_RUN_H
#define SQ_MODEL_RUN_H

#include "model/chain.h"
#include "tables/errors.h"

#include <stdbool.h>

enum sq_run_state {
	SQ_RUN_PENDING, /* in the PQ */
	SQ_RUN_RUNNING, /* started: its nodes are in the CRQ or in flight */
	SQ_RUN_FAILING, /* its end is known; what is in flight has not ended */
	SQ_RUN_OK,
	SQ_RUN_FAILED,
	SQ_RUN_CANCELLED,
};

enum sq_node_state {
	SQ_NODE_WAITING, /* not ready */
	SQ_NODE_QUEUED,
	SQ_NODE_IN_FLIGHT,
	SQ_NODE_OK,
	SQ_NODE_FAILED,
	SQ_NODE_CANCELLED,
};

struct sq_run_node {
	enum sq_node_state state;
	unsigned attempts;
};

/* The state proper: plain data. */
struct sq_run_model {
	const struct sq_chain *chain;
	struct sq_run_node *nodes; /* chain->n_nodes of them */
	enum sq_run_state state;
	enum sq_run_state ending; /* of FAILING: FAILED or CANCELLED */
	unsigned queued, in_flight;
	enum sq_fault fault; /* why it did not end ok */
	unsigned fault_node;
};

enum sq_event_kind {
	SQ_EVENT_SUBMIT,  /* the run was accepted */
	SQ_EVENT_GRANT,   /* node was given a seat */
	SQ_EVENT_ENDED,   /* node's attempt ended, with fault */
	SQ_EVENT_EXPIRED, /* node waited longer than its limit */
	SQ_EVENT_CANCEL,  /* a DELETE; a client that hung up before the start; the proxy's end
			     (fault) */
};

struct sq_event {
	enum sq_event_kind kind;
	unsigned node;
	enum sq_fault fault;
	bool failed; /* ENDED: an answer that is passed on, and says that the function failed */
};

enum sq_effect_kind {
	SQ_EFFECT_ENQUEUE, /* node becomes ready */
	SQ_EFFECT_UNQUEUE, /* node leaves the queue */
	SQ_EFFECT_START,   /* node's function is called */
	SQ_EFFECT_ANSWER,  /* the run's output is complete */
	SQ_EFFECT_FAIL,    /* whoever waits is told run->fault */
	SQ_EFFECT_END,     /* nothing of the run is queued or in flight any more */
};

struct sq_effect {
	enum sq_effect_kind kind;
	unsigned node;
};

/* The caller's, reused: never more than 2 per node and 3 for the run. */
struct sq_effects {
	unsigned n, cap;
	struct sq_effect *at;
};

void sq_run_model_init(struct sq_run_model *r, const struct sq_chain *chain,
		       struct sq_run_node *nodes);
/* Appends the effects of one event. An event that the state does not allow has none. */
void sq_run_advance(struct sq_run_model *r, const struct sq_event *ev, struct sq_effects *fx);

bool sq_run_finished(const struct sq_run_model *r);
const char *sq_run_state_name(enum sq_run_state s);
const char *sq_node_state_name(enum sq_node_state s);

#endif
