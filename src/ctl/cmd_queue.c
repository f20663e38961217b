#include "ctl/ctl.h"

#include <stdio.h>

void sq_ctl_show_queue(const json_t *data)
{
	static const struct sq_column lanes[] = {
		{"CLASS", "class", SQ_CELL_COUNT},         {"QUEUE", "queue", SQ_CELL_TEXT},
		{"SHARE", "share", SQ_CELL_TEXT},          {"FLOW", "share_value", SQ_CELL_TEXT},
		{"ORDER", "order", SQ_CELL_TEXT},          {"DEPTH", "depth", SQ_CELL_COUNT},
		{"OLDEST", "oldest_ns", SQ_CELL_DURATION}, {"STATE", "state", SQ_CELL_TEXT},
		{"PARKED-ON", "parked_on", SQ_CELL_TEXT},
	};
	static const struct sq_column caps[] = {
		{"CAP", "cap", SQ_CELL_TEXT},        {"KIND", "kind", SQ_CELL_TEXT},
		{"USED", "used", SQ_CELL_COUNT},     {"LIMIT", "limit", SQ_CELL_COUNT},
		{"PARKED", "parked", SQ_CELL_COUNT}, {"SET-BY", "source", SQ_CELL_TEXT},
	};

	sq_ctl_table(lanes, SQ_LEN(lanes), json_object_get(data, "lanes"), "Nothing waits.");
	putchar('\n');
	sq_ctl_table(caps, SQ_LEN(caps), json_object_get(data, "caps"), "There are no caps.");
}
