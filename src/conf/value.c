#include "conf/value.h"

#include "base/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64
#define WORD_MAX 40 /* longer words are not compared with known ones */

/* ---- walking ---- */

static void note_asked(struct sq_value *map, const char *key)
{
	size_t bytes = strlen(key) + 1;
	struct sq_asked *a;

	for (a = map->asks; a; a = a->next)
		if (strcmp(a->key, key) == 0)
			return;
	a = sq_doc_alloc(map->doc, sizeof(*a) + bytes);
	if (!a)
		return;
	memcpy(a->key, key, bytes);
	a->next = map->asks;
	map->asks = a;
}

struct sq_value *sq_get(struct sq_value *map, const char *key)
{
	if (!map)
		return NULL;
	note_asked(map, key);
	for (struct sq_value *c = map->first; c; c = c->next) {
		if (!c->key->text || strcmp(c->key->text, key) != 0)
			continue;
		c->asked = true;
		return c;
	}
	return NULL;
}

/* "seats: expected a number": the key says which value of a line is meant. */
__attribute__((format(printf, 2, 3))) static bool expected(struct sq_value *v, const char *fmt, ...)
{
	char what[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	if (v->key && v->key->text)
		sq_value_error(v, "%.64s: expected %s", v->key->text, what);
	else
		sq_value_error(v, "expected %s", what);
	return false;
}

static struct sq_value *as(struct sq_value *v, enum sq_value_kind kind, const char *what)
{
	if (!v || v->bad || v->kind == SQ_VALUE_NULL)
		return NULL;
	if (v->kind == kind)
		return v;
	expected(v, "%s", what);
	return NULL;
}

struct sq_value *sq_as_map(struct sq_value *v)
{
	return as(v, SQ_VALUE_MAP, "keys with values");
}

struct sq_value *sq_as_list(struct sq_value *v)
{
	return as(v, SQ_VALUE_LIST, "a list");
}

struct sq_value *sq_first(struct sq_value *v)
{
	if (!v)
		return NULL;
	for (struct sq_value *c = v->first; c; c = c->next)
		c->asked = true;
	return v->first;
}

struct sq_value *sq_next_item(struct sq_value *v, struct sq_value *item)
{
	if (item)
		return item == v ? NULL : item->next;
	if (v && v->kind == SQ_VALUE_LIST)
		return sq_first(v);
	return v;
}

void sq_refuse(struct sq_value *map, const char *key)
{
	struct sq_value *n = sq_get(map, key);

	if (!n || n->bad)
		return;
	n->bad = true;
	sq_value_entry_error(n, "%s: not supported by this version", key);
}

void sq_require(struct sq_value *map, const char *key)
{
	if (map && !map->bad && !sq_get(map, key))
		sq_value_entry_error(map, "%s is missing", key);
}

/* ---- text ---- */

/* The text of a good scalar, or NULL. */
static const char *scalar(struct sq_value *v, const char *what)
{
	if (!v || v->bad)
		return NULL;
	if (v->kind == SQ_VALUE_SCALAR)
		return v->text;
	expected(v, "%s", what);
	return NULL;
}

static bool keep(struct sq_value *v, const char *text, char **out)
{
	char *copy = strdup(text);

	if (!copy) {
		sq_doc_no_memory(v->doc);
		return false;
	}
	free(*out);
	*out = copy;
	return true;
}

static bool has_control(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

bool sq_read_string(struct sq_value *v, char **out)
{
	const char *text = scalar(v, "a text");

	if (!text)
		return false;
	if (*text == '\0' || has_control(text))
		return expected(v, "a text of one line without control characters");
	return keep(v, text, out);
}

bool sq_read_glob(struct sq_value *v, char **out)
{
	const char *text = scalar(v, "a name or glob");

	if (!text)
		return false;
	if (*text == '\0' || has_control(text) || strpbrk(text, "[]{}\\"))
		return expected(v, "a name or glob; only * and ? are special in globs");
	return keep(v, text, out);
}

bool sq_is_name(const char *s)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(s);

	return len > 0 && len <= NAME_MAX_BYTES && strspn(s, allowed) == len;
}

bool sq_read_name(struct sq_value *v, char **out)
{
	const char *text = scalar(v, "a name");

	if (!text)
		return false;
	if (!sq_is_name(text))
		return expected(v, "a name of 1 to %d letters, digits, '.', '_', '-'",
				NAME_MAX_BYTES);
	return keep(v, text, out);
}

bool sq_read_list(struct sq_value *v, bool (*read)(struct sq_value *, char **), char ***list,
		  size_t *n)
{
	if (!v || v->bad)
		return false;
	if (v->kind == SQ_VALUE_NULL || v->kind == SQ_VALUE_MAP ||
	    (v->kind == SQ_VALUE_LIST && !v->first))
		return expected(v, "one value or a list of at least one");
	for (struct sq_value *i = NULL; (i = sq_next_item(v, i));) {
		char **grown, *one = NULL;

		if (!read(i, &one))
			continue;
		grown = reallocarray(*list, *n + 1, sizeof(char *));
		if (!grown) {
			sq_doc_no_memory(v->doc);
			free(one);
			return false;
		}
		*list = grown;
		grown[(*n)++] = one;
	}
	return true;
}

/* ---- numbers ---- */

bool sq_read_bool(struct sq_value *v, bool *out)
{
	const char *text = scalar(v, "true or false");

	if (!text)
		return false;
	if (v->quoted || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
		return expected(v, "true or false");
	*out = *text == 't';
	return true;
}

/* Decimal digits, perhaps with a minus; everything else that strtoll takes is no number of ours. */
static bool parse_int(const char *s, int64_t *out)
{
	const char *digits = s + (*s == '-');

	if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
		return false;
	errno = 0;
	*out = strtoll(s, NULL, 10);
	return errno == 0;
}

bool sq_read_count(struct sq_value *v, int64_t min, int64_t max, int64_t *out)
{
	const char *text = scalar(v, "a whole number");
	int64_t value;

	if (!text)
		return false;
	if (v->quoted || !parse_int(text, &value) || value < min || value > max)
		return expected(v, "a whole number from %lld to %lld", (long long)min,
				(long long)max);
	*out = value;
	return true;
}

bool sq_read_decimal(struct sq_value *v, double min, double max, double *out)
{
	const char *text = scalar(v, "a number");
	double value;

	if (!text)
		return false;
	value = strtod(text, NULL);
	if (v->quoted || strspn(text, "0123456789.") != strlen(text) || strcmp(text, ".") == 0 ||
	    (strchr(text, '.') && strchr(strchr(text, '.') + 1, '.')) || value < min || value > max)
		return expected(v, "a number from %g to %g", min, max);
	*out = value;
	return true;
}

bool sq_read_bytes(struct sq_value *v, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *text = scalar(v, "a size such as 64KiB");
	char low[32], high[32];
	uint64_t value;

	if (!text)
		return false;
	if (sq_units_bytes(text, &value) < 0)
		return expected(v, "a size such as 512, 64KiB, 6MiB or 1GiB");
	if (value < min || value > max)
		return expected(v, "a size from %s to %s", sq_units_show_bytes(low, min),
				sq_units_show_bytes(high, max));
	*out = value;
	return true;
}

bool sq_read_duration(struct sq_value *v, int64_t min_ns, int64_t max_ns, int64_t *out_ns)
{
	const char *text = scalar(v, "a duration such as 30s");
	char low[32], high[32];
	int64_t value;

	if (!text)
		return false;
	if (sq_units_duration(text, &value) < 0)
		return expected(v, "a duration such as 100ms, 30s, 5m, 1h or 30d");
	if (value < min_ns || value > max_ns)
		return expected(v, "a duration from %s to %s", sq_units_show_duration(low, min_ns),
				sq_units_show_duration(high, max_ns));
	*out_ns = value;
	return true;
}

bool sq_read_rate(struct sq_value *v, double *per_s)
{
	const char *text = scalar(v, "a rate such as 100/s");
	double value;

	if (!text)
		return false;
	if (sq_units_rate(text, &value) < 0 || !(value > 0 && value <= 1e9))
		return expected(v, "a rate above 0 such as 100/s, 30/m or 1000/h");
	*per_s = value;
	return true;
}

bool sq_is_percent(const struct sq_value *v)
{
	return v && v->kind == SQ_VALUE_SCALAR && v->len > 0 && v->text[v->len - 1] == '%';
}

bool sq_read_percent(struct sq_value *v, double *out)
{
	const char *text = scalar(v, "a percentage");
	double value;

	if (!text)
		return false;
	if (sq_units_percent(text, &value) < 0 || !(value > 0 && value <= 1))
		return expected(v, "a percentage above 0%% and up to 100%%");
	*out = value;
	return true;
}

bool sq_read_enum(struct sq_value *v, const char *const *names, int *out)
{
	const char *text;
	char all[200] = "";
	size_t used = 0;

	if (!v || v->bad)
		return false;
	text = v->kind == SQ_VALUE_SCALAR ? v->text : "";
	for (int i = 0; names[i]; i++) {
		if (strcmp(names[i], text) == 0) {
			*out = i;
			return true;
		}
		used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s",
					 i == 0         ? ""
					 : names[i + 1] ? ", "
							: " or ",
					 names[i]);
		if (used >= sizeof(all))
			used = sizeof(all) - 1;
	}
	return expected(v, "%s", all);
}

/* ---- unknown keys ---- */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Edits of one letter, or swaps of two neighbours, that make b of a (optimal string alignment). */
static size_t distance(const char *a, size_t la, const char *b, size_t lb)
{
	size_t row[3][WORD_MAX + 1]; /* row[i % 3][j]: of the first i of a and j of b */

	for (size_t j = 0; j <= lb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t *now = row[i % 3], *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			bool same = a[i - 1] == b[j - 1];

			now[j] = least(least(now[j - 1], up[j]) + 1, up[j - 1] + !same);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], up2[j - 2] + 1);
		}
	}
	return row[la % 3][lb];
}

const char *sq_closest(const char *word, const char *const *names, size_t n)
{
	size_t len = strlen(word), best;
	const char *found = NULL;

	if (len > WORD_MAX)
		return NULL;
	best = len < 2 ? 0 : len < 5 ? 1 : 2; /* less than half of the word */
	for (size_t i = 0; i < n; i++) {
		size_t other = strlen(names[i]), d;

		if (other > WORD_MAX)
			continue;
		d = distance(word, len, names[i], other);
		if (d > best || (found && d == best))
			continue;
		best = d;
		found = names[i];
	}
	return found;
}

static void unknown_key(struct sq_value *map, struct sq_value *entry)
{
	const char *names[64], *close;
	size_t n = 0;

	/* No one reads so many faults, and a hostile document may have 50,000 keys to compare. */
	if (sq_doc_errors(map->doc) <= 4 * SQ_REPORT_SHOWN)
		for (const struct sq_asked *a = map->asks; a && n < 64; a = a->next)
			names[n++] = a->key;
	close = sq_closest(entry->key->text, names, n);
	if (close)
		sq_value_error(entry->key, "unknown key '%.64s'; did you mean '%s'?",
			       entry->key->text, close);
	else
		sq_value_error(entry->key, "unknown key '%.64s'", entry->key->text);
}

/* The depth is bounded by SQ_DOC_DEPTH. */
static void refuse_unasked(struct sq_value *v)
{
	if (v->bad)
		return;
	for (struct sq_value *c = v->first; c; c = c->next) {
		if (v->kind == SQ_VALUE_MAP && !c->asked && !c->bad)
			unknown_key(v, c);
		else if (!c->bad)
			refuse_unasked(c);
	}
}

void sq_doc_refuse_unasked(struct sq_doc *d)
{
	for (struct sq_value *n = sq_doc_first(d); n; n = n->next)
		refuse_unasked(n);
}
