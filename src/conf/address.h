/* "HOST:PORT" to listen at; the host an IPv4 address, [IPv6], localhost (127.0.0.1), or *: all. */
#ifndef SQ_CONF_ADDRESS_H
#define SQ_CONF_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

struct sq_address {
	int family;       /* AF_INET or AF_INET6; *: the unspecified IPv6 address */
	uint8_t host[16]; /* in network order; of AF_INET the first 4 */
	uint16_t port;    /* 0: any that is free */
};

bool sq_address_parse(const char *text, struct sq_address *out);
/* Whether both cannot be listened at. */
bool sq_address_same(const struct sq_address *a, const struct sq_address *b);

#endif
