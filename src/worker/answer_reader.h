/*
 * Reads a backend's answer: HTTP/1.x (RFC 9112), strict, incremental, without I/O. What two readers
 * could understand differently is refused, since the next bytes of a kept connection belong to
 * another client.
 */
#ifndef SQ_WORKER_ANSWER_READER_H
#define SQ_WORKER_ANSWER_READER_H

#include "base/arena.h"
#include "base/buf.h"
#include "model/request.h"
#include "tables/errors.h"
#include "worker/http_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_ANSWER_HEAD_MAX                                                                         \
	(64u * 1024) /* of all heads, interim ones too, extensions and trailers */
#define SQ_ANSWER_HEADERS_MAX 256u
#define SQ_ANSWER_INTERIM_MAX 32u /* 1xx answers */
#define SQ_ANSWER_OPTIONS_MAX 8u  /* Connection fields */
#define SQ_ANSWER_NAMED_MAX 32u   /* headers that Connection names */
#define SQ_ANSWER_CHUNK_LINE_MAX 1024u

enum sq_read {
	SQ_READ_MORE, /* the input is used up */
	SQ_READ_HEAD, /* answer's status, headers, length, event_stream are filled; once */
	SQ_READ_BODY, /* some of the body; never empty */
	SQ_READ_END,  /* the answer is complete; what is left of the input is not its own */
	SQ_READ_BAD,  /* reason says why; the connection is of no more use */
};

enum sq_reader_state {
	SQ_READER_STATUS,
	SQ_READER_HEADERS,
	SQ_READER_LENGTH,
	SQ_READER_CHUNK_SIZE,
	SQ_READER_CHUNK,
	SQ_READER_CHUNK_END,
	SQ_READER_TRAILERS,
	SQ_READER_UNTIL_CLOSE,
	SQ_READER_DONE,
	SQ_READER_BROKEN,
};

struct sq_answer_reader {
	enum sq_reader_state state;
	struct sq_answer *answer;
	struct sq_arena *arena;
	const char *reason;    /* of SQ_READ_BAD, for people */
	bool keep;             /* after SQ_READ_END: the connection may be used again */
	unsigned keep_alive_s; /* Keep-Alive: timeout=N; 0: not said */
	/* The reader's own. */
	bool head_request, http10, chunked, has_length;
	unsigned interim, n_options;
	size_t headers_cap, head_bytes;
	uint64_t left;      /* of the body or the chunk */
	struct sq_buf held; /* the beginning of a line whose end has not come yet */
	struct sq_bytes options[SQ_ANSWER_OPTIONS_MAX];
};

/*
 * Makes r ready for an answer to a request (is_head: its method was HEAD). r is zeroed before its
 * first use and may be begun again at any time. Borrows both; the headers are put into the arena.
 */
void sq_answer_reader_begin(struct sq_answer_reader *r, struct sq_answer *answer,
			    struct sq_arena *arena, bool is_head);
void sq_answer_reader_free(struct sq_answer_reader *r); /* what it holds, not r */

/*
 * Reads on and takes what it used off `in`. One event per call, in this order: HEAD, BODY..., END.
 * *body points into the input.
 */
enum sq_read sq_answer_read(struct sq_answer_reader *r, struct sq_bytes *in, struct sq_bytes *body);
/* The backend has closed the connection: SQ_READ_END if the answer was complete by that. */
enum sq_read sq_answer_closed(struct sq_answer_reader *r);
/* The fault of SQ_READ_BAD: BACKEND_BROKEN, or MEMORY. */
enum sq_fault sq_answer_reader_fault(const struct sq_answer_reader *r);

#endif
