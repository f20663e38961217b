/*
 * Metric streams. Loops write packed rows into their own bounded ring, wait-free; the metric thread
 * drains the rings each second, in one transaction, into metrics.db. A full ring drops the row and
 * counts it: requests never wait. Counters are per loop and added up when read.
 */
#ifndef SQ_METRIC_METRIC_H
#define SQ_METRIC_METRIC_H

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

#include <stdbool.h>
#include <stdint.h>

struct sq_metrics;

enum sq_counter {
#define SQ_METRIC_COUNTER(id, name, help) SQ_COUNT_##id,
#include "tables/metrics.tbl"
#undef SQ_METRIC_COUNTER
	SQ_COUNT_COUNT
};

/* A name (function, chain, tenant, backend, policy) as a number: stable for the process's life. */
typedef uint32_t sq_name_t;

/* One arrival, refused ones too. */
struct sq_metric_arrival {
	int64_t wall_ns;
	struct sq_id run;
	sq_name_t chain, function, tenant;
	uint8_t trigger;         /* enum sq_trigger */
	uint8_t fault;           /* enum sq_fault; NONE: accepted */
	uint16_t priority_class; /* + 100 */
	uint32_t generation;
	uint64_t body_bytes;
};

/* One attempt, when its function has ended. */
struct sq_metric_invocation {
	int64_t queued_wall_ns;
	struct sq_id run;
	sq_name_t chain, function, tenant, backend;
	uint16_t node, attempt;
	uint16_t status; /* HTTP status, 0: none */
	uint8_t fault;
	bool overrun, cold;
	uint32_t generation;
	int64_t queue_ns, service_ns;
	int64_t function_ns; /* X-Duration-Seconds, -1: not reported */
	uint64_t in_bytes, out_bytes;
};

/* One gauge a second. */
struct sq_metric_gauge {
	sq_name_t scope; /* "pool", "backend:faas", "policy:gold/tenant=a" ... */
	int64_t limit, used, waiting;
};

struct sq_metrics_conf {
	bool enabled;     /* false: counters only */
	const char *path; /* metrics.db */
	int64_t raw_ns;
	uint64_t bytes;
	unsigned loops;
	uint16_t instance;
	size_t ring_rows; /* per loop; 0: default */
	/* Called each second on the metric thread: fills up to cap rows, returns how many. */
	size_t (*sample)(void *arg, struct sq_metric_gauge *rows, size_t cap);
	void *sample_arg;
};

/* Opens the database and starts the thread; NULL with e filled. */
struct sq_metrics *sq_metrics_start(const struct sq_metrics_conf *conf, struct sq_error *e);
void sq_metrics_stop(struct sq_metrics *m); /* drains, then joins; NULL is fine */

/* Interns; any thread; takes a lock, so callers keep the number. 0 for NULL. */
sq_name_t sq_metrics_name(struct sq_metrics *m, const char *name);

/* From loop number `loop` alone. */
void sq_metrics_arrival(struct sq_metrics *m, unsigned loop, const struct sq_metric_arrival *row);
void sq_metrics_invocation(struct sq_metrics *m, unsigned loop,
			   const struct sq_metric_invocation *row);
void sq_metrics_count(struct sq_metrics *m, unsigned loop, enum sq_counter c, uint64_t n);

uint64_t sq_metrics_read(const struct sq_metrics *m,
			 enum sq_counter c); /* sum over loops, any thread */
/* Prometheus text exposition of counters and last gauges; any thread. 0 or -ENOMEM. */
int sq_metrics_prometheus(struct sq_metrics *m, struct sq_buf *out);

#endif
