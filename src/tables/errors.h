/* The errors that Sequoia itself answers with; one row of errors.tbl each. */
#ifndef SQ_TABLES_ERRORS_H
#define SQ_TABLES_ERRORS_H

enum sq_fault {
	SQ_FAULT_NONE,
#define SQ_ERROR(id, code, status, retry, message) SQ_FAULT_##id,
#include "tables/errors.tbl"
#undef SQ_ERROR
	SQ_FAULT_COUNT
};

struct sq_fault_row {
	const char *code;
	int status;
	int retry_after_s;
	const char *message;
};

/* The row of a fault; SQ_FAULT_NONE has code "none" and status 200. */
const struct sq_fault_row *sq_fault_row(enum sq_fault f);

#endif
