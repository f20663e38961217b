#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

/* "100" of a rate is "100/s" for people. */
static void show_rates(json_t *caps)
{
	size_t i;
	json_t *row;

	json_array_foreach(caps, i, row) {
		const char *kind = json_string_value(json_object_get(row, "kind"));
		json_t *limit = json_object_get(row, "limit");

		if (kind && strcmp(kind, "rate") == 0 && json_is_number(limit))
			json_object_set_new(row, "limit",
					    json_sprintf("%.6g/s", json_number_value(limit)));
	}
}

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
	show_rates(json_object_get(data, "caps"));
	sq_ctl_table(caps, SQ_LEN(caps), json_object_get(data, "caps"), "There are no caps.");
}
