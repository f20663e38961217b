/*
 * Places: what the policies say of a subject, kept per home so that a call costs one look-up.
 *
 * A place holds references on its lane, caps and function. It leaves the map when the map is full
 * of idle ones or when the policies have changed, and is freed with the last run that uses it.
 */
#include "base/clock.h"
#include "engine/impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 8192 /* per home; a client that makes up names must not fill the memory */
#define KEY_MAX 1024

/* ---- caps and functions, shared by all homes, under the sched lock ---- */

struct sq_engine_cap *sq_engine_cap_get(struct sq_engine *en, const struct sq_cap_conf *conf)
{
	size_t len = strlen(conf->name);
	struct sq_engine_cap *c = sq_map_get(en->caps, conf->name, len);

	sq_lock_assert_held(&en->lock);
	if (c) {
		c->refs++;
		return c;
	}
	c = calloc(1, sizeof(*c) + len + 1);
	if (!c)
		return NULL;
	memcpy(c->name, conf->name, len);
	c->name_len = len;
	c->refs = 1;
	c->cap = sq_cap_new(en->sched, conf);
	if (!c->cap || sq_map_put(en->caps, c->name, len, c) < 0) {
		sq_cap_put(c->cap);
		free(c);
		return NULL;
	}
	return c;
}

void sq_engine_cap_put(struct sq_engine *en, struct sq_engine_cap *c)
{
	sq_lock_assert_held(&en->lock);
	if (!c || --c->refs > 0)
		return;
	sq_map_remove(en->caps, c->name, c->name_len);
	sq_cap_put(c->cap);
	free(c);
}

static struct sq_function *function_get(struct sq_engine *en, const char *name)
{
	size_t len = strlen(name);
	struct sq_function *f = sq_map_get(en->functions, name, len);

	if (f) {
		f->refs++;
		return f;
	}
	f = calloc(1, sizeof(*f) + len + 1);
	if (!f)
		return NULL;
	memcpy(f->name, name, len);
	f->name_len = len;
	f->refs = 1;
	if (sq_map_put(en->functions, f->name, len, f) < 0) {
		free(f);
		return NULL;
	}
	return f;
}

static void function_put(struct sq_engine *en, struct sq_function *f)
{
	if (!f || --f->refs > 0)
		return;
	sq_map_remove(en->functions, f->name, f->name_len);
	free(f);
}

/* ---- from treatment to lane ---- */

static const char *per_value(const struct sq_place *p, enum sq_per per)
{
	switch (per) {
	case SQ_PER_TENANT:
		return p->tenant;
	case SQ_PER_CHAIN:
		return p->chain.name;
	case SQ_PER_FUNCTION:
		return p->chain_node.function;
	case SQ_PER_NONE:
		break;
	}
	return "";
}

/* Gets one cap of a policy into the set; caps are matched by identity, so a reload keeps their use.
 */
static int add_cap(struct sq_place *p, const struct sq_policy *pol, enum sq_cap_kind kind,
		   uint32_t limit, uint32_t burst, struct sq_cap **out)
{
	static const char *const kinds[] = {"seats", "rate", "running", "queue"};
	struct sq_engine *en = p->home->engine;
	char name[SQ_ROW_NAME * 2];
	struct sq_engine_cap *c;
	enum sq_per per = pol->cap.per;

	snprintf(name, sizeof(name), "policy:%s.%s%s%s%s%s", pol->name, kinds[kind], per ? "/" : "",
		 per ? sq_per_name(per) : "", per ? "=" : "", per_value(p, per));
	c = sq_engine_cap_get(en, &(struct sq_cap_conf){name, kind, limit, burst});
	if (!c)
		return -1;
	p->caps[p->n_caps++] = c;
	*out = c->cap;
	/* It may have stood with another limit before a reload. */
	if (kind == SQ_CAP_RATE)
		sq_cap_set_burst(c->cap, burst, sq_clock_ns());
	return sq_cap_set_limit(c->cap, limit, SQ_SOURCE_SETTINGS, sq_clock_ns());
}

static uint32_t seats_limit(const struct sq_cap_rule *rule, const struct sq_settings *s)
{
	double share;

	if (rule->seats >= 0)
		return (uint32_t)rule->seats;
	share = rule->seats_share * (double)s->seats;
	return share < 1 ? 1 : (uint32_t)share;
}

struct capset_build {
	struct sq_cap *all[SQ_CAPS_MAX * 2], *running[SQ_CAPS_MAX];
	size_t n_all, n_running;
};

static int add_policy_caps(struct sq_place *p, const struct sq_policy *pol, struct capset_build *b)
{
	const struct sq_cap_rule *rule = &pol->cap;
	int err = 0;

	if (rule->has_seats)
		err |= add_cap(p, pol, SQ_CAP_SEATS, seats_limit(rule, settings_of(p->home)), 0,
			       &b->all[b->n_all++]);
	if (rule->has_rate && !err)
		err |= add_cap(p, pol, SQ_CAP_RATE, (uint32_t)(rule->rate_per_s * 1000),
			       rule->burst > 0 ? (uint32_t)rule->burst : 1, &b->all[b->n_all++]);
	if (rule->has_running && !err)
		err |= add_cap(p, pol, SQ_CAP_RUNNING, (uint32_t)rule->running, 0,
			       &b->running[b->n_running++]);
	/* One above the bound: the item that is being decided stands in the queue for a moment. */
	if (rule->has_queue && !err)
		err |= add_cap(p, pol, SQ_CAP_QUEUE, (uint32_t)rule->queue + 1, 0,
			       &p->queues[p->n_queues++]);
	return err;
}

static const char *share_value(const struct sq_place *p)
{
	switch (p->treatment.share) {
	case SQ_SHARE_TENANT:
		return p->tenant;
	case SQ_SHARE_CHAIN:
		return p->chain.name;
	case SQ_SHARE_FUNCTION:
		return p->chain_node.function;
	case SQ_SHARE_HEADER: /* resolved per request with the policies' header match */
	case SQ_SHARE_NONE:
		break;
	}
	return NULL;
}

static int open_lane(struct sq_place *p)
{
	const struct sq_treatment *t = &p->treatment;
	struct sq_engine *en = p->home->engine;
	struct capset_build b = {.n_all = 0};
	struct sq_candidate candidate = {p->backend->cap, p->backend->id};
	struct sq_flow_key key = {
		.class = t->class,
		.order = (uint8_t)t->order,
		.share_kind = (uint8_t)t->share,
		.running_first = (enum sq_running_rule)t->running_first,
		.share = share_value(p),
	};
	int err = 0;

	p->queues[p->n_queues++] = en->queue_cap->cap;
	for (size_t i = 0; i < t->n_caps && !err; i++)
		err = add_policy_caps(p, t->caps[i], &b);
	if (err)
		return -1;
	p->pq = sq_lane_get(en->sched, &key,
			    &(struct sq_capset){.all = b.all,
						.n_all = b.n_all,
						.running = b.running,
						.n_running = b.n_running,
						.queue = p->queues,
						.n_queue = p->n_queues,
						.any = &candidate,
						.n_any = candidate.cap ? 1 : 0},
			    SQ_PQ);
	return p->pq ? 0 : -1;
}

static struct sq_backend *backend_for(struct sq_engine *en, const struct sq_backend_conf *wanted,
				      const char *function)
{
	for (size_t i = 0; i < en->n_backends; i++) {
		struct sq_backend *b = &en->backends[i];

		if (wanted ? strcmp(b->conf->name, wanted->name) == 0 : b->ops->knows(b, function))
			return b;
	}
	return NULL;
}

static int64_t wait_limit(struct sq_home *h, const struct sq_treatment *t, enum sq_trigger trigger)
{
	int64_t limit = trigger == SQ_TRIGGER_ASYNC ? settings_of(h)->limit_async_wait
						    : settings_of(h)->limit_wait;

	return t->wait_ns < limit ? t->wait_ns : limit;
}

static void place_free(struct sq_place *p)
{
	struct sq_engine *en = p->home->engine;

	sq_lock_take(&en->lock);
	sq_lane_put(p->pq);
	for (size_t i = 0; i < p->n_caps; i++)
		sq_engine_cap_put(en, p->caps[i]);
	function_put(en, p->function);
	sq_lock_release(&en->lock);
	free((char *)(uintptr_t)p->chain.name);
	free(p->tenant);
	free(p);
}

static struct sq_place *place_new(struct sq_home *h, const char *key, size_t key_len,
				  const struct sq_subject *subject, struct sq_backend *backend)
{
	struct sq_place *p = calloc(1, sizeof(*p) + key_len);
	struct sq_engine *en = h->engine;
	char *function = strdup(subject->function);
	int err = 0;

	if (!p || !function) {
		free(p);
		free(function);
		return NULL;
	}
	p->home = h;
	p->key_len = key_len;
	memcpy(p->key, key, key_len);
	p->tenant = strdup(subject->tenant);
	p->chain_node = (struct sq_node){.name = function, .function = function};
	p->chain = (struct sq_chain){.name = function, .n_nodes = 1, .nodes = &p->chain_node};
	p->backend = backend;
	p->generation = snapshot_of(h)->generation;
	p->function_name = sq_metrics_name(en->metrics, function);
	p->tenant_name = sq_metrics_name(en->metrics, p->tenant);
	sq_policy_resolve(snapshot_of(h)->policies, subject, &p->treatment);
	p->wait_ns = wait_limit(h, &p->treatment, subject->trigger);
	sq_lock_take(&en->lock);
	p->function = function_get(en, function);
	err = !p->tenant || !p->function || open_lane(p) < 0;
	sq_lock_release(&en->lock);
	/* The policies that the treatment points to may go with the next reload. */
	p->treatment.n_caps = 0;
	p->treatment.share_header = NULL;
	if (err) {
		place_free(p);
		return NULL;
	}
	return p;
}

/* ---- the map ---- */

/* Out of the map; freed now when no run uses it, else with its last run. */
static void retire(struct sq_place *p)
{
	sq_map_remove(p->home->places, p->key, p->key_len);
	cds_list_del(&p->node);
	p->retired = true;
	if (p->runs == 0)
		place_free(p);
}

static void make_room(struct sq_home *h)
{
	struct sq_place *p, *next;
	unsigned looked = 0;

	if (sq_map_count(h->places) < PLACES_MAX)
		return;
	cds_list_for_each_entry_safe (p, next, &h->place_list, node) {
		if (p->runs == 0)
			retire(p);
		if (++looked == 64)
			return;
	}
}

void sq_place_use(struct sq_place *p)
{
	p->runs++;
}

void sq_place_drop(struct sq_place *p)
{
	assert(p->runs > 0);
	if (--p->runs == 0 && p->retired)
		place_free(p);
}

void sq_places_clear(struct sq_home *h)
{
	struct sq_place *p, *next;

	cds_list_for_each_entry_safe (p, next, &h->place_list, node)
		retire(p);
}

static struct sq_place *insert(struct sq_home *h, struct sq_place *p)
{
	if (!p)
		return NULL;
	if (sq_map_put(h->places, p->key, p->key_len, p) < 0) {
		place_free(p);
		return NULL;
	}
	cds_list_add_tail(&p->node, &h->place_list);
	return p;
}

/* trigger, tenant NUL function NUL [backend of the route]; 0: too long */
static size_t make_key(char key[KEY_MAX], enum sq_trigger trigger, const char *tenant,
		       const char *function, const struct sq_backend_conf *route)
{
	size_t t = strlen(tenant) + 1, f = strlen(function) + 1;
	size_t b = route ? strlen(route->name) : 0;

	if (1 + t + f + b > KEY_MAX)
		return 0;
	key[0] = (char)trigger;
	memcpy(key + 1, tenant, t);
	memcpy(key + 1 + t, function, f);
	if (b > 0)
		memcpy(key + 1 + t + f, route->name, b);
	return 1 + t + f + b;
}

struct sq_place *sq_place_get(struct sq_home *h, const struct sq_call *call, enum sq_fault *fault)
{
	char key[KEY_MAX];
	size_t len = make_key(key, call->trigger, call->tenant, call->function, call->backend);
	struct sq_place *p = len > 0 ? sq_map_get(h->places, key, len) : NULL;
	struct sq_subject subject = {call->function, call->function, call->tenant, call->trigger};
	struct sq_backend *backend;

	if (p && p->generation == snapshot_of(h)->generation)
		return p;
	backend = len > 0 ? backend_for(h->engine, call->backend, call->function) : NULL;
	if (!backend) {
		*fault = SQ_FAULT_NO_FUNCTION;
		return NULL;
	}
	if (p)
		retire(p);
	make_room(h);
	p = insert(h, place_new(h, key, len, &subject, backend));
	if (!p)
		*fault = SQ_FAULT_MEMORY;
	return p;
}

/* The place of the same subject under the present policies; NULL: no memory, the old one serves on.
 */
struct sq_place *sq_place_renew(struct sq_place *old)
{
	struct sq_home *h = old->home;
	struct sq_place *p = sq_map_get(h->places, old->key, old->key_len);
	struct sq_subject subject = {old->chain.name, old->chain.name, old->tenant,
				     (enum sq_trigger)old->key[0]};

	if (p && p->generation == snapshot_of(h)->generation)
		return p;
	if (p)
		retire(p);
	return insert(h, place_new(h, old->key, old->key_len, &subject, old->backend));
}
