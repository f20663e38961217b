/* load: options, the clock of the run, the report. What it does is told by --help. */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#define EVENTS 512
#define RAMP_CONNS 64 /* new connections per round of the loop, so that no backlog overflows */

static const char *const error_names[ERR_COUNT] = {
	"connect", "reset", "closed", "stale", "truncated", "garbled", "mismatch", "timeout",
};

static const char help[] =
	"usage: load [-H HEADER]... -u URL [-H HEADER]... [-u URL ...] [-c CONNS] [-n TOTAL]\n"
	"            [-d SECONDS] [-r RATE] [-m METHOD] [-b BYTES] [-C] [-K] [-w MS] [-v] [-s]\n"
	"            [-o FILE] [-j]\n"
	"A strict HTTP/1.1 load client: one thread, keep-alive, at most one call per connection.\n"
	"  -u URL     http://HOST:PORT/PATH; repeat for round robin (all on one address)\n"
	"  -H 'N: v'  a header: before the first -u for all, after a -u for that one\n"
	"             In path, query and headers: {i} is the number of the call from 0, {i%N} "
	"that\n"
	"             modulo N, {a|b|c} one of the words in turn\n"
	"  -c CONNS   connections (default 1)\n"
	"  -n TOTAL   calls (default: 1, or no limit with -d)\n"
	"  -d SECONDS start no call after this long; those in flight are waited for\n"
	"  -r RATE    open loop: calls per second at constant intervals; latency counts from the\n"
	"             intended start, also while all connections are busy\n"
	"  -m METHOD  default GET, with -b POST\n"
	"  -b BYTES   request body: a..z repeated;  -C sends it chunked\n"
	"  -K         a new connection for each call (its price is then in the latency)\n"
	"  -w MS      hang up on a call after MS (default 60000; counted as `timeout`)\n"
	"  -v         each answer body must be a..z repeated (mockfaas size= or echo=1)\n"
	"  -s         anything but 2xx fails the run as well\n"
	"  -o FILE    CSV of the calls: call,url,status,start_us,latency_us,body_bytes; in order\n"
	"             of their ends; status 0 and an error's name instead of the bytes if it "
	"failed\n"
	"  -j         report as JSON: calls ok seconds rate bytes connects unstarted status{}\n"
	"             errors{} latency_us{mean p50 p90 p99 p99_9 max} urls[{url ok status{} "
	"errors{}\n"
	"             latency_us{}}]; latencies are of well-formed answers, buckets within 0.8 %\n"
	"Errors: connect; reset (RST before or within an answer); closed (no answer); stale (a "
	"kept\n"
	"connection ended before any answer byte); truncated; garbled (not exactly HTTP/1.1, or\n"
	"bytes nobody asked for); mismatch (-v); timeout. A failed call is not repeated.\n"
	"Exit: 0 every call had a well-formed answer, 1 not, 64 usage.\n";

uint64_t load_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t due_ns(const struct load *l)
{
	return l->begin_ns + (uint64_t)((double)l->started * 1e9 / l->rate);
}

bool load_next(struct load *l, uint64_t *start_ns)
{
	uint64_t now = load_now_ns();

	*start_ns = l->rate > 0 ? due_ns(l) : now;
	return l->started < l->total && now < l->end_ns && *start_ns <= now;
}

static void tally(struct load_tally *t, const struct conn *c, int error, uint64_t ns)
{
	if (error >= 0) {
		t->error[error]++;
		return;
	}
	t->answered++;
	t->status[c->answer.status]++;
	load_hist_add(&t->hist, ns);
}

void load_finished(struct load *l, const struct conn *c, int error)
{
	uint64_t now = load_now_ns(), ns = now - c->start_ns;

	l->finished++;
	l->last_ns = now;
	tally(&l->all, c, error, ns);
	tally(&l->by_url[c->url], c, error, ns);
	if (!l->log)
		return;
	fprintf(l->log, "%lu,%u,%u,%.1f,%.1f,", c->call, c->url, error < 0 ? c->answer.status : 0,
		(double)(c->start_ns - l->begin_ns) / 1000, (double)ns / 1000);
	if (error < 0)
		fprintf(l->log, "%lu\n", c->answer.body_bytes);
	else
		fprintf(l->log, "%s\n", error_names[error]);
}

static bool over(const struct load *l)
{
	return l->finished == l->started && (l->started == l->total || load_now_ns() >= l->end_ns);
}

/* Until the next thing that no descriptor announces; 10 ms covers timeouts and rests. */
static struct timespec pause_of(const struct load *l)
{
	uint64_t ns = l->conns < l->conns_wanted ? 1000000 : 10000000, now = load_now_ns(), due;

	if (l->rate > 0 && !TAILQ_EMPTY(&l->idle) && l->started < l->total) {
		due = due_ns(l);
		ns = due <= now ? 0 : due - now < ns ? due - now : ns;
	}
	return (struct timespec){0, (long)ns};
}

static void run(struct load *l)
{
	struct epoll_event e[EVENTS];

	while (!over(l)) {
		for (int i = 0; i < RAMP_CONNS && l->conns < l->conns_wanted; i++)
			conn_add(l);
		conn_feed(l);
		struct timespec t = pause_of(l);
		int n = epoll_pwait2(l->epoll_fd, e, EVENTS, &t, NULL);

		for (int i = 0; i < n; i++)
			conn_event(l, e[i].data.ptr, e[i].events);
		if (n < EVENTS / 2)
			conn_times(l, load_now_ns());
	}
}

static uint64_t count_ok(const struct load_tally *t)
{
	uint64_t n = 0;

	for (int i = 200; i < 300; i++)
		n += t->status[i];
	return n;
}

static void put_json(const struct load_tally *t)
{
	const struct load_hist *h = &t->hist;
	const char *comma = "";

	printf("\"ok\": %lu, \"status\": {", count_ok(t));
	for (int i = 0; i < 1000; i++)
		if (t->status[i]) {
			printf("%s\"%d\": %lu", comma, i, t->status[i]);
			comma = ", ";
		}
	printf("}, \"errors\": {");
	for (int i = 0; i < ERR_COUNT; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", error_names[i], t->error[i]);
	printf("},\n \"latency_us\": {\"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, ",
	       h->count ? (double)h->sum / (double)h->count / 1000 : 0.0, load_hist_us(h, 0.5),
	       load_hist_us(h, 0.9));
	printf("\"p99\": %.1f, \"p99_9\": %.1f, \"max\": %.1f}", load_hist_us(h, 0.99),
	       load_hist_us(h, 0.999), (double)h->max / 1000);
}

static void report_json(const struct load *l, double seconds)
{
	printf("{\"calls\": %lu, \"seconds\": %.6f, \"rate\": %.1f, \"bytes\": %lu, ", l->finished,
	       seconds, (double)l->finished / seconds, l->bytes);
	printf("\"connects\": %lu, \"unstarted\": %lu,\n ", l->connects, l->late);
	put_json(&l->all);
	printf(",\n \"urls\": [");
	for (unsigned i = 0; i < l->urls; i++) {
		printf("%s{\"url\": \"%s\", ", i ? ",\n  " : "", load_url_text(l->url[i]));
		put_json(&l->by_url[i]);
		printf("}");
	}
	printf("]}\n");
}

static void put_text(const struct load_tally *t)
{
	const struct load_hist *h = &t->hist;

	for (int i = 0; i < 1000; i++)
		if (t->status[i])
			printf("status %d: %lu\n", i, t->status[i]);
	for (int i = 0; i < ERR_COUNT; i++)
		if (t->error[i])
			printf("error %s: %lu\n", error_names[i], t->error[i]);
	printf("latency us: p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
	       load_hist_us(h, 0.5), load_hist_us(h, 0.9), load_hist_us(h, 0.99),
	       load_hist_us(h, 0.999), (double)h->max / 1000);
}

static void report_text(const struct load *l, double seconds)
{
	printf("%lu calls in %.3f s: %.1f/s, %lu connects, %lu bytes\n", l->finished, seconds,
	       (double)l->finished / seconds, l->connects, l->bytes);
	if (l->late)
		printf("%lu calls were due and never started\n", l->late);
	put_text(&l->all);
	for (unsigned i = 0; i < l->urls && l->urls > 1; i++) {
		printf("\n%s\n", load_url_text(l->url[i]));
		put_text(&l->by_url[i]);
	}
}

static int report(struct load *l)
{
	double seconds = (double)(l->last_ns - l->begin_ns) / 1e9;
	uint64_t errors = 0;

	if (l->rate > 0 && l->end_ns != UINT64_MAX) {
		double due = (double)(l->end_ns - l->begin_ns) / 1e9 * l->rate;
		uint64_t want = due < (double)l->total ? (uint64_t)due : l->total;
		l->late = want > l->started ? want - l->started : 0;
	}
	if (seconds <= 0)
		seconds = 1e-9;
	if (l->json)
		report_json(l, seconds);
	else
		report_text(l, seconds);
	for (int i = 0; i < ERR_COUNT; i++)
		errors += l->all.error[i];
	return errors || (l->strict_2xx && count_ok(&l->all) != l->finished);
}

static void usage(void)
{
	fputs(help, stderr);
	exit(64);
}

static double number(const char *text, double least, double most)
{
	char *end;
	double v = strtod(text, &end);

	if (*end || end == text || !(v >= least && v <= most))
		usage();
	return v;
}

static void add_url(struct load *l, const char *text, char **headers, int count)
{
	struct load_url *u = load_url_new(text);

	l->url = realloc(l->url, (l->urls + 1) * sizeof(struct load_url *));
	if (!u || !l->url)
		usage();
	l->url[l->urls++] = u;
	for (int i = 0; i < count; i++)
		load_url_header(u, headers[i]);
}

struct shared {
	char *header[256];
	int headers;
	double seconds;
};

static void add_header(struct load *l, struct shared *s, char *line)
{
	if (!strchr(line, ':') || s->headers == 256)
		usage();
	if (l->urls)
		load_url_header(l->url[l->urls - 1], line);
	else
		s->header[s->headers++] = line;
}

static void option(struct load *l, struct shared *s, int opt)
{
	switch (opt) {
	case 'u':
		add_url(l, optarg, s->header, s->headers);
		break;
	case 'H':
		add_header(l, s, optarg);
		break;
	case 'c':
		l->conns_wanted = (unsigned)number(optarg, 1, 100000);
		break;
	case 'n':
		l->total = (uint64_t)number(optarg, 1, 1e12);
		break;
	case 'd':
		s->seconds = number(optarg, 0.001, 1e6);
		break;
	case 'r':
		l->rate = number(optarg, 0.001, 1e7);
		break;
	case 'm':
		l->form.method = optarg;
		break;
	case 'b':
		l->form.body_bytes = (size_t)number(optarg, 0, 1e9);
		break;
	case 'w':
		l->timeout_ns = (uint64_t)(number(optarg, 1, 1e9) * 1e6);
		break;
	case 'C':
		l->form.chunked = true;
		break;
	case 'K':
		l->form.close = true;
		break;
	case 'v':
		l->check = true;
		break;
	case 's':
		l->strict_2xx = true;
		break;
	case 'j':
		l->json = true;
		break;
	case 'o':
		l->log = fopen(optarg, "w");
		break;
	default:
		usage();
	}
	if (opt == 'o' && !l->log) {
		perror(optarg);
		exit(64);
	}
}

static void prepare(struct load *l, const struct shared *s)
{
	if (l->urls == 0)
		usage();
	if (!l->form.method)
		l->form.method = l->form.body_bytes || l->form.chunked ? "POST" : "GET";
	if (!l->total)
		l->total = s->seconds > 0 ? UINT64_MAX : 1;
	for (unsigned i = 0; i < l->urls; i++)
		load_url_build(l->url[i], &l->form);
	l->address = load_url_address(l->url[0]);
	l->conn = calloc(l->conns_wanted, sizeof(*l->conn));
	l->by_url = calloc(l->urls, sizeof(*l->by_url));
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!l->conn || !l->by_url || l->epoll_fd < 0)
		abort();
	TAILQ_INIT(&l->busy);
	TAILQ_INIT(&l->idle);
	TAILQ_INIT(&l->resting);
	if (l->log)
		fputs("call,url,status,start_us,latency_us,body_bytes\n", l->log);
	l->begin_ns = l->last_ns = load_now_ns();
	l->end_ns = s->seconds > 0 ? l->begin_ns + (uint64_t)(s->seconds * 1e9) : UINT64_MAX;
}

int main(int argc, char **argv)
{
	static struct load l = {.conns_wanted = 1, .timeout_ns = 60000000000u};
	static struct shared s;
	struct rlimit files;
	int opt, result;

	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		fputs(help, stdout);
		return 0;
	}
	while ((opt = getopt(argc, argv, "u:H:c:n:d:r:m:b:w:CKvso:jh")) != -1)
		option(&l, &s, opt);
	if (optind != argc)
		usage();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	prepare(&l, &s);
	run(&l);
	result = report(&l);
	if (l.log && fclose(l.log) != 0)
		result = 1;
	return result;
}
