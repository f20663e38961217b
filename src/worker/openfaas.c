#define _GNU_SOURCE 1 /* asprintf */

/* The backend kind `openfaas`: any HTTP gateway that serves a function at /function/NAME. */
#include "worker/exchange.h"
#include "worker/http_text.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct site {
	struct sq_http_site http;
	char *host, *base;
};

bool sq_function_name_ok(const char *name)
{
	size_t n =
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n > 0 && n <= 128 && name[n] == '\0' && name[0] != '.';
}

static bool has_part(CURLU *url, CURLUPart part)
{
	char *text = NULL;
	CURLUcode rc = curl_url_get(url, part, &text, 0);

	curl_free(text);
	return rc == CURLUE_OK;
}

/* HOST or HOST:PORT, as the URL has it. */
static char *host_of(CURLU *url)
{
	char *host = NULL, *port = NULL, *both = NULL;

	if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		if (curl_url_get(url, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) != CURLUE_OK)
			port = NULL;
		if (asprintf(&both, "%s%s%s", host, port ? ":" : "", port ? port : "") < 0)
			both = NULL;
	}
	curl_free(host);
	curl_free(port);
	return both;
}

/* The path without slashes at its end; "" for the root. */
static char *base_of(CURLU *url)
{
	char *path = NULL, *base;
	size_t n;

	if (curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		return NULL;
	for (n = strlen(path); n > 0 && path[n - 1] == '/'; n--)
		;
	base = strndup(path, n);
	curl_free(path);
	return base;
}

static int read_url(struct site *s, const char *text, struct sq_error *e)
{
	CURLU *url = s->http.url;
	CURLUcode rc = curl_url_set(url, CURLUPART_URL, text, 0);
	char *scheme = NULL;

	if (rc != CURLUE_OK)
		return sq_error_set(e, EINVAL, "url \"%s\": %s", text, curl_url_strerror(rc));
	if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return sq_error_set(e, ENOMEM, "out of memory");
	s->http.tls = strcmp(scheme, "https") == 0;
	rc = s->http.tls || strcmp(scheme, "http") == 0 ? CURLUE_OK : CURLUE_UNSUPPORTED_SCHEME;
	curl_free(scheme);
	if (rc != CURLUE_OK)
		return sq_error_set(e, EINVAL, "url \"%s\": neither http nor https", text);
	if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
		return sq_error_set(e, EINVAL, "url: a user or password in it is not supported");
	if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT))
		return sq_error_set(e, EINVAL, "url \"%s\": a query or fragment has no sense here",
				    text);
	s->http.target.host = s->host = host_of(url);
	s->http.target.base = s->base = base_of(url);
	if (!s->host || !s->base)
		return sq_error_set(e, ENOMEM, "out of memory");
	if (sq_http_has_control(s->base, strlen(s->base)) || strpbrk(s->base, " \t"))
		return sq_error_set(e, EINVAL, "url \"%s\": blanks in the path", text);
	return 0;
}

static void openfaas_close(struct sq_backend *b)
{
	struct site *s = b->state;

	if (!s)
		return;
	b->state = NULL;
	curl_url_cleanup(s->http.url);
	free(s->host);
	free(s->base);
	free(s);
	curl_global_cleanup();
}

static int openfaas_open(struct sq_backend *b, struct sq_error *e)
{
	struct site *s;
	int rc;

	if (!b->conf->url)
		return sq_error_set(e, EINVAL, "url: is missing");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return sq_error_set(e, EIO, "libcurl could not be initialised");
	s = calloc(1, sizeof(*s));
	if (!s) {
		curl_global_cleanup();
		return sq_error_set(e, ENOMEM, "out of memory");
	}
	b->state = s;
	s->http.url = curl_url();
	rc = s->http.url ? read_url(s, b->conf->url, e) : sq_error_set(e, ENOMEM, "out of memory");
	if (rc < 0)
		openfaas_close(b);
	return rc;
}

/* The gateway alone knows; a function that it has not answers 404 by itself. */
static bool openfaas_knows(struct sq_backend *b, const char *function)
{
	(void)b;
	return sq_function_name_ok(function);
}

static void *openfaas_port_open(struct sq_backend *b, struct sq_home *home, struct sq_error *e)
{
	const struct site *s = b->state;

	return sq_http_port_open(b, home, &s->http, e);
}

static void openfaas_port_close(void *port)
{
	sq_http_port_close(port);
}

static void openfaas_start(void *port, struct sq_invocation *inv)
{
	sq_exchange_start(port, inv);
}

const struct sq_backend_ops sq_backend_openfaas = {
	.kind = "openfaas",
	.open = openfaas_open,
	.close = openfaas_close,
	.knows = openfaas_knows,
	.port_open = openfaas_port_open,
	.port_close = openfaas_port_close,
	.start = openfaas_start,
	.resume = sq_exchange_resume,
	.abort = sq_exchange_abort,
};
