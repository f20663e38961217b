#include "ctl/ctl.h"

void sq_ctl_show_backends(const json_t *data)
{
	static const struct sq_column columns[] = {
		{"BACKEND", "backend", SQ_CELL_TEXT},
		{"TYPE", "type", SQ_CELL_TEXT},
		{"USED", "seats_used", SQ_CELL_COUNT},
		{"LIMIT", "seats_limit", SQ_CELL_COUNT},
		{"STARTED", "started", SQ_CELL_COUNT},
		{"FAILED", "failed", SQ_CELL_COUNT},
		{"CONNECTS", "connects", SQ_CELL_COUNT},
		{"LAST-FAILURE", "last_failure", SQ_CELL_TIME},
		{"TARGET", "target", SQ_CELL_TEXT},
	};

	sq_ctl_table(columns, SQ_LEN(columns), json_object_get(data, "backends"),
		     "There are no backends.");
}
