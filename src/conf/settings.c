#define _GNU_SOURCE 1 /* asprintf */

#include "conf/settings.h"

#include "base/log.h"
#include "base/units.h"
#include "conf/settings_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define ROW(field, key, kind, def, min, max)                                                       \
	{key, SQ_SCALAR_##kind, offsetof(struct sq_settings, field), def, min, max},

const struct sq_scalar sq_scalars[] = {
#define SQ_SETTING_STRING(field, key, def, help) ROW(field, key, STRING, def, NULL, NULL)
#define SQ_SETTING_PATH(field, key, def, help) ROW(field, key, PATH, def, NULL, NULL)
#define SQ_SETTING_COUNT(field, key, def, min, max, help)                                          \
	ROW(field, key, COUNT, TEXT(def), TEXT(min), TEXT(max))
#define SQ_SETTING_BYTES(field, key, def, min, max, help) ROW(field, key, BYTES, def, min, max)
#define SQ_SETTING_DURATION(field, key, def, min, max, help)                                       \
	ROW(field, key, DURATION, def, min, max)
#define SQ_SETTING_BOOL(field, key, def, help) ROW(field, key, BOOL, #def, NULL, NULL)
#include "tables/settings.tbl"
#include "tables/settings.undef"
};
const size_t sq_n_scalars = sizeof(sq_scalars) / sizeof(sq_scalars[0]);

/* The table is ours, so what cannot be read in it is a bug. */
static int64_t count_of(const char *text)
{
	return strtoll(text, NULL, 10);
}

static uint64_t bytes_of(const char *text)
{
	uint64_t bytes = 0;
	int err = sq_units_bytes(text, &bytes);

	assert(err == 0);
	return bytes;
}

static int64_t duration_of(const char *text)
{
	int64_t ns = 0;
	int err = sq_units_duration(text, &ns);

	assert(err == 0);
	return ns;
}

char *sq_settings_path(const struct sq_settings *s, const char *path)
{
	char *joined = NULL;

	if (path[0] == '/')
		return strdup(path);
	while (path[0] == '.' && path[1] == '/')
		path += 2;
	if (asprintf(&joined, "%s/%s", strcmp(s->dir, "/") == 0 ? "" : s->dir, path) < 0)
		return NULL;
	return joined;
}

/* ---- scalars ---- */

static bool set_default(struct sq_settings *s, const struct sq_scalar *r)
{
	void *field = (char *)s + r->offset;

	switch (r->kind) {
	case SQ_SCALAR_STRING:
	case SQ_SCALAR_PATH:
		*(char **)field = strdup(r->def);
		return *(char **)field != NULL;
	case SQ_SCALAR_COUNT:
		*(int64_t *)field = count_of(r->def);
		break;
	case SQ_SCALAR_BYTES:
		*(uint64_t *)field = bytes_of(r->def);
		break;
	case SQ_SCALAR_DURATION:
		*(int64_t *)field = duration_of(r->def);
		break;
	case SQ_SCALAR_BOOL:
		*(bool *)field = strcmp(r->def, "true") == 0;
		break;
	}
	return true;
}

static void read_scalar(struct sq_settings *s, const struct sq_scalar *r, struct sq_value *v)
{
	void *field = (char *)s + r->offset;

	switch (r->kind) {
	case SQ_SCALAR_STRING:
	case SQ_SCALAR_PATH:
		sq_read_string(v, field);
		break;
	case SQ_SCALAR_COUNT:
		sq_read_count(v, count_of(r->min), count_of(r->max), field);
		break;
	case SQ_SCALAR_BYTES:
		sq_read_bytes(v, bytes_of(r->min), bytes_of(r->max), field);
		break;
	case SQ_SCALAR_DURATION:
		sq_read_duration(v, duration_of(r->min), duration_of(r->max), field);
		break;
	case SQ_SCALAR_BOOL:
		sq_read_bool(v, field);
		break;
	}
}

static struct sq_value *find_scalar(struct sq_value *root, const char *key)
{
	const char *dot = strchr(key, '.');
	char section[32];

	if (!dot)
		return sq_get(root, key);
	snprintf(section, sizeof(section), "%.*s", (int)(dot - key), key);
	return sq_get(sq_as_map(sq_get(root, section)), dot + 1);
}

/* What the table cannot say of its rows. */
static void check_scalars(const struct sq_settings *s, struct sq_value *root)
{
	struct sq_value *level = find_scalar(root, "log.level");
	enum sq_log_level ignored;

	if (level && !sq_log_level_parse(s->log_level, &ignored))
		sq_value_error(level, "level: expected error, warn, info or debug");
}

/* Keys of the final syntax that are not built yet. */
static void refuse_unbuilt(struct sq_value *root)
{
	sq_refuse(root, "chains");
	sq_refuse(sq_as_map(sq_get(root, "admin")), "metrics");
	sq_refuse(sq_as_map(sq_get(root, "metrics")), "windows");
}

/* ---- what the settings name, for sq_settings_check ---- */

struct places {
	struct sq_settings *s;
	struct sq_value *root; /* NULL: no file */
	struct sq_faults *faults;
};

/* v: where it stands; NULL: nowhere, it is the default. */
__attribute__((format(printf, 3, 4))) static void fault_at(const struct places *p,
							   struct sq_value *v, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (v)
		sq_value_error(v, "%s", text);
	else
		sq_faults_add(p->faults, p->s->file[0] ? p->s->file : "settings", "%s", text);
}

static void check_functions(const struct places *p, const struct sq_backend_conf *b)
{
	struct sq_value *backends = sq_as_map(sq_get(p->root, "backends"));
	struct sq_value *v = sq_get(sq_as_map(sq_get(backends, b->name)), "functions");
	struct stat st;

	if (stat(b->functions, &st) < 0)
		fault_at(p, v, "functions: %s: %s", b->functions, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		fault_at(p, v, "functions: %s: %s", b->functions, strerror(ENOTDIR));
}

static void check_socket(const struct places *p)
{
	const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	char *path = sq_settings_path(p->s, p->s->admin_socket);

	if (path && strlen(path) > most)
		fault_at(p, p->root ? find_scalar(p->root, "admin.socket") : NULL,
			 "socket: %s: too long for a socket: %zu bytes, %zu at most", path,
			 strlen(path), most);
	free(path);
}

static void check_places(const struct places *p)
{
	for (size_t i = 0; i < p->s->n_backends; i++) {
		const struct sq_backend_conf *b = &p->s->backends[i];

		if (b->type == SQ_BACKEND_PROCESS && b->name && b->functions)
			check_functions(p, b);
	}
	check_socket(p);
}

/* ---- the file ---- */

static void read_root(struct sq_settings *s, struct sq_value *root)
{
	struct sq_value *v = sq_get(root, "version");
	int64_t version;

	sq_require(root, "version");
	if (sq_read_count(v, 1, INT32_MAX, &version) && version != 1)
		sq_value_error(v, "version: only version 1 is known");
	for (size_t i = 0; i < sq_n_scalars; i++)
		read_scalar(s, &sq_scalars[i], find_scalar(root, sq_scalars[i].key));
	check_scalars(s, root);
	refuse_unbuilt(root);
	sq_settings_read_lists(s, root);
}

static bool read_file(struct sq_settings *s, struct sq_faults *faults, bool places)
{
	struct sq_doc *d = sq_doc_open(s->file, s->file, faults);
	struct sq_value *root, *v;

	if (!d)
		return false;
	v = sq_doc_first(d);
	root = sq_as_map(v);
	if (root)
		read_root(s, root);
	else if (!v || v->kind == SQ_VALUE_NULL)
		sq_faults_add(faults, s->file, "the file is empty; it needs at least `version: 1`");
	if (v && v->next)
		sq_value_entry_error(v->next, "the settings are one document, not several");
	if (root && places)
		check_places(&(struct places){s, root, faults});
	if (root && !sq_origins_collect(s->origins, root))
		sq_doc_no_memory(d);
	return sq_doc_close(d) && root;
}

/* The folder of the file, absolute; of no file, the present one. */
static char *folder_of(const char *file)
{
	char *copy = strdup(file), *slash, *dir;

	if (!copy)
		return NULL;
	slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy] = '\0';
	dir = realpath(slash ? copy : ".", NULL);
	free(copy);
	return dir;
}

static struct sq_settings *settings_new(const char *file)
{
	struct sq_settings *s = calloc(1, sizeof(*s));
	bool good = s != NULL;

	if (!s)
		return NULL;
	s->file = strdup(file);
	s->origins = calloc(1, sizeof(*s->origins));
	for (size_t i = 0; i < sq_n_scalars; i++)
		good = set_default(s, &sq_scalars[i]) && good;
	if (good && s->file && s->origins)
		return s;
	sq_settings_free(s);
	return NULL;
}

static bool make_absolute(struct sq_settings *s)
{
	for (size_t i = 0; i < sq_n_scalars; i++) {
		char **field = (char **)((char *)s + sq_scalars[i].offset), *path;

		if (sq_scalars[i].kind != SQ_SCALAR_PATH)
			continue;
		path = sq_settings_path(s, *field);
		if (!path)
			return false;
		free(*field);
		*field = path;
	}
	return true;
}

static struct sq_settings *read_all(const char *file, struct sq_faults *faults, bool places)
{
	const char *name = file ? file : "";
	struct sq_settings *s = settings_new(name);
	size_t before = faults->errors;

	if (!s) {
		sq_faults_add(faults, file ? file : "settings", "out of memory");
		return NULL;
	}
	s->dir = folder_of(name);
	if (!s->dir)
		sq_faults_add(faults, file ? file : "settings", "its folder: %m");
	else if ((!file || read_file(s, faults, places)) &&
		 (!sq_settings_default_lists(s) || !make_absolute(s)))
		sq_faults_add(faults, file ? file : "settings", "out of memory");
	else if (!file && places)
		check_places(&(struct places){s, NULL, faults});
	if (faults->errors == before)
		return s;
	sq_settings_free(s);
	return NULL;
}

struct sq_settings *sq_settings_read(const char *file, struct sq_faults *faults)
{
	return read_all(file, faults, false);
}

struct sq_settings *sq_settings_check(const char *file, struct sq_faults *faults)
{
	return read_all(file, faults, true);
}

void sq_settings_free(struct sq_settings *s)
{
	if (!s)
		return;
	sq_settings_free_lists(s);
	for (size_t i = 0; i < sq_n_scalars; i++)
		if (sq_scalars[i].kind == SQ_SCALAR_STRING || sq_scalars[i].kind == SQ_SCALAR_PATH)
			free(*(char **)((char *)s + sq_scalars[i].offset));
	sq_origins_free(s->origins);
	free(s->origins);
	free(s->file);
	free(s->dir);
	free(s);
}
