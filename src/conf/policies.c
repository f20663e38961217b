/* The policy files: each holds documents, each document is a policy; all together are one set. */
#include "conf/files.h"
#include "conf/policy_rules.h"
#include "conf/settings.h"

#include <stdlib.h>
#include <string.h>

/* The set while it grows. A class's first order is kept to be compared with the others. */
struct reading {
	struct sq_faults *faults;
	struct sq_policy_set *set;
	size_t cap;
	size_t counting; /* policies whose caps count something */
};

static struct sq_policy *add_policy(struct reading *r)
{
	struct sq_policy_set *set = r->set;

	if (set->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct sq_policy *grown = reallocarray(set->policies, cap, sizeof(*grown));

		if (!grown)
			return NULL;
		set->policies = grown;
		r->cap = cap;
	}
	set->policies[set->n] = (struct sq_policy){0};
	return &set->policies[set->n++];
}

static void check_name(const struct reading *r, const struct sq_policy *p, struct sq_value *at)
{
	for (const struct sq_policy *o = r->set->policies; p->name && o < p; o++)
		if (o->name && strcmp(o->name, p->name) == 0)
			sq_value_error(at, "policy: there is a policy '%s' already, at %s:%d",
				       p->name, o->file, o->line);
}

/*
 * Two orders in one class are two flows that share it, which is seldom meant. Only what is written
 * is compared: what a policy leaves to others depends on the request.
 */
static void check_order(const struct reading *r, const struct sq_policy *p,
			const struct sq_value *at)
{
	if (!p->prioritize.has_order)
		return;
	for (const struct sq_policy *o = r->set->policies; o < p; o++) {
		if (!o->prioritize.has_order || o->prioritize.class != p->prioritize.class ||
		    o->prioritize.order == p->prioritize.order)
			continue;
		sq_value_warn(at, "order: class %d has order %s at %s:%d: these are two flows",
			      p->prioritize.class, sq_order_name(o->prioritize.order), o->file,
			      o->line);
		return;
	}
}

static void check_caps(struct reading *r, const struct sq_policy *p, const struct sq_value *at)
{
	if (!p->has_cap || !sq_cap_counts(&p->cap))
		return;
	if (++r->counting == SQ_TREATMENT_CAPS + 1)
		sq_value_warn(at,
			      "cap: more than %d policies have caps: of those that match a "
			      "request, only the first %d hold",
			      SQ_TREATMENT_CAPS, SQ_TREATMENT_CAPS);
}

static void read_policy(struct reading *r, struct sq_value *v)
{
	struct sq_policy *p = add_policy(r);
	struct sq_value *map = v->kind == SQ_VALUE_MAP ? v : NULL;

	if (!p) {
		sq_doc_no_memory(v->doc);
		return;
	}
	sq_policy_read(p, v);
	if (!map)
		return;
	check_name(r, p, sq_get(map, "policy"));
	if (p->prioritize.has_order)
		check_order(r, p, sq_get(sq_get(map, "prioritize"), "order"));
	check_caps(r, p, sq_get(map, "cap"));
}

static void read_policy_file(struct reading *r, const struct sq_file *file)
{
	struct sq_doc *d = sq_doc_open(file->path, file->name, r->faults);

	if (!d)
		return;
	for (struct sq_value *v = sq_doc_first(d); v; v = v->next)
		if (v->kind != SQ_VALUE_NULL || v->bad)
			read_policy(r, v);
	sq_doc_close(d);
}

struct sq_policy_set *sq_policies_read(const struct sq_settings *s, struct sq_faults *faults)
{
	struct reading r = {.faults = faults};
	size_t before = faults->errors;
	struct sq_file *files = NULL;
	size_t n = sq_files_find(s, "policies", s->policy_globs, s->n_policy_globs, &files, faults);

	r.set = calloc(1, sizeof(*r.set));
	if (!r.set)
		sq_faults_add(faults, "policies", "out of memory");
	for (size_t i = 0; i < n && r.set; i++)
		read_policy_file(&r, &files[i]);
	sq_files_free(files, n);
	if (faults->errors == before)
		return r.set;
	sq_policy_set_free(r.set);
	return NULL;
}
