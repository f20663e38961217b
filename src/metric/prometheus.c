#include "metric/prometheus.h"

#include <inttypes.h>
#include <string.h>

#define PREFIX "sequoia_"

static const struct {
	const char *name, *help;
} counters[SQ_COUNT_COUNT] = {
#define SQ_METRIC_COUNTER(id, name, help) [SQ_COUNT_##id] = {name, help},
#include "tables/metrics.tbl"
#undef SQ_METRIC_COUNTER
};

int sq_prometheus_counters(const struct sq_metrics *m, struct sq_buf *out)
{
	int err = 0;

	for (int c = 0; c < SQ_COUNT_COUNT && err == 0; c++)
		err = sq_buf_addf(out,
				  "# HELP " PREFIX "%s %s.\n# TYPE " PREFIX "%s counter\n" PREFIX
				  "%s %" PRIu64 "\n",
				  counters[c].name, counters[c].help, counters[c].name,
				  counters[c].name, sq_metrics_read(m, (enum sq_counter)c));
	return err;
}

/* A label's value: backslash, quote and newline are escaped. */
static int add_label(struct sq_buf *out, const char *value)
{
	int err = 0;

	for (; *value && err == 0; value++) {
		if (*value == '\n')
			err = sq_buf_add(out, "\\n", 2);
		else if (*value == '"' || *value == '\\')
			err = sq_buf_addf(out, "\\%c", *value);
		else
			err = sq_buf_add(out, value, 1);
	}
	return err;
}

static int add_sample(struct sq_buf *out, const char *metric, const char *scope, int64_t value)
{
	int err = sq_buf_addf(out, PREFIX "%s{scope=\"", metric);

	if (err == 0)
		err = add_label(out, scope ? scope : "");
	if (err == 0)
		err = sq_buf_addf(out, "\"} %" PRId64 "\n", value);
	return err;
}

int sq_prometheus_gauges(const struct sq_metric_gauge *rows, size_t n, struct sq_names *names,
			 struct sq_buf *out)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} gauges[] = {
		{"cap_limit", "The cap's limit", offsetof(struct sq_metric_gauge, limit)},
		{"cap_used", "What is used of the cap", offsetof(struct sq_metric_gauge, used)},
		{"cap_waiting", "What waits for the cap",
		 offsetof(struct sq_metric_gauge, waiting)},
	};
	int64_t value;
	int err = 0;

	for (size_t g = 0; g < sizeof(gauges) / sizeof(gauges[0]) && n > 0 && err == 0; g++) {
		err = sq_buf_addf(out, "# HELP " PREFIX "%s %s.\n# TYPE " PREFIX "%s gauge\n",
				  gauges[g].name, gauges[g].help, gauges[g].name);
		for (size_t i = 0; i < n && err == 0; i++) {
			memcpy(&value, (const char *)&rows[i] + gauges[g].offset, sizeof(value));
			err = add_sample(out, gauges[g].name, sq_names_get(names, rows[i].scope),
					 value);
		}
	}
	return err;
}
