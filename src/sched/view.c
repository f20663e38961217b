/* Looking in: plain copies for the admin side, in slices. */
#include "sched/core.h"

#include <stdio.h>

#define STEPS_MAX 64 /* entries per lock hold, whether they give a row or not */

void sq_sched_stats(const struct sq_sched *s, struct sq_sched_stats *out)
{
	*out = s->stats;
}

void sq_cursor_open(struct sq_sched *s, struct sq_cursor *cur, bool caps)
{
	cur->at.cursor = true;
	cur->end = caps ? &s->caps : &s->lanes;
	cds_list_add(&cur->at.node, cur->end);
}

void sq_cursor_close(struct sq_cursor *cur)
{
	cds_list_del(&cur->at.node);
}

static bool at_end(const struct sq_cursor *cur)
{
	return cur->at.node.next == cur->end;
}

/* Moves the cursor behind the next entry and returns that; NULL: it is another cursor. */
static struct sq_listed *step(struct sq_cursor *cur)
{
	struct cds_list_head *n = cur->at.node.next;
	struct sq_listed *e = cds_list_entry(n, struct sq_listed, node);

	cds_list_del(&cur->at.node);
	cds_list_add(&cur->at.node, n);
	return e->cursor ? NULL : e;
}

static void copy(char to[SQ_ROW_NAME], const char *from)
{
	snprintf(to, SQ_ROW_NAME, "%.*s", SQ_ROW_NAME - 1, from);
}

static int64_t vt_ns(sq_vt vt)
{
	return (int64_t)(vt >> SQ_VT_FRACTION);
}

static void fill_lane(struct sq_lane_row *row, struct sq_lane *l)
{
	const struct sq_flow *f = l->flow;

	*row = (struct sq_lane_row){
		.class = f->key.class,
		.order = f->key.order,
		.share_kind = f->key.share_kind,
		.queue = l->queue,
		.depth = l->depth,
		.oldest_ns = sq_lane_oldest(l)->arrived_ns,
		.vt_ns = vt_ns(f->turn.vt),
		.credit_ns = vt_ns(f->credit),
	};
	copy(row->share, f->key.share);
	if (l->state == SQ_LANE_PARKED)
		copy(row->parked_on, l->links[l->parked_at].cap->name);
}

size_t sq_cursor_lanes(struct sq_cursor *cur, struct sq_lane_row *rows, size_t max, bool *end)
{
	size_t n = 0;

	for (int steps = STEPS_MAX; steps > 0 && n < max && !at_end(cur); steps--) {
		struct sq_listed *e = step(cur);
		struct sq_lane *l = e ? caa_container_of(e, struct sq_lane, listed) : NULL;

		if (l && l->depth > 0)
			fill_lane(&rows[n++], l);
	}
	*end = at_end(cur);
	return n;
}

static enum sq_source source(const struct sq_cap *c)
{
	for (int i = SQ_SOURCES - 1; i > 0; i--) {
		bool limits = c->limit != SQ_NO_LIMIT && c->by[i] == c->limit;
		bool slows = c->limit > 0 && c->rate.interval_ns > 0 &&
			     c->rate_by[i].interval_ns == c->rate.interval_ns;

		if (limits || slows)
			return (enum sq_source)i;
	}
	return SQ_SOURCE_SETTINGS;
}

static void fill_cap(struct sq_cap_row *row, const struct sq_cap *c)
{
	int64_t interval_ns = c->rate.interval_ns;

	*row = (struct sq_cap_row){
		.kind = c->kind,
		.source = source(c),
		.limit = c->limit,
		.used = c->used,
		.burst = c->rate.burst,
		.rate_per_s = interval_ns > 0 ? 1e9 / (double)interval_ns : 0,
		.waiters = c->waiters,
	};
	copy(row->name, c->name);
}

size_t sq_cursor_caps(struct sq_cursor *cur, struct sq_cap_row *rows, size_t max, bool *end)
{
	size_t n = 0;

	for (int steps = STEPS_MAX; steps > 0 && n < max && !at_end(cur); steps--) {
		struct sq_listed *e = step(cur);

		if (e)
			fill_cap(&rows[n++], caa_container_of(e, struct sq_cap, listed));
	}
	*end = at_end(cur);
	return n;
}
