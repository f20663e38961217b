#include "ctl/ctl.h"

void sq_ctl_show_settings(const json_t *data)
{
	static const struct sq_column columns[] = {
		{"SETTING", "key", SQ_CELL_TEXT},
		{"VALUE", "value", SQ_CELL_TEXT},
		{"SET-BY", "origin", SQ_CELL_TEXT},
	};

	sq_ctl_table(columns, SQ_LEN(columns), json_object_get(data, "settings"),
		     "There are no settings.");
}
