/*
 * load: a strict HTTP/1.1 load client. One thread, one epoll; `struct load` is the run, a `conn`
 * carries at most one call at a time.
 */
#ifndef LOAD_H
#define LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

/* load_hist.c: 128 buckets for each power of two, an error under 0.8 %. */
#define LOAD_HIST_BUCKETS (58 * 128)
struct load_hist {
	uint64_t count, sum, max;
	uint64_t bucket[LOAD_HIST_BUCKETS];
};

void load_hist_add(struct load_hist *h, uint64_t ns);
double load_hist_us(const struct load_hist *h, double quantile); /* upper edge, at most max */

/* load_answer.c: one answer, incrementally, with no tolerance. */
enum load_phase { ANSWER_HEAD, ANSWER_LENGTH, ANSWER_CHUNK, ANSWER_UNTIL_CLOSE, ANSWER_DONE };
struct load_answer {
	enum load_phase phase;
	bool is_head, check; /* set by the caller: a HEAD request; body must be the alphabet */
	bool keep, mismatch;
	unsigned status;
	uint64_t left, body_bytes, head_bytes;
	int chunk_state;
	unsigned digits, line;
	char *part; /* a head that came in pieces; kept for the next answer */
	size_t part_len, part_cap;
};

void load_answer_reset(struct load_answer *a, bool is_head, bool check);
/* Returns the bytes eaten (fewer than n only when the phase is ANSWER_DONE), or -1: garbled. */
long load_answer_eat(struct load_answer *a, const char *p, size_t n);

/* load_url.c: what to send. */
struct load_url;
struct load_request {
	const char *head, *body;
	size_t head_len, body_len;
};
struct load_form { /* what all URLs share */
	const char *method;
	size_t body_bytes;
	bool chunked, close;
};

struct load_url *load_url_new(const char *text); /* NULL: not an http URL; kept for ever */
void load_url_header(struct load_url *u, const char *line);
const char *load_url_text(const struct load_url *u);
struct sockaddr_in load_url_address(const struct load_url *u); /* exits when it has none */
void load_url_build(struct load_url *u, const struct load_form *form);
/* The request of call number i; *scratch grows as needed and is the caller's to keep. */
struct load_request load_url_request(const struct load_url *u, uint64_t i, char **scratch,
				     size_t *cap);

enum load_error {
	ERR_CONNECT,
	ERR_RESET,
	ERR_CLOSED,
	ERR_STALE,
	ERR_TRUNCATED,
	ERR_GARBLED,
	ERR_MISMATCH,
	ERR_TIMEOUT,
	ERR_COUNT
};

struct load_tally {
	uint64_t answered, status[1000], error[ERR_COUNT];
	struct load_hist hist; /* of well-formed answers */
};

enum conn_state { CONN_NEW, CONN_CONNECTING, CONN_IDLE, CONN_BUSY, CONN_RESTING };
struct conn {
	int fd;
	enum conn_state state;
	bool reused;
	uint64_t call, start_ns, rest_ns;
	unsigned url;
	struct load_request request;
	size_t sent;
	char *scratch;
	size_t scratch_cap;
	struct load_answer answer;
	TAILQ_ENTRY(conn) link; /* busy (by start), idle or resting: the list its state names */
};
TAILQ_HEAD(conn_list, conn);

struct load {
	/* options */
	struct load_url **url;
	unsigned urls, conns_wanted;
	uint64_t total, end_ns, timeout_ns;
	double rate;
	struct load_form form;
	bool check, json, strict_2xx;
	FILE *log;
	/* state */
	int epoll_fd;
	struct sockaddr_in address;
	struct conn *conn;
	unsigned conns;
	struct conn_list busy, idle, resting;
	uint64_t begin_ns, last_ns, started, finished, bytes, connects, late;
	struct load_tally all, *by_url;
};

uint64_t load_now_ns(void);

/* load_conn.c */
void conn_add(struct load *l);
/* True when a call may start now; *start_ns is then its intended start. */
bool load_next(struct load *l, uint64_t *start_ns);
void conn_event(struct load *l, struct conn *c, uint32_t events);
void conn_feed(struct load *l); /* gives due calls to idle connections */
void conn_times(struct load *l, uint64_t now_ns);

/* load.c */
void load_finished(struct load *l, const struct conn *c, int error); /* error -1: answered */

#endif
