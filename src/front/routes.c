/* Paths of `routes:` in the settings: passed through to a backend untouched, under policy. */
#include "front/conn.h"
#include "model/glob.h"

#include <string.h>

static char *keep(struct request *rq, const char *s)
{
	return sq_arena_strndup(rq->arena, s, strlen(s));
}

static bool claim(struct conn *c, enum sq_fault *fault)
{
	const struct sq_settings *s = sq_home_settings(c->front->home);
	struct request *rq = &c->rq;

	for (size_t i = 0; i < s->n_routes; i++) {
		const struct sq_route_conf *r = &s->routes[i];

		if (!sq_glob_match(r->path, rq->path))
			continue;
		rq->function = keep(rq, r->function);
		rq->backend = keep(rq, r->backend);
		rq->rest = "";
		rq->stream = r->stream;
		if (!rq->function || !rq->backend)
			*fault = SQ_FAULT_MEMORY;
		return true;
	}
	return false;
}

const struct dialect dialect_routes = {.claim = claim, .serve = conn_call};
