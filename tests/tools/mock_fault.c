/* Answers no honest server gives, and odd ones that are valid: garbage=N, N from 1. */
#include "mock.h"

#include <string.h>

#define BAD(name, text, end)                                                                       \
	{                                                                                          \
		"bad", name, text, sizeof(text) - 1, 0, end                                        \
	}
#define ODD(name, text, end)                                                                       \
	{                                                                                          \
		"ok", name, text, sizeof(text) - 1, 0, end                                         \
	}
#define PAD(verdict, name, text, pad, end)                                                         \
	{                                                                                          \
		verdict, name, text, sizeof(text) - 1, pad, end                                    \
	}
#define H "HTTP/1.1 200 OK\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"
#define CL3 "Content-Length: 3\r\n"
#define EARLY "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
#define EARLY10 EARLY EARLY EARLY EARLY EARLY EARLY EARLY EARLY EARLY EARLY
#define EARLY200                                                                                   \
	EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10    \
		EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10 EARLY10

/* Append only: tests name them by number. */
static const struct mock_garbage table[] = {
	BAD("status line is noise", "\x16\x03\x01 lorem ipsum\r\n\r\n", END_KEEP),
	BAD("status line without a code", "HTTP/1.1 OK\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("status code of two digits", "HTTP/1.1 20 OK\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("status code of four digits", "HTTP/1.1 2000 OK\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("status code 099", "HTTP/1.1 099 Low\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("another protocol", "ICY 200 OK\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("HTTP/3.1 version", "HTTP/3.1 200 OK\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("HTTP/0.9: a body alone", "<html>hello</html>\n", END_FIN),
	BAD("chunk size not hex", H CHUNKED "zz\r\nok\n\r\n0\r\n\r\n", END_KEEP),
	BAD("chunk size negative", H CHUNKED "-3\r\nok\n\r\n0\r\n\r\n", END_KEEP),
	BAD("chunk size overflows", H CHUNKED "fffffffffffffffff\r\nok\n", END_KEEP),
	BAD("chunk longer than it says", H CHUNKED "2\r\nok\n\r\n0\r\n\r\n", END_KEEP),
	BAD("chunked, closed before the end", H CHUNKED "3\r\nok\n\r\n", END_FIN),
	BAD("chunked, bare LF", H CHUNKED "3\nok\n\n0\n\n", END_KEEP),
	BAD("Content-Length and chunked", H CL3 CHUNKED "3\r\nok\n\r\n0\r\n\r\n", END_KEEP),
	BAD("two Content-Lengths, different",
	    H "Content-Length: 3\r\nContent-Length: 5\r\n\r\nok\n", END_KEEP),
	BAD("Content-Length negative", H "Content-Length: -3\r\n\r\nok\n", END_KEEP),
	BAD("Content-Length with a plus", H "Content-Length: +3\r\n\r\nok\n", END_KEEP),
	BAD("Content-Length in hex", H "Content-Length: 0x3\r\n\r\nok\n", END_KEEP),
	BAD("Content-Length a list", H "Content-Length: 3, 5\r\n\r\nok\n", END_KEEP),
	BAD("Content-Length empty", H "Content-Length:\r\n\r\nok\n", END_KEEP),
	BAD("Content-Length overflows", H "Content-Length: 99999999999999999999999\r\n\r\nok\n",
	    END_KEEP),
	BAD("NUL in a header value", H "X-Nul: a\0b\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("NUL in a header name", H "X-N\0l: a\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("header folded over two lines", H "X-Fold: a\r\n b\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("header without a colon", H "Nonsense\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("space before the colon", H "Content-Length : 3\r\n\r\nok\n", END_KEEP),
	BAD("empty header name", H ": x\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("bare CR in a header value", H "X-Cr: a\rb\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("space in a header name", H "X Y: a\r\n" CL3 "\r\nok\n", END_KEEP),
	BAD("unknown transfer coding", H "Transfer-Encoding: gzip, smoke\r\n\r\nok\n", END_FIN),
	BAD("transfer coding twice",
	    H "Transfer-Encoding: chunked\r\nTransfer-Encoding: "
	      "chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n",
	    END_KEEP),
	PAD("bad", "a header of 1 MiB", H "X-Big: @\r\n" CL3 "\r\nok\n", 1 << 20, END_KEEP),
	PAD("bad", "a header line that never ends, 4 MiB", H "X-Big: @", 4 << 20, END_FIN),
	PAD("bad", "a reason phrase of 1 MiB", "HTTP/1.1 200 @\r\n" CL3 "\r\nok\n", 1 << 20,
	    END_KEEP),
	BAD("closed within the status line", "HTTP/1.1 2", END_FIN),
	BAD("closed within the headers", H "Content-Le", END_FIN),
	BAD("closed after the headers", H CL3 "\r\n", END_FIN),
	BAD("reset within the headers", H "Content-Le", END_RST),
	BAD("100 and then closed", "HTTP/1.1 100 Continue\r\n\r\n", END_FIN),
	BAD("101 nobody asked for",
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
	    END_FIN),
	BAD("1xx storm without end: 200 early hints, then closed", EARLY200, END_FIN),
	ODD("two Content-Lengths, the same (a proxy may refuse it)", H CL3 CL3 "\r\nok\n",
	    END_KEEP),
	ODD("100 Continue nobody asked for, then 200",
	    "HTTP/1.1 100 Continue\r\n\r\n" H CL3 "\r\nok\n", END_KEEP),
	ODD("ten early hints, then 200", EARLY10 H CL3 "\r\nok\n", END_KEEP),
	ODD("HTTP/1.0 without a length", "HTTP/1.0 200 OK\r\n\r\nok\n", END_FIN),
	ODD("HTTP/1.1 without a length", H "\r\nok\n", END_FIN),
	ODD("HTTP/1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" CL3 "\r\nok\n",
	    END_KEEP),
	ODD("no reason phrase", "HTTP/1.1 200 \r\n" CL3 "\r\nok\n", END_KEEP),
	ODD("chunk extension and trailer", H CHUNKED "3;a=b\r\nok\n\r\n0\r\nX-T: 1\r\n\r\n",
	    END_KEEP),
	ODD("chunked in capitals, size 0003",
	    H "TRANSFER-ENCODING: CHUNKED\r\n\r\n0003\r\nok\n\r\n0\r\n\r\n", END_KEEP),
	ODD("Connection names a header, to be stripped",
	    H "Connection: x-secret\r\nX-Secret: 1\r\n" CL3 "\r\nok\n", END_KEEP),
	ODD("an answer and bytes of another after it",
	    H CL3 "\r\nok\n" H "Content-Length: 5\r\n\r\nevil\n", END_KEEP),
	ODD("204 with a Content-Length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	    END_KEEP),
	ODD("304 that names a length it does not send", "HTTP/1.1 304 Not Modified\r\n" CL3 "\r\n",
	    END_KEEP),
	ODD("many set-cookie headers",
	    H "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nSet-Cookie: c=3\r\n" CL3 "\r\nok\n", END_KEEP),
	ODD("bytes over 127 in a header value", H "X-Utf: \xc3\xa9\r\n" CL3 "\r\nok\n", END_KEEP),
};

const struct mock_garbage *mock_garbage_get(uint64_t number)
{
	return number >= 1 && number <= sizeof(table) / sizeof(table[0]) ? &table[number - 1]
									 : NULL;
}

void mock_garbage_list(FILE *f)
{
	const struct mock_garbage *g;

	for (uint64_t n = 1; (g = mock_garbage_get(n)) != NULL; n++)
		fprintf(f, "%lu\t%s\t%s\n", n, g->verdict, g->name);
}
