#include "conf/document.h"

#include "base/buf.h"
#include "conf/document_impl.h"
#include "conf/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKS_MAX (2 * SQ_DOC_VALUES)

void sq_doc_no_memory(struct sq_doc *d)
{
	d->no_memory = true;
}

void *sq_doc_alloc(struct sq_doc *d, size_t bytes)
{
	void *p = sq_arena_zalloc(d->arena, bytes);

	if (!p)
		sq_doc_no_memory(d);
	return p;
}

struct sq_value *sq_doc_first(const struct sq_doc *d)
{
	return d->first;
}

const char *sq_doc_name(const struct sq_doc *d)
{
	return d->name;
}

size_t sq_doc_errors(const struct sq_doc *d)
{
	return sq_report_errors(d->report);
}

void sq_doc_fault(struct sq_doc *d, size_t offset, size_t span, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	sq_report_add(d->report, true, offset, span, fmt, args);
	va_end(args);
}

void sq_value_error(struct sq_value *v, const char *fmt, ...)
{
	va_list args;

	if (v->bad)
		return;
	v->bad = true;
	va_start(args, fmt);
	sq_report_add(v->doc->report, true, v->offset, v->span, fmt, args);
	va_end(args);
}

void sq_value_warn(const struct sq_value *v, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	sq_report_add(v->doc->report, false, v->offset, v->span, fmt, args);
	va_end(args);
}

void sq_value_entry_error(struct sq_value *v, const char *fmt, ...)
{
	const struct sq_value *at = v->key ? v->key : v;
	va_list args;

	va_start(args, fmt);
	sq_report_add(v->doc->report, true, at->offset, at->span, fmt, args);
	va_end(args);
}

/* ---- what is looked at before the parser ---- */

/*
 * The bytes of the UTF-8 character at s, or 0 when it is none (RFC 3629, table in section 4). The
 * second byte's range keeps out what is longer than need be, surrogates, and all beyond U+10FFFF.
 */
static size_t utf8_char(const unsigned char *s, size_t len)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (n == 1)
		return s[0] != '\0';
	if (s[0] < 0xc2 || s[0] > 0xf4 || n > len)
		return 0;
	switch (s[0]) {
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f;
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	}
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

/* So that everything behind this may count on it, columns and the messages of faults first. */
static bool check_utf8(struct sq_doc *d)
{
	size_t i = 0, n;

	while (i < d->len) {
		n = utf8_char((const unsigned char *)d->text + i, d->len - i);
		if (n == 0) {
			sq_doc_fault(d, i, 0, "byte 0x%02x is not UTF-8 text",
				     (unsigned char)d->text[i]);
			/* The line that would be shown ends where it cannot be trusted. */
			d->text[i] = '\n';
			return false;
		}
		i += n;
	}
	return true;
}

/*
 * Before the parser makes some hundred bytes of each: in [...] and {...} it reads ahead to the end,
 * so that the limit of values alone would come too late.
 */
static bool check_marks(struct sq_doc *d)
{
	size_t marks = 0;

	for (size_t i = 0; i < d->len; i++) {
		if (!strchr("[{,:", d->text[i]) || ++marks <= MARKS_MAX)
			continue;
		sq_doc_fault(d, i, 0, "more than %u of [ { , : in one document", MARKS_MAX);
		return false;
	}
	return true;
}

/* ---- open and close ---- */

/* Frees everything; the faults are told. */
static bool destroy(struct sq_doc *d)
{
	bool good;

	if (d->no_memory)
		sq_faults_add(d->faults, d->name, "out of memory");
	good = !d->no_memory && d->report && sq_report_errors(d->report) == 0;
	sq_report_free(d->report, d->faults);
	sq_arena_free(d->arena);
	if (d->pool)
		sq_arena_pool_free(d->pool);
	free(d->name);
	free(d->text);
	free(d);
	return good;
}

bool sq_doc_close(struct sq_doc *d)
{
	if (!d)
		return false;
	sq_doc_refuse_unasked(d);
	return destroy(d);
}

static struct sq_doc *new_doc(const char *name, const char *text, size_t len, struct sq_faults *f)
{
	struct sq_doc *d = calloc(1, sizeof(*d));

	if (!d) {
		sq_faults_add(f, name, "out of memory");
		return NULL;
	}
	d->faults = f;
	d->len = len;
	d->name = strdup(name);
	d->text = malloc(len + 1);
	d->pool = sq_arena_pool_new(16384, 0);
	d->arena = d->pool ? sq_arena_new(d->pool) : NULL;
	if (d->name && d->text && d->arena) {
		memcpy(d->text, text, len);
		d->text[len] = '\0';
		d->report = sq_report_new(d->name, d->text, len);
	}
	if (!d->report) {
		sq_faults_add(f, name, "out of memory");
		destroy(d);
		return NULL;
	}
	return d;
}

struct sq_doc *sq_doc_parse(const char *name, const char *text, size_t len, struct sq_faults *f)
{
	static const char mark[] = "\xef\xbb\xbf"; /* some editors put it in front of UTF-8 */
	struct sq_doc *d;

	if (len > SQ_DOC_BYTES) {
		sq_faults_add(f, name, "larger than %u bytes", SQ_DOC_BYTES);
		return NULL;
	}
	if (len >= 3 && memcmp(text, mark, 3) == 0) {
		text += 3;
		len -= 3;
	}
	d = new_doc(name, text, len, f);
	if (d && (!check_utf8(d) || !check_marks(d) || !sq_doc_build(d))) {
		destroy(d);
		return NULL;
	}
	return d;
}

/* At most one byte more than is allowed; 0 or -errno. */
static int read_all(const char *path, struct sq_buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	char part[16384];
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (err == 0 && n != 0 && out->len <= SQ_DOC_BYTES) {
		n = read(fd, part, sizeof(part));
		if (n > 0)
			err = sq_buf_add(out, part, (size_t)n);
		else if (n < 0 && errno != EINTR)
			err = -errno;
	}
	close(fd);
	return err;
}

struct sq_doc *sq_doc_open(const char *path, const char *name, struct sq_faults *f)
{
	struct sq_buf text = {0};
	struct sq_doc *d = NULL;
	int err = read_all(path, &text);

	if (err < 0)
		sq_faults_add(f, name, "cannot be read: %s", strerror(-err));
	else
		d = sq_doc_parse(name, text.data ? text.data : "", text.len, f);
	sq_buf_free(&text);
	return d;
}
