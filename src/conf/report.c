#define _GNU_SOURCE 1 /* vasprintf */
#include "conf/report.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KEPT 1000  /* faults of one text that are kept, to be sorted */
#define BEFORE 60  /* bytes of a long line that are shown before its fault */
#define WINDOW 100 /* bytes of a long line that are shown at all */

struct fault {
	size_t offset, span;
	size_t number; /* faults of the same place stay in the order they were found */
	bool is_error;
	char *text; /* NULL: there was no memory for it */
};

struct sq_report {
	const char *name, *text;
	size_t len;
	size_t n, cap;
	struct fault *faults;
	size_t errors, warnings;
};

void sq_faults_add(struct sq_faults *f, const char *file, const char *fmt, ...)
{
	va_list args;

	f->errors++;
	if (!f->out)
		return;
	fprintf(f->out, "%s: error: ", file);
	va_start(args, fmt);
	vfprintf(f->out, fmt, args);
	va_end(args);
	fputc('\n', f->out);
}

struct sq_report *sq_report_new(const char *name, const char *text, size_t len)
{
	struct sq_report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->name = name;
	r->text = text;
	r->len = len;
	return r;
}

void sq_report_add(struct sq_report *r, bool is_error, size_t offset, size_t span, const char *fmt,
		   va_list args)
{
	struct fault *f;

	if (is_error)
		r->errors++;
	else
		r->warnings++;
	if (r->n == KEPT)
		return;
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 8;
		struct fault *grown = reallocarray(r->faults, cap, sizeof(*grown));

		if (!grown)
			return;
		r->faults = grown;
		r->cap = cap;
	}
	f = &r->faults[r->n];
	f->offset = offset < r->len ? offset : r->len;
	f->span = span < r->len - f->offset ? span : r->len - f->offset;
	f->number = r->n++;
	f->is_error = is_error;
	if (vasprintf(&f->text, fmt, args) < 0)
		f->text = NULL;
}

size_t sq_report_errors(const struct sq_report *r)
{
	return r->errors;
}

/* YAML's line breaks are LF, CR LF and a lone CR. */
static bool is_break(char c)
{
	return c == '\n' || c == '\r';
}

/* Whether a line begins at i > 0. */
static bool begins_line(const struct sq_report *r, size_t i)
{
	return r->text[i - 1] == '\n' ||
	       (r->text[i - 1] == '\r' && (i == r->len || r->text[i] != '\n'));
}

/* In UTF-8, which the text is, all bytes but the first of a character are 10xxxxxx. */
static bool begins_char(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t count_chars(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += begins_char(s[i]);
	return n;
}

size_t sq_report_offset(const struct sq_report *r, size_t line, size_t column)
{
	size_t i = 0;

	for (size_t l = 1; l < line && i < r->len;)
		if (begins_line(r, ++i))
			l++;
	for (size_t c = 1; c < column && i < r->len && !is_break(r->text[i]); c++)
		do
			i++;
		while (i < r->len && !begins_char(r->text[i]));
	return i;
}

static size_t line_number(const struct sq_report *r, size_t offset)
{
	size_t line = 1;

	for (size_t i = 1; i <= offset; i++)
		line += begins_line(r, i);
	return line;
}

/* What people wrote may hold control characters; their terminal is not to obey them. */
static void put_clean(FILE *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		fputc((c < 0x20 && c != '\t') || c == 0x7f ? '?' : c, out);
	}
}

/* What is shown of the line that begins at `begin`, the part about `at`: returns its end. */
static size_t window(const struct sq_report *r, size_t begin, size_t at, size_t *from)
{
	size_t to = at;

	*from = begin;
	if (at - begin > BEFORE)
		for (*from = at - BEFORE; *from < at && !begins_char(r->text[*from]);)
			++*from;
	while (to < r->len && !is_break(r->text[to]) &&
	       (to - *from < WINDOW || !begins_char(r->text[to])))
		to++;
	return to;
}

static void show_caret(const struct sq_report *r, const struct fault *f, size_t from, size_t to,
		       FILE *out)
{
	size_t at = f->offset, marked = at + f->span < to ? f->span : to - at;

	for (size_t i = from; i < at; i++)
		if (begins_char(r->text[i]))
			fputc(r->text[i] == '\t' ? '\t' : ' ', out);
	fputc('^', out);
	for (size_t n = count_chars(r->text + at, marked); n > 1; n--)
		fputc('~', out);
	fputc('\n', out);
}

/* The line, or of a long one the part about the fault, and a caret line under it. */
static void show_source(const struct sq_report *r, const struct fault *f, size_t begin, FILE *out)
{
	size_t from, to = window(r, begin, f->offset, &from);
	bool cut = to < r->len && !is_break(r->text[to]);

	fputs(from > begin ? "..." : "", out);
	put_clean(out, r->text + from, to - from);
	fputs(cut ? "...\n" : "\n", out);
	fputs(from > begin ? "   " : "", out);
	show_caret(r, f, from, to, out);
}

static void show(const struct sq_report *r, const struct fault *f, FILE *out)
{
	const char *text = f->text ? f->text : "(out of memory)";
	size_t begin = f->offset;

	while (begin > 0 && !begins_line(r, begin))
		begin--;
	fprintf(out, "%s:%zu:%zu: %s: ", r->name, line_number(r, begin),
		count_chars(r->text + begin, f->offset - begin) + 1,
		f->is_error ? "error" : "warning");
	put_clean(out, text, strlen(text));
	fputc('\n', out);
	show_source(r, f, begin, out);
}

static int by_place(const void *a, const void *b)
{
	const struct fault *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

void sq_report_free(struct sq_report *r, struct sq_faults *f)
{
	size_t all, shown;

	if (!r)
		return;
	all = r->errors + r->warnings;
	shown = r->n < SQ_REPORT_SHOWN ? r->n : SQ_REPORT_SHOWN;
	if (r->n > 0)
		qsort(r->faults, r->n, sizeof(r->faults[0]), by_place);
	for (size_t i = 0; i < shown && f->out; i++)
		show(r, &r->faults[i], f->out);
	if (shown < all && f->out)
		fprintf(f->out, "%s: %zu further faults are not shown\n", r->name, all - shown);
	f->errors += r->errors;
	f->warnings += r->warnings;
	for (size_t i = 0; i < r->n; i++)
		free(r->faults[i].text);
	free(r->faults);
	free(r);
}
