#include "conf/policy_rules.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEATS_MAX 100000
#define COUNT_MAX 10000000
#define DAYS_30 (30 * 24 * 3600 * SQ_S)

/* In the order of the enums of model/. */
static const char *const trigger_names[] = {"sync", "async", "nested", NULL};
static const char *const share_names[] = {"none", "tenant", "chain", "function", NULL};
static const char *const order_names[] = {"fifo", "shortest", "deadline", NULL};
static const char *const running_first_names[] = {"flow", "class", "never", NULL};
static const char *const per_names[] = {"none", "tenant", "chain", "function", NULL};

/* ---- match ---- */

static void read_globs(struct sq_value *map, const char *key, struct sq_globs *g)
{
	struct sq_value *v = sq_get(map, key);

	if (v)
		sq_read_list(v, sq_read_glob, &g->glob, &g->n);
}

static void read_triggers(struct sq_value *v, unsigned *triggers)
{
	int trigger;

	if (v && v->kind == SQ_VALUE_LIST && !v->first)
		sq_value_error(v, "trigger: expected one value or a list of at least one");
	for (struct sq_value *i = NULL; (i = sq_next_item(v, i));)
		if (sq_read_enum(i, trigger_names, &trigger))
			*triggers |= 1u << trigger;
}

static void read_match(struct sq_value *map, struct sq_match *m)
{
	read_globs(map, "function", &m->function);
	read_globs(map, "chain", &m->chain);
	read_globs(map, "tenant", &m->tenant);
	read_triggers(sq_get(map, "trigger"), &m->triggers);
	sq_refuse(map, "header");
	sq_refuse(map, "path");
	sq_refuse(map, "backend");
}

/* ---- prioritize ---- */

/* A field name of HTTP: a token, RFC 9110 section 5.1. */
static bool is_field_name(const char *s)
{
	static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "!#$%&'*+-.^_`|~";

	return *s != '\0' && strspn(s, token) == strlen(s);
}

static void read_share(struct sq_value *v, struct sq_prioritize *p)
{
	static const char prefix[] = "header:";
	const char *name;
	int share;

	if (!v || v->bad)
		return;
	if (v->kind != SQ_VALUE_SCALAR || strncmp(v->text, prefix, sizeof(prefix) - 1) != 0) {
		p->has_share = sq_read_enum(v, share_names, &share);
		if (p->has_share)
			p->share = (enum sq_share)share;
		return;
	}
	name = v->text + sizeof(prefix) - 1;
	if (!is_field_name(name)) {
		sq_value_error(v, "share: expected the name of a header after header:");
		return;
	}
	p->has_share = true;
	p->share = SQ_SHARE_HEADER;
	p->share_header = strdup(name);
	if (!p->share_header)
		sq_doc_no_memory(v->doc);
}

static void read_prioritize(struct sq_value *map, struct sq_prioritize *p)
{
	int64_t count;
	int choice;

	p->has_class = sq_read_count(sq_get(map, "class"), -100, 100, &count);
	if (p->has_class)
		p->class = (int)count;
	p->has_weight = sq_read_count(sq_get(map, "weight"), 1, 1000, &count);
	if (p->has_weight)
		p->weight = (uint32_t)count;
	read_share(sq_get(map, "share"), p);
	p->has_order = sq_read_enum(sq_get(map, "order"), order_names, &choice);
	if (p->has_order)
		p->order = (enum sq_order)choice;
	p->has_within = sq_read_duration(sq_get(map, "within"), SQ_MS, DAYS_30, &p->within_ns);
	p->has_max_wait =
		sq_read_duration(sq_get(map, "max-wait"), SQ_MS, DAYS_30, &p->max_wait_ns);
	p->has_running_first =
		sq_read_enum(sq_get(map, "running-first"), running_first_names, &choice);
	if (p->has_running_first)
		p->running_first = (enum sq_running_first)choice;
	if (map && !map->first)
		sq_value_error(map, "prioritize: expected at least one key");
}

/* ---- cap ---- */

static void read_seats(struct sq_value *v, struct sq_cap_rule *c)
{
	if (!sq_is_percent(v)) {
		c->has_seats = sq_read_count(v, 1, SEATS_MAX, &c->seats);
		return;
	}
	c->has_seats = sq_read_percent(v, &c->seats_share);
	if (c->has_seats)
		c->seats = -1;
}

static void read_rate(struct sq_value *map, struct sq_cap_rule *c)
{
	struct sq_value *burst = sq_get(map, "burst");

	c->has_rate = sq_read_rate(sq_get(map, "rate"), &c->rate_per_s);
	if (c->has_rate)
		c->burst = c->rate_per_s > 1 ? (int64_t)ceil(c->rate_per_s) : 1;
	sq_read_count(burst, 1, COUNT_MAX, &c->burst);
	if (burst && !sq_get(map, "rate"))
		sq_value_entry_error(burst, "burst: means nothing without rate");
}

/* Whether any of the keys that per can multiply was written, well or not. */
static bool counts_something(struct sq_value *map)
{
	return sq_get(map, "seats") || sq_get(map, "rate") || sq_get(map, "queue") ||
	       sq_get(map, "running");
}

static void read_cap(struct sq_value *map, struct sq_cap_rule *c)
{
	struct sq_value *per = sq_get(map, "per");
	int choice;

	read_seats(sq_get(map, "seats"), c);
	read_rate(map, c);
	c->has_queue = sq_read_count(sq_get(map, "queue"), 0, COUNT_MAX, &c->queue);
	c->has_wait = sq_read_duration(sq_get(map, "wait"), 0, DAYS_30, &c->wait_ns);
	c->has_running = sq_read_count(sq_get(map, "running"), 1, COUNT_MAX, &c->running);
	if (sq_read_enum(per, per_names, &choice))
		c->per = (enum sq_per)choice;
	sq_refuse(map, "ramp");
	sq_refuse(map, "adaptive");
	if (per && !counts_something(map))
		sq_value_entry_error(per, "per: needs seats, rate, queue or running beside it");
	else if (map && !map->first)
		sq_value_error(map, "cap: expected at least one key");
}

/* ---- the whole ---- */

/* A name, and something to do: a policy without effect is a slip of the indentation. */
static void check_policy(struct sq_value *map)
{
	static const char *const sections[] = {"prioritize", "cap", "deploy", "alter"};
	struct sq_value *v;

	sq_require(map, "policy");
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		v = sq_get(map, sections[i]);
		if (v && v->kind != SQ_VALUE_NULL)
			return;
	}
	v = sq_get(map, "policy");
	sq_value_entry_error(v ? v : map,
			     "the policy does nothing: it has neither prioritize nor cap");
}

void sq_policy_read(struct sq_policy *p, struct sq_value *v)
{
	struct sq_value *map = sq_as_map(v), *cap = sq_get(map, "cap"), *name;

	p->line = (int)v->line;
	p->file = strdup(sq_doc_name(v->doc));
	if (!p->file)
		sq_doc_no_memory(v->doc);
	if (!map)
		return;
	name = sq_get(map, "policy");
	if (sq_read_name(name, &p->name))
		p->line = (int)name->line;
	read_match(sq_as_map(sq_get(map, "match")), &p->match);
	read_prioritize(sq_as_map(sq_get(map, "prioritize")), &p->prioritize);
	cap = sq_as_map(cap);
	p->has_cap = cap != NULL;
	read_cap(cap, &p->cap);
	sq_refuse(map, "while");
	sq_refuse(map, "for");
	sq_refuse(map, "deploy");
	sq_refuse(map, "alter");
	check_policy(map);
}
