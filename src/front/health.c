/* GET /healthz: is this proxy to be sent requests? */
#include "front/conn.h"

#include <string.h>

static bool claim(struct conn *c, enum sq_fault *fault)
{
	struct request *rq = &c->rq;

	if (strcmp(rq->path, "/healthz") != 0)
		return false;
	if (strcmp(rq->method, "GET") != 0 && strcmp(rq->method, "HEAD") != 0) {
		rq->allow = "GET, HEAD";
		*fault = SQ_FAULT_METHOD;
	}
	return true;
}

static void serve(struct conn *c)
{
	if (c->front->draining)
		conn_fail(c, SQ_FAULT_DRAINING, NULL);
	else
		conn_answer(c, 200, "text/plain", "OK\n", 3);
}

const struct dialect dialect_health = {.claim = claim, .serve = serve};
