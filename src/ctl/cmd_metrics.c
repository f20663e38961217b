#include "ctl/ctl.h"

#include <stdio.h>

void sq_ctl_show_metrics(const json_t *data)
{
	const char *text = json_string_value(json_object_get(data, "text"));

	fputs(text ? text : "", stdout);
}
