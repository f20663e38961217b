/*
 * sequoiad: order of birth and death, signals.
 *
 *	settings -> blobs -> metrics -> engine -> pool (homes, fronts: it listens) -> admin -> ready
 *
 * The main thread then waits for signals: TERM and INT drain and stop (a second one stops at once),
 * HUP reloads.
 */
#include "admin/admin.h"
#include "base/blob.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "conf/report.h"
#include "conf/settings.h"
#include "daemon/worker_thread.h"
#include "engine/engine.h"
#include "engine/view.h"
#include "worker/worker.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define EX_CONFIG 78
#define ABORT_GRACE (5 * SQ_S)

static const struct sq_backend_ops *const backend_kinds[] = {
	[SQ_BACKEND_PROCESS] = &sq_backend_process,
	[SQ_BACKEND_OPENFAAS] = &sq_backend_openfaas,
};

struct daemon {
	const char *file;
	const struct sq_settings *settings; /* the engine's, from its birth */
	int state_lock;
	char *metrics_path;
	struct sq_blob_store *blobs;
	struct sq_metrics *metrics;
	struct sq_engine *engine;
	struct sq_pool *pool;
	struct sq_admin *admin;
};

/* ---- systemd, where there is one ---- */

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#else
	(void)state;
#endif
}

static size_t given_sockets(int *fds, size_t cap)
{
#ifdef HAVE_SYSTEMD
	int n = sd_listen_fds(1);

	for (int i = 0; i < n && (size_t)i < cap; i++)
		fds[i] = SD_LISTEN_FDS_START + i;
	return n > 0 ? (size_t)n : 0;
#else
	(void)fds;
	(void)cap;
	return 0;
#endif
}

/* ---- birth ---- */

static void raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int make_folder(const char *path, struct sq_error *e)
{
	char *p = strdup(path);
	int err = p ? 0 : -ENOMEM;

	for (char *s = p ? p + 1 : NULL; s && *s && err == 0; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (mkdir(p, 0750) < 0 && errno != EEXIST)
			err = -errno;
		*s = '/';
	}
	if (err == 0 && mkdir(path, 0750) < 0 && errno != EEXIST)
		err = -errno;
	free(p);
	return err ? sq_error_set(e, -err, "state %s: %s", path, strerror(-err)) : 0;
}

/* Two daemons would write one metrics.db. The lock is held for life and ends with it, however. */
static int lock_state(struct daemon *d, struct sq_error *e)
{
	const char *folder = d->settings->state;
	char *path = NULL;
	int err = 0;

	if (asprintf(&path, "%s/lock", folder) < 0)
		return sq_error_set(e, ENOMEM, "out of memory");
	d->state_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (d->state_lock < 0 || flock(d->state_lock, LOCK_EX | LOCK_NB) < 0)
		err = errno;
	free(path);
	if (err == EWOULDBLOCK)
		return sq_error_set(
			e, err, "state %s: another daemon uses it; stop it, or set state", folder);
	return err ? sq_error_set(e, err, "state %s: lock: %s", folder, strerror(err)) : 0;
}

static int open_stores(struct daemon *d, struct sq_error *e)
{
	const struct sq_settings *s = d->settings;

	if (make_folder(s->state, e) < 0 || lock_state(d, e) < 0)
		return -1;
	if (asprintf(&d->metrics_path, "%s/metrics.db", s->state) < 0)
		return sq_error_set(e, ENOMEM, "out of memory");
	d->blobs = sq_blob_store_new(s->state, s->limit_memory);
	return d->blobs ? 0 : sq_error_set(e, ENOMEM, "out of memory");
}

static size_t sample(void *arg, struct sq_metric_gauge *rows, size_t cap)
{
	struct daemon *d = arg;
	struct sq_engine *en = __atomic_load_n(&d->engine, __ATOMIC_ACQUIRE);

	return en ? sq_engine_sample(en, rows, cap) : 0;
}

static int open_metrics(struct daemon *d, unsigned threads, struct sq_error *e)
{
	const struct sq_settings *s = d->settings;
	size_t folder = strlen(s->state) + 1;
	struct sq_error why = {.text = ""};

	d->metrics = sq_metrics_start(&(struct sq_metrics_conf){.enabled = s->metrics_enabled,
								.path = d->metrics_path,
								.raw_ns = s->metrics_raw,
								.bytes = s->metrics_bytes,
								.loops = threads,
								.instance = (uint16_t)s->instance,
								.sample = sample,
								.sample_arg = d},
				      &why);
	if (d->metrics)
		return 0;
	/* The setting is named, and the file as it is called in that folder. */
	if (strncmp(why.text, d->metrics_path, folder) != 0)
		return sq_error_set(e, EIO, "%s", why.text);
	return sq_error_set(e, EIO, "state %s: %s", s->state, why.text + folder);
}

static unsigned thread_count(const struct sq_settings *s)
{
	long n = s->threads > 0 ? s->threads : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 128 ? 128 : (unsigned)n;
}

static int open_engine(struct daemon *d, struct sq_settings *s, struct sq_policy_set *policies,
		       unsigned threads, struct sq_error *e)
{
	struct sq_engine *en = sq_engine_new(&(struct sq_engine_conf){.settings = s,
								      .policies = policies,
								      .metrics = d->metrics,
								      .blobs = d->blobs,
								      .kinds = backend_kinds,
								      .loops = threads},
					     e);

	__atomic_store_n(&d->engine, en, __ATOMIC_RELEASE);
	return en ? 0 : -1;
}

static int open_pool(struct daemon *d, unsigned threads, struct sq_error *e)
{
	int fds[16];
	struct sq_pool_conf conf = {.engine = d->engine,
				    .settings = d->settings,
				    .threads = threads,
				    .given_fds = fds,
				    .n_given = given_sockets(fds, 16)};

	d->pool = sq_pool_start(&conf, e);
	return d->pool ? 0 : -1;
}

/* Takes settings and policies, whatever comes of it. */
static int birth(struct daemon *d, struct sq_settings *s, struct sq_policy_set *policies,
		 struct sq_error *e)
{
	unsigned threads = thread_count(s);

	d->settings = s;
	if (open_stores(d, e) < 0 || open_metrics(d, threads, e) < 0) {
		sq_settings_free(s);
		sq_policy_set_free(policies);
		return -1;
	}
	if (open_engine(d, s, policies, threads, e) < 0 || open_pool(d, threads, e) < 0)
		return -1;
	d->admin = sq_admin_start(d->engine, d->settings, d->metrics, e);
	if (!d->admin)
		return -1;
	sq_log(SQ_LOG_INFO, "ready",
	       "listen=%s seats=%lld threads=%u backends=%zu policies=%zu pid=%d",
	       s->listens[0].address, (long long)s->seats, threads, s->n_backends, policies->n,
	       (int)getpid());
	notify("READY=1");
	return 0;
}

/* ---- death ---- */

static void death(struct daemon *d)
{
	struct sq_engine *en = d->engine;

	sq_admin_stop(d->admin);
	sq_pool_stop(d->pool);
	/* The metric thread samples the engine: it goes first. */
	sq_metrics_stop(d->metrics);
	sq_engine_free(en);
	sq_blob_store_free(d->blobs);
	free(d->metrics_path);
	if (d->state_lock >= 0)
		close(d->state_lock);
}

/* Waits for a signal of the set for at most ns; 0: none came. */
static int wait_signal(const sigset_t *set, int64_t ns)
{
	struct timespec t = {ns / SQ_S, ns % SQ_S};
	int sig = sigtimedwait(set, NULL, &t);

	return sig > 0 ? sig : 0;
}

static bool all_quiet(const struct daemon *d)
{
	return sq_engine_live(d->engine) == 0 && sq_pool_idle(d->pool);
}

/* Until nothing is left to do, the time is over, or somebody insists. */
static void drain(struct daemon *d, const sigset_t *set)
{
	int64_t until = sq_time_add(sq_clock_ns(), sq_engine_limit_stop(d->engine));
	int sig = 0;

	notify("STOPPING=1");
	sq_log(SQ_LOG_INFO, "draining", "runs=%zu", sq_engine_live(d->engine));
	sq_engine_drain(d->engine);
	sq_pool_stop_listening(d->pool);
	while (sig != SIGTERM && sig != SIGINT && !all_quiet(d) && sq_clock_ns() < until)
		sig = wait_signal(set, 10 * SQ_MS);
	if (!all_quiet(d))
		sq_log(SQ_LOG_WARN, "drain-cut", "runs=%zu", sq_engine_live(d->engine));
	/* Also when all is quiet: from here on an open connection starts nothing any more. */
	sq_engine_stop(d->engine);
	until = sq_clock_ns() + ABORT_GRACE;
	while (!all_quiet(d) && sq_clock_ns() < until)
		wait_signal(set, 10 * SQ_MS);
	/* A client that is still reading is cut by the front; a function that will not end, by this. */
	if (sq_engine_live(d->engine) == 0)
		return;
	sq_log(SQ_LOG_ERROR, "stop-forced", "runs=%zu", sq_engine_live(d->engine));
	_exit(EXIT_FAILURE);
}

/* ---- reload ---- */

/* What is opened or made once, at the start: keys, or how keys begin. */
static bool is_of_the_start(const char *key)
{
	static const char *const keys[] = {"listen[",  "backends.",     "workers.threads",
					   "state",    "admin.",        "instance",
					   "metrics.", "limits.headers"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t len = strlen(keys[i]);
		bool begins = strncmp(key, keys[i], len) == 0;

		if (begins && (key[len] == '\0' || strchr(".[", keys[i][len - 1])))
			return true;
	}
	return false;
}

static const struct sq_setting_row *find_row(const struct sq_setting_row *rows, size_t n,
					     const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(rows[i].key, key) == 0)
			return &rows[i];
	return NULL;
}

/* One of them may be NULL: the key is not there. */
static void tell_restart(const struct sq_setting_row *now, const struct sq_setting_row *file)
{
	char key[200], old[600], new[600];

	sq_log(SQ_LOG_WARN, "needs-restart", "key=%s in_force=%s file=%s",
	       sq_log_quote(key, sizeof(key), now ? now->key : file->key),
	       sq_log_quote(old, sizeof(old), now ? now->value : "none"),
	       sq_log_quote(new, sizeof(new), file ? file->value : "none"));
}

/* A line for each setting that a reload does not change and that differs from the one in force. */
static void warn_of_restart(const struct sq_settings *boot, const struct sq_settings *s)
{
	struct sq_setting_row *old, *new;
	size_t n_old = sq_settings_rows(boot, &old), n_new = sq_settings_rows(s, &new);

	for (size_t i = 0; i < n_old; i++) {
		const struct sq_setting_row *r = find_row(new, n_new, old[i].key);

		if (is_of_the_start(old[i].key) && (!r || strcmp(r->value, old[i].value) != 0))
			tell_restart(&old[i], r);
	}
	for (size_t i = 0; i < n_new; i++)
		if (is_of_the_start(new[i].key) && !find_row(old, n_old, new[i].key))
			tell_restart(NULL, &new[i]);
	sq_settings_rows_free(old, n_old);
	sq_settings_rows_free(new, n_new);
}

static void reload(struct daemon *d)
{
	struct sq_faults faults = {.out = stderr};
	struct sq_settings *s = sq_settings_read(d->file, &faults);
	struct sq_policy_set *p = s ? sq_policies_read(s, &faults) : NULL;
	enum sq_log_level level;
	size_t n;

	if (!p) {
		sq_settings_free(s);
		sq_log(SQ_LOG_ERROR, "reload-refused",
		       "kept=old reason=\"%zu fault%s, printed above\"", faults.errors,
		       faults.errors == 1 ? "" : "s");
		return;
	}
	warn_of_restart(d->settings, s);
	if (sq_log_level_parse(s->log_level, &level))
		sq_log_set_level(level);
	n = p->n;
	notify("RELOADING=1");
	if (sq_engine_reload(d->engine, s, p) < 0)
		sq_log(SQ_LOG_ERROR, "reload-refused", "kept=old reason=\"out of memory\"");
	else
		sq_log(SQ_LOG_INFO, "reloaded", "policies=%zu", n);
	notify("READY=1");
}

/* ---- signals ---- */

static void serve(struct daemon *d, const sigset_t *set)
{
	int sig;

	for (;;) {
		sig = sigwaitinfo(set, NULL);
		if (sig == SIGHUP)
			reload(d);
		else if (sig == SIGTERM || sig == SIGINT)
			break;
	}
	drain(d, set);
}

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- the command line ---- */

static void usage(FILE *f)
{
	fputs("Usage: sequoiad [-c FILE] [-t | -T]\n"
	      "  -c FILE        settings; default " SQ_SYSCONFDIR
	      "/sequoia/sequoia.yaml if it exists\n"
	      "  -t             check settings and policies, then exit (78: a fault was found)\n"
	      "  -T             print every effective value with its origin, then exit\n"
	      "  -V, --version  print the version\n"
	      "  -h, --help     print this help\n"
	      "Signals: TERM drains and stops, HUP reads settings and policies again.\n",
	      f);
}

static void print_settings(const struct sq_settings *s)
{
	struct sq_setting_row *rows;
	size_t n = sq_settings_rows(s, &rows);

	for (size_t i = 0; i < n; i++)
		printf("%-32s %-40s # %s\n", rows[i].key, rows[i].value, rows[i].origin);
	sq_settings_rows_free(rows, n);
}

static int run(const char *file)
{
	struct sq_faults faults = {.out = stderr};
	struct sq_settings *s = sq_settings_read(file, &faults);
	struct sq_policy_set *p = s ? sq_policies_read(s, &faults) : NULL;
	struct daemon d = {.file = file, .state_lock = -1};
	struct sq_error e = {.text = ""};
	enum sq_log_level level;
	sigset_t set;
	int err;

	if (!p) {
		sq_settings_free(s);
		return EX_CONFIG;
	}
	if (sq_log_level_parse(s->log_level, &level))
		sq_log_set_level(level);
	sq_rcu_register_thread();
	raise_descriptor_limit();
	umask(027); /* metrics.db and what is in it are not everybody's business */
	block_signals(&set);
	err = birth(&d, s, p, &e);
	if (err)
		sq_log(SQ_LOG_ERROR, "start-failed", "error=\"%s\"", e.text);
	else
		serve(&d, &set);
	death(&d);
	sq_rcu_unregister_thread();
	if (!err)
		sq_log(SQ_LOG_INFO, "stopped", "pid=%d", (int)getpid());
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int check(const char *file, bool print)
{
	struct sq_faults faults = {.out = stderr};
	struct sq_settings *s =
		print ? sq_settings_read(file, &faults) : sq_settings_check(file, &faults);
	struct sq_policy_set *p = s ? sq_policies_read(s, &faults) : NULL;

	if (p && print)
		print_settings(s);
	else if (p)
		printf("%s: ok, %zu policies\n", file ? file : "defaults", p->n);
	sq_policy_set_free(p);
	sq_settings_free(s);
	return p ? EXIT_SUCCESS : EX_CONFIG;
}

int main(int argc, char **argv)
{
	static const char default_file[] = SQ_SYSCONFDIR "/sequoia/sequoia.yaml";
	const char *file = access(default_file, F_OK) == 0 ? default_file : NULL;
	static const struct option words[] = {{"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {0}};
	int mode = 'r', c;

	while ((c = getopt_long(argc, argv, "c:tTVh", words, NULL)) != -1) {
		switch (c) {
		case 'c':
			file = optarg;
			break;
		case 't':
		case 'T':
			mode = c;
			break;
		case 'V':
			puts(PACKAGE_STRING);
			return EXIT_SUCCESS;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return 64; /* EX_USAGE */
		}
	}
	if (optind < argc) {
		fprintf(stderr, "sequoiad: %s: no argument is expected here\n", argv[optind]);
		usage(stderr);
		return 64;
	}
	return mode == 'r' ? run(file) : check(file, mode == 'T');
}
