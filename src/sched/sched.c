/*
 * The decision: which waiting item gets the next seat. DESIGN.md ("sched: how a decision is made")
 * has the rules; this says how they are kept in O(log n), and what was decided where the rules
 * leave a choice. tests/sim/reference.c decides the same by scanning everything.
 *
 * Who is where. The state is the place, and one function moves each thing:
 *
 *   item  OFF      nowhere
 *         WAITING  in its lane: the line by arrival and, unless FIFO, the heap by key
 *         HELD     nowhere: a cursor with `parallel` in flight; completing one brings it back
 *         EXPIRED  on sched->expired, until sq_sched_expire hands it over
 *   lane  OUT      nowhere: without items, or in the hands of a decision
 *         READY    in flow->ready, and so the flow in class->flows
 *         PARKED   its links are in the waits of one cap, or of all candidates of its any-of group
 *   cap   closed   nobody looks at its waiters
 *         open     it has room: its gates that have waiters are in class->open
 *
 * Items are moved by sq_item_wait and sq_item_leave, lanes by sq_lane_out, sq_lane_park and
 * sq_lane_refresh, caps by sq_cap_settle.
 *
 * How waiting is built. A cap has a gate per class; a gate has a heap of waits, one per flow, by
 * vt; a wait has a heap of that flow's lanes, by the flow's order. So when a flow is charged, one
 * key per cap at which it waits is out of date, not one per lane: 10,000 lanes of one flow at one
 * cap cost as much as one. vt never falls, so a stale key is a lower bound: it is made true when it
 * comes to the top. Waits and gates are made with the lane, so that a decision allocates nothing;
 * grants are made with the limit of the pool, in one piece whose parts are first used in turn.
 *
 * What wakes whom. Nothing is woken when room returns: the gates of the cap open, and that is all.
 * A decision compares the best ready lane with the best waiter of the open gates, and tries the
 * better of the two. If it is turned away it parks (or parks elsewhere) and the next best is tried:
 * an open gate keeps offering its waiters for as long as the cap has room. That is the baton of
 * rule WAKE, which so cannot be dropped: neither a cancel between wake and take, nor a charge that
 * changes who is best, leaves a unit of room without its taker, and a lane is woken only to be
 * tried at once.
 *
 * Who may unlink. Anyone who holds the lock: sq_item_leave takes an item out of any state, and the
 * lane follows in sq_lane_refresh. A lane's key (head, oldest) is copied from its items and changes
 * there only, while the lane is off the heaps that compare it. Where heaps nest, changes go inside
 * out: lanes, wait, gate; ready, flow.
 *
 * Time passes only at decisions: sq_sched_take first expires items, opens rates, charges long
 * runners again and lets raised caps' waiters go (catch_up), each step a move of the budget like
 * parking. With no budget left it says `again` having decided nothing.
 *
 * Decided where the rules leave a choice:
 *
 *   order     Classes; then lanes that `running-first: class` puts before vt; then vt; then the
 *             flow that became backlogged first; then the flow's order (CRQ before PQ unless
 *             `never`, head key, arrival). running-first is part of what a flow is.
 *   waiting   A lane waits where it was last turned away, until there is room and its turn comes.
 *   V         The greatest vt at any grant, before the charge.
 *   ENTER     The "least vt among those" is the vt of the cap's best waiter; of an any-of group the
 *             least over the candidates. A lane moved or a cursor back from HELD enters like any
 *             other.
 *   credit    What a flow really used is vt - credit; every lift (ENTER, RAISE) is of that too, or
 *             an estimate once too high would be idle time that earns.
 *   RAISE     "No waiters remain": there is more room than before and it is enough for all lanes
 *             that wait there. They are let go at the next decision. est is that of their first
 *             candidate. A faster rate has no more room yet, a larger burst has.
 *   AGE       The aged FIFO is the order of the instants at which the lanes' oldest items had
 *             waited max-wait; parked lanes are in it too, found through open caps like waiters. An
 *             item granted by age is its lane's oldest, whatever the order. When none of the aged
 *             has room the turn is an ordinary one, and the next is 16 grants later.
 *   CHARGE    estimates are of the chosen backend. A runner that outlasts several doublings between
 *             two decisions is charged them all at the next one.
 *   limits    A cap has a limit per source and the least holds. Moved grants (a reload) are counted
 *             even beyond a limit: they are in flight. A rate has its interval per source, the
 *             longest holds, and its limit only pauses it. Its backlog survives a new rate as a
 *             number of grants.
 *   memory    Empty lanes nobody refers to are kept (4,096, the longest idle go first) and with
 *             them their flows' vt; a flow that is forgotten comes back at V with nothing owed.
 *   nested    (next issue) run in their parent's flow: lanes of that flow, with a cap of their own
 *             for `borrow` in place of the pool, which is why the pool is looked up and not a
 *             member.
 */
#include "sched/core.h"

#include <assert.h>
#include <stdlib.h>

/* ---- choosing ---- */

/*
 * The lane whose oldest item has waited longest beyond its time; blocked ones are met on the way.
 */
static struct sq_lane *aged_best(struct sq_sched *s)
{
	struct sq_lane *ready = sq_heap_entry(sq_heap_top(&s->aged), struct sq_lane, by_due);
	struct sq_cap *c = sq_heap_entry(sq_heap_top(&s->aged_open), struct sq_cap, aged_open);
	struct sq_lane *parked = NULL, *best;

	if (c)
		parked = sq_heap_entry(sq_heap_top(&c->aged), struct sq_link, by_due)->lane;
	best = !ready || (parked && sq_lane_due_before(parked, ready)) ? parked : ready;
	return best && best->at.due_ns < s->now ? best : NULL;
}

/* NULL with budget left: nothing at all. */
static struct sq_lane *class_best(struct sq_sched *s)
{
	struct sq_class *class = sq_class_highest(s);
	struct sq_lane *ready, *parked;
	struct sq_wait *w;
	struct sq_flow *f;

	if (!class)
		return NULL;
	w = sq_open_best(s, class);
	if (s->budget == 0)
		return NULL;
	parked = w ? sq_wait_top(w) : NULL;
	f = sq_heap_entry(sq_heap_top(&class->flows), struct sq_flow, node);
	if (!f)
		return parked;
	ready = sq_heap_entry(sq_heap_top(&f->ready), struct sq_lane, ready);
	return w && sq_turn_lane_before(&w->turn, parked, &f->turn, ready) ? parked : ready;
}

static struct sq_lane *best_lane(struct sq_sched *s, bool *aged)
{
	struct sq_lane *l = NULL;

	if (s->stats.grants % s->conf.age_every == s->conf.age_every - 1)
		l = aged_best(s);
	*aged = l != NULL;
	return l ? l : class_best(s);
}

/* ---- granting ---- */

/*
 * All at once; the caller has seen that each has room. Returns the chosen backend's link, or NULL.
 */
static struct sq_link *take_caps(struct sq_sched *s, struct sq_lane *l)
{
	struct sq_link *chosen = sq_lane_candidate(l);

	sq_cap_take(s->pool);
	for (unsigned n = 0; n < (unsigned)l->n_all + l->n_running; n++)
		sq_cap_take(l->links[n].cap);
	if (chosen)
		sq_cap_take(chosen->cap);
	return chosen;
}

/* The next index of the item; the last one takes it off, the `parallel`th holds it. */
static uint32_t emit(struct sq_item *i)
{
	uint32_t index = i->next++;

	i->left--;
	i->in_flight++;
	if (i->left == 0)
		sq_item_leave(i, SQ_ITEM_OFF);
	else if (i->in_flight >= i->parallel)
		sq_item_leave(i, SQ_ITEM_HELD);
	return index;
}

static struct sq_grant *grant(struct sq_sched *s, struct sq_lane *l, bool aged)
{
	struct sq_item *i = aged ? sq_lane_oldest(l) : sq_lane_head(l);
	struct sq_grant *g = sq_grant_new(s);
	struct sq_link *chosen;

	if (l->state == SQ_LANE_PARKED)
		sq_lane_out(l);
	chosen = take_caps(s, l);
	*g = (struct sq_grant){
		.item = i,
		.backend = chosen ? chosen->backend : -1,
		.at_ns = s->now,
		.waited_ns = s->now - i->arrived_ns,
		.aged = aged,
		.lane = sq_lane_ref(l),
		.flow = l->flow,
		.chosen = chosen ? sq_cap_ref(chosen->cap) : NULL,
	};
	g->flow->refs++;
	if (l->queue == SQ_PQ)
		sq_lane_ref(l); /* the run's, until sq_sched_run_end */
	sq_charge_start(g);
	g->index = emit(i);
	sq_lane_refresh(l);
	s->stats.grants++;
	s->stats.grants_aged += aged;
	s->stats.in_flight++;
	return g;
}

/* What time alone has changed since the last decision. */
static void catch_up(struct sq_sched *s)
{
	sq_items_expire(s);
	sq_cap_refill(s);
	sq_charge_again(s);
	sq_cap_release_raised(s);
}

struct sq_grant *sq_sched_take(struct sq_sched *s, int64_t now, bool *again)
{
	struct sq_link *blocked;
	struct sq_lane *l;
	bool aged;

	*again = false;
	sq_sched_now(s, now);
	s->budget = s->conf.max_moves;
	for (catch_up(s); s->budget > 0; s->budget--) {
		if (!sq_cap_room(s->pool))
			return NULL;
		l = best_lane(s, &aged);
		if (!l && s->budget > 0)
			return NULL;
		if (!l)
			break;
		blocked = sq_lane_blocked(l);
		if (!blocked)
			return grant(s, l, aged);
		sq_lane_park(l, blocked);
	}
	s->stats.budget_ends++;
	*again = true;
	return NULL;
}

/* ---- ending ---- */

void sq_sched_complete(struct sq_sched *s, struct sq_grant *g, unsigned how, int64_t now)
{
	struct sq_item *i = g->item;
	struct sq_lane *l = g->lane;

	sq_sched_now(s, now);
	sq_cap_return(s->pool);
	for (unsigned n = 0; n < l->n_all; n++)
		sq_cap_return(l->links[n].cap);
	if (g->chosen)
		sq_cap_return(g->chosen);
	sq_charge_end(g, !(how & SQ_DONE_UNLEARNT));
	i->in_flight--;
	if (i->state == SQ_ITEM_HELD)
		sq_item_wait(i);
	s->stats.in_flight--;
	s->stats.completed++;
	s->stats.overruns += (how & SQ_DONE_OVERRUN) != 0;
	sq_cap_put(g->chosen);
	sq_flow_put(g->flow);
	sq_lane_put(l);
	cds_list_add(&g->node, &s->free_grants);
}

struct sq_grant *sq_sched_complete_take(struct sq_sched *s, struct sq_grant *g, unsigned how,
					int64_t now, bool *again)
{
	sq_sched_complete(s, g, how, now);
	return sq_sched_take(s, now, again);
}

static void return_running(struct sq_lane *l)
{
	for (unsigned n = 0; n < l->n_running; n++)
		sq_cap_return(l->links[l->n_all + n].cap);
}

void sq_sched_run_end(struct sq_sched *s, struct sq_lane *l, int64_t now)
{
	sq_sched_now(s, now);
	assert(l->queue == SQ_PQ);
	return_running(l);
	sq_lane_put(l);
}

/* ---- reload: what is under way ---- */

void sq_grant_move(struct sq_sched *s, struct sq_grant *g, struct sq_lane *to, int64_t now)
{
	struct sq_lane *from = g->lane;

	sq_sched_now(s, now);
	g->lane = sq_lane_ref(to);
	for (unsigned n = 0; n < to->n_all; n++)
		if (to->links[n].cap->kind != SQ_CAP_RATE)
			sq_cap_take(to->links[n].cap);
	for (unsigned n = 0; n < from->n_all; n++)
		sq_cap_return(from->links[n].cap);
	sq_lane_put(from);
}

void sq_sched_run_move(struct sq_sched *s, struct sq_lane *from, struct sq_lane *to, int64_t now)
{
	sq_sched_now(s, now);
	assert(from->queue == SQ_PQ && to->queue == SQ_PQ);
	sq_lane_ref(to);
	for (unsigned n = 0; n < to->n_running; n++)
		sq_cap_take(to->links[to->n_all + n].cap);
	return_running(from);
	sq_lane_put(from);
}

/* ---- time ---- */

int64_t sq_sched_timer(struct sq_sched *s)
{
	struct sq_heap_node *item = sq_heap_top(&s->expiring), *rate = sq_heap_top(&s->rates);
	int64_t at = SQ_SCHED_NEVER, ready = SQ_SCHED_NEVER;

	if (!cds_list_empty(&s->expired))
		return s->now;
	if (item)
		at = sq_heap_entry(item, struct sq_item, by_expiry)->expires_ns;
	if (rate)
		ready = sq_heap_entry(rate, struct sq_cap, by_time)->ready_ns;
	return ready < at ? ready : at;
}

/* ---- birth and death ---- */

static void set_defaults(struct sq_sched_conf *conf)
{
	conf->age_every = conf->age_every ? conf->age_every : 16;
	conf->max_moves = conf->max_moves ? conf->max_moves : 64;
	conf->idle_lanes = conf->idle_lanes ? conf->idle_lanes : 4096;
}

struct sq_sched *sq_sched_new(const struct sq_sched_conf *conf)
{
	const struct sq_cap_conf pool = {
		.name = "pool", .kind = SQ_CAP_SEATS, .limit = conf->seats};
	struct sq_sched *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conf = *conf;
	set_defaults(&s->conf);
	sq_caps_init(s);
	sq_waits_init(s);
	sq_flows_init(s);
	sq_lanes_init(s);
	sq_items_init(s);
	s->pool = sq_cap_new(s, &pool);
	if (s->pool && sq_grants_reserve(s, conf->seats) == 0)
		return s;
	sq_cap_put(s->pool);
	free(s);
	return NULL;
}

void sq_sched_free(struct sq_sched *s)
{
	if (!s)
		return;
	assert(s->stats.queued == 0 && s->stats.in_flight == 0);
	sq_sched_forget(s, SIZE_MAX);
	sq_cap_put(s->pool);
	assert(cds_list_empty(&s->lanes) && cds_list_empty(&s->caps));
	sq_grants_free(s);
	free(s);
}

struct sq_cap *sq_sched_pool(struct sq_sched *s)
{
	return s->pool;
}
