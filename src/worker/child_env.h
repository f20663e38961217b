/* The environment of a function's process: the variables of the classic watchdogs. */
#ifndef SQ_WORKER_CHILD_ENV_H
#define SQ_WORKER_CHILD_ENV_H

#include "base/buf.h"
#include "engine/engine.h"

/* Zeroed before its first use; its memory is used again and again. */
struct sq_child_env {
	char **list; /* ends with NULL; valid until the next build */
	size_t cap;
	struct sq_buf text;
};

/*
 * PATH, HOME, LANG, and of the call: Http_Method, Http_Path, Http_Query, Http_ContentLength and
 * Http_Content_Length, each header as Http_Its_Name, and ours: Http_X_Call_Id,
 * Http_X_Sequoia_Run, _Node, _Attempt, Http_Idempotency_Key. 0 or -ENOMEM.
 */
int sq_child_env_build(struct sq_child_env *env, const struct sq_invocation *inv, const char *home)
	__attribute__((warn_unused_result));
void sq_child_env_free(struct sq_child_env *env);

#endif
