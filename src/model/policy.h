/*
 * Policies: match -> prioritize / cap / deploy / alter. A snapshot is built whole, never changed,
 * and replaced whole (RCU). Pure data and matching: the caps that the rules speak of live in sched.
 */
#ifndef SQ_MODEL_POLICY_H
#define SQ_MODEL_POLICY_H

#include "model/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sq_share { SQ_SHARE_NONE, SQ_SHARE_TENANT, SQ_SHARE_CHAIN, SQ_SHARE_FUNCTION, SQ_SHARE_HEADER };
enum sq_order { SQ_ORDER_FIFO, SQ_ORDER_SHORTEST, SQ_ORDER_DEADLINE };
enum sq_running_first { SQ_RUNNING_FIRST_FLOW, SQ_RUNNING_FIRST_CLASS, SQ_RUNNING_FIRST_NEVER };
enum sq_per { SQ_PER_NONE, SQ_PER_TENANT, SQ_PER_CHAIN, SQ_PER_FUNCTION };

/* A list of globs (model/glob.h); none: matches all. */
struct sq_globs {
	size_t n;
	char **glob;
};

struct sq_match {
	struct sq_globs function, chain, tenant;
	unsigned triggers; /* bit set of 1 << enum sq_trigger; 0: all */
};

/* Each has_* tells whether the policy sets the key: the last matching policy that sets it wins. */
struct sq_prioritize {
	bool has_class, has_weight, has_share, has_order, has_within, has_max_wait, has_running_first;
	int class; /* -100..100 */
	uint32_t weight; /* 1..1000 */
	enum sq_share share;
	char *share_header; /* of SQ_SHARE_HEADER */
	enum sq_order order;
	int64_t within_ns, max_wait_ns;
	enum sq_running_first running_first;
};

struct sq_cap_rule {
	bool has_seats, has_rate, has_queue, has_wait, has_running;
	int64_t seats; /* absolute, or -1: seats_share of the pool */
	double seats_share; /* above 0, to 1 */
	double rate_per_s;
	int64_t burst; /* with has_rate; where none is given: a second's worth, at least 1 */
	int64_t queue;
	int64_t wait_ns;
	int64_t running;
	enum sq_per per;
};

struct sq_policy {
	char *name;
	char *file; /* where it stands, for people */
	int line;
	struct sq_match match;
	struct sq_prioritize prioritize;
	struct sq_cap_rule cap;
	bool has_cap;
};

struct sq_policy_set {
	uint64_t generation;
	size_t n;
	struct sq_policy *policies; /* in order of evaluation */
};

/* What is asked of the policies: the attributes of one invocation. */
struct sq_subject {
	const char *function, *chain, *tenant; /* chain of a plain call: the function's name */
	enum sq_trigger trigger;
};

#define SQ_TREATMENT_CAPS 16

/* What the policies say of a subject. */
struct sq_treatment {
	int class;
	uint32_t weight;
	enum sq_share share;
	const char *share_header;
	enum sq_order order;
	int64_t within_ns, max_wait_ns, wait_ns; /* SQ_NEVER: not set */
	enum sq_running_first running_first;
	size_t n_caps;
	/* Those whose cap section applies and has something to count; waits are in wait_ns. */
	const struct sq_policy *caps[SQ_TREATMENT_CAPS];
};

/* Whether there is anything to count beside a wait limit. */
bool sq_cap_counts(const struct sq_cap_rule *c);

/*
 * Fills out; a subject that no policy matches has class 0, weight 1, no share, fifo. Where more
 * than SQ_TREATMENT_CAPS caps apply, the first hold (reading the files warns when that may be).
 * Allocates nothing.
 */
void sq_policy_resolve(const struct sq_policy_set *set, const struct sq_subject *subject,
		       struct sq_treatment *out);
bool sq_match_accepts(const struct sq_match *m, const struct sq_subject *s);
void sq_policy_set_free(struct sq_policy_set *set); /* NULL is fine */

const char *sq_share_name(enum sq_share s);
const char *sq_order_name(enum sq_order o);
const char *sq_per_name(enum sq_per p);

#endif
