#include "ctl/ctl.h"

void sq_ctl_show_runs(const json_t *data)
{
	static const struct sq_column columns[] = {
		{"RUN", "id", SQ_CELL_TEXT},
		{"CHAIN", "chain", SQ_CELL_TEXT},
		{"TENANT", "tenant", SQ_CELL_TEXT},
		{"BY", "trigger", SQ_CELL_TEXT},
		{"STATE", "state", SQ_CELL_TEXT},
		{"ACCEPTED", "accepted", SQ_CELL_TIME},
		{"QUEUED", "queue_ns", SQ_CELL_DURATION},
		{"TRIES", "attempts", SQ_CELL_COUNT},
		{"STATUS", "status", SQ_CELL_COUNT},
		{"FAULT", "fault", SQ_CELL_TEXT},
	};

	sq_ctl_table(columns, SQ_LEN(columns), json_object_get(data, "runs"),
		     "No runs. (Synchronous calls are not kept when they have ended.)");
}
