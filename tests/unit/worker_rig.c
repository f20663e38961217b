#define _GNU_SOURCE 1

#include "worker_rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <urcu/compiler.h>

#include <cmocka.h>

/* ---- what the room calls ---- */

struct sq_home {
	struct rig rig;
};

static struct rig *rig_of(struct sq_home *h)
{
	return &h->rig;
}

struct sq_loop *sq_home_loop(struct sq_home *h)
{
	return rig_of(h)->loop;
}

struct sq_blob_store *sq_home_blobs(struct sq_home *h)
{
	return rig_of(h)->blobs;
}

const struct sq_settings *sq_home_settings(struct sq_home *h)
{
	return &rig_of(h)->settings;
}

void sq_home_count(struct sq_home *h, enum sq_counter c, uint64_t n)
{
	rig_of(h)->counts[c] += n;
}

static struct call *call_of(struct sq_invocation *inv)
{
	return caa_container_of(inv, struct call, inv);
}

/* The client takes from the flow: all, or `take` now and again in a millisecond. */
static void take_flow(struct call *c)
{
	struct sq_buf *f = &c->inv.flow;
	size_t n = c->take && c->take < f->len ? c->take : f->len;
	char *want;

	if (c->flow_total == 0 && f->len <= c->sleeps_until && !c->endings)
		return;
	want = malloc(n + 1);
	c->flow_max = f->len > c->flow_max ? f->len : c->flow_max;
	fill(want, n, c->flow_total);
	if (n > 0 && memcmp(want, f->data, n) != 0)
		c->flow_bad = true;
	free(want);
	c->flow_total += n;
	sq_buf_consume(f, n);
	if (f->len > 0)
		assert_int_equal(sq_timer_set(c->rig->loop, &c->taker, sq_clock_ns() + SQ_MS), 0);
	if (!c->endings)
		c->inv.backend->ops->resume(&c->inv);
}

static void taker_fires(struct sq_timer *t)
{
	take_flow(caa_container_of(t, struct call, taker));
}

void sq_invocation_head(struct sq_invocation *inv)
{
	struct call *c = call_of(inv);

	assert_int_equal(c->endings, 0);
	assert_true(inv->answer.status >= 200);
	c->heads++;
	if (c->discard_at_head) {
		inv->discard = true;
		inv->backend->ops->resume(inv);
	}
	if (c->abort_at_head)
		inv->backend->ops->abort(inv);
}

void sq_invocation_data(struct sq_invocation *inv)
{
	struct call *c = call_of(inv);

	assert_int_equal(c->heads, 1);
	c->datas++;
	if (inv->stream && !sq_timer_is_set(&c->taker))
		take_flow(c);
}

void sq_invocation_ended(struct sq_invocation *inv, enum sq_fault fault, const char *detail)
{
	struct call *c = call_of(inv);

	c->endings++;
	assert_int_equal(c->endings, 1);
	c->fault = fault;
	snprintf(c->detail, sizeof(c->detail), "%s", detail ? detail : "");
	c->ended_ns = sq_clock_ns();
	assert_null(inv->slot);
	assert_int_equal(inv->answer.complete, fault == SQ_FAULT_NONE);
	if (inv->flow.len > 0 && !sq_timer_is_set(&c->taker))
		take_flow(c);
	c->rig->in_flight--;
	sq_loop_stop(c->rig->loop);
}

/* ---- rig ---- */

struct rig *rig_new(void)
{
	struct sq_home *h = calloc(1, sizeof(*h));
	struct rig *r = &h->rig;

	r->loop = sq_loop_new();
	r->blobs = sq_blob_store_new("/tmp", 64 << 20);
	r->arenas = sq_arena_pool_new(4096, 4);
	r->settings.limit_answer = 16 << 20;
	r->conf.name = (char *)"test";
	r->conf.timeout_ns = 5 * SQ_S;
	r->conf.connect_timeout_ns = SQ_S;
	r->backend.conf = &r->conf;
	return r;
}

void rig_open(struct rig *r, const struct sq_backend_ops *ops)
{
	struct sq_error e = {""};

	r->backend.ops = ops;
	if (ops->open(&r->backend, &e) < 0)
		fail_msg("%s", e.text);
	r->port = ops->port_open(&r->backend, caa_container_of(r, struct sq_home, rig), &e);
	if (!r->port)
		fail_msg("%s", e.text);
}

void rig_free(struct rig *r)
{
	assert_int_equal(r->in_flight, 0);
	assert_int_equal(atomic_load(&r->backend.in_flight), 0);
	if (r->port) {
		r->backend.ops->port_close(r->port);
		r->backend.ops->close(&r->backend);
	}
	free(r->conf.url);
	sq_blob_store_free(r->blobs);
	sq_arena_pool_free(r->arenas);
	sq_loop_free(r->loop);
	free(caa_container_of(r, struct sq_home, rig));
}

static void stop_fires(struct sq_timer *t);
struct stopper {
	struct sq_timer timer;
	struct sq_loop *loop;
};

static void stop_fires(struct sq_timer *t)
{
	sq_loop_stop(caa_container_of(t, struct stopper, timer)->loop);
}

void loop_run_for(struct rig *r, int64_t ns)
{
	struct stopper s = {.timer = {.fn = stop_fires}, .loop = r->loop};

	assert_int_equal(sq_timer_set(r->loop, &s.timer, sq_clock_ns() + ns), 0);
	sq_loop_run(r->loop);
	sq_timer_stop(r->loop, &s.timer);
}

void fill(char *p, size_t n, size_t offset)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (char)('a' + (offset + i) * 2654435761u % 4294967296u / 165191050u % 26);
}

bool blob_is_filled(const struct sq_blob *b, size_t n)
{
	static char have[1 << 16], want[1 << 16];
	size_t at = 0;

	if (!b || sq_blob_size(b) != n)
		return false;
	while (at < n) {
		ssize_t got = sq_blob_read(b, at, have, sizeof(have));

		if (got <= 0)
			return false;
		fill(want, (size_t)got, at);
		if (memcmp(have, want, (size_t)got) != 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- calls ---- */

struct call *call_new(struct rig *r, const char *method, const char *function, const char *path,
		      const char *headers, size_t body_bytes)
{
	static uint64_t number;
	struct call *c = calloc(1, sizeof(*c));
	char *q;

	c->rig = r;
	c->taker.fn = taker_fires;
	c->inv.home = caa_container_of(r, struct sq_home, rig);
	c->inv.backend = &r->backend;
	c->inv.arena = sq_arena_new(r->arenas);
	c->inv.function = function;
	c->inv.request = &c->request;
	c->inv.id = (struct sq_id){0x0123456789abcdef, ++number};
	c->inv.attempt = 1;
	c->inv.answer.length = -1;
	c->request.method = method;
	c->request.path = sq_arena_strndup(c->inv.arena, path, strlen(path));
	q = strchr((char *)(uintptr_t)c->request.path, '?');
	if (q) {
		*q = '\0';
		c->request.query = q + 1;
	}
	c->request.headers = headers;
	c->request.headers_len = headers ? strlen(headers) : 0;
	if (body_bytes > 0) {
		char *p = malloc(body_bytes);

		fill(p, body_bytes, 0);
		c->request.body = sq_blob_new(r->blobs, body_bytes);
		assert_int_equal(sq_blob_append(c->request.body, p, body_bytes), 0);
		sq_blob_seal(c->request.body);
		free(p);
	}
	return c;
}

void call_body(struct call *c, const char *text)
{
	c->request.body = sq_blob_new(c->rig->blobs, strlen(text));
	assert_int_equal(sq_blob_append(c->request.body, text, strlen(text)), 0);
	sq_blob_seal(c->request.body);
}

void call_start(struct call *c)
{
	c->rig->in_flight++;
	c->inv.granted_ns = sq_clock_ns();
	c->inv.backend->ops->start(c->rig->port, &c->inv);
}

void call_wait(struct call *c)
{
	int64_t until = sq_clock_ns() + 20 * SQ_S;

	while (!c->endings) {
		sq_loop_run(c->rig->loop);
		if (sq_clock_ns() > until)
			fail_msg("the call did not end");
	}
}

void call_free(struct call *c)
{
	sq_timer_stop(c->rig->loop, &c->taker);
	sq_blob_unref(c->request.body);
	sq_blob_unref(c->inv.answer.body);
	sq_buf_free(&c->inv.flow);
	sq_arena_free(c->inv.arena);
	free(c);
}

char *call_answer(const struct call *c)
{
	const struct sq_blob *b = c->inv.answer.body;
	size_t n = b ? (size_t)sq_blob_size(b) : 0;
	char *text = calloc(1, n + 1);

	if (n > 0)
		assert_int_equal(sq_blob_read(b, 0, text, n), n);
	return text;
}

const char *call_header(const struct call *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->inv.answer.n_headers; i++) {
		if (strcasecmp(c->inv.answer.headers[i].name, name) == 0)
			return c->inv.answer.headers[i].value;
	}
	return NULL;
}

void call_expect(struct call *c, enum sq_fault fault, int status, const char *body)
{
	char *text;

	call_start(c);
	assert_int_equal(c->endings, 0); /* never from within start */
	call_wait(c);
	if (c->fault != fault)
		fail_msg("fault %s (%s)", sq_fault_row(c->fault)->code, c->detail);
	if (fault != SQ_FAULT_NONE)
		return;
	assert_int_equal(c->inv.answer.status, status);
	if (c->inv.answer.body)
		assert_true(sq_blob_sealed(c->inv.answer.body));
	text = call_answer(c);
	if (body)
		assert_string_equal(text, body);
	free(text);
}

/* ---- the backend ---- */

static gnutls_certificate_credentials_t credentials;

/* A certificate that nobody has signed but itself. */
static void make_credentials(void)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	int rc = gnutls_x509_privkey_init(&key);

	rc |= gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
					   GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	rc |= gnutls_x509_crt_init(&crt);
	rc |= gnutls_x509_crt_set_version(crt, 3);
	rc |= gnutls_x509_crt_set_serial(crt, "1", 1);
	rc |= gnutls_x509_crt_set_key(crt, key);
	rc |= gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60);
	rc |= gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600);
	rc |= gnutls_x509_crt_set_dn(crt, "CN=localhost", NULL);
	rc |= gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
	rc |= gnutls_certificate_allocate_credentials(&credentials);
	rc |= gnutls_certificate_set_x509_key(credentials, &crt, 1, key);
	assert_int_equal(rc, 0);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}

static void begin_tls(struct peer *p)
{
	int rc;

	gnutls_init(&p->session, GNUTLS_SERVER);
	gnutls_set_default_priority(p->session);
	gnutls_credentials_set(p->session, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(p->session, p->fd);
	do
		rc = gnutls_handshake(p->session);
	while (rc < 0 && !gnutls_error_is_fatal(rc));
}

static ssize_t peer_recv(struct peer *p, void *buf, size_t n)
{
	return p->session ? gnutls_record_recv(p->session, buf, n) : recv(p->fd, buf, n, 0);
}

static ssize_t peer_send(struct peer *p, const void *buf, size_t n)
{
	return p->session ? gnutls_record_send(p->session, buf, n)
			  : send(p->fd, buf, n, MSG_NOSIGNAL);
}

static void take_body(struct peer *p, size_t have)
{
	const char *cl = strcasestr(p->request, "\r\nContent-Length: ");
	size_t want = cl ? strtoul(cl + 18, NULL, 10) : 0, at = 0;
	static _Thread_local char buf[1 << 16], good[1 << 16];
	const char *body = strstr(p->request, "\r\n\r\n") + 4;

	p->body_bytes = want;
	fill(good, have, 0);
	p->body_good = memcmp(good, body, have) == 0;
	for (at = have; at < want;) {
		ssize_t n = peer_recv(p, buf, sizeof(buf));

		if (n <= 0) {
			p->body_good = false;
			return;
		}
		fill(good, (size_t)n, at);
		p->body_good = p->body_good && memcmp(good, buf, (size_t)n) == 0;
		at += (size_t)n;
	}
}

static void take_request(struct peer *p, bool with_body)
{
	size_t n = 0;
	ssize_t got;
	char *end;

	memset(p->request, 0, sizeof(p->request));
	while (!(end = strstr(p->request, "\r\n\r\n"))) {
		got = peer_recv(p, p->request + n, with_body ? sizeof(p->request) - 1 - n : 1);
		if (got <= 0)
			return;
		n += (size_t)got;
	}
	if (with_body)
		take_body(p, n - (size_t)(end + 4 - p->request));
}

static void send_all(struct peer *p, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t sent = peer_send(p, data, n);

		if (sent <= 0)
			return;
		data += sent;
		n -= (size_t)sent;
	}
}

static void send_filled(struct peer *p, size_t n, bool chunked)
{
	char buf[1000], size[16];

	while (n > 0) {
		size_t k = n < sizeof(buf) ? n : sizeof(buf);

		fill(buf, k, p->filled);
		if (chunked)
			send_all(p, size, (size_t)sprintf(size, "%zx\r\n", k));
		send_all(p, buf, k);
		if (chunked)
			send_all(p, "\r\n", 2);
		p->filled += k;
		n -= k;
	}
	if (chunked)
		send_all(p, "0\r\n\r\n", 5);
}

static void shut(struct peer *p, bool reset)
{
	struct linger hard = {1, 0};

	if (p->fd < 0)
		return;
	if (reset)
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (p->session) {
		gnutls_bye(p->session, GNUTLS_SHUT_WR);
		gnutls_deinit(p->session);
		p->session = NULL;
	}
	close(p->fd);
	p->fd = -1;
}

static void perform(struct peer *p, const struct script *s)
{
	char buf[4096];

	switch (s->act) {
	case ACCEPT:
		shut(p, false);
		do /* a test may forbid new descriptors for a while */
			p->fd = accept(p->listener, NULL, NULL);
		while (p->fd < 0 && errno == EMFILE && usleep(1000) == 0);
		if (p->tls)
			begin_tls(p);
		break;
	case REQUEST:
	case HEAD:
		take_request(p, s->act == REQUEST);
		break;
	case SEND:
		send_all(p, s->text, strlen(s->text));
		break;
	case FILL:
	case CHUNKS:
		send_filled(p, s->n, s->act == CHUNKS);
		break;
	case SLEEP:
		usleep((unsigned)s->n * 1000);
		break;
	case TELL:
		sem_post(&p->told);
		break;
	case WAIT:
		while (sem_wait(&p->go) < 0)
			;
		break;
	case CLOSE:
	case RESET:
		shut(p, s->act == RESET);
		break;
	case GONE:
		while (peer_recv(p, buf, sizeof(buf)) > 0)
			;
		break;
	case DONE:
		break;
	}
}

static void *peer_main(void *arg)
{
	struct peer *p = arg;
	const struct script *s;

	for (s = p->script; s->act != DONE; s++)
		perform(p, s);
	return NULL;
}

static struct peer *start(const struct script *script, bool tls)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct peer *p = calloc(1, sizeof(*p));

	if (tls)
		make_credentials();
	p->script = script;
	p->tls = tls;
	p->fd = -1;
	sem_init(&p->told, 0, 0);
	sem_init(&p->go, 0, 0);
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(p->listener, 16), 0);
	assert_int_equal(getsockname(p->listener, (struct sockaddr *)&a, &len), 0);
	p->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
	return p;
}

struct peer *peer_start(const struct script *script)
{
	return start(script, false);
}

struct peer *peer_start_tls(const struct script *script)
{
	return start(script, true);
}

void peer_join(struct peer *p)
{
	pthread_join(p->thread, NULL);
	shut(p, false);
	if (p->tls)
		gnutls_certificate_free_credentials(credentials);
	close(p->listener);
	sem_destroy(&p->told);
	sem_destroy(&p->go);
	free(p);
}

void peer_url(const struct peer *p, struct rig *r, const char *base)
{
	free(r->conf.url);
	assert_true(asprintf(&r->conf.url, "%s://127.0.0.1:%d%s", p->tls ? "https" : "http",
			     p->port, base) > 0);
}
