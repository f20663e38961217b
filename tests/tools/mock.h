/*
 * mockfaas: a FaaS platform for tests and benches. It counts its own calls in flight exactly and
 * misbehaves on request. One header: the pieces are one program and share one connection struct.
 */
#ifndef MOCK_H
#define MOCK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#define MOCK_HEAD_MAX (256u * 1024)
#define MOCK_MADE_BYTES 65536u

struct mock_slice {
	const char *p;
	size_t n;
};

/* A request head; the slices point into the bytes that were parsed. */
struct mock_head {
	struct mock_slice method, target, path, query, tenant;
	uint64_t body_bytes;
	bool has_length, chunked, close, expect, http10;
};

/* mock_http.c. Strict: returns 0, or 400 for what no proxy should ever send. */
int mock_head_parse(const char *p, size_t n, struct mock_head *h);
/* Walks the header lines of a parsed head; *at starts at 0. Returns false at the end. */
bool mock_head_next(const char *p, size_t n, size_t *at, struct mock_slice *name,
		    struct mock_slice *value);

enum mock_chunk {
	CHUNK_SIZE,
	CHUNK_EXT,
	CHUNK_LF,
	CHUNK_DATA,
	CHUNK_END,
	CHUNK_TRAILER,
	CHUNK_DONE
};

struct mock_body {
	uint64_t left;
	bool chunked;
	enum mock_chunk state;
	unsigned digits, line;
	char last;
};

/* Eats up to n bytes; *data gets the body bytes among the eaten (one run). -1: malformed. */
long mock_body_eat(struct mock_body *b, const char *p, size_t n, struct mock_slice *data);
bool mock_body_done(const struct mock_body *b);

/* mock_count.c: everything under one lock, so that one instant has one truth. */
struct mock_name;
struct mock_seat {
	struct mock_name *function, *tenant; /* function set: this call is in flight */
	uint64_t call;
};

void mock_count_setup(uint64_t limit, size_t log_events);
void mock_count_limit(uint64_t limit);
/* False: over the hard limit, counted as rejected. id 0: the mock numbers the call. */
bool mock_count_enter(struct mock_seat *s, struct mock_slice function, struct mock_slice tenant,
		      uint64_t id);
/* Must precede the write of the last answer byte. Harmless when the call is not in flight. */
void mock_count_leave(struct mock_seat *s, bool hungup);
void mock_count_reset(void);
void mock_count_bad(void);
void mock_count_partial(void);
void mock_count_conns(int change);
void mock_count_get(uint64_t *inflight, uint64_t *total, uint64_t *ended);
void mock_count_stats(FILE *f);
void mock_count_log(FILE *f);
/* The mean of calls in flight from the first instant at `limit` to the last call's entry. */
void mock_count_mean(FILE *f, uint64_t limit, struct mock_slice function, struct mock_slice tenant);
uint64_t mock_now_ns(void);

/* mock_plan.c: what the query asks for. Numbers only, so that one table fills them. */
enum mock_fault {
	FAULT_NONE,
	FAULT_RESET,
	FAULT_CLOSE,
	FAULT_HALF,
	FAULT_RESETHALF,
	FAULT_HANG,
	FAULT_HANGHALF,
	FAULT_STALE,
	FAULT_STALENEXT,
	FAULT_SLOW100,
	FAULT_COUNT
};

struct mock_plan {
	uint64_t delay_ns, jitter_ns, dribble_ns, after_ns, every_ns;
	uint64_t status, size, chunked, close, orphan, garbage, id, hold, n, echo;
	enum mock_fault fault;
	bool linger;             /* close only when the peer has, or soon after */
	bool sized;              /* size= or huge= was given */
	bool echo_head;          /* the answer is the request head itself */
	struct mock_slice query; /* for hdr=, read again when the answer's head is made */
	struct mock_slice tenant;
};

void mock_plan_read(struct mock_plan *p, struct mock_slice query);
/* The next key=value of a query; *at starts at 0. */
bool mock_query_next(struct mock_slice query, size_t *at, struct mock_slice *key,
		     struct mock_slice *value);
struct mock_slice mock_query_get(struct mock_slice query, const char *key);
uint64_t mock_number(struct mock_slice s, uint64_t scale);
bool mock_slice_is(struct mock_slice s, const char *text);

/* A connection and its call. Each belongs to one loop for life. */
enum mock_state { MOCK_HEAD, MOCK_BODY, MOCK_WAIT, MOCK_WRITE, MOCK_HANG };
enum mock_wait { WAIT_INFLIGHT, WAIT_TOTAL, WAIT_ENDED, WAIT_HELD };
enum mock_end { END_KEEP, END_FIN, END_LINGER, END_RST, END_HANG };
enum mock_phase { PHASE_EARLY, PHASE_HEAD, PHASE_BODY, PHASE_OVER };

struct mock_call {
	struct mock_seat seat;
	struct mock_plan plan;
	struct mock_body in;
	bool plain;   /* the prebuilt answer does */
	bool is_head; /* HEAD: no body in the answer */
	bool poll;    /* /_mock/wait: look again each millisecond */
	bool framed;  /* the body goes out in chunks */
	bool ticked;  /* dribble: the timer has allowed a byte */
	char *head;   /* malloc'd copy of the request head, where the answer needs it */
	size_t head_bytes;
	char *body; /* malloc'd: the request body for echo, or a control answer */
	size_t body_len, body_cap;
	uint64_t got_bytes; /* of the request body */
	uint64_t wait_n, wait_until_ns;
	enum mock_wait wait_for;
	/* the answer */
	const char *type;
	uint64_t answer_bytes, stop_bytes, sent_bytes, early_left;
	enum mock_end end;
	enum mock_phase phase;
};

struct mock_loop;
struct mock_conn {
	int fd;
	enum mock_state state;
	struct mock_loop *loop;
	bool readable, peer_gone, doomed, held;
	char *in;
	size_t in_cap, in_off, in_len, in_scan;
	const char *out;
	size_t out_len, out_off;
	char *made; /* MOCK_MADE_BYTES, allocated at the first answer that is not prebuilt */
	uint64_t due_ns;
	size_t timer; /* place in the loop's heap, 0: none */
	struct mock_call call;
	TAILQ_ENTRY(mock_conn) hold_link;
};

/* mock_conn.c */
struct mock_conn *mock_conn_new(int fd, struct mock_loop *loop);
void mock_conn_event(struct mock_conn *c, uint32_t events);
void mock_conn_timer(struct mock_conn *c);
void mock_conn_release(struct mock_conn *c); /* hold= is over */
void mock_conn_functions(const char *list);  /* -f: all others are 404 */

/* mock_answer.c */
enum mock_more { MORE_PIECE, MORE_LATER, MORE_END };
void mock_answer_begin(struct mock_conn *c);
/* Sets out/out_len to the next piece; the call has left the count before its last piece. */
enum mock_more mock_answer_next(struct mock_conn *c);
/* Makes this the whole answer, whatever the query asked. */
void mock_answer_text(struct mock_call *call, unsigned status, const char *text);
void mock_answer_refuse(struct mock_call *call, const char *text); /* 400, counted as bad */
const char *mock_answer_plain(size_t *n);

/* mock_fault.c */
struct mock_garbage {
	const char *verdict; /* "bad": a proxy must not believe it; "ok": valid, if odd */
	const char *name;
	const char *bytes;
	size_t len;
	size_t pad; /* this many 'a' are inserted at the first "@" */
	enum mock_end end;
};
const struct mock_garbage *mock_garbage_get(uint64_t number); /* from 1; NULL beyond the last */
void mock_garbage_list(FILE *f);

/* mock_admin.c: /_mock/... Fills the call's answer. */
void mock_admin(struct mock_call *call, const struct mock_head *h);
bool mock_admin_poll(struct mock_call *call); /* true: the answer is ready */
void mock_heads_setup(size_t keep);
void mock_heads_add(const char *p, size_t n);

/* mock_hold.c: calls that wait for /_mock/release, first in first out over all loops. */
void mock_hold_add(struct mock_conn *c);
void mock_hold_drop(struct mock_conn *c);
uint64_t mock_hold_release(uint64_t key, uint64_t n);
uint64_t mock_hold_count(void);
struct mock_conn *mock_hold_next(struct mock_loop *loop);
TAILQ_HEAD(mock_held, mock_conn);

/* mockfaas.c: loops and timers. */
void mock_loop_arm(struct mock_conn *c, uint64_t due_ns);
void mock_loop_disarm(struct mock_conn *c);
uint64_t mock_loop_random(struct mock_loop *loop);
struct mock_held *mock_loop_released(struct mock_loop *loop);
void mock_loop_wake(struct mock_loop *loop);

#endif
