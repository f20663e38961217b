/*
 * Opens connections to one URL on one loop, by libcurl: it resolves, tries the addresses, speaks
 * TLS. All that it needs (sockets to watch, one timer) is driven by our loop.
 */
#ifndef SQ_WORKER_DIAL_H
#define SQ_WORKER_DIAL_H

#include "base/error.h"
#include "base/loop.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

struct sq_dialer;
struct sq_handle;

struct sq_dial_conf {
	CURLU *url; /* copied */
	bool tls;   /* the URL is https */
	bool verify;
	int64_t connect_timeout_ns;
};

/* One connection being opened; embed it. While it is begun and not ended it must stay where it is.
 */
struct sq_dial {
	/*
	 * Called once, never from within begin. fd >= 0: open, non-blocking; without TLS the socket
	 * is the callee's to close, with TLS it belongs to libcurl until sq_dial_end, which is then
	 * due. fd < 0: it failed, detail says why, and the dial has ended.
	 */
	void (*done)(struct sq_dial *d, int fd, const char *detail);
	struct sq_handle *handle; /* the dialer's own */
};

struct sq_dialer *sq_dialer_new(struct sq_loop *loop, const struct sq_dial_conf *conf,
				struct sq_error *e); /* NULL with e filled */
void sq_dialer_free(struct sq_dialer *dl);           /* NULL is fine; every dial has ended */

/* d->done set before. 0, or -ENOMEM: it has not begun. */
int sq_dial_begin(struct sq_dialer *dl, struct sq_dial *d) __attribute__((warn_unused_result));
/* Gives up a begun dial, or closes the TLS connection it has opened. Twice is fine. */
void sq_dial_end(struct sq_dialer *dl, struct sq_dial *d);
/* The handle for curl_easy_send and curl_easy_recv; with TLS, after done. */
CURL *sq_dial_curl(const struct sq_dial *d);

#endif
