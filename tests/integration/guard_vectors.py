#!/usr/bin/env python3
"""The request guard, with raw sockets against the real daemon in front of a recording backend.

Every vector is followed on its connection by a well-formed request for /function/evil. Asserted of
each: the answer is one 4xx, the connection closes, nothing of it reaches the backend, and a good
request on a new connection works.
"""
import json

from front_wire import H, exchange, front, get, good, post, statuses
from harness import main, test

EVIL = b"GET /function/evil HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HIDDEN = b"GET /function/hidden HTTP/1.1\r\nHost: a\r\n\r\n"

# name: bytes, or bytes and the statuses that are right; 0: closed without a word
VECTORS = {
    # two framings
    "length and coding": post(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n"),
    "coding and length": post(CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n" + HIDDEN),
    "length 0 and coding": post(b"Content-Length: 0\r\n" + CHUNKED, b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello"),
    "two lengths, the short one first": post(b"Content-Length: 0\r\nContent-Length: 45\r\n", HIDDEN),
    "two equal lengths": post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "length list": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "length with plus": post(b"Content-Length: +5\r\n", b"hello"),
    "length negative": post(b"Content-Length: -1\r\n", b"hello"),
    "length in hex": post(b"Content-Length: 0x5\r\n", b"hello"),
    "length with a blank": post(b"Content-Length: 5 5\r\n", b"hello"),
    "length with a letter": post(b"Content-Length: 5a\r\n", b"hello"),
    "length with a fraction": post(b"Content-Length: 5.0\r\n", b"hello"),
    "length empty": post(b"Content-Length: \r\n", b"hello"),
    "length huge": post(b"Content-Length: 99999999999999999999999\r\n", b"hello"),
    "length at 2^63": post(b"Content-Length: 9223372036854775808\r\n", b"hello"),
    "length over the limit": post(b"Content-Length: 6291457\r\n", b"hello"),
    "length and blank before the colon": post(b"Content-Length : 45\r\n", HIDDEN),
    "length and tab before the colon": post(b"Content-Length\t: 45\r\n", HIDDEN),
    "coding and blank before the colon": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "coding twice": post(CHUNKED + CHUNKED, b"0\r\n\r\n"),
    "coding twice, one other": post(CHUNKED + b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "coding list": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "coding chunked, chunked": post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "coding identity": post(b"Transfer-Encoding: identity\r\n", b"hello"),
    "coding unknown": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "coding with VT": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "coding with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    "coding with a blank behind": post(b"Transfer-Encoding: chunked \r\n", b"0\r\n\r\n"),
    "coding empty": post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"),
    "coding folded": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "coding in HTTP/1.0": get(method=b"POST", version=b"HTTP/1.0", fields=CHUNKED) + b"0\r\n\r\n",
    "length by underscore": post(b"Content_Length: 5\r\n", b"hello"),
    "coding by underscore": post(b"Transfer_Encoding: chunked\r\n", b"0\r\n\r\n"),
    # lines
    "bare LF in the request line": b"GET /function/f HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF behind a field": b"GET /function/f HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "bare LF behind the last field": b"GET /function/f HTTP/1.1\r\nHost: a\n\r\n",
    "bare LF for the empty line": b"GET /function/f HTTP/1.1\r\nHost: a\r\n\n",
    "bare LF everywhere": b"GET /function/f HTTP/1.1\nHost: a\n\n",
    "bare CR in a value": get(fields=H + b"X: a\rb\r\n"),
    "bare CR before a field": get(fields=H + b"X: a\rContent-Length: 9\r\n"),
    "bare CR in the target": get(b"/function/f\rx"),
    "CR CR LF": get(fields=H + b"X: a\r\r\n"),
    "folded value": get(fields=H + b"X: a\r\n b\r\n"),
    "folded value by a tab": get(fields=H + b"X: a\r\n\tContent-Length: 9\r\n"),
    "folded name": get(fields=H + b"X: a\r\n Y: b\r\n"),
    "fold behind the request line": b"GET /function/f HTTP/1.1\r\n Host: a\r\n\r\n",
    "field without a colon": get(fields=H + b"nothing\r\n"),
    "field without a name": get(fields=H + b": x\r\n"),
    "field with a bad name": get(fields=H + b"X(y): 1\r\n"),
    "field beyond ASCII": get(fields=H + b"X\xe4: 1\r\n"),
    "NUL in a value": get(fields=H + b"X: a\x00b\r\n"),
    "NUL hides a length": get(fields=H + b"X: a\x00\r\nContent-Length: 45\r\n") + HIDDEN,
    "NUL in a name": get(fields=H + b"X\x00Y: a\r\n"),
    "NUL in the target": get(b"/function/f\x00x"),
    "NUL in the method": get(method=b"GE\x00T"),
    "NUL in the query": get(b"/function/f?a\x00b"),
    "control in a value": get(fields=H + b"X: \x08\r\n"),
    "DEL in a value": get(fields=H + b"X: \x7f\r\n"),
    # the request line
    "two blanks": b"GET  /function/f HTTP/1.1\r\n" + H + b"\r\n",
    "two blanks before the version": b"GET /function/f  HTTP/1.1\r\n" + H + b"\r\n",
    "a blank at the end": b"GET /function/f HTTP/1.1 \r\n" + H + b"\r\n",
    "a tab for a blank": (b"GET\t/function/f\tHTTP/1.1\r\n" + H + b"\r\n", 0, 400),
    "blank in the target": get(b"/function/f /x"),
    "absolute-form": get(b"http://a/function/f"),
    "authority-form": get(b"a:80"),
    "asterisk-form": get(b"*", method=b"OPTIONS"),
    "CONNECT": get(b"a:80", method=b"CONNECT"),
    "TRACE": get(method=b"TRACE"),
    "method in small letters": get(method=b"get"),
    "method not a token": get(method=b"GE{T"),
    "no version": (b"GET /function/f\r\n" + H + b"\r\n", 400),
    "HTTP/0.9": (b"GET /function/f HTTP/0.9\r\n" + H + b"\r\n", 505),
    "HTTP/2.0": (b"GET /function/f HTTP/2.0\r\n" + H + b"\r\n", 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "version in small letters": get(version=b"http/1.1"),
    "version with more digits": get(version=b"HTTP/1.10"),
    "no request line": (b"garbage\r\n\r\n", 0, 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 0, 400),
    # targets
    "parent segment": get(b"/function/f/../evil"),
    "parent encoded": get(b"/function/f/%2e%2e/evil"),
    "parent and encoded slash": get(b"/function/f/..%2fevil"),
    "parent and encoded backslash": get(b"/function/f/..%5cevil"),
    "parent with a parameter": get(b"/function/f/..;/evil"),
    "backslash": get(b"/function/f\\evil"),
    "encoded slash in the name": get(b"/function/f%2fevil"),
    "encoded NUL": get(b"/function/f/%00"),
    "encoded CR LF": get(b"/function/f/%0d%0aX:%201"),
    "broken escape": get(b"/function/f/%g1"),
    "escape cut off": get(b"/function/f/%2"),
    "fragment": get(b"/function/f#x"),
    "raw byte": get(b"/function/\xc3\xa9"),
    "name with a dot in front": (get(b"/function/.f", fields=H + b"Connection: close\r\n"), 404),
    # host, expectations, aliases, sizes
    "no host": get(fields=b"X: 1\r\n"),
    "two hosts": get(fields=H + H),
    "empty host": get(fields=b"Host:\r\n"),
    "host with a path": get(fields=b"Host: a/b\r\n"),
    "host with a comma": get(fields=b"Host: a, b\r\n"),
    "expectation": (post(b"Content-Length: 5\r\nExpect: 200-maybe\r\n", b"hello"), 417),
    "two expectations": (post(b"Content-Length: 5\r\nExpect: 100-continue, x\r\n", b"hello"), 417),
    "alias of X-Sequoia-Run": get(fields=H + b"X_Sequoia_Run: 1\r\n"),
    "alias of X-Forwarded-For": get(fields=H + b"X_Forwarded_For: 1\r\n"),
    "many names in Connection": get(fields=H + b"Connection: " + b"a," * 100 + b"\r\n"),
    "huge field": (get(fields=H + b"X: " + b"a" * 40000 + b"\r\n"), 431),
    "huge fields": (get(fields=H + (b"X: " + b"a" * 4000 + b"\r\n") * 10), 431),
    "many fields": (get(fields=H + b"X: 1\r\n" * 200), 431),
    "very many fields": (get(fields=H + b"X:\r\n" * 5000), 431),
    "huge target": (get(b"/function/" + b"a" * 40000), 414, 431),
    # chunks: refused in the middle of the body
    "chunk size not hex": post(CHUNKED, b"xyz\r\nhello\r\n0\r\n\r\n"),
    "chunk size with 0x": post(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with plus": post(CHUNKED, b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size negative": post(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a blank": post(CHUNKED, b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk size empty": post(CHUNKED, b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size too big": (post(CHUNKED, b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 413, 400),
    "chunk over the limit": (post(CHUNKED, b"7fffffff\r\n" + b"x" * (7 << 20)), 413),
    "chunk too long": post(CHUNKED, b"5\r\nhelloXX\r\n0\r\n\r\n"),
    "trailer without a colon": post(CHUNKED, b"5\r\nhello\r\n0\r\nnothing\r\n\r\n"),
}


def judge(port, backend, pieces, right):
    """None, or what is wrong with the answer."""
    before = len(backend.seen)
    got, closed = exchange(port, *pieces)
    seen = [s[0] for s in backend.seen[before:]]
    if seen:
        return f"reached the backend: {seen}"
    if not closed:
        return f"the connection stays open: {got[:200]!r}"
    if not got:
        return None if 0 in right else "no answer"
    # The library writes its own refusal of some framings twice; nothing is read after it.
    if not statuses(got) or any(s not in right for s in statuses(got)):
        return f"answered {got[:300]!r}"
    good(port)
    return None


@test
def every_vector():
    wrong = []
    with front() as (d, b):
        for name, v in VECTORS.items():
            data, *right = v if isinstance(v, tuple) else (v,)
            why = judge(d.port, b, [data + EVIL], right or range(400, 500))
            if why:
                wrong.append(f"{name}: {why}")
        assert not any("evil" in s[0] or "hidden" in s[0] for s in b.seen)
    assert not wrong, f"{len(wrong)} of {len(VECTORS)}:\n  " + "\n  ".join(wrong)
    return f"{len(VECTORS)} vectors"


@test
def every_vector_in_pieces():
    """The same bytes, cut after the first line and byte by byte behind the head."""
    wrong = []
    with front() as (d, b):
        for name, v in VECTORS.items():
            data, *right = v if isinstance(v, tuple) else (v,)
            if len(data) > 4096:
                continue
            cut = data.find(b"\n") + 1
            end = data.find(b"\r\n\r\n")
            end = end + 4 if end >= 0 else len(data)
            pieces = [data[:cut], data[cut:end]] + [bytes([x]) for x in data[end:]] + [EVIL]
            why = judge(d.port, b, pieces, right or range(400, 500))
            if why:
                wrong.append(f"{name}: {why}")
    assert not wrong, "\n  ".join(wrong)


@test
def our_refusals_have_our_shape():
    with front() as (d, _):
        got, closed = exchange(d.port, get(b"/function/f/../x") + EVIL)
        head, _, body = got.partition(b"\r\n\r\n")
        assert b"Connection: close" in head and b"application/json" in head, head
        e = json.loads(body)["error"]
        assert e["code"] == "bad_request" and ".." in e["message"], e


@test
def lax_chunks_end_their_connection():
    """A bare LF in the framing of chunks cannot be seen: so nothing behind such a body is believed."""
    bodies = [b"5\nhello\n0\n\n", b"5\r\nhello\r\n0\r\n\n", b"5;x\n\r\nhello\r\n0\r\n\r\n",
              b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"]
    with front() as (d, b):
        for body in bodies:
            got, closed = exchange(d.port, post(CHUNKED, body) + EVIL)
            assert closed and len(statuses(got)) == 1, (body, got)
        assert not any("evil" in s[0] for s in b.seen), b.seen


@test
def good_requests_pass():
    with front() as (d, b):
        pipelined = (post(b"Content-Length: 5\r\n", b"hello") + get(b"/function/f?a=b&c=%zz+d&" + b"e=f&" * 500)
                     + get(fields=b"hOsT: a:80\r\nX: \t a\tb \r\nX-Sequoia-Run: evil\r\nConnection: close\r\n"))
        got, closed = exchange(d.port, b"\r\n" + pipelined)
        assert closed and statuses(got) == [200, 200, 200], got
        lines = [s[0] for s in b.seen]
        assert lines[1] == "GET /function/f?a=b&c=%zz+d&" + "e=f&" * 500 + " HTTP/1.1", lines[1]
        assert b.seen[0][2] == b"hello"
        fields = b.seen[2][1]
        assert fields[b"x"] == b"a\tb" and fields[b"x-sequoia-run"] != b"evil", fields
        assert fields[b"x-forwarded-host"] == b"a:80" and fields[b"x-forwarded-for"] == b"127.0.0.1"
        got, closed = exchange(d.port, get(b"/function/g", version=b"HTTP/1.0", fields=b""))
        assert closed and got.startswith(b"HTTP/1.1 200 "), got


@test
def connection_cannot_strip_what_matters():
    with front() as (d, b):
        exchange(d.port, get(fields=H + b"Connection: close, X-Hop, Cookie, X-Forwarded-For, Authorization\r\n"
                             b"X-Hop: 1\r\nCookie: c\r\nX-Forwarded-For: 10.0.0.1\r\nAuthorization: Basic x\r\n"
                             b"Keep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: y\r\nUpgrade: h2c\r\n"))
        f = b.seen[0][1]
        assert b"x-hop" not in f and f[b"cookie"] == b"c" and f[b"authorization"] == b"Basic x", f
        assert f[b"x-forwarded-for"] == b"10.0.0.1, 127.0.0.1", f
        for name in (b"keep-alive", b"te", b"proxy-authorization", b"upgrade"):
            assert name not in f, f


if __name__ == "__main__":
    main()
