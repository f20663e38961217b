/* Who is asking, known from a credential checked here. */
#ifndef SQ_MODEL_TENANT_H
#define SQ_MODEL_TENANT_H

#include <stdint.h>

struct sq_tenant {
	const char *name;
	uint8_t key_sha256[32]; /* of the API key */
};

#endif
