/* From the text of a document, by libfyaml's events, to values. */
#include "conf/document_impl.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

/* The list or map that is being filled, and in a map the key that waits for its value. */
struct level {
	struct sq_value *value, *key;
};

struct build {
	struct sq_doc *doc;
	size_t depth;
	struct level level[SQ_DOC_DEPTH];
	size_t offset, span, line; /* of the last token: where a value that is not there would be */
	bool ended;                /* the parser has seen the end of the text */
	bool stop;                 /* a limit is passed: no use to go on */
};

/* ---- from events to values ---- */

/* Takes a token's place; what the parser inferred has no token and is where the last one was. */
static void locate(struct build *b, struct fy_token *token)
{
	const struct fy_mark *from = token ? fy_token_start_mark(token) : NULL;
	const struct fy_mark *to = token ? fy_token_end_mark(token) : NULL;

	if (!from || !to)
		return;
	b->offset = from->input_pos;
	b->span = to->input_pos > from->input_pos ? to->input_pos - from->input_pos : 0;
	b->line = (size_t)from->line + 1;
}

static struct sq_value *new_value(struct build *b, enum sq_value_kind kind, struct fy_token *token)
{
	struct sq_doc *d = b->doc;
	struct sq_value *v;

	locate(b, token);
	if (++d->values > SQ_DOC_VALUES) {
		sq_doc_fault(d, b->offset, 0, "the document has more than %u values",
			     SQ_DOC_VALUES);
		b->stop = true;
		return NULL;
	}
	v = sq_doc_alloc(d, sizeof(*v));
	if (!v) {
		b->stop = true;
		return NULL;
	}
	v->doc = d;
	v->kind = kind;
	v->offset = (uint32_t)b->offset;
	v->span = (uint32_t)b->span;
	v->line = (uint32_t)b->line;
	return v;
}

static void append(struct sq_value **first, struct sq_value **last, struct sq_value *v)
{
	if (*last)
		(*last)->next = v;
	else
		*first = v;
	*last = v;
}

/* Puts a value where the parser stands: a document's top, a list's item, a map's key or value. */
static void place(struct build *b, struct sq_value *v)
{
	struct level *top;

	if (b->depth == 0) {
		append(&b->doc->first, &b->doc->last, v);
		return;
	}
	top = &b->level[b->depth - 1];
	if (top->value->kind == SQ_VALUE_LIST) {
		append(&top->value->first, &top->value->last, v);
	} else if (!top->key) {
		if (v->kind != SQ_VALUE_SCALAR)
			sq_value_error(v, "a key must be a plain word");
		top->key = v;
	} else {
		v->key = top->key;
		v->bad = v->bad || v->key->bad;
		top->key = NULL;
		append(&top->value->first, &top->value->last, v);
	}
}

/* Anchors, aliases and tags. */
static void refuse(struct build *b, struct fy_token *token, struct sq_value *v, const char *what)
{
	if (!token)
		return;
	locate(b, token);
	/* The token is the name alone; the `&`, `*` or `!` in front belongs to it for people. */
	if (b->offset > 0 && strchr("&*!", b->doc->text[b->offset - 1])) {
		b->offset--;
		b->span++;
	}
	sq_doc_fault(b->doc, b->offset, b->span, "%s are not supported", what);
	v->bad = true;
}

static bool is_null(const struct sq_value *v)
{
	return !v->quoted &&
	       (v->len == 0 || strcmp(v->text, "~") == 0 || strcmp(v->text, "null") == 0);
}

/* A line break within quotes: with the blanks around it a space, or of n breaks n - 1 newlines. */
static const char *fold(const char *s, const char *end, char *out, size_t *n)
{
	size_t breaks = 0;

	while (*n > 0 && (out[*n - 1] == ' ' || out[*n - 1] == '\t'))
		--*n;
	for (; s < end && strchr(" \t\r\n", *s); s++)
		breaks += *s == '\n' || (*s == '\r' && s[1] != '\n');
	if (breaks == 1)
		out[(*n)++] = ' ';
	for (; breaks > 1; breaks--)
		out[(*n)++] = '\n';
	return s;
}

/*
 * Of a single-quoted scalar with many quotes libfyaml 0.7.12 makes a wrong text and leaks memory,
 * up to 32 times the document, and documents come from strangers. So that text is made here: YAML
 * 1.2.2, sections 7.3.2 and 6.5. The offset and span are those within the quotes.
 */
static char *unquote(struct sq_doc *d, size_t offset, size_t span, size_t *len)
{
	const char *s = d->text + offset, *end = s + span;
	char *out = sq_arena_alloc(d->arena, span + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	while (s < end) {
		if (*s == '\r' || *s == '\n') {
			s = fold(s, end, out, &n);
			continue;
		}
		out[n++] = *s;
		s += *s == '\'' ? 2 : 1;
	}
	out[n] = '\0';
	*len = n;
	return out;
}

static char *text_of(struct sq_doc *d, const struct sq_value *v, struct fy_token *token,
		     size_t *len)
{
	const char *text;

	if (fy_token_scalar_style(token) == FYSS_SINGLE_QUOTED)
		return unquote(d, v->offset, v->span, len);
	text = fy_token_get_text(token, len);
	return text ? sq_arena_strndup(d->arena, text, *len) : NULL;
}

static void set_text(struct build *b, struct sq_value *v, struct fy_token *token)
{
	enum fy_scalar_style style = fy_token_scalar_style(token);
	size_t len = 0;
	char *text = text_of(b->doc, v, token, &len);

	if (!text) {
		sq_doc_no_memory(b->doc);
		b->stop = true;
		return;
	}
	v->text = text;
	v->len = (uint32_t)len;
	v->quoted = style != FYSS_PLAIN;
	if (v->offset > 0 && (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)) {
		v->offset--;
		v->span += 2;
	}
	if (memchr(text, '\0', len))
		sq_value_error(v, "a NUL character");
	else if (is_null(v))
		v->kind = SQ_VALUE_NULL;
}

/* An item that is not there has no token: its dash is the next that is no blank or comment. */
static void locate_nothing(struct build *b)
{
	const char *text = b->doc->text;
	size_t i = b->offset + b->span, from = i;

	if (b->depth == 0 || b->level[b->depth - 1].value->kind != SQ_VALUE_LIST)
		return;
	while (text[i] != '\0' && (strchr(" \t\r\n#'\"", text[i]))) {
		if (text[i] == '#')
			i += strcspn(text + i, "\r\n");
		else
			i++;
	}
	for (; from < i; from++)
		b->line += text[from] == '\n';
	b->offset = i;
	b->span = text[i] == '-';
}

static void on_scalar(struct build *b, const struct fy_event *e)
{
	struct sq_value *v;

	if (!e->scalar.value)
		locate_nothing(b);
	v = new_value(b, SQ_VALUE_NULL, e->scalar.value);
	if (!v)
		return;
	if (e->scalar.value) {
		v->kind = SQ_VALUE_SCALAR;
		set_text(b, v, e->scalar.value);
	}
	refuse(b, e->scalar.anchor, v, "anchors");
	refuse(b, e->scalar.tag, v, "tags");
	place(b, v);
}

static void on_alias(struct build *b, const struct fy_event *e)
{
	struct sq_value *v = new_value(b, SQ_VALUE_NULL, e->alias.anchor);

	if (!v)
		return;
	refuse(b, e->alias.anchor, v, "aliases");
	place(b, v);
}

static void on_begin(struct build *b, enum sq_value_kind kind, struct fy_token *token,
		     struct fy_token *anchor, struct fy_token *tag)
{
	struct sq_value *v = new_value(b, kind, token);

	if (!v)
		return;
	refuse(b, anchor, v, "anchors");
	refuse(b, tag, v, "tags");
	place(b, v);
	if (b->depth == SQ_DOC_DEPTH) {
		sq_doc_fault(b->doc, v->offset, v->span, "nested deeper than %d", SQ_DOC_DEPTH);
		b->stop = true;
		return;
	}
	b->level[b->depth++] = (struct level){.value = v};
}

static int by_key(const void *a, const void *b)
{
	const struct sq_value *x = *(struct sq_value *const *)a, *y = *(struct sq_value *const *)b;
	int order = strcmp(x->key->text, y->key->text);

	if (order != 0)
		return order;
	return x->offset < y->offset ? -1 : 1;
}

/* Sorted, because a map with many keys may come from anyone. */
static void refuse_duplicates(struct build *b, struct sq_value *map)
{
	struct sq_value **entries, *first;
	size_t n = 0, i = 0;

	for (struct sq_value *c = map->first; c; c = c->next)
		n += c->key->text != NULL;
	if (n < 2)
		return;
	entries = calloc(n, sizeof(struct sq_value *));
	if (!entries) {
		sq_doc_no_memory(b->doc);
		return;
	}
	for (struct sq_value *c = map->first; c; c = c->next)
		if (c->key->text)
			entries[i++] = c;
	qsort(entries, n, sizeof(struct sq_value *), by_key);
	first = entries[0];
	for (i = 1; i < n; i++) {
		if (strcmp(entries[i]->key->text, first->key->text) != 0) {
			first = entries[i];
			continue;
		}
		sq_value_error(entries[i]->key, "duplicate key '%.64s', first in line %u",
			       first->key->text, first->key->line);
		entries[i]->bad = true;
	}
	free(entries);
}

static void on_end(struct build *b)
{
	const struct level *top = &b->level[--b->depth];

	if (top->value->kind == SQ_VALUE_MAP)
		refuse_duplicates(b, top->value);
}

static void on_event(struct build *b, const struct fy_event *e)
{
	switch (e->type) {
	case FYET_SCALAR:
		on_scalar(b, e);
		break;
	case FYET_ALIAS:
		on_alias(b, e);
		break;
	case FYET_SEQUENCE_START:
		on_begin(b, SQ_VALUE_LIST, e->sequence_start.sequence_start,
			 e->sequence_start.anchor, e->sequence_start.tag);
		break;
	case FYET_MAPPING_START:
		on_begin(b, SQ_VALUE_MAP, e->mapping_start.mapping_start, e->mapping_start.anchor,
			 e->mapping_start.tag);
		break;
	case FYET_SEQUENCE_END:
	case FYET_MAPPING_END:
		on_end(b);
		break;
	case FYET_DOCUMENT_START:
		locate(b, e->document_start.document_start);
		break;
	case FYET_STREAM_END:
		b->ended = true;
		break;
	default:
		break;
	}
}

/* ---- from text to events ---- */

/* What the parser found wrong; the first is the cause of the others. */
static void syntax_error(struct build *b, struct fy_diag *diag)
{
	void *cursor = NULL;
	const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &cursor);
	struct sq_doc *d = b->doc;

	if (e && e->line > 0 && e->column > 0)
		sq_doc_fault(d, sq_report_offset(d->report, (size_t)e->line, (size_t)e->column), 0,
			     "%s", e->msg);
	else
		sq_doc_fault(d, b->offset, 0, "%s", e ? e->msg : "not a YAML or JSON document");
}

static void run_parser(struct build *b, struct fy_parser *parser, struct fy_diag *diag)
{
	struct fy_event *e;

	if (fy_parser_set_string(parser, b->doc->text, b->doc->len) != 0) {
		sq_doc_no_memory(b->doc);
		return;
	}
	while (!b->stop && (e = fy_parser_parse(parser))) {
		on_event(b, e);
		fy_parser_event_free(parser, e);
	}
	if (!b->stop && !b->ended)
		syntax_error(b, diag);
}

bool sq_doc_build(struct sq_doc *d)
{
	struct build b = {.doc = d, .line = 1};
	struct fy_diag_cfg diag_cfg;
	struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_JSON_NONE |
					    FYPCF_DEFAULT_VERSION_1_2};
	struct fy_parser *parser;

	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	cfg.diag = fy_diag_create(&diag_cfg);
	if (cfg.diag)
		fy_diag_set_collect_errors(cfg.diag, true);
	parser = cfg.diag ? fy_parser_create(&cfg) : NULL;
	if (parser)
		run_parser(&b, parser, cfg.diag);
	else
		sq_doc_no_memory(d);
	if (parser)
		fy_parser_destroy(parser);
	if (cfg.diag)
		fy_diag_destroy(cfg.diag);
	return b.ended && !b.stop && !d->no_memory;
}
