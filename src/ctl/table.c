/* JSON rows as an aligned table, by libsmartcols (which also makes control characters harmless). */
#include "ctl/ctl.h"

#include "base/units.h"

#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* There is nothing to release or to finish that matters more than saying so. */
static void *need(void *p)
{
	if (!p)
		exit(sq_ctl_fail(SQ_CTL_REFUSED, "out of memory"));
	return p;
}

static const char *show(char buf[64], const json_t *value, enum sq_cell cell)
{
	const char *text = json_string_value(value);

	if (!value || json_is_null(value) || (text && !*text))
		return "-";
	switch (cell) {
	case SQ_CELL_TEXT:
		break;
	case SQ_CELL_COUNT:
		if (text) /* with its unit */
			return text;
		snprintf(buf, 64, "%lld", (long long)json_integer_value(value));
		return buf;
	case SQ_CELL_DURATION:
		return sq_units_show_duration(buf, json_integer_value(value));
	case SQ_CELL_TIME: /* to the second */
		snprintf(buf, 64, "%.19sZ", text ? text : "");
		return buf;
	}
	return text ? text : "?";
}

static void add_row(struct libscols_table *t, const struct sq_column *columns, size_t n,
		    const json_t *row)
{
	struct libscols_line *line = need(scols_table_new_line(t, NULL));
	char buf[64];

	for (size_t i = 0; i < n; i++)
		if (scols_line_set_data(
			    line, i,
			    show(buf, json_object_get(row, columns[i].key), columns[i].cell)) < 0)
			need(NULL);
}

void sq_ctl_table(const struct sq_column *columns, size_t n, const json_t *rows, const char *empty)
{
	struct libscols_table *t;
	size_t i;
	json_t *row;

	if (json_array_size(rows) == 0) {
		puts(empty);
		return;
	}
	t = need(scols_new_table());
	for (i = 0; i < n; i++)
		need(scols_table_new_column(t, columns[i].head, 0,
					    columns[i].cell == SQ_CELL_COUNT ||
							    columns[i].cell == SQ_CELL_DURATION
						    ? SCOLS_FL_RIGHT
						    : 0));
	json_array_foreach(rows, i, row) add_row(t, columns, n, row);
	scols_print_table(t);
	scols_unref_table(t);
}
