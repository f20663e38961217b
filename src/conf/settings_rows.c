/* The effective settings as rows of key, value and origin: for people, and with nothing secret. */
#define _GNU_SOURCE 1 /* asprintf */

#include "base/buf.h"
#include "base/units.h"
#include "conf/settings_impl.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- origins ---- */

static int by_key(const void *a, const void *b)
{
	const struct sq_origin *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static bool add_origin(struct sq_origins *o, const char *key, uint32_t line)
{
	if (o->n == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 32;
		struct sq_origin *grown = reallocarray(o->list, cap, sizeof(*grown));

		if (!grown)
			return false;
		o->list = grown;
		o->cap = cap;
	}
	o->list[o->n].key = strdup(key);
	o->list[o->n].line = line;
	return o->list[o->n++].key != NULL;
}

/* key: of the list or map; unchanged when this returns. The depth is bounded by SQ_DOC_DEPTH. */
static bool collect(struct sq_origins *o, const struct sq_value *v, struct sq_buf *key)
{
	size_t len = key->len, i = 0;
	bool good = true;

	for (const struct sq_value *c = v->first; c && good; c = c->next, i++) {
		int err;

		if (v->kind == SQ_VALUE_MAP && !c->key->text)
			continue;
		if (v->kind == SQ_VALUE_LIST)
			err = sq_buf_addf(key, "[%zu]", i);
		else
			err = sq_buf_addf(key, "%s%s", len > 0 ? "." : "", c->key->text);
		good = err == 0 && add_origin(o, key->data, c->key ? c->key->line : c->line) &&
		       collect(o, c, key);
		key->len = len;
	}
	return good;
}

bool sq_origins_collect(struct sq_origins *o, const struct sq_value *root)
{
	struct sq_buf key = {0};
	bool good = collect(o, root, &key);

	sq_buf_free(&key);
	if (o->n > 0)
		qsort(o->list, o->n, sizeof(o->list[0]), by_key);
	return good;
}

uint32_t sq_origins_line(const struct sq_origins *o, const char *key)
{
	struct sq_origin wanted = {.key = (char *)(uintptr_t)key}, *found;

	if (o->n == 0)
		return 0;
	found = bsearch(&wanted, o->list, o->n, sizeof(o->list[0]), by_key);
	return found ? found->line : 0;
}

void sq_origins_free(struct sq_origins *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->n; i++)
		free(o->list[i].key);
	free(o->list);
}

/* ---- rows ---- */

struct table {
	const struct sq_settings *s;
	struct sq_setting_row *rows;
	size_t n, cap;
	bool no_memory;
};

static char *origin_of(const struct sq_settings *s, const char *key)
{
	uint32_t line = sq_origins_line(s->origins, key);
	char *text = NULL;

	if (line == 0)
		return strdup("default");
	return asprintf(&text, "%s:%u", s->file, line) < 0 ? NULL : text;
}

/* Takes value (NULL: out of memory). */
__attribute__((format(printf, 3, 4))) static void add(struct table *t, char *value, const char *fmt,
						      ...)
{
	struct sq_setting_row row = {.value = value}, *grown;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&row.key, fmt, args) < 0)
		row.key = NULL;
	va_end(args);
	row.origin = row.key ? origin_of(t->s, row.key) : NULL;
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		grown = reallocarray(t->rows, t->cap, sizeof(*grown));
		if (grown)
			t->rows = grown;
		else
			t->cap = t->n;
	}
	if (row.key && row.value && row.origin && t->n < t->cap) {
		t->rows[t->n++] = row;
		return;
	}
	t->no_memory = true;
	free(row.key);
	free(row.value);
	free(row.origin);
}

static char *show_count(int64_t n)
{
	char *text = NULL;

	return asprintf(&text, "%lld", (long long)n) < 0 ? NULL : text;
}

static char *show_decimal(double n)
{
	char *text = NULL;

	return asprintf(&text, "%.10g", n) < 0 ? NULL : text;
}

static char *show_bytes(uint64_t bytes)
{
	char text[32];

	return strdup(sq_units_show_bytes(text, bytes));
}

static char *show_duration(int64_t ns)
{
	char text[32];

	return strdup(sq_units_show_duration(text, ns));
}

static char *show_bool(bool b)
{
	return strdup(b ? "true" : "false");
}

/* A user or password in the URL is a credential. */
static char *show_url(const char *text)
{
	CURLU *url = curl_url();
	char *user = NULL, *hidden = NULL, *copy = NULL;

	if (!url || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
		goto out;
	if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
	    curl_url_get(url, CURLUPART_PASSWORD, &user, 0) == CURLUE_NO_PASSWORD) {
		copy = strdup(text);
		goto out;
	}
	if (curl_url_set(url, CURLUPART_USER, "(set)", 0) == CURLUE_OK &&
	    curl_url_set(url, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
	    curl_url_get(url, CURLUPART_URL, &hidden, 0) == CURLUE_OK)
		copy = strdup(hidden);
out:
	curl_free(user);
	curl_free(hidden);
	curl_url_cleanup(url);
	return copy;
}

static char *show_list(char *const *list, size_t n)
{
	struct sq_buf text = {0};

	for (size_t i = 0; i < n; i++) {
		if (sq_buf_addf(&text, "%s%s", i > 0 ? ", " : "", list[i]) < 0) {
			sq_buf_free(&text);
			return NULL;
		}
	}
	return text.data ? text.data : strdup("none");
}

static void add_scalar(struct table *t, const struct sq_scalar *r)
{
	const void *field = (const char *)t->s + r->offset;
	char *value = NULL;

	switch (r->kind) {
	case SQ_SCALAR_STRING:
	case SQ_SCALAR_PATH:
		value = strdup(*(char *const *)field);
		break;
	case SQ_SCALAR_COUNT:
		value = show_count(*(const int64_t *)field);
		break;
	case SQ_SCALAR_BYTES:
		value = show_bytes(*(const uint64_t *)field);
		break;
	case SQ_SCALAR_DURATION:
		value = show_duration(*(const int64_t *)field);
		break;
	case SQ_SCALAR_BOOL:
		value = show_bool(*(const bool *)field);
		break;
	}
	add(t, value, "%s", r->key);
}

static void add_backend(struct table *t, const struct sq_backend_conf *b)
{
	const char *name = b->name;

	add(t, strdup(sq_backend_type_names[b->type]), "backends.%s.type", name);
	if (b->type == SQ_BACKEND_PROCESS) {
		add(t, strdup(b->functions), "backends.%s.functions", name);
		add(t, b->memory_bytes ? show_bytes(b->memory_bytes) : strdup("none"),
		    "backends.%s.memory", name);
		add(t, b->cpus > 0 ? show_decimal(b->cpus) : strdup("none"), "backends.%s.cpus",
		    name);
	} else {
		add(t, show_url(b->url), "backends.%s.url", name);
		add(t, show_duration(b->connect_timeout_ns), "backends.%s.connect-timeout", name);
		add(t, show_bool(b->verify), "backends.%s.verify", name);
	}
	add(t, b->seats ? show_count(b->seats) : strdup("none"), "backends.%s.seats", name);
	add(t, show_duration(b->timeout_ns), "backends.%s.timeout", name);
	add(t, show_duration(b->settle_ns), "backends.%s.settle", name);
}

static void add_lists(struct table *t)
{
	const struct sq_settings *s = t->s;

	for (size_t i = 0; i < s->n_listens; i++)
		add(t, strdup(s->listens[i].address), "listen[%zu].address", i);
	for (size_t i = 0; i < s->n_backends; i++)
		add_backend(t, &s->backends[i]);
	for (size_t i = 0; i < s->n_tenants; i++) {
		add(t, strdup(s->tenants[i].name), "tenants[%zu].name", i);
		add(t, strdup("(set)"), "tenants[%zu].key-sha256", i);
	}
	for (size_t i = 0; i < s->n_routes; i++) {
		add(t, strdup(s->routes[i].path), "routes[%zu].path", i);
		add(t, strdup(s->routes[i].backend), "routes[%zu].backend", i);
		add(t, strdup(s->routes[i].function), "routes[%zu].function", i);
		add(t, show_bool(s->routes[i].stream), "routes[%zu].stream", i);
	}
	add(t, show_list(s->policy_globs, s->n_policy_globs), "policies");
}

size_t sq_settings_rows(const struct sq_settings *s, struct sq_setting_row **rows)
{
	struct table t = {.s = s};

	add_lists(&t);
	for (size_t i = 0; i < sq_n_scalars; i++)
		add_scalar(&t, &sq_scalars[i]);
	if (t.no_memory) {
		sq_settings_rows_free(t.rows, t.n);
		t.rows = NULL;
		t.n = 0;
	}
	*rows = t.rows;
	return t.n;
}

void sq_settings_rows_free(struct sq_setting_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(rows[i].key);
		free(rows[i].value);
		free(rows[i].origin);
	}
	free(rows);
}
