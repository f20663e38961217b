/* Prometheus text exposition, format version 0.0.4, from the metrics table and the last gauges. */
#ifndef SQ_METRIC_PROMETHEUS_H
#define SQ_METRIC_PROMETHEUS_H

#include "metric/metric.h"
#include "metric/names.h"

/* 0 or -ENOMEM. */
int sq_prometheus_counters(const struct sq_metrics *m, struct sq_buf *out)
	__attribute__((warn_unused_result));
int sq_prometheus_gauges(const struct sq_metric_gauge *rows, size_t n, struct sq_names *names,
			 struct sq_buf *out) __attribute__((warn_unused_result));

#endif
