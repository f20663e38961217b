/*
 * What is wrong with the files that people write. All faults of all files are told in one pass,
 * each at its place, and counted:
 *
 *     policies/gold.yaml:5:22: error: class: expected a whole number from -100 to 100
 *     prioritize: { class: 300 }
 *                          ^~~
 *
 * Columns count characters, a tab as one, from 1.
 */
#ifndef SQ_CONF_REPORT_H
#define SQ_CONF_REPORT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define SQ_REPORT_SHOWN 50 /* faults of one file that are shown; the others are counted */

/* Where the faults of a pass go. Zeroed but for out (NULL: they are only counted). */
struct sq_faults {
	FILE *out;
	size_t errors, warnings;
};

/* A fault without a place in the text: the file cannot be read. */
void sq_faults_add(struct sq_faults *f, const char *file, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The faults of one text, kept until they can be told in the order of their places. */
struct sq_report;

/* name and text are borrowed until sq_report_free. NULL: out of memory. */
struct sq_report *sq_report_new(const char *name, const char *text, size_t len);
/* span: bytes of the text from offset that the caret line marks. */
void sq_report_add(struct sq_report *r, bool is_error, size_t offset, size_t span, const char *fmt,
		   va_list args);
size_t sq_report_errors(const struct sq_report *r);
/* The offset of a place, both from 1; one beyond the text is its end. */
size_t sq_report_offset(const struct sq_report *r, size_t line, size_t column);
/* Tells the faults and adds their number to f; frees r. NULL is fine. */
void sq_report_free(struct sq_report *r, struct sq_faults *f);

#endif
