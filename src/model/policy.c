#include "model/policy.h"

#include "base/clock.h"
#include "model/glob.h"

#include <stdlib.h>

static bool globs_accept(const struct sq_globs *g, const char *text)
{
	if (g->n == 0)
		return true;
	for (size_t i = 0; i < g->n; i++)
		if (sq_glob_match(g->glob[i], text))
			return true;
	return false;
}

bool sq_match_accepts(const struct sq_match *m, const struct sq_subject *s)
{
	return (m->triggers == 0 || (m->triggers & 1u << s->trigger)) &&
	       globs_accept(&m->tenant, s->tenant) && globs_accept(&m->function, s->function) &&
	       globs_accept(&m->chain, s->chain);
}

/* A later policy overrides key by key, so a narrow one may change the class and keep the rest. */
static void apply_prioritize(const struct sq_prioritize *p, struct sq_treatment *out)
{
	if (p->has_class)
		out->class = p->class;
	if (p->has_weight)
		out->weight = p->weight;
	if (p->has_share) {
		out->share = p->share;
		out->share_header = p->share_header;
	}
	if (p->has_order)
		out->order = p->order;
	if (p->has_within)
		out->within_ns = p->within_ns;
	if (p->has_max_wait)
		out->max_wait_ns = p->max_wait_ns;
	if (p->has_running_first)
		out->running_first = p->running_first;
}

bool sq_cap_counts(const struct sq_cap_rule *c)
{
	return c->has_seats || c->has_rate || c->has_queue || c->has_running;
}

/* Caps add up: all of them must have room, and the shortest wait holds. */
static void apply_cap(const struct sq_policy *p, struct sq_treatment *out)
{
	if (p->cap.has_wait && p->cap.wait_ns < out->wait_ns)
		out->wait_ns = p->cap.wait_ns;
	if (sq_cap_counts(&p->cap) && out->n_caps < SQ_TREATMENT_CAPS)
		out->caps[out->n_caps++] = p;
}

void sq_policy_resolve(const struct sq_policy_set *set, const struct sq_subject *subject,
		       struct sq_treatment *out)
{
	*out = (struct sq_treatment){
		.weight = 1,
		.within_ns = SQ_NEVER,
		.max_wait_ns = SQ_NEVER,
		.wait_ns = SQ_NEVER,
	};
	for (size_t i = 0; i < set->n; i++) {
		const struct sq_policy *p = &set->policies[i];

		if (!sq_match_accepts(&p->match, subject))
			continue;
		apply_prioritize(&p->prioritize, out);
		if (p->has_cap)
			apply_cap(p, out);
	}
}

static void globs_free(struct sq_globs *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->glob[i]);
	free(g->glob);
}

void sq_policy_set_free(struct sq_policy_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++) {
		struct sq_policy *p = &set->policies[i];

		free(p->name);
		free(p->file);
		globs_free(&p->match.function);
		globs_free(&p->match.chain);
		globs_free(&p->match.tenant);
		free(p->prioritize.share_header);
	}
	free(set->policies);
	free(set);
}

const char *sq_share_name(enum sq_share s)
{
	static const char *const names[] = {
		[SQ_SHARE_NONE] = "none",     [SQ_SHARE_TENANT] = "tenant",
		[SQ_SHARE_CHAIN] = "chain",   [SQ_SHARE_FUNCTION] = "function",
		[SQ_SHARE_HEADER] = "header",
	};

	return names[s];
}

const char *sq_order_name(enum sq_order o)
{
	static const char *const names[] = {
		[SQ_ORDER_FIFO] = "fifo",
		[SQ_ORDER_SHORTEST] = "shortest",
		[SQ_ORDER_DEADLINE] = "deadline",
	};

	return names[o];
}

const char *sq_per_name(enum sq_per p)
{
	static const char *const names[] = {
		[SQ_PER_NONE] = "none",
		[SQ_PER_TENANT] = "tenant",
		[SQ_PER_CHAIN] = "chain",
		[SQ_PER_FUNCTION] = "function",
	};

	return names[p];
}
