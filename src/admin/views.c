/*
 * The data of the reading commands. Names are stable. Durations are whole nanoseconds (`..._ns`),
 * times are UTC in RFC 3339, what is not known yet is null.
 */
#include "admin/answer.h"
#include "base/clock.h"
#include "conf/settings.h"
#include "engine/view.h"

#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RUNS_DEFAULT 100

/* ---- values ---- */

static json_t *count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *wall(int64_t ns)
{
	time_t s = (time_t)(ns / SQ_S);
	char day[32], out[48];
	struct tm t;

	if (ns == 0)
		return json_null();
	gmtime_r(&s, &t);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &t);
	snprintf(out, sizeof(out), "%s.%06dZ", day, (int)(ns % SQ_S / SQ_US));
	return json_string(out);
}

/* An object in the making; becomes NULL, and stays it, when memory fails. */
struct object {
	json_t *json;
};

static struct object object(void)
{
	return (struct object){json_object()};
}

/* Takes the value. */
static void put(struct object *o, const char *name, json_t *value)
{
	if (json_object_set_new(o->json, name, value) == 0)
		return;
	json_decref(o->json);
	o->json = NULL;
}

static void put_text(struct object *o, const char *name, const char *value)
{
	put(o, name, sq_admin_text(value));
}

static void put_count(struct object *o, const char *name, uint64_t value)
{
	put(o, name, count(value));
}

/* [make(row)...] of n rows; NULL when n < 0 or there is no memory. */
static json_t *array_of(const void *rows, long n, size_t size, json_t *(*make)(const void *row))
{
	json_t *list = n < 0 ? NULL : json_array();
	int err = list ? 0 : -1;

	for (long i = 0; i < n && err == 0; i++)
		err = json_array_append_new(list, make((const char *)rows + (size_t)i * size));
	if (err == 0)
		return list;
	json_decref(list);
	return NULL;
}

/* ---- status ---- */

json_t *sq_admin_view_status(struct sq_admin_request *q)
{
	struct object o = object();
	struct sq_status_view v;

	sq_engine_status(q->engine, &v);
	put_text(&o, "version", PACKAGE_VERSION);
	put_count(&o, "pid", (uint64_t)getpid());
	put_count(&o, "uptime_ns", (uint64_t)v.uptime_ns);
	put_count(&o, "threads", v.loops);
	put(&o, "draining", json_boolean(v.draining));
	put_count(&o, "seats_limit", (uint64_t)v.seats_limit);
	put_count(&o, "seats_used", (uint64_t)v.seats_used);
	put_count(&o, "waiting", v.waiting);
	put_count(&o, "running", v.running);
	put_count(&o, "runs", v.runs);
	put_count(&o, "accepted", v.accepted);
	put_count(&o, "refused", v.refused);
	put_count(&o, "ok", v.ok);
	put_count(&o, "failed", v.failed);
	put_count(&o, "cancelled", v.cancelled);
	put_count(&o, "expired", v.expired);
	put_count(&o, "overruns", v.overruns);
	put_count(&o, "memory_bytes", v.memory_bytes);
	put_count(&o, "memory_limit_bytes", v.memory_limit);
	put_count(&o, "policy_generation", v.policy_generation);
	return o.json;
}

/* ---- queue ---- */

static json_t *lane(const void *row)
{
	const struct sq_queue_view *v = row;
	struct object o = object();

	put(&o, "class", json_integer(v->class));
	put_text(&o, "queue", v->queue);
	put_text(&o, "share", v->share);
	put_text(&o, "share_value", v->share_value);
	put_text(&o, "order", v->order);
	put_text(&o, "state", v->state);
	put_count(&o, "depth", v->depth);
	put_count(&o, "oldest_ns", (uint64_t)v->oldest_ns);
	put_text(&o, "parked_on", v->parked_on[0] ? v->parked_on : NULL);
	return o.json;
}

static json_t *cap(const void *row)
{
	const struct sq_cap_view *v = row;
	struct object o = object();

	put_text(&o, "cap", v->name);
	put_text(&o, "kind", v->kind);
	put(&o, "limit", json_integer(v->limit));
	put(&o, "used", json_integer(v->used));
	put_count(&o, "parked", v->parked);
	put_text(&o, "source", v->source);
	return o.json;
}

json_t *sq_admin_view_queue(struct sq_admin_request *q)
{
	struct sq_queue_view *lanes = NULL;
	struct sq_cap_view *caps = NULL;
	long n_lanes = sq_engine_queues(q->engine, &lanes);
	long n_caps = sq_engine_caps(q->engine, &caps);
	struct object o = object();

	put(&o, "lanes", array_of(lanes, n_lanes, sizeof(*lanes), lane));
	put(&o, "caps", array_of(caps, n_caps, sizeof(*caps), cap));
	free(lanes);
	free(caps);
	return o.json;
}

/* ---- runs ---- */

static json_t *run(const void *row)
{
	const struct sq_run_view *v = *(struct sq_run_view *const *)row;
	struct object o = object();
	char id[SQ_ID_HEX];

	put_text(&o, "id", sq_id_show(id, v->id));
	put_text(&o, "chain", v->chain);
	put_text(&o, "tenant", v->tenant);
	put_text(&o, "trigger", v->trigger);
	put_text(&o, "state", v->state);
	put(&o, "accepted", wall(v->accepted_wall_ns));
	put(&o, "started", wall(v->started_wall_ns));
	put(&o, "ended", wall(v->ended_wall_ns));
	put(&o, "queue_ns", v->started_wall_ns ? json_integer(v->queue_ns) : json_null());
	put_count(&o, "attempts", v->attempts);
	put(&o, "status", v->status ? json_integer(v->status) : json_null());
	put_text(&o, "fault", v->fault ? sq_fault_row(v->fault)->code : NULL);
	put_text(&o, "detail", v->detail);
	return o.json;
}

json_t *sq_admin_view_runs(struct sq_admin_request *q)
{
	const char *state = json_string_value(json_object_get(q->args, "state"));
	json_t *limit = json_object_get(q->args, "limit");
	size_t most = limit ? (size_t)json_integer_value(limit) : RUNS_DEFAULT;
	struct sq_run_view **rows = NULL;
	long n = sq_engine_runs(q->engine, state, most, &rows);
	struct object o = object();

	put(&o, "runs", array_of(rows, n, sizeof(*rows), run));
	while (n > 0)
		sq_run_view_free(rows[--n]);
	free(rows);
	return o.json;
}

/* ---- backends ---- */

static json_t *backend(const void *row)
{
	const struct sq_backend_view *v = row;
	struct object o = object();

	put_text(&o, "backend", v->name);
	put_text(&o, "type", v->type);
	put_text(&o, "target", v->url);
	put(&o, "seats_limit", v->limit ? json_integer(v->limit) : json_null());
	put(&o, "seats_used", json_integer(v->used));
	put_count(&o, "started", v->started);
	put_count(&o, "failed", v->failed);
	put_count(&o, "connects", v->connects);
	put(&o, "last_failure", wall(v->last_failure_wall_ns));
	return o.json;
}

json_t *sq_admin_view_backends(struct sq_admin_request *q)
{
	struct sq_backend_view *rows = NULL;
	long n = sq_engine_backends(q->engine, &rows);
	struct object o = object();

	put(&o, "backends", array_of(rows, n, sizeof(*rows), backend));
	free(rows);
	return o.json;
}

/* ---- settings, metrics ---- */

static json_t *setting(const void *row)
{
	const struct sq_setting_row *r = row;
	struct object o = object();

	put_text(&o, "key", r->key);
	put_text(&o, "value", r->value);
	put_text(&o, "origin", r->origin);
	return o.json;
}

json_t *sq_admin_view_settings(struct sq_admin_request *q)
{
	struct sq_setting_row *rows;
	size_t n = sq_engine_settings(q->engine, &rows);
	struct object o = object();

	put(&o, "settings", array_of(rows, (long)n, sizeof(*rows), setting));
	sq_settings_rows_free(rows, n);
	return o.json;
}

json_t *sq_admin_view_metrics(struct sq_admin_request *q)
{
	struct object o = object();
	struct sq_buf out = {0};

	put(&o, "text",
	    sq_metrics_prometheus(q->metrics, &out) == 0 ? sq_admin_text(out.data) : NULL);
	sq_buf_free(&out);
	return o.json;
}
