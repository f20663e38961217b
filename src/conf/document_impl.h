/* What document.c and document_build.c share. */
#ifndef SQ_CONF_DOCUMENT_IMPL_H
#define SQ_CONF_DOCUMENT_IMPL_H

#include "base/arena.h"
#include "conf/document.h"

struct sq_doc {
	char *name;
	char *text; /* of len bytes */
	size_t len;
	struct sq_value *first, *last;
	size_t values;
	bool no_memory;
	struct sq_faults *faults;
	struct sq_report *report;
	struct sq_arena_pool *pool;
	struct sq_arena *arena;
};

/* A fault at a place of the text. */
void sq_doc_fault(struct sq_doc *d, size_t offset, size_t span, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Parses the text, which is UTF-8 without NULs, to values; false: it cannot be used as a whole. */
bool sq_doc_build(struct sq_doc *d);

#endif
