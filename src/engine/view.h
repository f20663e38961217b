/*
 * What the admin side sees of the engine: plain copies, made under the lock in slices of < 100 us,
 * rendered by the caller outside. From any thread that is not a loop (the admin thread may block).
 */
#ifndef SQ_ENGINE_VIEW_H
#define SQ_ENGINE_VIEW_H

#include "engine/engine.h"

struct sq_status_view {
	int64_t uptime_ns;
	unsigned loops;
	int64_t seats_limit, seats_used;
	uint64_t waiting, running; /* invocations queued and in flight */
	uint64_t runs;             /* alive or kept */
	uint64_t accepted, refused, ok, failed, cancelled, expired, overruns;
	uint64_t memory_bytes, memory_limit;
	uint64_t policy_generation;
	bool draining;
};
void sq_engine_status(struct sq_engine *en, struct sq_status_view *out);

/* One lane: the waiting invocations of one flow with one set of caps. */
struct sq_queue_view {
	int class;
	char queue[4];  /* PQ or CRQ */
	char share[24]; /* none, tenant, ... */
	char share_value[64];
	char order[12];
	char state[8];      /* empty, ready, parked */
	char parked_on[96]; /* cap's name; "" */
	uint64_t depth;
	int64_t oldest_ns; /* how long the oldest has waited */
};
/* Lanes with something waiting; *rows is the caller's to free(3). Returns how many, or -ENOMEM. */
long sq_engine_queues(struct sq_engine *en, struct sq_queue_view **rows);

struct sq_cap_view {
	char name[96];       /* pool, backend:faas, policy:gold/tenant=a ... */
	char kind[8];        /* seats, rate, running, queue */
	int64_t limit, used; /* rate: limit is rate_per_s rounded */
	double rate_per_s;   /* of a rate */
	uint64_t parked;     /* lanes that wait for it */
	char source[12];     /* who set the limit */
};
long sq_engine_caps(struct sq_engine *en, struct sq_cap_view **rows);
/* Every effective value of the settings in force; free with sq_settings_rows_free. */
size_t sq_engine_settings(struct sq_engine *en, struct sq_setting_row **rows);
/* One gauge per cap: the sample function of sq_metrics_conf; arg is the engine. */
size_t sq_engine_sample(void *arg, struct sq_metric_gauge *rows, size_t cap);

struct sq_backend_view {
	char name[64], type[16], url[256];
	int64_t limit, used; /* seats; limit 0: none of its own */
	uint64_t started, failed, connects;
	int64_t last_failure_wall_ns; /* 0: never */
};
long sq_engine_backends(struct sq_engine *en, struct sq_backend_view **rows);

/*
 * Runs, newest first, of one state (NULL: all), at most `limit`; asks every loop and waits for
 * them. *rows and the views are the caller's: sq_run_view_free each, free(*rows).
 */
long sq_engine_runs(struct sq_engine *en, const char *state, size_t limit,
		    struct sq_run_view ***rows);

#endif
