#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int sq_error_set(struct sq_error *e, int err, const char *fmt, ...)
{
	va_list args;
	size_t used;

	if (!e)
		return -err;
	used = strnlen(e->text, sizeof(e->text) - 1);
	if (used > 0 && used < sizeof(e->text) - 2)
		e->text[used++] = '\n';
	va_start(args, fmt);
	vsnprintf(e->text + used, sizeof(e->text) - used, fmt, args);
	va_end(args);
	return -err;
}
