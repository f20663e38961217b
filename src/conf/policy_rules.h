/* One document of a policy file. */
#ifndef SQ_CONF_POLICY_RULES_H
#define SQ_CONF_POLICY_RULES_H

#include "conf/value.h"
#include "model/policy.h"

/*
 * Reads a document into *p, which is zeroed; what is wrong becomes faults of the document. *p is to
 * be freed with its set whether there were faults or not. v: a document that is not null.
 */
void sq_policy_read(struct sq_policy *p, struct sq_value *v);

#endif
