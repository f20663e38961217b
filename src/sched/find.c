/* Flows and lanes by what they are: found or made, kept while idle, freed. */
#include "sched/core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- the table ---- */

static struct sq_entry *next_like(struct sq_entry *e, enum sq_entry_kind kind, uint64_t hash)
{
	while (e && (e->hash != hash || e->kind != kind))
		e = e->next;
	return e;
}

struct sq_entry *sq_table_first(struct sq_sched *s, enum sq_entry_kind kind, uint64_t hash)
{
	return next_like(s->table[hash % SQ_TABLE_BUCKETS], kind, hash);
}

struct sq_entry *sq_table_next(struct sq_entry *e)
{
	return next_like(e->next, e->kind, e->hash);
}

void sq_table_add(struct sq_sched *s, struct sq_entry *e, enum sq_entry_kind kind, uint64_t hash)
{
	struct sq_entry **bucket = &s->table[hash % SQ_TABLE_BUCKETS];

	e->kind = kind;
	e->hash = hash;
	e->next = *bucket;
	*bucket = e;
}

void sq_table_remove(struct sq_sched *s, struct sq_entry *e)
{
	struct sq_entry **link = &s->table[e->hash % SQ_TABLE_BUCKETS];

	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
}

/* ---- flows ---- */

static const char *share_of(const struct sq_flow_key *key)
{
	return key->share ? key->share : "";
}

static uint64_t flow_hash(const struct sq_sched *s, const struct sq_flow_key *key)
{
	const int fields[4] = {key->class, key->order, key->share_kind, (int)key->running_first};
	uint64_t hash = XXH3_64bits_withSeed(fields, sizeof(fields), s->conf.seed);

	return XXH3_64bits_withSeed(share_of(key), strlen(share_of(key)), hash);
}

static bool flow_is(const struct sq_flow *f, const struct sq_flow_key *key)
{
	return f->key.class == key->class && f->key.order == key->order &&
	       f->key.share_kind == key->share_kind && f->key.running_first == key->running_first &&
	       strcmp(f->key.share, share_of(key)) == 0;
}

static struct sq_flow *flow_new(struct sq_sched *s, const struct sq_flow_key *key, uint64_t hash)
{
	size_t len = strlen(share_of(key)) + 1;
	struct sq_flow *f = sq_lines_alloc(sizeof(*f) + len);

	if (!f)
		return NULL;
	f->sched = s;
	f->key = *key;
	f->key.share = memcpy(f + 1, share_of(key), len);
	f->class = &s->classes[key->class - SQ_CLASS_MIN];
	sq_flow_heap(f);
	sq_table_add(s, &f->entry, SQ_ENTRY_FLOW, hash);
	s->stats.flows++;
	return f;
}

/* One reference; NULL: no memory. */
static struct sq_flow *flow_get(struct sq_sched *s, const struct sq_flow_key *key)
{
	uint64_t hash = flow_hash(s, key);
	struct sq_entry *e = sq_table_first(s, SQ_ENTRY_FLOW, hash);
	struct sq_flow *f = NULL;

	assert(key->class >= SQ_CLASS_MIN && key->class <= SQ_CLASS_MAX);
	for (; e; e = sq_table_next(e)) {
		f = caa_container_of(e, struct sq_flow, entry);
		if (flow_is(f, key))
			break;
	}
	if (!e)
		f = flow_new(s, key, hash);
	if (f)
		f->refs++;
	return f;
}

void sq_flow_put(struct sq_flow *f)
{
	if (--f->refs > 0)
		return;
	assert(f->waiting == 0 && !sq_heap_linked(&f->node));
	sq_table_remove(f->sched, &f->entry);
	f->sched->stats.flows--;
	free(f);
}

/* ---- lanes ---- */

static uint64_t lane_hash(const struct sq_flow *f, const struct sq_capset *set, enum sq_queue queue)
{
	const uint64_t fields[] = {(uintptr_t)f,   queue,        set->placement, set->n_all,
				   set->n_running, set->n_queue, set->n_any};
	uint64_t hash = XXH3_64bits_withSeed(fields, sizeof(fields), f->sched->conf.seed);

	hash = XXH3_64bits_withSeed(set->all, set->n_all * sizeof(set->all[0]), hash);
	hash = XXH3_64bits_withSeed(set->running, set->n_running * sizeof(set->running[0]), hash);
	hash = XXH3_64bits_withSeed(set->queue, set->n_queue * sizeof(set->queue[0]), hash);
	for (size_t n = 0; n < set->n_any; n++)
		hash = XXH3_64bits_withSeed(&set->any[n].cap, sizeof(set->any[n].cap), hash);
	return hash;
}

static bool caps_are(const struct sq_link *k, struct sq_cap *const *caps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (k[i].cap != caps[i])
			return false;
	return true;
}

static bool lane_is(const struct sq_lane *l, const struct sq_flow *f, const struct sq_capset *set,
		    enum sq_queue queue)
{
	const struct sq_link *any = l->links + l->n_all + l->n_running;

	if (l->flow != f || l->queue != queue || l->placement != set->placement ||
	    l->n_all != set->n_all || l->n_running != set->n_running ||
	    l->n_queue != set->n_queue || l->n_any != set->n_any)
		return false;
	for (size_t n = 0; n < set->n_any; n++)
		if (any[n].cap != set->any[n].cap || any[n].backend != set->any[n].backend)
			return false;
	for (size_t n = 0; n < set->n_queue; n++)
		if (l->queue_caps[n] != set->queue[n])
			return false;
	return caps_are(l->links, set->all, set->n_all) &&
	       caps_are(l->links + l->n_all, set->running, set->n_running);
}

static unsigned links(const struct sq_lane *l)
{
	return (unsigned)l->n_all + l->n_running + l->n_any;
}

/* Twice in a set, a cap would be taken twice after room for one was seen. */
static void assert_once(const struct sq_lane *l)
{
	for (unsigned i = 0; i < links(l); i++)
		for (unsigned j = 0; j < i; j++)
			assert(l->links[i].cap != l->links[j].cap);
	for (unsigned i = 0; i < l->n_queue; i++)
		for (unsigned j = 0; j < i; j++)
			assert(l->queue_caps[i] != l->queue_caps[j]);
}

/* Fills link n; false: no memory, and the link is empty. */
static bool link_to(struct sq_lane *l, unsigned n, struct sq_cap *c, int backend)
{
	struct sq_link *k = &l->links[n];

	assert(c != l->sched->pool && c->kind != SQ_CAP_QUEUE);
	k->wait = sq_wait_get(l->flow, c);
	if (!k->wait)
		return false;
	k->lane = l;
	k->cap = sq_cap_ref(c);
	k->backend = backend;
	return true;
}

static bool link_all(struct sq_lane *l, const struct sq_capset *set)
{
	unsigned n = 0;

	for (size_t i = 0; i < set->n_all; i++)
		if (!link_to(l, n++, set->all[i], -1))
			return false;
	for (size_t i = 0; i < set->n_running; i++)
		if (!link_to(l, n++, set->running[i], -1))
			return false;
	for (size_t i = 0; i < set->n_any; i++)
		if (!link_to(l, n++, set->any[i].cap, set->any[i].backend))
			return false;
	for (size_t i = 0; i < set->n_queue; i++)
		l->queue_caps[i] = sq_cap_ref(set->queue[i]);
	assert_once(l);
	return true;
}

/* Also a lane that was made by half. The flow's reference goes with it. */
static void lane_free(struct sq_lane *l)
{
	assert(l->state == SQ_LANE_OUT && l->depth == 0);
	for (unsigned n = 0; n < links(l) && l->links[n].wait; n++) {
		sq_wait_put(l->links[n].wait);
		sq_cap_put(l->links[n].cap);
	}
	for (unsigned n = 0; n < l->n_queue; n++)
		sq_cap_put(l->queue_caps[n]);
	sq_flow_put(l->flow);
	free(l);
}

/* Takes the flow's reference, also when it fails. */
static struct sq_lane *lane_new(struct sq_flow *f, const struct sq_capset *set, enum sq_queue queue)
{
	size_t n = set->n_all + set->n_running + set->n_any;
	size_t size = sizeof(struct sq_lane) + n * sizeof(struct sq_link);
	struct sq_lane *l = sq_lines_alloc(size + set->n_queue * sizeof(struct sq_cap *));

	if (!l) {
		sq_flow_put(f);
		return NULL;
	}
	assert(n < UINT16_MAX && set->n_queue < UINT16_MAX);
	l->sched = f->sched;
	l->flow = f;
	l->queue = queue;
	l->placement = set->placement;
	l->n_all = (uint16_t)set->n_all;
	l->n_running = (uint16_t)set->n_running;
	l->n_any = (uint16_t)set->n_any;
	l->n_queue = (uint16_t)set->n_queue;
	l->queue_caps = (struct sq_cap **)&l->links[n];
	sq_lane_heaps(l);
	CDS_INIT_LIST_HEAD(&l->idle);
	if (link_all(l, set))
		return l;
	lane_free(l);
	return NULL;
}

static void lane_drop(struct sq_lane *l)
{
	cds_list_del(&l->idle);
	cds_list_del(&l->listed.node);
	l->sched->n_idle--;
	l->sched->stats.lanes--;
	sq_table_remove(l->sched, &l->entry);
	lane_free(l);
}

struct sq_lane *sq_lane_get(struct sq_sched *s, const struct sq_flow_key *key,
			    const struct sq_capset *given, enum sq_queue queue)
{
	struct sq_flow *f = flow_get(s, key);
	struct sq_capset set = *given;
	struct sq_lane *l = NULL;
	struct sq_entry *e;
	uint64_t hash;

	if (!f)
		return NULL;
	if (queue == SQ_CRQ)
		set.n_running = set.n_queue = 0;
	hash = lane_hash(f, &set, queue);
	for (e = sq_table_first(s, SQ_ENTRY_LANE, hash); e; e = sq_table_next(e)) {
		l = caa_container_of(e, struct sq_lane, entry);
		if (lane_is(l, f, &set, queue)) {
			sq_flow_put(f); /* the lane has its own */
			return sq_lane_ref(l);
		}
	}
	l = lane_new(f, &set, queue);
	if (!l)
		return NULL;
	l->refs = 1;
	cds_list_add_tail(&l->listed.node, &s->lanes);
	sq_table_add(s, &l->entry, SQ_ENTRY_LANE, hash);
	s->stats.lanes++;
	return l;
}

struct sq_lane *sq_lane_ref(struct sq_lane *l)
{
	if (l->refs++ == 0 && !cds_list_empty(&l->idle)) {
		cds_list_del_init(&l->idle);
		l->sched->n_idle--;
	}
	return l;
}

void sq_lane_put(struct sq_lane *l)
{
	struct sq_sched *s = l->sched;

	assert(l->refs > 0);
	if (--l->refs > 0)
		return;
	cds_list_add_tail(&l->idle, &s->idle);
	if (++s->n_idle > s->conf.idle_lanes)
		lane_drop(cds_list_first_entry(&s->idle, struct sq_lane, idle));
}

enum sq_queue sq_lane_queue(const struct sq_lane *l)
{
	return l->queue;
}

size_t sq_sched_forget(struct sq_sched *s, size_t n)
{
	size_t freed = 0;

	for (; freed < n && s->n_idle > 0; freed++)
		lane_drop(cds_list_first_entry(&s->idle, struct sq_lane, idle));
	return freed;
}
