/* A client's connection and the request on it: shared by the files of this folder only. */
#ifndef SQ_FRONT_CONN_H
#define SQ_FRONT_CONN_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/loop.h"
#include "engine/engine.h"
#include "front/field.h"
#include "front/front.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <urcu/list.h>

struct conn;

/* So often in a row the library is run again for what may be nothing: see has_left_something. */
#define SPINS 4

/*
 * A connection is on exactly the list of its state, oldest first: within a list all have the same
 * time to go, so that deadlines cost two pointers and no heap (conn.c).
 */
enum conn_state {
	CONN_IDLE,   /* between requests */
	CONN_REST,   /* the same, since longer */
	CONN_HEAD,   /* the head is arriving, or the first one is awaited */
	CONN_BODY,   /* the body is arriving */
	CONN_UPLOAD, /* the same, since longer: the socket is watched for a hang-up */
	CONN_WAIT,   /* parked or suspended: the engine or the answer's next bytes are waited for */
	CONN_WATCH,  /* suspended since longer: the socket is watched */
	CONN_SEND,   /* the answer is being sent */
	CONN_CUT,    /* shut down by us: the library will notice and close */
	CONN_LINGER, /* closed for the library; what the client still sends is read and dropped */
	CONN_STATES
};

/* How requests of one kind are understood; one file each. */
struct dialect {
	/*
	 * The head is complete. True: the path belongs to this dialect; *fault may refuse it, else
	 * what serve needs is in the request.
	 */
	bool (*claim)(struct conn *c, enum sq_fault *fault);
	/* The body is complete. Ends, now or later, in one conn_answer, conn_call or conn_fail. */
	void (*serve)(struct conn *c);
};
extern const struct dialect dialect_health, dialect_openfaas, dialect_runs, dialect_routes;

struct request {
	struct sq_arena *arena; /* NULL once a run has it: strings live as long as run or arena */
	const char *raw;        /* the target where the library has it; to be compared, not read */
	char *path, *query;     /* its copy; query NULL: none */
	size_t target_len;
	const char *method;
	const char *headers; /* end-to-end, in wire form */
	size_t headers_len;
	int64_t length;   /* Content-Length; -1: none */
	size_t head_cost; /* of the connection's memory */
	bool chunked, close, headed, complete;
	bool callback;   /* X-Callback-Url was given */
	bool json_input; /* the body will be made of a part of it: its Content-* are not the function's */
	enum sq_fault refused; /* to be answered when the request is complete */
	const char *detail;
	const char *allow; /* for 405 */
	int64_t received_ns;
	const char *tenant;
	const struct dialect *dialect;
	/* What a dialect makes of it. */
	const char *function, *rest;
	const char *backend; /* of a route, by name: its path is passed on whole; NULL: any */
	bool stream;
	enum sq_trigger trigger;
	struct sq_id run_id; /* asked for */
	struct sq_blob *body;
	/* The answer. */
	struct sq_sink sink;
	struct sq_run *run;
	struct sq_answer *answer; /* the run's */
	struct sq_id id;          /* of the run, or of what was refused; zero: none */
	bool waits;   /* the engine has the sink */
	bool aborted; /* the answer broke after its head */
	struct ask *ask;
	unsigned status;
	struct MHD_Response *response; /* made, not queued yet */
};

struct conn {
	struct cds_list_head node;
	enum conn_state state;
	int64_t since_ns;
	struct sq_front *front;
	struct port *port;
	struct MHD_Connection *mhd;
	int fd;
	bool in_handler; /* a callback of the library is running: it queues the response itself */
	bool parked;    /* waits for the engine, and the library asks for the answer whenever it runs */
	bool suspended; /* waits, and the library does not know it until it is resumed */
	bool surplus;  /* beyond limits.connections: gets 503 */
	bool cut;      /* the client has gone or must go */
	bool orderly;  /* the last request was answered to its end */
	struct sq_watch watch;
	uint64_t acked; /* what the client's kernel had taken at the last look */
	unsigned stalls;
	char peer[INET6_ADDRSTRLEN];
	struct request rq;
};

/* One address of one loop: a daemon of the library. */
struct port {
	struct sq_front *front;
	struct MHD_Daemon *mhd;
	int listen_fd;
	struct sq_watch watch; /* the library's epoll */
	struct sq_task run;
	bool queued;  /* a response for a parked connection, in this run */
	bool starved; /* of descriptors: it does not accept */
};

struct sq_front {
	struct sq_home *home;
	struct sq_loop *loop;
	struct port *ports;
	size_t n_ports;
	size_t pool_bytes; /* memory of the library for each connection */
	struct cds_list_head lists[CONN_STATES];
	size_t counts[CONN_STATES];
	struct sq_timer sweep;
	size_t parked, open_heads; /* connections waiting in the library; heads begun and not complete */
	unsigned spins; /* runs in a row after which something may have been left to do: see has_left_something */
	bool draining, stopping;
};

/* server.c: runs the library once, at the end of this turn of the loop */
void port_run_soon(struct port *p);

/* conn.c: states, deadlines, hang-ups */
void conn_move(struct conn *c, enum conn_state state);
void conn_wait(struct conn *c);    /* in the handler: there is no answer yet */
void conn_suspend(struct conn *c); /* within a callback of the library */
void conn_resume(struct conn *c);
void conn_unpark(struct conn *c);
void conn_cut(struct conn *c); /* both ways; the library will close. No answer comes any more */
void conn_reset(struct conn *c); /* with RST: the client cannot take it for an end */
/* An error past the library, when it cannot take one: at a deadline, in the middle of a body. */
void conn_say(struct conn *c, enum sq_fault fault);
void conn_sweep(struct sq_timer *t);
void conn_opened(struct conn *c);
void conn_closed(struct conn *c); /* frees it, now or after lingering */
void conn_free(struct conn *c);

/* request.c: from the first byte to the call */
void request_begin(struct conn *c, const char *uri);
void request_head(struct conn *c, const char *method, const char *version);
int request_body(struct conn *c, const char *data, size_t len); /* -1: the connection is lost */
void request_complete(struct conn *c);
void request_end(struct conn *c);
/* Can a function or chain be called so? */
bool request_is_name(const char *s, size_t len);
/* At the headers: does the engine take a call of rq->function (NULL: it stands in the body)? */
enum sq_fault request_admits(struct conn *c);
/* Submits the request as a call of rq->function; the answer comes by itself. */
void conn_call(struct conn *c);

/* head.c: who asks, and what is handed on */
enum sq_fault head_tenant(struct conn *c, const struct sq_settings *s, struct sq_field *fields,
			  size_t n);
int head_build(struct conn *c, const struct sq_field *host, const struct sq_field *fields, size_t n);

/* runs.c: nobody waits for this question's answer any more */
void ask_orphan(struct ask *a);

/* answer.c */
extern const struct sq_sink_ops answer_sink;
/* Each of them answers the request, which is done once. Takes r; NULL: no memory, the connection is cut. */
void conn_respond(struct conn *c, unsigned status, struct MHD_Response *r);
void conn_fail(struct conn *c, enum sq_fault fault, const char *detail);
void conn_answer(struct conn *c, unsigned status, const char *type, const char *text, size_t len);
void conn_answer_view(struct conn *c, const struct sq_run_view *v);
void answer_ready(struct conn *c); /* rq->answer is there */

#endif
