#include "tables/errors.h"

#include <assert.h>

static const struct sq_fault_row rows[SQ_FAULT_COUNT] = {
	[SQ_FAULT_NONE] = {"none", 200, 0, ""},
#define SQ_ERROR(id, code, status, retry, message) [SQ_FAULT_##id] = {code, status, retry, message},
#include "tables/errors.tbl"
#undef SQ_ERROR
};

const struct sq_fault_row *sq_fault_row(enum sq_fault f)
{
	assert(f >= 0 && f < SQ_FAULT_COUNT);
	return &rows[f];
}
