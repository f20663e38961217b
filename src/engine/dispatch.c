/*
 * Between sched and the loops: every use of the sched lock on a call's way is here.
 *
 * One lock hold decides as much as there is to decide: a node is queued and whatever can be granted
 * is granted; a completion frees its seat and grants it again. What was granted is then delivered
 * outside the lock: to this home's `granted` list, or by mail to the home of the item's run.
 *
 * A node is `in_transit` from the moment when sched gave it up (granted or expired, under the lock)
 * until its home has seen it. A run in that state is kept alive by a reference, whatever happens to
 * it.
 */
#include "base/clock.h"
#include "engine/impl.h"

#include <stdlib.h>

#define EXPIRE_SLICE 64
#define TAKE_SLICE 64

struct delivery {
	struct cds_list_head granted, expired;
};

static struct sq_engine_node *node_of_item(struct sq_item *i)
{
	return caa_container_of(i, struct sq_engine_node, item);
}

static struct sq_engine_node *node_of_mail(struct sq_mail *m)
{
	return caa_container_of(m, struct sq_engine_node, mail);
}

/* ---- under the lock ---- */

static void note_grant(struct delivery *d, struct sq_grant *g)
{
	struct sq_engine_node *n = node_of_item(g->item);

	n->grant = g;
	n->in_transit = true;
	cds_list_add_tail(&n->granted, &d->granted);
}

/* Takes all that can be taken; lets others in now and then, so that no hold is long. */
static void take_all(struct sq_engine *en, int64_t now, struct delivery *d)
{
	unsigned taken = 0;
	struct sq_grant *g;
	bool again;

	do {
		again = false;
		g = sq_sched_take(en->sched, now, &again);
		if (g)
			note_grant(d, g);
		if (again || (g && ++taken % TAKE_SLICE == 0)) {
			sq_lock_release(&en->lock);
			sq_lock_take(&en->lock);
		}
	} while (g || again);
}

/*
 * At the end of a hold. Some home must wake when sched changes by itself: the time to set, or
 * SQ_NEVER. The door is told whether there is no place left.
 */
static int64_t next_wake(struct sq_engine *en)
{
	const struct sq_cap *queue = en->queue_cap->cap;
	int64_t at = sq_sched_timer(en->sched);
	const struct sq_cap *pool = sq_sched_pool(en->sched);
	/* With a seat free, who can have it at once is let in, however long others wait. */
	bool full = sq_cap_used(queue) + 1 >= sq_cap_limit(queue) &&
		    sq_cap_used(pool) >= sq_cap_limit(pool);

	if (full != atomic_load_explicit(&en->queue_full, memory_order_relaxed))
		atomic_store_explicit(&en->queue_full, full, memory_order_relaxed);
	if (at >= en->next_wake_ns)
		return SQ_NEVER;
	en->next_wake_ns = at;
	return at;
}

/* ---- delivery, outside the lock ---- */

/* Whoever caused the grant may call sq_dispatch_start at once; if nobody does, the task will. */
static void put_granted(struct sq_home *h, struct sq_engine_node *n)
{
	cds_list_add_tail(&n->granted, &h->granted);
	sq_loop_defer(h->loop, &h->start);
}

static void granted_mail(struct sq_mail *m)
{
	struct sq_engine_node *n = node_of_mail(m);

	put_granted(n->run->home, n);
	sq_dispatch_start(n->run->home);
}

static void expired_here(struct sq_engine_node *n)
{
	struct sq_run *r = n->run;

	n->in_transit = false;
	sq_run_event(r, &(struct sq_event){.kind = SQ_EVENT_EXPIRED, .node = 0});
	if (n->waited_for) {
		n->waited_for = false;
		sq_run_unref(r);
	}
}

static void expired_mail(struct sq_mail *m)
{
	expired_here(node_of_mail(m));
}

static void deliver_one(struct sq_home *h, struct sq_engine_node *n, void (*fn)(struct sq_mail *))
{
	struct sq_home *to = n->run->home;

	n->mail.fn = fn;
	if (to != h)
		sq_loop_post(to->loop, &n->mail);
	else if (fn == expired_mail)
		expired_here(n);
	else
		put_granted(h, n);
}

static void deliver(struct sq_home *h, struct delivery *d, int64_t wake_ns)
{
	struct sq_engine_node *n, *next;

	if (wake_ns != SQ_NEVER)
		sq_timer_set(h->loop, &h->sched_timer, wake_ns);
	cds_list_for_each_entry_safe (n, next, &d->granted, granted) {
		cds_list_del(&n->granted);
		deliver_one(h, n, granted_mail);
	}
	cds_list_for_each_entry_safe (n, next, &d->expired, granted) {
		cds_list_del(&n->granted);
		deliver_one(h, n, expired_mail);
	}
}

static void delivery_init(struct delivery *d)
{
	CDS_INIT_LIST_HEAD(&d->granted);
	CDS_INIT_LIST_HEAD(&d->expired);
}

/* ---- what runs ask for ---- */

/*
 * A QUEUE cap is one above its bound, so that what is granted at once was never refused: only an
 * item that is still queued after the taking counts.
 */
static struct sq_cap *overfull(const struct sq_place *p)
{
	for (size_t i = 0; i < p->n_queues; i++)
		if (sq_cap_used(p->queues[i]) >= sq_cap_limit(p->queues[i]))
			return p->queues[i];
	return NULL;
}

int64_t sq_dispatch_key(const struct sq_run *r, const struct sq_place *p)
{
	const struct sq_cost *cost = &p->function->cost;
	int64_t mean = cost->mean_ns[p->backend->id % SQ_COST_SLOTS];

	switch (p->treatment.order) {
	case SQ_ORDER_SHORTEST:
		return mean > 0 ? mean : cost->expected_ns;
	case SQ_ORDER_DEADLINE:
		return r->deadline.at_ns;
	case SQ_ORDER_FIFO:
		break;
	}
	return 0;
}

static void fill_item(struct sq_run *r, int64_t now)
{
	const struct sq_place *p = r->place;
	struct sq_item *i = &r->exec.item;

	*i = (struct sq_item){
		.key = sq_dispatch_key(r, p),
		.expires_ns = sq_time_add(now, p->wait_ns),
		.max_wait_ns = p->treatment.max_wait_ns == SQ_NEVER ? 0 : p->treatment.max_wait_ns,
		.cost = &p->function->cost,
		.weight = p->treatment.weight,
		.left = 1,
		.parallel = 1,
	};
	if (r->deadline.at_ns < i->expires_ns)
		i->expires_ns = r->deadline.at_ns;
}

static enum sq_fault refusal(const struct sq_engine *en, const struct sq_cap *by)
{
	return by == en->queue_cap->cap ? SQ_FAULT_QUEUE_FULL : SQ_FAULT_QUEUE_POLICY;
}

/* Queues the run's node and grants what can be granted. NONE, or why it is refused. */
enum sq_fault sq_dispatch_enqueue(struct sq_run *r)
{
	struct sq_home *h = r->home;
	struct sq_engine *en = h->engine;
	enum sq_fault fault = SQ_FAULT_NONE;
	struct sq_cap *by = NULL;
	struct delivery d;
	int64_t wake_ns, now = sq_clock_ns();

	delivery_init(&d);
	sq_lock_take(&en->lock);
	fill_item(r, now);
	if (sq_sched_enqueue(en->sched, r->place->pq, &r->exec.item, now, &by) < 0) {
		fault = refusal(en, by);
	} else {
		take_all(en, now, &d);
		by = r->exec.item.state == SQ_ITEM_WAITING ? overfull(r->place) : NULL;
		if (by) {
			sq_sched_cancel(en->sched, &r->exec.item);
			fault = refusal(en, by);
		}
	}
	wake_ns = next_wake(en);
	sq_lock_release(&en->lock);
	deliver(h, &d, wake_ns);
	return fault;
}

/* Out of the queue; if sched gave the node up already, the run waits for it with a reference. */
void sq_dispatch_unqueue(struct sq_run *r)
{
	struct sq_home *h = r->home;
	struct sq_engine *en = h->engine;
	struct delivery d;
	int64_t wake_ns;

	delivery_init(&d);
	sq_lock_take(&en->lock);
	sq_sched_cancel(en->sched, &r->exec.item);
	if (r->exec.in_transit && !r->exec.waited_for) {
		r->exec.waited_for = true;
		r->refs++;
	}
	take_all(en, sq_clock_ns(), &d);
	wake_ns = next_wake(en);
	sq_lock_release(&en->lock);
	deliver(h, &d, wake_ns);
}

static bool is_last(const struct sq_run *r)
{
	return r->model.in_flight <= 1 && r->model.queued == 0;
}

/* The node's function ended (or never began): its seat goes on. */
void sq_dispatch_complete(struct sq_run *r, unsigned how)
{
	struct sq_home *h = r->home;
	struct sq_engine *en = h->engine;
	struct sq_grant *g = r->exec.grant;
	int64_t wake_ns, now = sq_clock_ns();
	struct delivery d;

	delivery_init(&d);
	r->exec.grant = NULL;
	sq_lock_take(&en->lock);
	/* Before the grant is gone, the lane it holds is: its reference is the run's too. */
	if (r->started && is_last(r)) {
		sq_sched_run_end(en->sched, r->start_lane, now);
		r->started = false;
	}
	sq_sched_complete(en->sched, g, how, now);
	take_all(en, now, &d);
	wake_ns = next_wake(en);
	sq_lock_release(&en->lock);
	deliver(h, &d, wake_ns);
}

/* ---- grants that arrived ---- */

/* Granted after the run had given it up: the seat goes back untouched. */
static void give_back(struct sq_engine_node *n)
{
	struct sq_run *r = n->run;

	n->waited_for = false;
	sq_dispatch_complete(r, SQ_DONE_UNLEARNT);
	sq_run_unref(r);
}

static void arrived(struct sq_engine_node *n)
{
	struct sq_run *r = n->run;

	n->in_transit = false;
	r->started = true;
	r->start_lane = n->grant->lane;
	if (n->waited_for) {
		give_back(n);
		return;
	}
	if (r->model.nodes[0].attempts == 0)
		r->queue_ns = n->grant->waited_ns;
	sq_run_event(r, &(struct sq_event){.kind = SQ_EVENT_GRANT, .node = 0});
}

/* Calls the functions of the granted nodes; a function that ends at once may add to the list. */
void sq_dispatch_start(struct sq_home *h)
{
	struct sq_engine_node *n;

	if (h->starting)
		return;
	h->starting = true;
	while (!cds_list_empty(&h->granted)) {
		n = cds_list_first_entry(&h->granted, struct sq_engine_node, granted);
		cds_list_del(&n->granted);
		arrived(n);
	}
	h->starting = false;
}

/* ---- time ---- */

static size_t expire_some(struct sq_engine *en, int64_t now, struct delivery *d)
{
	struct cds_list_head list;
	struct sq_item *i, *next;
	size_t n;

	CDS_INIT_LIST_HEAD(&list);
	n = sq_sched_expire(en->sched, now, &list, EXPIRE_SLICE);
	cds_list_for_each_entry_safe (i, next, &list, node) {
		struct sq_engine_node *node = node_of_item(i);

		cds_list_del(&i->node);
		node->in_transit = true;
		cds_list_add_tail(&node->granted, &d->expired);
	}
	return n;
}

void sq_dispatch_pump(struct sq_home *h)
{
	struct sq_engine *en = h->engine;
	int64_t wake_ns, now = sq_clock_ns();
	struct delivery d;

	delivery_init(&d);
	sq_lock_take(&en->lock);
	en->next_wake_ns = SQ_NEVER;
	while (expire_some(en, now, &d) == EXPIRE_SLICE) {
		sq_lock_release(&en->lock);
		sq_lock_take(&en->lock);
	}
	take_all(en, now, &d);
	wake_ns = next_wake(en);
	sq_lock_release(&en->lock);
	deliver(h, &d, wake_ns);
	sq_dispatch_start(h);
}

void sq_dispatch_tick(struct sq_timer *t)
{
	sq_dispatch_pump(caa_container_of(t, struct sq_home, sched_timer));
}
