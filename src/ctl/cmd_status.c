#include "ctl/ctl.h"

#include "base/units.h"

#include <stdio.h>

static long long count(const json_t *data, const char *key)
{
	return json_integer_value(json_object_get(data, key));
}

void sq_ctl_show_status(const json_t *data)
{
	const char *version = json_string_value(json_object_get(data, "version"));
	char used[32], limit[32];

	printf("daemon      sequoia %s, pid %lld, %lld threads, up %s\n", version ? version : "?",
	       count(data, "pid"), count(data, "threads"),
	       sq_units_show_duration(used, count(data, "uptime_ns")));
	printf("state       %s\n",
	       json_is_true(json_object_get(data, "draining")) ? "draining" : "serving");
	printf("seats       %lld of %lld in use\n", count(data, "seats_used"),
	       count(data, "seats_limit"));
	printf("invocations %lld waiting, %lld running\n", count(data, "waiting"),
	       count(data, "running"));
	printf("runs        %lld alive; %lld accepted, %lld refused\n", count(data, "runs"),
	       count(data, "accepted"), count(data, "refused"));
	printf("ended       %lld ok, %lld failed, %lld cancelled, %lld expired, %lld overrun\n",
	       count(data, "ok"), count(data, "failed"), count(data, "cancelled"),
	       count(data, "expired"), count(data, "overruns"));
	printf("memory      %s of %s\n",
	       sq_units_show_bytes(used, (uint64_t)count(data, "memory_bytes")),
	       sq_units_show_bytes(limit, (uint64_t)count(data, "memory_limit_bytes")));
	printf("policies    generation %lld\n", count(data, "policy_generation"));
}
