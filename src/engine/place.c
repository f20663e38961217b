/*
 * Places: what the policies say of a subject, kept per home so that a call costs one look-up.
 *
 * A place holds references on its lane, caps and function. It leaves the map when the map is full
 * of idle ones or when the policies have changed, and is freed with the last run that uses it.
 */
#include "base/clock.h"
#include "engine/impl.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 8192    /* per home; a client that makes up names must not fill the memory */
#define FUNCTIONS_MAX 8192 /* at rest, of all homes */
#define KEY_MAX 1024

/* ---- caps and functions, shared by all homes, under the sched lock ---- */

static void cap_free(struct sq_engine *en, struct sq_engine_cap *c)
{
	sq_map_remove(en->caps, c->name, c->name_len);
	sq_cap_put(c->cap);
	free(c);
}

/* Caps at rest whose rates have recovered are forgotten, a few at a time. */
static void forget_caps(struct sq_engine *en, unsigned most)
{
	struct sq_engine_cap *c, *next;

	cds_list_for_each_entry_safe (c, next, &en->resting_caps, node) {
		if (most-- == 0 || !sq_cap_idle(c->cap, sq_clock_ns()))
			return;
		cds_list_del(&c->node);
		cap_free(en, c);
	}
}

static struct sq_engine_cap *cap_new(struct sq_engine *en, const struct sq_cap_conf *conf)
{
	size_t len = strlen(conf->name);
	struct sq_engine_cap *c = calloc(1, sizeof(*c) + len + 1);

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

struct sq_engine_cap *sq_engine_cap_get(struct sq_engine *en, const struct sq_cap_conf *conf)
{
	struct sq_engine_cap *c;

	sq_lock_assert_held(&en->lock);
	forget_caps(en, 4);
	c = sq_map_get(en->caps, conf->name, strlen(conf->name));
	if (!c)
		return cap_new(en, conf);
	if (c->refs++ == 0)
		cds_list_del(&c->node);
	return c;
}

void sq_engine_cap_put(struct sq_engine *en, struct sq_engine_cap *c)
{
	sq_lock_assert_held(&en->lock);
	if (!c || --c->refs > 0)
		return;
	if (sq_cap_idle(c->cap, sq_clock_ns()))
		cap_free(en, c);
	else
		cds_list_add_tail(&c->node, &en->resting_caps);
}

static struct sq_function *function_new(struct sq_engine *en, const char *name)
{
	size_t len = strlen(name);
	struct sq_function *f = calloc(1, sizeof(*f) + len + 1);

	if (!f)
		return NULL;
	memcpy(f->name, name, len);
	f->name_len = len;
	f->refs = 1;
	if (sq_map_put(en->functions, f->name, len, f) == 0)
		return f;
	free(f);
	return NULL;
}

static struct sq_function *function_get(struct sq_engine *en, const char *name)
{
	struct sq_function *f = sq_map_get(en->functions, name, strlen(name));

	if (!f)
		return function_new(en, name);
	if (f->refs++ == 0) {
		cds_list_del(&f->node);
		en->n_resting_functions--;
	}
	return f;
}

static void forget_function(struct sq_engine *en)
{
	struct sq_function *f =
		cds_list_first_entry(&en->resting_functions, struct sq_function, node);

	cds_list_del(&f->node);
	en->n_resting_functions--;
	sq_map_remove(en->functions, f->name, f->name_len);
	free(f);
}

static void function_put(struct sq_engine *en, struct sq_function *f)
{
	if (!f || --f->refs > 0)
		return;
	cds_list_add_tail(&f->node, &en->resting_functions);
	if (++en->n_resting_functions > FUNCTIONS_MAX)
		forget_function(en);
}

void sq_resting_free(struct sq_engine *en)
{
	struct sq_engine_cap *c, *next;

	while (en->n_resting_functions > 0)
		forget_function(en);
	cds_list_for_each_entry_safe (c, next, &en->resting_caps, node)
		cap_free(en, c);
}

/* ---- from treatment to lane ---- */

static const char *per_value(const struct sq_place *p, enum sq_per per)
{
	switch (per) {
	case SQ_PER_TENANT:
		return p->tenant;
	case SQ_PER_CHAIN:
		return p->function_id; /* a plain call is a chain by its function's name */
	case SQ_PER_FUNCTION:
		return p->function_id;
	case SQ_PER_NONE:
		break;
	}
	return "";
}

/* The identity of a policy's cap: a reload finds it again by this. The caller frees it. */
static char *cap_name(const struct sq_place *p, const struct sq_policy *pol, enum sq_cap_kind kind)
{
	static const char *const kinds[] = {"seats", "rate", "running", "queue"};
	enum sq_per per = pol->cap.per;
	char *name;

	if (asprintf(&name, "policy:%s.%s%s%s%s%s", pol->name, kinds[kind], per ? "/" : "",
		     per ? sq_per_name(per) : "", per ? "=" : "", per_value(p, per)) < 0)
		return NULL;
	return name;
}

/* It may have stood with another limit before a reload; a home that is behind must not set it back.
 */
static int update_cap(struct sq_engine_cap *c, const struct sq_cap_conf *conf, uint64_t generation)
{
	int64_t now = sq_clock_ns();

	if (generation <= c->generation)
		return 0;
	c->generation = generation;
	if (conf->kind == SQ_CAP_RATE) {
		sq_cap_set_rate(c->cap, conf->interval_ns, conf->burst, SQ_SOURCE_SETTINGS, now);
		return 0;
	}
	return sq_cap_set_limit(c->cap, conf->limit, SQ_SOURCE_SETTINGS, now);
}

/* Gets one cap of a policy into the set. */
static int add_cap(struct sq_place *p, const struct sq_policy *pol, struct sq_cap_conf conf,
		   struct sq_cap **out)
{
	char *name = cap_name(p, pol, conf.kind);
	struct sq_engine_cap *c = NULL;

	if (!name)
		return -1;
	conf.name = name;
	assert(p->n_caps < SQ_PLACE_CAPS);
	c = sq_engine_cap_get(p->home->engine, &conf);
	free(name);
	if (!c)
		return -1;
	p->caps[p->n_caps++] = c;
	*out = c->cap;
	return update_cap(c, &conf, p->generation);
}

static int64_t rate_interval_ns(double per_s)
{
	double ns = 1e9 / per_s;

	return ns < 1 ? 1 : ns > 1e18 ? (int64_t)1e18 : (int64_t)llround(ns);
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
	struct sq_cap *all[2 * SQ_TREATMENT_CAPS], *running[SQ_TREATMENT_CAPS];
	size_t n_all, n_running;
};

static int add_policy_caps(struct sq_place *p, const struct sq_policy *pol, struct capset_build *b)
{
	const struct sq_cap_rule *rule = &pol->cap;
	struct sq_cap_conf seats = {.kind = SQ_CAP_SEATS}, rate = {.kind = SQ_CAP_RATE},
			   running = {.kind = SQ_CAP_RUNNING}, queue = {.kind = SQ_CAP_QUEUE};
	int err = 0;

	if (rule->has_seats) {
		seats.limit = seats_limit(rule, settings_of(p->home));
		err = add_cap(p, pol, seats, &b->all[b->n_all++]);
	}
	if (rule->has_rate && !err) {
		rate.interval_ns = rate_interval_ns(rule->rate_per_s);
		rate.burst = rule->burst > 0 ? (uint32_t)rule->burst : 1;
		err = add_cap(p, pol, rate, &b->all[b->n_all++]);
	}
	if (rule->has_running && !err) {
		running.limit = (uint32_t)rule->running;
		err = add_cap(p, pol, running, &b->running[b->n_running++]);
	}
	if (rule->has_queue && !err) {
		/* One above the bound: the item that is being decided stands in the queue. */
		queue.limit = (uint32_t)rule->queue + 1;
		err = add_cap(p, pol, queue, &p->queues[p->n_queues++]);
	}
	return err;
}

static const char *share_value(const struct sq_place *p)
{
	switch (p->treatment.share) {
	case SQ_SHARE_TENANT:
		return p->tenant;
	case SQ_SHARE_CHAIN:
		return p->function_id; /* a plain call is a chain by its function's name */
	case SQ_SHARE_FUNCTION:
		return p->function_id;
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

	for (size_t i = 0; i < t->n_caps && !err; i++)
		err = add_policy_caps(p, t->caps[i], &b);
	p->queues[p->n_queues++] = en->queue_cap->cap;
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
	free(p->function_id);
	free(p->tenant);
	free(p);
}

static struct sq_place *place_new(struct sq_home *h, const char *key, size_t key_len,
				  const struct sq_subject *subject, struct sq_backend *backend)
{
	struct sq_place *p = calloc(1, sizeof(*p) + key_len);
	struct sq_engine *en = h->engine;
	int err;

	if (!p)
		return NULL;
	p->home = h;
	p->key_len = key_len;
	memcpy(p->key, key, key_len);
	p->backend = backend;
	p->generation = snapshot_of(h)->generation;
	p->function_id = strdup(subject->function);
	p->tenant = strdup(subject->tenant);
	p->function_name = sq_metrics_name(en->metrics, p->function_id);
	p->tenant_name = sq_metrics_name(en->metrics, p->tenant);
	sq_policy_resolve(snapshot_of(h)->policies, subject, &p->treatment);
	p->wait_ns = wait_limit(h, &p->treatment, subject->trigger);
	sq_lock_take(&en->lock);
	err = !p->tenant || !p->function_id;
	if (!err)
		p->function = function_get(en, p->function_id);
	err = err || !p->function || open_lane(p) < 0;
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
	p->retired = true;
	if (p->runs > 0)
		return;
	cds_list_del(&p->node);
	place_free(p);
}

static struct sq_place *longest_idle(struct sq_home *h)
{
	return cds_list_first_entry(&h->idle_places, struct sq_place, node);
}

static void make_room(struct sq_home *h)
{
	if (sq_map_count(h->places) >= PLACES_MAX && !cds_list_empty(&h->idle_places))
		retire(longest_idle(h));
}

void sq_place_use(struct sq_place *p)
{
	if (p->runs++ == 0)
		cds_list_del(&p->node);
}

void sq_place_drop(struct sq_place *p)
{
	assert(p->runs > 0);
	if (--p->runs > 0)
		return;
	if (p->retired)
		place_free(p);
	else
		cds_list_add_tail(&p->node, &p->home->idle_places);
}

/* The idle ones; those in use go when their runs have others, or end. */
void sq_places_clear(struct sq_home *h)
{
	while (!cds_list_empty(&h->idle_places))
		retire(longest_idle(h));
}

static struct sq_place *insert(struct sq_home *h, struct sq_place *p)
{
	if (!p)
		return NULL;
	if (sq_map_put(h->places, p->key, p->key_len, p) < 0) {
		place_free(p);
		return NULL;
	}
	cds_list_add_tail(&p->node, &h->idle_places);
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

struct sq_place *sq_place_known(struct sq_home *h, const struct sq_call *call)
{
	char key[KEY_MAX];
	size_t len = make_key(key, call->trigger, call->tenant, call->function, call->backend);

	return len > 0 ? sq_map_get(h->places, key, len) : NULL;
}

/* The place of the same subject under the present policies; NULL: no memory, the old one serves on.
 */
struct sq_place *sq_place_renew(struct sq_place *old)
{
	struct sq_home *h = old->home;
	struct sq_place *p = sq_map_get(h->places, old->key, old->key_len);
	struct sq_subject subject = {old->function_id, old->function_id, old->tenant,
				     (enum sq_trigger)old->key[0]};

	if (p && p->generation == snapshot_of(h)->generation)
		return p;
	if (p)
		retire(p);
	return insert(h, place_new(h, old->key, old->key_len, &subject, old->backend));
}
