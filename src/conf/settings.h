/*
 * The settings file (sequoia.yaml), typed and complete: every key has a value. Plain data; strings
 * are owned by the settings. The keys, defaults, units and help texts stand in tables/settings.tbl.
 */
#ifndef SQ_CONF_SETTINGS_H
#define SQ_CONF_SETTINGS_H

#include "base/error.h"
#include "model/policy.h"
#include "model/tenant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sq_faults;

struct sq_listen {
	char *address; /* "127.0.0.1:8080", "[::1]:8080", "*:8080" */
};

enum sq_backend_type { SQ_BACKEND_PROCESS, SQ_BACKEND_OPENFAAS };

/* Defaults: timeout 60s, connect-timeout 5s, verify; the rest none. */
struct sq_backend_conf {
	char *name;
	enum sq_backend_type type;
	char *url;       /* openfaas: http://host:port[/base] */
	char *functions; /* process: folder of executables, absolute */
	int64_t seats;   /* cap of its own; 0: none beside the pool */
	int64_t timeout_ns; /* in flight at most so long; the platform's own */
	int64_t connect_timeout_ns;
	int64_t settle_ns;
	uint64_t memory_bytes; /* process: cgroup v2 memory.max per call; 0: none */
	double cpus;           /* process: cgroup v2 cpu.max; 0: none */
	bool verify;           /* https: check the certificate */
};

struct sq_route_conf {
	char *path;     /* glob on the whole path: "/api/" + "*" */
	char *backend;  /* the path is passed to it untouched */
	char *function; /* the name that policies and metrics see; default: the glob itself */
	bool stream;    /* back-pressure instead of spooling */
};

struct sq_settings {
	char *file; /* as given; "" when all is default */
	char *dir;  /* relative paths are relative to it; absolute */

	size_t n_listens;
	struct sq_listen *listens;
	size_t n_backends;
	struct sq_backend_conf *backends; /* in the file's order */
	size_t n_tenants;
	struct sq_tenant *tenants;
	size_t n_routes;
	struct sq_route_conf *routes;
	size_t n_policy_globs;
	char **policy_globs; /* absolute; none by default */

#define SQ_SETTING_STRING(field, path, def, help) char *field;
#define SQ_SETTING_PATH(field, path, def, help) char *field;
#define SQ_SETTING_COUNT(field, path, def, min, max, help) int64_t field;
#define SQ_SETTING_BYTES(field, path, def, min, max, help) uint64_t field;
#define SQ_SETTING_DURATION(field, path, def, min, max, help) int64_t field; /* ns */
#define SQ_SETTING_BOOL(field, path, def, help) bool field;
#include "tables/settings.tbl"
#include "tables/settings.undef"

	struct sq_origins *origins; /* of conf: where each key stands */
};

/*
 * Reads a file (NULL: all defaults). Returns the settings, the caller frees with sq_settings_free,
 * or NULL after telling `faults` (conf/report.h) of every fault found, in one pass, as
 * `file:line:col: error: ...` with the line and a caret.
 */
struct sq_settings *sq_settings_read(const char *file, struct sq_faults *faults);
/* The same, and looks at what the settings name: folders of functions, the socket's path. */
struct sq_settings *sq_settings_check(const char *file, struct sq_faults *faults);
void sq_settings_free(struct sq_settings *s); /* NULL is fine */

/*
 * Reads the policy files that the settings name: glob by glob, the files of one in the order of
 * their names. NULL after telling the faults. Warnings are told too, and are no faults.
 */
struct sq_policy_set *sq_policies_read(const struct sq_settings *s, struct sq_faults *faults);

/*
 * Every effective value with where it came from: one row per key, for `sequoiad -T` and
 * `sequoiactl settings`. Secrets are shown as "(set)".
 */
struct sq_setting_row {
	char *key, *value, *origin; /* origin: "default" or "file:line" */
};
size_t sq_settings_rows(const struct sq_settings *s, struct sq_setting_row **rows);
void sq_settings_rows_free(struct sq_setting_row *rows, size_t n);

#endif
