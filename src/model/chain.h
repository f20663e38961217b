/* A chain: what is run. A plain call is a chain of one node that bears the function's name. */
#ifndef SQ_MODEL_CHAIN_H
#define SQ_MODEL_CHAIN_H

struct sq_node {
	const char *name;
	const char *function;
};

struct sq_chain {
	const char *name;
	unsigned n_nodes;
	const struct sq_node
		*nodes; /* every node is a root so far: edges come with chain documents */
};

#endif
