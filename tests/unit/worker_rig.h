/*
 * What the worker room's tests stand on: an engine that only notes what it is told, and a scripted
 * backend on a thread of its own. The engine's functions that the room calls are defined here, so
 * the real ones are not linked.
 */
#ifndef WORKER_RIG_H
#define WORKER_RIG_H

#include "base/clock.h"
#include "engine/engine.h"
#include "worker/worker.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- the engine's side ---- */

struct rig {
	struct sq_loop *loop;
	struct sq_settings settings;
	struct sq_blob_store *blobs;
	struct sq_arena_pool *arenas;
	struct sq_backend backend;
	struct sq_backend_conf conf;
	void *port;
	uint64_t counts[SQ_COUNT_COUNT];
	int in_flight;
};

/* Everything is zeroed but set up for calls of 5 s at most; change it before rig_open. */
struct rig *rig_new(void);
void rig_open(struct rig *r, const struct sq_backend_ops *ops); /* asserts success */
void rig_free(struct rig *r); /* asserts that nothing is left in flight */

struct call {
	struct sq_invocation inv;
	struct sq_request request;
	struct rig *rig;
	/* How the engine's consumer behaves: */
	size_t take;         /* of a flow, at most so much per millisecond; 0: all at once */
	size_t sleeps_until; /* takes nothing of a flow before there is more than that */
	bool discard_at_head;
	bool abort_at_head;
	/* What was told: */
	int heads, datas, endings;
	enum sq_fault fault;
	char detail[200];
	size_t flow_max, flow_total;
	bool flow_bad; /* not the bytes of fill() */
	struct sq_timer taker;
	int64_t ended_ns;
};

/* headers may be NULL. The body is fill()ed with body_bytes bytes, or absent (0). */
struct call *call_new(struct rig *r, const char *method, const char *function, const char *path,
		      const char *headers, size_t body_bytes);
void call_body(struct call *c, const char *text); /* instead */
void call_start(struct call *c);
void call_wait(struct call *c); /* runs the loop until it has ended */
void call_free(struct call *c);
/* start, wait, expect this fault and (if none) this status and body (NULL: whatever). */
void call_expect(struct call *c, enum sq_fault fault, int status, const char *body);
/* The whole body as text; the caller frees. */
char *call_answer(const struct call *c);
const char *call_header(const struct call *c, const char *name); /* NULL: none */

void loop_run_for(struct rig *r, int64_t ns);
void fill(char *p, size_t n, size_t offset); /* bytes that depend on their place */
bool blob_is_filled(const struct sq_blob *b, size_t n);
int count_descriptors(void);

/* ---- the backend ---- */

enum act {
	ACCEPT,  /* a connection; it becomes the present one */
	REQUEST, /* read a whole request into peer->request */
	HEAD,    /* its head only */
	SEND,    /* text */
	FILL,    /* n bytes of fill(), continuing where the last FILL ended */
	CHUNKS,  /* the same in chunks of 1000 bytes, with the last chunk */
	SLEEP,   /* n ms, to let bytes travel alone */
	TELL,    /* post `told` */
	WAIT,    /* for `go` */
	CLOSE,
	RESET,
	GONE, /* read until the other side has closed */
	DONE
};

struct script {
	enum act act;
	const char *text;
	size_t n;
};

struct peer {
	int listener, fd;
	int port;
	bool tls;
	struct gnutls_session_int *session;
	sem_t told, go;
	pthread_t thread;
	const struct script *script;
	char request[1 << 16]; /* of the last REQUEST or HEAD: the head */
	size_t body_bytes;     /* of the last REQUEST */
	bool body_good;        /* it was fill() */
	size_t filled;
};

struct peer *peer_start(const struct script *script); /* ends with DONE */
struct peer *peer_start_tls(const struct script *script);
void peer_join(struct peer *p); /* waits for the script's end; frees */
void peer_url(const struct peer *p, struct rig *r, const char *base);

#endif
