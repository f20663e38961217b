/*
 * Results of asynchronous runs: kept until limits.keep is over, or until memory is short: then the
 * oldest make room for new calls.
 */
#include "base/clock.h"
#include "engine/impl.h"

#define SHED_SLICE 16

void sq_run_keep(struct sq_run *r)
{
	struct sq_home *h = r->home;

	/* What was asked is not needed any more, what was answered is. */
	sq_blob_unref(r->request.body);
	r->request.body = NULL;
	sq_place_drop(r->place);
	r->place = NULL;
	cds_list_add_tail(&r->kept, &h->kept);
	if (!sq_timer_is_set(&h->keep_timer))
		sq_timer_set(h->loop, &h->keep_timer,
			     sq_time_add(r->ended_ns, settings_of(h)->limit_keep));
}

void sq_run_forget(struct sq_run *r)
{
	cds_list_del(&r->kept);
	sq_run_unlink(r);
	sq_run_unref(r);
}

static void shed_some(struct sq_home *h)
{
	for (unsigned n = 0; n < SHED_SLICE && !cds_list_empty(&h->kept); n++)
		sq_run_forget(cds_list_first_entry(&h->kept, struct sq_run, kept));
}

/* Memory is short: the oldest results go, here and, by mail, on the other loops. */
void sq_runs_shed(struct sq_home *h)
{
	struct sq_engine *en = h->engine;

	shed_some(h);
	if (!sq_blob_store_full(en->blobs))
		return;
	for (unsigned i = 0; i < en->loops; i++) {
		struct sq_home *other = en->homes[i];

		if (other != h && !atomic_exchange(&other->shed_posted, true))
			sq_loop_post(other->loop, &other->shed);
	}
}

void sq_runs_shed_mail(struct sq_mail *m)
{
	struct sq_home *h = caa_container_of(m, struct sq_home, shed);

	atomic_store(&h->shed_posted, false);
	shed_some(h);
}

/* Results go when their time is over. */
void sq_runs_keep_tick(struct sq_timer *t)
{
	struct sq_home *h = caa_container_of(t, struct sq_home, keep_timer);
	int64_t now = sq_clock_ns();

	while (!cds_list_empty(&h->kept)) {
		struct sq_run *r = cds_list_first_entry(&h->kept, struct sq_run, kept);
		int64_t until = sq_time_add(r->ended_ns, settings_of(h)->limit_keep);

		if (until > now) {
			sq_timer_set(h->loop, &h->keep_timer, until);
			return;
		}
		sq_run_forget(r);
	}
}
