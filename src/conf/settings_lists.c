/* Those settings that are lists: listen, backends, tenants, routes, policies. */
#include "base/clock.h"
#include "conf/address.h"
#include "conf/settings_impl.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define DAY (24 * 3600 * SQ_S)
#define SEATS_MAX 100000
#define MEMORY_MIN (1024u * 1024)
#define MEMORY_MAX (1ull << 44)

const char *const sq_backend_type_names[] = {"process", "openfaas", NULL};

static size_t count_entries(const struct sq_value *v)
{
	size_t n = 0;

	for (const struct sq_value *c = v ? v->first : NULL; c; c = c->next)
		n++;
	return n;
}

/* Room for all entries of a list or map; NULL when there are none. */
static void *room_for(struct sq_value *v, size_t size)
{
	size_t n = count_entries(v);
	void *room = n > 0 ? calloc(n, size) : NULL;

	if (n > 0 && !room)
		sq_doc_no_memory(v->doc);
	return room;
}

static bool set_text(char **out, const char *text)
{
	*out = strdup(text);
	return *out != NULL;
}

/* ---- listen ---- */

static void check_listen(const struct sq_settings *s, size_t i, struct sq_value *v)
{
	const char *text = s->listens[i].address;
	struct sq_address this, other;

	if (!sq_address_parse(text, &this)) {
		sq_value_error(v, "address: expected HOST:PORT, the host an IPv4 address, [IPv6], "
				  "localhost or *");
		return;
	}
	for (size_t j = 0; j < i; j++)
		if (s->listens[j].address && sq_address_parse(s->listens[j].address, &other) &&
		    sq_address_same(&this, &other))
			sq_value_error(v, "address: %.64s is there already", text);
}

static void read_listens(struct sq_settings *s, struct sq_value *list)
{
	if (list && !list->first)
		sq_value_error(list, "listen: expected at least one address");
	s->listens = room_for(list, sizeof(s->listens[0]));
	for (struct sq_value *i = s->listens ? sq_first(list) : NULL; i; i = i->next) {
		struct sq_listen *l = &s->listens[s->n_listens++];
		struct sq_value *map = sq_as_map(i), *address = sq_get(map, "address");

		sq_require(map, "address");
		if (sq_read_string(address, &l->address))
			check_listen(s, s->n_listens - 1, address);
	}
}

/* ---- backends ---- */

static void check_url(struct sq_value *v, const char *text)
{
	CURLU *url = curl_url();
	char *scheme = NULL, *rest = NULL;
	CURLUcode err;

	if (!url) {
		sq_doc_no_memory(v->doc);
		return;
	}
	err = curl_url_set(url, CURLUPART_URL, text, 0);
	if (err == CURLUE_OK)
		err = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
	if (err != CURLUE_OK)
		sq_value_error(v, "url: expected http://HOST[:PORT][/PATH] or https://...: %s",
			       curl_url_strerror(err));
	else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		sq_value_error(v, "url: expected http:// or https://, not %.32s://", scheme);
	else if (curl_url_get(url, CURLUPART_QUERY, &rest, 0) != CURLUE_NO_QUERY ||
		 curl_url_get(url, CURLUPART_FRAGMENT, &rest, 0) != CURLUE_NO_FRAGMENT)
		sq_value_error(v, "url: expected no query and no fragment");
	curl_free(scheme);
	curl_free(rest);
	curl_url_cleanup(url);
}

/* A key that means nothing for the backend's type: it was meant for another backend. */
static void refuse_key(struct sq_value *map, const char *key, enum sq_backend_type type)
{
	struct sq_value *v = sq_get(map, key);

	if (v && !v->bad)
		sq_value_entry_error(v, "%s: only for backends of type %s", key,
				     sq_backend_type_names[type]);
}

static void check_backend_type(struct sq_value *map, enum sq_backend_type type)
{
	static const struct {
		const char *key;
		enum sq_backend_type type;
	} only[] = {
		{"functions", SQ_BACKEND_PROCESS},
		{"memory", SQ_BACKEND_PROCESS},
		{"cpus", SQ_BACKEND_PROCESS},
		{"url", SQ_BACKEND_OPENFAAS},
		{"connect-timeout", SQ_BACKEND_OPENFAAS},
		{"verify", SQ_BACKEND_OPENFAAS},
	};

	sq_require(map, type == SQ_BACKEND_PROCESS ? "functions" : "url");
	for (size_t i = 0; i < sizeof(only) / sizeof(only[0]); i++)
		if (only[i].type != type)
			refuse_key(map, only[i].key, only[i].type);
}

static void backend_defaults(struct sq_backend_conf *b)
{
	b->timeout_ns = 60 * SQ_S;
	b->connect_timeout_ns = 5 * SQ_S;
	b->verify = true;
}

static void read_backend(struct sq_backend_conf *b, struct sq_value *map)
{
	struct sq_value *url = sq_get(map, "url");
	int type;

	sq_require(map, "type");
	if (sq_read_enum(sq_get(map, "type"), sq_backend_type_names, &type)) {
		b->type = (enum sq_backend_type)type;
		check_backend_type(map, b->type);
	}
	if (sq_read_string(url, &b->url))
		check_url(url, b->url);
	sq_read_string(sq_get(map, "functions"), &b->functions);
	sq_read_count(sq_get(map, "seats"), 1, SEATS_MAX, &b->seats);
	sq_read_duration(sq_get(map, "timeout"), SQ_MS, DAY, &b->timeout_ns);
	sq_read_duration(sq_get(map, "connect-timeout"), SQ_MS, 3600 * SQ_S,
			 &b->connect_timeout_ns);
	sq_read_duration(sq_get(map, "settle"), 0, DAY, &b->settle_ns);
	sq_read_bytes(sq_get(map, "memory"), MEMORY_MIN, MEMORY_MAX, &b->memory_bytes);
	sq_read_decimal(sq_get(map, "cpus"), 0.01, 1024, &b->cpus);
	sq_read_bool(sq_get(map, "verify"), &b->verify);
}

static void make_folder_absolute(const struct sq_settings *s, struct sq_backend_conf *b,
				 struct sq_doc *d)
{
	char *path = b->functions ? sq_settings_path(s, b->functions) : NULL;

	if (b->functions && !path)
		sq_doc_no_memory(d);
	free(b->functions);
	b->functions = path;
}

static void read_backends(struct sq_settings *s, struct sq_value *map)
{
	s->backends = room_for(map, sizeof(s->backends[0]));
	for (struct sq_value *i = s->backends ? sq_first(map) : NULL; i; i = i->next) {
		struct sq_backend_conf *b = &s->backends[s->n_backends];

		if (!i->key->text || i->bad)
			continue;
		if (!sq_is_name(i->key->text)) {
			sq_value_error(i->key, "a backend's name has 1 to 64 letters, digits, "
					       "'.', '_', '-'");
			i->bad = true;
			continue;
		}
		s->n_backends++;
		backend_defaults(b);
		if (!set_text(&b->name, i->key->text))
			sq_doc_no_memory(map->doc);
		if (i->kind == SQ_VALUE_NULL)
			sq_value_entry_error(i, "type is missing");
		else
			read_backend(b, sq_as_map(i));
		make_folder_absolute(s, b, map->doc);
	}
}

/* ---- tenants ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void read_key(struct sq_value *v, uint8_t out[32])
{
	bool good = v && v->kind == SQ_VALUE_SCALAR && v->len == 64;

	if (!v || v->bad)
		return;
	for (size_t i = 0; good && i < 32; i++) {
		int high = hex_digit(v->text[2 * i]), low = hex_digit(v->text[2 * i + 1]);

		good = high >= 0 && low >= 0;
		if (good)
			out[i] = (uint8_t)(high << 4 | low);
	}
	if (!good)
		sq_value_error(v, "key-sha256: expected 64 hex digits, the SHA-256 of the key");
}

static void check_tenant(const struct sq_settings *s, size_t i, struct sq_value *map)
{
	const struct sq_tenant *this = &s->tenants[i];
	struct sq_value *name = sq_get(map, "name"), *key = sq_get(map, "key-sha256");

	if (this->name && strcmp(this->name, "anonymous") == 0)
		sq_value_error(name, "name: 'anonymous' is the tenant of all without a credential");
	for (size_t j = 0; j < i; j++) {
		const struct sq_tenant *other = &s->tenants[j];

		if (this->name && other->name && strcmp(this->name, other->name) == 0)
			sq_value_error(name, "name: there is a tenant '%s' already", this->name);
		if (key && !key->bad && memcmp(this->key_sha256, other->key_sha256, 32) == 0)
			sq_value_error(key, "key-sha256: tenant '%s' has this key already",
				       other->name ? other->name : "");
	}
}

static void read_tenants(struct sq_settings *s, struct sq_value *list)
{
	s->tenants = room_for(list, sizeof(s->tenants[0]));
	for (struct sq_value *i = s->tenants ? sq_first(list) : NULL; i; i = i->next) {
		struct sq_tenant *t = &s->tenants[s->n_tenants++];
		struct sq_value *map = sq_as_map(i);
		char *name = NULL;

		if (i->kind == SQ_VALUE_NULL)
			sq_value_error(i, "expected a tenant's name and key-sha256");
		sq_require(map, "name");
		sq_require(map, "key-sha256");
		sq_read_name(sq_get(map, "name"), &name);
		t->name = name;
		read_key(sq_get(map, "key-sha256"), t->key_sha256);
		if (map)
			check_tenant(s, s->n_tenants - 1, map);
	}
}

/* ---- routes ---- */

static void check_route_backend(const struct sq_settings *s, struct sq_value *v, const char *name)
{
	const char **names = calloc(s->n_backends + 1, sizeof(names[0])), *close;

	if (!names) {
		sq_doc_no_memory(v->doc);
		return;
	}
	for (size_t i = 0; i < s->n_backends; i++)
		names[i] = s->backends[i].name ? s->backends[i].name : "";
	close = sq_closest(name, names, s->n_backends);
	if (!close)
		sq_value_error(v, "backend: there is no backend '%.64s'", name);
	else if (strcmp(close, name) != 0)
		sq_value_error(v, "backend: there is no backend '%.64s'; did you mean '%s'?", name,
			       close);
	free(names);
}

static void read_route(const struct sq_settings *s, struct sq_route_conf *r, struct sq_value *map,
		       bool backends_known)
{
	struct sq_value *path = sq_get(map, "path"), *backend = sq_get(map, "backend");

	sq_require(map, "path");
	sq_require(map, "backend");
	if (sq_read_glob(path, &r->path) && r->path[0] != '/')
		sq_value_error(path, "path: expected a glob that begins with /");
	if (sq_read_name(backend, &r->backend) && backends_known)
		check_route_backend(s, backend, r->backend);
	sq_read_name(sq_get(map, "function"), &r->function);
	sq_read_bool(sq_get(map, "stream"), &r->stream);
	if (!r->function && r->path && !set_text(&r->function, r->path))
		sq_doc_no_memory(map->doc);
}

static void read_routes(struct sq_settings *s, struct sq_value *list, bool backends_known)
{
	s->routes = room_for(list, sizeof(s->routes[0]));
	for (struct sq_value *i = s->routes ? sq_first(list) : NULL; i; i = i->next) {
		if (i->kind == SQ_VALUE_NULL)
			sq_value_error(i, "expected a route's path and backend");
		read_route(s, &s->routes[s->n_routes++], sq_as_map(i), backends_known);
	}
}

/* ---- all of them ---- */

static void read_globs(const struct sq_settings *s, struct sq_value *v, char ***globs, size_t *n)
{
	/* None is the default, so it may be written, too. */
	if (!v || v->kind == SQ_VALUE_NULL || (v->kind == SQ_VALUE_LIST && !v->first))
		return;
	sq_read_list(v, sq_read_string, globs, n);
	for (size_t i = 0; i < *n; i++) {
		char *path = sq_settings_path(s, (*globs)[i]);

		if (!path)
			sq_doc_no_memory(v->doc);
		free((*globs)[i]);
		(*globs)[i] = path;
	}
}

static bool default_backend(struct sq_settings *s)
{
	struct sq_backend_conf *b;

	if (s->n_backends > 0)
		return true;
	free(s->backends);
	s->backends = b = calloc(1, sizeof(*b));
	if (!b)
		return false;
	s->n_backends = 1;
	b->type = SQ_BACKEND_PROCESS;
	backend_defaults(b);
	b->functions = sq_settings_path(s, "functions");
	return set_text(&b->name, "local") && b->functions;
}

static bool default_listen(struct sq_settings *s)
{
	if (s->n_listens > 0)
		return true;
	s->listens = calloc(1, sizeof(s->listens[0]));
	if (!s->listens)
		return false;
	s->n_listens = 1;
	return set_text(&s->listens[0].address, "127.0.0.1:8080");
}

bool sq_settings_default_lists(struct sq_settings *s)
{
	return default_listen(s) && default_backend(s);
}

void sq_settings_read_lists(struct sq_settings *s, struct sq_value *root)
{
	struct sq_value *backends = sq_get(root, "backends");

	read_listens(s, sq_as_list(sq_get(root, "listen")));
	read_backends(s, sq_as_map(backends));
	read_globs(s, sq_get(root, "policies"), &s->policy_globs, &s->n_policy_globs);
	read_tenants(s, sq_as_list(sq_get(root, "tenants")));
	/* Routes name backends, so the default one must be there by now. */
	if (!sq_settings_default_lists(s))
		sq_doc_no_memory(root->doc);
	read_routes(s, sq_as_list(sq_get(root, "routes")), !backends || !backends->bad);
}

static void free_texts(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void sq_settings_free_lists(struct sq_settings *s)
{
	for (size_t i = 0; i < s->n_listens; i++)
		free(s->listens[i].address);
	for (size_t i = 0; i < s->n_backends; i++) {
		free(s->backends[i].name);
		free(s->backends[i].url);
		free(s->backends[i].functions);
	}
	for (size_t i = 0; i < s->n_tenants; i++)
		free((char *)(uintptr_t)s->tenants[i].name);
	for (size_t i = 0; i < s->n_routes; i++) {
		free(s->routes[i].path);
		free(s->routes[i].backend);
		free(s->routes[i].function);
	}
	free(s->listens);
	free(s->backends);
	free(s->tenants);
	free(s->routes);
	free_texts(s->policy_globs, s->n_policy_globs);
}
