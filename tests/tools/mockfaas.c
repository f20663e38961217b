/* mockfaas: options, loops and timers. What it does is told by --help. */
#include "mock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

struct mock_loop {
	int epoll_fd, wake_fd, listen_fd; /* listen_fd -1: another loop accepts for this one */
	struct mock_conn **heap;          /* from 1; the least due_ns first */
	size_t heap_len, heap_cap;
	uint64_t random;
	struct mock_held released;
	char pad[64];
};

static struct mock_loop *loops;
static unsigned loop_count = 1, loop_next;

static const char help[] =
	"usage: mockfaas [-p PORT] [-t THREADS] [-l LIMIT] [-r] [-f A,B] [-L EVENTS] [-k]\n"
	"A FaaS platform for tests, on 127.0.0.1. Prints `listening PORT` first.\n"
	"  -p PORT    0 (default): any free port\n"
	"  -t N       threads (default 1)\n"
	"  -l LIMIT   calls above LIMIT in flight are answered 429, in order of arrival\n"
	"  -r         keep the last 1000 raw request heads (/_mock/heads)\n"
	"  -f A,B     only these functions exist; others are 404\n"
	"  -L EVENTS  size of the log of calls (default 4000000; 0: none)\n"
	"  -k         end when the parent process ends\n"
	"\n"
	"Calls: any method on /function/NAME[/...]; any other path is a call of a function named\n"
	"by its whole path. A call is in flight from its complete request head until just before\n"
	"its last answer byte is written, or until its connection is gone. Tenant: t= in the\n"
	"query, or the header X-Tenant. /healthz and /system/functions are not calls.\n"
	"Default answer: 200, text/plain, \"ok\\n\". Query parameters (fractions of MS allowed):\n"
	"  delay=MS jitter=MS  serve for delay, +- uniform jitter\n"
	"  hold=KEY            serve until /_mock/release (KEY a number over 0)\n"
	"  status=N size=BYTES huge=MIB chunked=1 close=1   the answer; its body is a..z repeated\n"
	"  hdr=Name:Value      add an answer header (percent-encoded; repeatable)\n"
	"  echo=1              answer the request body; X-Echo-Method, -Path, -Query, -Bytes,\n"
	"                      -Framing (length, chunked, none) and X-Echo-H-NAME for each header\n"
	"  echo=head           answer the request head as it arrived\n"
	"  dribble=MS          one byte of the answer's body each MS\n"
	"  id=N                number of this call in the log (default: counted by the mock)\n"
	"  orphan=1            run to the end even if the peer has gone (default: the call ends\n"
	"                      when its connection is closed or half-closed by the peer)\n"
	"  fault=reset         reset instead of an answer\n"
	"  fault=close         close (FIN) instead of an answer\n"
	"  fault=half          close half-way through the body (size=, default 100)\n"
	"  fault=resethalf     the same with a reset\n"
	"  fault=hang          never answer;  fault=hanghalf: stop for ever half-way\n"
	"  fault=slow100       n=10 times 100 Continue, every=10 MS, then the answer\n"
	"  fault=stale         answer, then close the idle connection after=1 MS; a request that\n"
	"                      comes before that is reset unread\n"
	"  fault=stalenext     answer; the next request on the connection is reset unread\n"
	"  garbage=N           raw answer N of `GET /_mock/garbage` (N, bad or ok, what it is)\n"
	"\n"
	"Control (not calls):\n"
	"  GET  /_mock/stats   JSON: inflight peak total ended rejected bad partial hungup held\n"
	"                      limit connections accepted ns busy_ns (integral of inflight)\n"
	"                      log_events log_lost by_function{} by_tenant{} (inflight peak total\n"
	"                      rejected). bad: requests no proxy should send; partial: bytes that\n"
	"                      never became a request head; hungup: ended by the peer\n"
	"  GET  /_mock/log     CSV: ns,inflight,function,call,event,tenant\n"
	"                      event: + enter, - leave, h hung up, ! rejected\n"
	"  GET  /_mock/mean?limit=N[&function=F][&tenant=T]   JSON: mean and share of the limit "
	"in\n"
	"                      use from the first instant at N to the last call's entry\n"
	"  POST /_mock/reset   zero everything but what is in flight\n"
	"  POST /_mock/limit?n=N       change -l (0: none)\n"
	"  POST /_mock/release[?key=K][&n=N]   let held calls go, oldest first; says how many\n"
	"  GET  /_mock/wait?inflight=N|total=N|ended=N|held=N[&timeout=MS]   200 as soon as the\n"
	"                      value is >= N (for 0: is 0), 503 after the timeout (10000)\n"
	"  GET  /_mock/heads   with -r: `--- NUMBER BYTES`, the raw head, a newline; oldest first\n"
	"  GET  /_mock/seen?id=TEXT    with -r: how many of the heads contain TEXT (not decoded)\n"
	"  GET  /_mock/garbage the list for garbage=N\n";

static void heap_put(struct mock_loop *l, size_t at, struct mock_conn *c)
{
	l->heap[at] = c;
	c->timer = at;
}

static void heap_fix(struct mock_loop *l, size_t at)
{
	struct mock_conn *c = l->heap[at];

	for (; at > 1 && l->heap[at / 2]->due_ns > c->due_ns; at /= 2)
		heap_put(l, at, l->heap[at / 2]);
	for (size_t kid = at * 2; kid <= l->heap_len; kid = at * 2) {
		if (kid < l->heap_len && l->heap[kid + 1]->due_ns < l->heap[kid]->due_ns)
			kid++;
		if (l->heap[kid]->due_ns >= c->due_ns)
			break;
		heap_put(l, at, l->heap[kid]);
		at = kid;
	}
	heap_put(l, at, c);
}

void mock_loop_arm(struct mock_conn *c, uint64_t due_ns)
{
	struct mock_loop *l = c->loop;

	c->due_ns = due_ns;
	if (!c->timer) {
		if (l->heap_len + 2 > l->heap_cap) {
			l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
			l->heap = realloc(l->heap, l->heap_cap * sizeof(*l->heap));
			if (!l->heap)
				abort();
		}
		heap_put(l, ++l->heap_len, c);
	}
	heap_fix(l, c->timer);
}

void mock_loop_disarm(struct mock_conn *c)
{
	struct mock_loop *l = c->loop;
	size_t at = c->timer;
	struct mock_conn *last;

	if (!at)
		return;
	c->timer = 0;
	last = l->heap[l->heap_len--];
	if (last == c)
		return;
	heap_put(l, at, last);
	heap_fix(l, at);
}

uint64_t mock_loop_random(struct mock_loop *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

struct mock_held *mock_loop_released(struct mock_loop *l)
{
	return &l->released;
}

void mock_loop_wake(struct mock_loop *l)
{
	uint64_t one = 1;

	(void)!write(l->wake_fd, &one, sizeof(one));
}

static void watch(int epoll_fd, int fd, uint32_t events, void *what)
{
	struct epoll_event e = {.events = events, .data.ptr = what};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
		perror("mockfaas: epoll_ctl");
		exit(1);
	}
}

/* Connections go round the loops; a loop owns them from the moment its epoll knows them. */
static void accept_all(struct mock_loop *l)
{
	int fd;

	while ((fd = accept4(l->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct mock_loop *to = &loops[loop_next++ % loop_count];

		watch(to->epoll_fd, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		      mock_conn_new(fd, to));
	}
	if (errno == EMFILE || errno == ENFILE)
		perror("mockfaas: accept");
}

static void take_released(struct mock_loop *l)
{
	uint64_t n;
	struct mock_conn *c;

	(void)!read(l->wake_fd, &n, sizeof(n));
	while ((c = mock_hold_next(l)) != NULL)
		mock_conn_timer(c);
}

static void fire_timers(struct mock_loop *l)
{
	if (l->heap_len == 0)
		return;
	uint64_t now = mock_now_ns();
	while (l->heap_len && l->heap[1]->due_ns <= now) {
		struct mock_conn *c = l->heap[1];

		mock_loop_disarm(c);
		mock_conn_timer(c);
	}
}

static int wait_events(struct mock_loop *l, struct epoll_event *e)
{
	struct timespec t;
	uint64_t now, ns;

	if (l->heap_len == 0)
		return epoll_wait(l->epoll_fd, e, EVENTS, -1);
	now = mock_now_ns();
	ns = l->heap[1]->due_ns > now ? l->heap[1]->due_ns - now : 0;
	t.tv_sec = (time_t)(ns / 1000000000u);
	t.tv_nsec = (long)(ns % 1000000000u);
	return epoll_pwait2(l->epoll_fd, e, EVENTS, &t, NULL);
}

static void *loop_run(void *arg)
{
	struct mock_loop *l = arg;
	struct epoll_event e[EVENTS];

	prctl(PR_SET_TIMERSLACK, 1000UL); /* delays of a millisecond shall be that */
	for (;;) {
		int n = wait_events(l, e);

		for (int i = 0; i < n; i++) {
			if (e[i].data.ptr == &l->listen_fd)
				accept_all(l);
			else if (e[i].data.ptr == &l->wake_fd)
				take_released(l);
			else
				mock_conn_event(e[i].data.ptr, e[i].events);
		}
		fire_timers(l);
	}
	return NULL;
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t n = sizeof(a);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted ones inherit it */
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 65535) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) != 0) {
		perror("mockfaas: listen");
		exit(1);
	}
	printf("listening %u\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static void loop_setup(struct mock_loop *l)
{
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l->listen_fd = -1;
	l->random = 88172645463325252u + (uint64_t)(l - loops);
	TAILQ_INIT(&l->released);
	watch(l->epoll_fd, l->wake_fd, EPOLLIN, &l->wake_fd);
}

static void usage(void)
{
	fputs(help, stderr);
	exit(64);
}

static unsigned long option_number(const char *text, unsigned long max)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (*end || end == text || v > max)
		usage();
	return v;
}

static void raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int main(int argc, char **argv)
{
	unsigned long port = 0, limit = 0, events = 4000000;
	int opt;

	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		fputs(help, stdout);
		return 0;
	}
	while ((opt = getopt(argc, argv, "p:t:l:rf:L:kh")) != -1) {
		switch (opt) {
		case 'p':
			port = option_number(optarg, 65535);
			break;
		case 't':
			loop_count = (unsigned)option_number(optarg, 64);
			break;
		case 'l':
			limit = option_number(optarg, 1000000000);
			break;
		case 'r':
			mock_heads_setup(1000);
			break;
		case 'f':
			mock_conn_functions(optarg);
			break;
		case 'L':
			events = option_number(optarg, 100000000);
			break;
		case 'k':
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			break;
		default:
			usage();
		}
	}
	if (optind != argc || loop_count == 0)
		usage();
	raise_files();
	mock_count_setup(limit, events);
	loops = calloc(loop_count, sizeof(*loops));
	if (!loops)
		abort();
	for (unsigned i = 0; i < loop_count; i++)
		loop_setup(&loops[i]);
	loops[0].listen_fd = listen_on((uint16_t)port);
	watch(loops[0].epoll_fd, loops[0].listen_fd, EPOLLIN, &loops[0].listen_fd);
	for (unsigned i = 1; i < loop_count; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, loop_run, &loops[i]) != 0)
			abort();
	}
	loop_run(&loops[0]);
	return 0;
}
