/*
 * Requests from URLs. A request without placeholders is made once; one with them is a list of
 * pieces put together for each call. Placeholders: {i} the number of the call from 0, {i%N} the
 * same modulo N, {a|b|c} one of the words in turn.
 */
#include "load.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define PIECES 64
#define WORDS 256

struct piece {
	const char *text; /* literal, unless words or a number */
	size_t len;
	uint64_t modulo; /* of a number */
	bool number;
	const char **word;
	unsigned words;
};

struct load_url {
	const char *text;
	char *host, *port, *path;
	char *headers;
	char *head; /* the whole head as written, with placeholders */
	struct piece piece[PIECES];
	unsigned pieces;
	struct load_request request;
};

struct load_url *load_url_new(const char *text)
{
	struct load_url *u = calloc(1, sizeof(*u));
	const char *host = text + 7, *path;
	char *colon;

	if (!u || strncmp(text, "http://", 7) != 0)
		return NULL;
	path = strchrnul(host, '/');
	u->text = text;
	u->host = strndup(host, (size_t)(path - host));
	u->path = strdup(*path ? path : "/");
	u->headers = strdup("");
	if (!u->host || !u->path || !u->headers)
		abort();
	colon = strrchr(u->host, ':');
	u->port = strdup(colon ? colon + 1 : "80");
	return u;
}

const char *load_url_text(const struct load_url *u)
{
	return u->text;
}

void load_url_header(struct load_url *u, const char *line)
{
	char *joined;

	if (asprintf(&joined, "%s%s\r\n", u->headers, line) < 0)
		abort();
	free(u->headers);
	u->headers = joined;
}

struct sockaddr_in load_url_address(const struct load_url *u)
{
	struct addrinfo want = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *got;
	struct sockaddr_in a;
	char *host = strdup(u->host), *colon;

	if (!host)
		abort();
	colon = strrchr(host, ':');
	if (colon)
		*colon = 0;
	if (getaddrinfo(host, u->port, &want, &got) != 0) {
		fprintf(stderr, "load: no address for %s\n", u->text);
		exit(64);
	}
	memcpy(&a, got->ai_addr, sizeof(a));
	freeaddrinfo(got);
	free(host);
	return a;
}

static struct piece *piece_add(struct load_url *u)
{
	if (u->pieces == PIECES) {
		fprintf(stderr, "load: too many placeholders in %s\n", u->text);
		exit(64);
	}
	return &u->piece[u->pieces++];
}

/* The inside of braces; false when it is no placeholder of ours. */
static bool placeholder(struct load_url *u, const char *p, size_t n)
{
	struct piece *piece;
	char *words, *save = NULL;

	if (p[0] == 'i' && (n == 1 || (p[1] == '%' && n > 2 && strtoull(p + 2, NULL, 10) > 0))) {
		piece = piece_add(u);
		piece->number = true;
		piece->modulo = n == 1 ? UINT64_MAX : strtoull(p + 2, NULL, 10);
		return true;
	}
	if (!memchr(p, '|', n))
		return false;
	piece = piece_add(u);
	piece->word = calloc(WORDS, sizeof(*piece->word));
	words = strndup(p, n);
	if (!piece->word || !words)
		abort();
	for (char *w = strtok_r(words, "|", &save); w; w = strtok_r(NULL, "|", &save))
		if (piece->words < WORDS)
			piece->word[piece->words++] = w;
	return piece->words > 0;
}

static void literal(struct load_url *u, const char *p, size_t n)
{
	struct piece *piece;

	if (n == 0)
		return;
	piece = piece_add(u);
	piece->text = p;
	piece->len = n;
}

static void split(struct load_url *u)
{
	const char *from = u->head, *p = from, *end;

	while ((p = strchr(p, '{')) != NULL) {
		unsigned before = u->pieces;

		end = strchr(p, '}');
		if (!end)
			break;
		literal(u, from, (size_t)(p - from));
		if (end > p + 1 && placeholder(u, p + 1, (size_t)(end - p - 1))) {
			from = p = end + 1;
		} else {
			u->pieces = before;
			p++;
		}
	}
	literal(u, from, strlen(from));
}

/* The body is the alphabet over and over, in chunks of 4 KiB when they are asked for. */
static char *make_body(const struct load_form *form, size_t *len)
{
	char *body = NULL, part[4096];
	FILE *f = open_memstream(&body, len);

	if (!f)
		abort();
	for (size_t at = 0, n; at < form->body_bytes; at += n) {
		n = form->body_bytes - at < sizeof(part) ? form->body_bytes - at : sizeof(part);
		for (size_t i = 0; i < n; i++)
			part[i] = (char)('a' + (at + i) % 26);
		if (form->chunked)
			fprintf(f, "%zx\r\n", n);
		fwrite(part, 1, n, f);
		if (form->chunked)
			fputs("\r\n", f);
	}
	if (form->chunked)
		fputs("0\r\n\r\n", f);
	fclose(f);
	return body;
}

void load_url_build(struct load_url *u, const struct load_form *form)
{
	char length[64] = "";

	if (form->chunked)
		strcpy(length, "Transfer-Encoding: chunked\r\n");
	else if (form->body_bytes || strcmp(form->method, "POST") == 0)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", form->body_bytes);
	u->request.body = make_body(form, &u->request.body_len);
	if (asprintf(&u->head, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", form->method, u->path,
		     u->host, form->close ? "Connection: close\r\n" : "", length, u->headers) < 0)
		abort();
	split(u);
	u->request.head = u->head;
	u->request.head_len = strlen(u->head);
}

static size_t piece_put(const struct piece *piece, uint64_t i, char *to)
{
	if (piece->number)
		return (size_t)sprintf(to, "%lu", i % piece->modulo);
	if (piece->words)
		return (size_t)(stpcpy(to, piece->word[i % piece->words]) - to);
	memcpy(to, piece->text, piece->len);
	return piece->len;
}

struct load_request load_url_request(const struct load_url *u, uint64_t i, char **scratch,
				     size_t *cap)
{
	struct load_request r = u->request;
	size_t need = r.head_len + 32 * PIECES; /* a word is shorter than its list */

	if (u->pieces == 1 && !u->piece[0].number && !u->piece[0].words)
		return r;
	if (*cap < need) {
		*scratch = realloc(*scratch, need);
		if (!*scratch)
			abort();
		*cap = need;
	}
	r.head = *scratch;
	r.head_len = 0;
	for (unsigned n = 0; n < u->pieces; n++)
		r.head_len += piece_put(&u->piece[n], i, *scratch + r.head_len);
	return r;
}
