#include "conf/address.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_MAX 64

static bool parse_port(const char *s, uint16_t *out)
{
	size_t len = strspn(s, "0123456789");
	long port = len > 0 && len <= 5 ? strtol(s, NULL, 10) : -1;

	if (s[len] != '\0' || port < 0 || port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	return true;
}

bool sq_address_parse(const char *text, struct sq_address *out)
{
	const char *colon = strrchr(text, ':');
	char host[HOST_MAX];
	size_t len = colon ? (size_t)(colon - text) : 0;

	*out = (struct sq_address){.family = AF_INET};
	if (len == 0 || len >= sizeof(host) || !parse_port(colon + 1, &out->port))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		out->family = AF_INET6;
		return inet_pton(AF_INET6, host + 1, out->host) == 1;
	}
	if (strcmp(host, "*") == 0) {
		out->family = AF_INET6;
		return true;
	}
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	return inet_pton(AF_INET, host, out->host) == 1;
}

bool sq_address_same(const struct sq_address *a, const struct sq_address *b)
{
	return a->port != 0 && a->port == b->port && a->family == b->family &&
	       memcmp(a->host, b->host, sizeof(a->host)) == 0;
}
