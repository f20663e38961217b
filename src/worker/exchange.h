/*
 * The exchange of one HTTP attempt: request out, answer in, over a connection of the loop's
 * upstream. The four functions below are the whole of an HTTP backend's ops at run time.
 */
#ifndef SQ_WORKER_EXCHANGE_H
#define SQ_WORKER_EXCHANGE_H

#include "base/error.h"
#include "engine/engine.h"
#include "worker/request_writer.h"

#include <curl/curl.h>

/* What a backend's URL says; read once, shared by all loops. */
struct sq_http_site {
	CURLU *url;
	bool tls;
	struct sq_target target;
};

struct sq_http_port;

/* Borrows all. NULL with e filled. */
struct sq_http_port *sq_http_port_open(struct sq_backend *b, struct sq_home *home,
				       const struct sq_http_site *site, struct sq_error *e);
void sq_http_port_close(struct sq_http_port *port);

void sq_exchange_start(struct sq_http_port *port, struct sq_invocation *inv);
void sq_exchange_resume(struct sq_invocation *inv);
void sq_exchange_abort(struct sq_invocation *inv);

#endif
