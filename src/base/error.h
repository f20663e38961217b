/* What went wrong, for a person: one line, or several when a document has several faults. */
#ifndef SQ_BASE_ERROR_H
#define SQ_BASE_ERROR_H

struct sq_error {
	char text[1024]; /* empty: no error */
};

/*
 * Fills e (which may be NULL) and returns -err, so that a failing function ends with
 * `return sq_error_set(e, EINVAL, "...")`. A text that is there already is kept in front.
 */
int sq_error_set(struct sq_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

#endif
