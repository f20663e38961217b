#!/usr/bin/env python3
"""Clients of all manners: slow ones, too many, those that hang up; and what each path answers."""
import json
import os
import signal
import socket
import struct
import threading
import time

from front_wire import H, exchange, front, get, post
from harness import SLOW, main, scene, test, wait_for

def connect(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(20 * SLOW)
    return s


def read_all(s):
    got = b""
    try:
        while data := s.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


def read_answer(s):
    """One answer with a Content-Length: status, head, body."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = s.recv(65536)
        assert data, f"closed after {got!r}"
        got += data
    head, _, body = got.partition(b"\r\n\r\n")
    fields = {k.lower(): v.strip() for k, _, v in (l.partition(b":") for l in head.split(b"\r\n")[1:])}
    want = int(fields.get(b"content-length", 0))
    while len(body) < want:
        data = s.recv(65536)
        assert data, f"cut in the body after {len(body)} of {want}"
        body += data
    return int(head[9:12]), fields, body


def seconds_until_closed(s, feed=b"", every=0.05):
    """Sends a byte now and then until the other side closes."""
    start = time.monotonic()
    got = b""
    s.settimeout(every)
    while time.monotonic() - start < 20 * SLOW:
        try:
            if feed:
                s.send(feed)
        except OSError:
            feed = b""
        try:
            data = s.recv(4096)
            if not data:
                return time.monotonic() - start, got
            got += data
        except socket.timeout:
            pass
        except ConnectionResetError:
            return time.monotonic() - start, got
    raise AssertionError(f"never closed; got {got!r}")


# ---- slow clients ----

@test
def slow_heads_are_cut_at_the_deadline():
    with front({"header-time": "1s", "idle": "2s"}) as (d, b):
        s = connect(d.port)
        s.sendall(b"GET /function/f HTTP/1.1\r\nHost: a\r\nX: ")
        t, got = seconds_until_closed(s, b"a")
        assert 0.8 <= t <= 1.8 * SLOW and got.startswith(b"HTTP/1.1 408 "), (t, got)
        s = connect(d.port)  # not even a first line
        t, got = seconds_until_closed(s, b"G")
        assert 0.8 <= t <= 1.8 * SLOW and got.startswith(b"HTTP/1.1 408 "), (t, got)
        s = connect(d.port)  # not a byte: closed without a word
        t, got = seconds_until_closed(s)
        assert 0.8 <= t <= 1.8 * SLOW and got == b"", (t, got)
        assert not b.seen


@test
def slow_bodies_are_cut_at_the_deadline():
    with front({"body-time": "1s"}) as (d, b):
        for fields in (b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"):
            s = connect(d.port)
            s.sendall(post(fields) + (b"3e8\r\n" if b"chunked" in fields else b""))
            t, got = seconds_until_closed(s, b"a")
            assert 0.8 <= t <= 1.8 * SLOW and got.startswith(b"HTTP/1.1 408 "), (t, got)
        assert not b.seen


@test
def idle_connections_are_closed():
    with front({"idle": "1s"}) as (d, _):
        s = connect(d.port)
        s.sendall(get())
        assert read_answer(s)[0] == 200
        t, got = seconds_until_closed(s)
        assert 0.8 <= t <= 1.8 * SLOW and got == b"", (t, got)
        s = connect(d.port)  # the second request's first line dribbles
        s.sendall(get())
        assert read_answer(s)[0] == 200
        t, got = seconds_until_closed(s, b"G")
        assert 0.8 <= t <= 1.8 * SLOW and got.startswith(b"HTTP/1.1 408 "), (t, got)


@test
def clients_that_do_not_read_are_cut():
    with scene({"limits": {"stall": "1s"}}) as (d, m):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", d.port))
        s.sendall(get(b"/function/f?size=20000000"))
        wait_for("the answer's end", lambda: m.stats()["ended"] == 1)
        wait_for("the cut", lambda: d.descriptors() and client_fds(d) == 0, 10)
        s.close()
        wait_for("quiet", d.quiet)


def client_fds(d):
    """Connections of clients, by the daemon's own port."""
    n = 0
    for line in open("/proc/net/tcp").readlines()[1:]:
        f = line.split()
        if int(f[1].split(":")[1], 16) == d.port and f[3] == "01":
            n += 1
    return n


@test
def slow_readers_that_read_are_served():
    with scene({"limits": {"stall": "1s"}}) as (d, m):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.connect(("127.0.0.1", d.port))
        s.settimeout(20)
        s.sendall(get(b"/function/f?size=3000000", fields=H + b"Connection: close\r\n"))
        got, start = 0, time.monotonic()
        while data := s.recv(40000):
            got += len(data)
            if got < 2000000:
                time.sleep(0.05)
        assert got > 3000000 and time.monotonic() - start > 2, got


# ---- too many clients ----

@test
def the_connection_limit_is_answered():
    with front({"connections": 8}) as (d, b):
        some = [connect(d.port) for _ in range(8)]
        for s in some:
            s.sendall(get())
            assert read_answer(s)[0] == 200
        s = connect(d.port)
        s.sendall(get())
        status, fields, body = read_answer(s)
        assert status == 503 and json.loads(body)["error"]["code"] == "too_many_connections", body
        assert fields[b"connection"] == b"close" and b"retry-after" in fields, fields
        assert s.recv(1) == b""
        some.pop().close()
        wait_for("a place", lambda: exchange(d.port, get(fields=H + b"Connection: close\r\n"))[0][9:12] == b"200")
        many = [connect(d.port) for _ in range(400)]  # more than are let in to be told so
        assert any(x.recv(4096).startswith(b"HTTP/1.1 503 ") for x in many[-20:])
        for x in some:
            x.sendall(get())
            assert read_answer(x)[0] == 200


# ---- hanging up ----

@test
def hang_up_while_queued_cancels():
    with scene({"workers": {"threads": 1, "seats": 1}}) as (d, m):
        held = connect(d.port)
        held.sendall(get(b"/function/f?hold=1"))
        m.get("/_mock/wait?held=1")
        for how in ("close", "reset", "half"):
            s = connect(d.port)
            s.sendall(get(b"/function/queued"))
            wait_for("the queue", lambda: d.ctl("status")["waiting"] == 1)
            if how == "half":
                s.shutdown(socket.SHUT_WR)
            elif how == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
            else:
                s.close()
            wait_for(f"its end ({how})", lambda: d.ctl("status")["waiting"] == 0)
        m.post("/_mock/release")
        assert read_answer(held)[0] == 200
        assert m.stats()["total"] == 1, m.stats()


@test
def hang_up_while_running_frees_no_seat():
    with scene({"workers": {"threads": 1, "seats": 1}}) as (d, m):
        s = connect(d.port)
        s.sendall(get(b"/function/f?hold=1"))
        m.get("/_mock/wait?held=1")
        s.close()
        wait_for("the hang-up", lambda: client_fds(d) == 0)
        assert d.ctl("status")["seats_used"] == 1
        m.post("/_mock/release")
        wait_for("quiet", d.quiet)


@test
def hang_up_in_an_answer_and_in_a_body():
    with scene() as (d, m):
        for _ in range(20):
            s = connect(d.port)
            s.sendall(get(b"/function/f?size=5000000"))
            s.recv(1000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
            s = connect(d.port)
            s.sendall(post(b"Content-Length: 100000\r\n", b"x" * 50000))
            s.close()
        wait_for("quiet", d.quiet)
        assert d.call("/function/f").status == 200


@test
def an_end_that_comes_with_data_is_seen():
    with front({"header-time": "1s"}) as (d, b):
        for data in (get(b"/healthz"), get(b"/function/f"), post(b"Content-Length: 9\r\n", b"half"), b"GET"):
            s = connect(d.port)
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            start = time.monotonic()
            read_all(s)
            assert time.monotonic() - start < 2 * SLOW, data
            s.close()


# ---- bodies ----

@test
def continue_is_said_or_not():
    with front({"body": "1KiB"}) as (d, b):
        s = connect(d.port)
        s.sendall(post(b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
        assert s.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"hello")
        assert read_answer(s)[0] == 200
        s.sendall(post(b"Content-Length: 2000\r\nExpect: 100-continue\r\n"))
        assert read_answer(s)[0] == 413
        assert s.recv(1) == b""
        assert [x[2] for x in b.seen] == [b"hello"]


@test
def refusals_reach_clients_that_are_still_sending():
    with front({"body": "1KiB"}) as (d, b):
        for _ in range(5):
            got, closed = exchange(d.port, post(b"Content-Length: 3000000\r\n"), b"x" * 3000000)
            assert got.startswith(b"HTTP/1.1 413 "), got
            chunk = b"ffff\r\n" + b"x" * 65535 + b"\r\n"
            got, closed = exchange(d.port, post(b"Transfer-Encoding: chunked\r\n"), chunk * 30)
            assert got.startswith(b"HTTP/1.1 413 "), got


@test
def large_bodies_both_ways():
    with scene() as (d, m):
        data = os.urandom(1 << 20) * 5
        a = d.call("/function/f?echo=1", "POST", body=data)
        assert a.status == 200 and a.body == data, (a.status, len(a.body))
        a = d.call("/function/f?echo=1", "POST", body=iter([data[:100], data[100:]]))
        assert a.status == 200 and a.body == data, (a.status, len(a.body))
        a = d.call("/function/f?size=30000000")
        assert a.status == 200 and len(a.body) == 30000000


@test
def heads_and_empty_answers():
    with scene() as (d, m):
        a = d.call("/function/f?size=1234", "HEAD")
        assert a.status == 200 and a.headers["Content-Length"] == "1234" and a.body == b"", a
        for status in (204, 304):
            a = d.call(f"/function/f?status={status}")
            assert a.status == status and a.body == b"", a
        a = d.call("/function/f?status=418")
        assert a.status == 418, a


@test
def a_broken_answer_is_cut():
    with scene() as (d, m):
        got, closed = exchange(d.port, get(b"/function/f?size=2000000&fault=half", fields=H), seconds=10)
        assert closed, "open"
        assert b"502" in got[:20] or len(got.partition(b"\r\n\r\n")[2]) < 2000000, got[:200]


# ---- paths ----

@test
def asynchronous_runs():
    with scene() as (d, m):
        a = d.call("/async-function/f?size=7", "POST", body=b"x")
        run = a.headers["X-Call-Id"]
        assert a.status == 202 and a.json() == {"id": run, "durable": False}, a
        r = d.call(f"/v1/runs/{run}/result?wait=10s")
        assert r.status == 200 and len(r.body) == 7 and r.headers["X-Call-Id"] == run, r
        assert d.call(f"/v1/runs/{run}").body.endswith(b"}\n")
        v = d.call(f"/v1/runs/{run}").json()
        assert v["id"] == run and v["state"] == "ok" and v["chain"] == "f" and v["nodes"]["f"]["attempts"] == 1, v
        a = d.call("/async-function/f", "POST", headers={"X-Callback-Url": "http://x/"})
        assert a.status == 400 and "callbacks" in a.json()["error"]["message"], a
        assert d.call(f"/v1/runs/{run}", "DELETE").status == 409
        assert d.call(f"/v1/runs/{run}", "PUT").status == 405
        assert d.call(f"/v1/runs/{run}/x").status == 404


@test
def posted_runs():
    with scene() as (d, m):
        def run(**doc):
            return d.call("/v1/runs", "POST", body=json.dumps(doc), headers={"Content-Type": "text/x"})

        a = d.call("/v1/runs", "POST", body='{"chain":"f", "wait":"10s", "input": {"a": 1.50} }')
        assert a.status == 200, a
        a = run(chain="f", input=[1], wait="0")
        assert a.status == 202 and a.json()["durable"] is False, a
        assert d.call(f"/v1/runs/{a.json()['id']}/result?wait=10s").status == 200
        for doc in ('[]', '{', '{"chain":1}', '{"chain":"f","wait":"x"}', '{"chain":"f","y":1}',
                    '{"chain":"f","chain":"g"}', '', '{"chain":"f","input":[1,]}', '{"chain":"f","input":1',
                    '{"chain":"f","input":%s%s}' % ("[" * 600, "]" * 600), '{"chain":"%s"}' % ("x" * 2000)):
            a = d.call("/v1/runs", "POST", body=doc)
            assert a.status == 400 and a.json()["error"]["code"] == "bad_document", (doc, a)
            assert ('"y"' in doc) == ("unknown key 'y'; known are" in a.json()["error"]["message"]), a
        assert run(chain="../x").status == 404
        a = d.call("/v1/runs", "POST", body='{"\\u0063hain":"\\u0066", "input":[]}')
        assert a.status == 202 and d.call(f"/v1/runs/{a.json()['id']}").json()["chain"] == "f", a
        assert d.call("/v1/runs").headers["Allow"] == "POST"
        a = d.call("/v1/runs/" + a.headers.get("X-Call-Id", "0" * 32) + "/result?wait=x")
        assert a.status == 400 and a.json()["error"]["code"] == "bad_query", a
        assert "The query" in a.json()["error"]["message"] and "body" not in a.json()["error"]["message"]


@test
def the_input_is_handed_on_as_written():
    with front() as (d, b):
        text = b'{"chain": "f", "input": {"a": 1.50, "big": 123456789012345678901234567890.0}, "wait": "5s"}'
        got, _ = exchange(d.port, get(b"/v1/runs", method=b"POST", fields=H + b"Connection: close\r\nContent-Type: x/y\r\n"
                          b"Content-Length: %d\r\n" % len(text)) + text)
        assert got.startswith(b"HTTP/1.1 200 "), got
        line, fields, body = b.seen[0]
        assert line == "POST /function/f HTTP/1.1" and fields[b"content-type"] == b"application/json", b.seen
        assert body == b'{"a": 1.50, "big": 123456789012345678901234567890.0}', body


@test
def an_input_costs_no_more_than_its_bytes():
    with front() as (d, b):
        value = b"[" + b"[]," * 1900000 + b"[]]"
        text = b'{"chain": "f", "wait": "20s", "input": ' + value + b"}"
        before = d.memory_kib("VmHWM")
        got, _ = exchange(d.port, get(b"/v1/runs", method=b"POST", fields=H + b"Connection: close\r\n"
                          b"Content-Length: %d\r\n" % len(text)) + text, seconds=30)
        assert got.startswith(b"HTTP/1.1 200 "), got
        assert b.seen[0][2] == value
        grown = d.memory_kib("VmHWM") - before
        assert grown < 60 * 1024, f"{grown} KiB for {len(text)} bytes"


@test
def a_proxy_is_not_the_clients_to_choose():
    """httpoxy: the field Proxy becomes HTTP_PROXY where fields become the environment."""
    with front() as (d, b):
        got, _ = exchange(d.port, get(fields=H + b"Connection: close\r\npRoxy: http://trap/\r\n"))
        assert got.startswith(b"HTTP/1.1 200 ") and b"proxy" not in b.seen[0][1], (got, b.seen)
    with scene(functions={"env": "exec env"}) as (d, _):
        a = d.call("/function/env", headers={"Proxy": "http://trap/"})
        assert a.status == 200 and b"trap" not in a.body, a


@test
def waiting_for_results():
    with scene({"workers": {"threads": 2, "seats": 4}}) as (d, m):
        run = d.call("/async-function/f?hold=1", "POST").headers["X-Call-Id"]
        m.get("/_mock/wait?held=1")
        start = time.monotonic()
        a = d.call(f"/v1/runs/{run}/result?wait=300ms")
        assert a.status == 202 and a.json()["state"] == "running", a
        assert 0.25 < time.monotonic() - start < 2 * SLOW
        s = connect(d.port)  # one that hangs up while it waits
        s.sendall(get(b"/v1/runs/%s/result?wait=20s" % run.encode()))
        time.sleep(0.1)
        s.close()
        got = []
        t = threading.Thread(target=lambda: got.append(d.call(f"/v1/runs/{run}/result?wait=20s")))
        t.start()
        time.sleep(0.1)
        m.post("/_mock/release")
        t.join()
        assert got[0].status == 200, got


@test
def cancelling():
    with scene({"workers": {"threads": 2, "seats": 1}}) as (d, m):
        d.call("/async-function/f?hold=1", "POST")
        m.get("/_mock/wait?held=1")
        run = d.call("/async-function/g", "POST").headers["X-Call-Id"]
        a = d.call(f"/v1/runs/{run}", "DELETE")
        assert a.status == 200 and a.json()["state"] == "cancelled", a
        m.post("/_mock/release")
        wait_for("quiet", d.quiet)
        assert m.stats()["total"] == 1


@test
def routes_pass_through():
    routes = [{"path": "/api/*", "backend": "faas"}, {"path": "/live/*", "backend": "faas", "stream": True}]
    with front(routes=routes) as (d, b):
        got, _ = exchange(d.port, get(b"/api/v2/x%2Fy?q", fields=H + b"Connection: close\r\n"))
        assert got.startswith(b"HTTP/1.1 200 "), got
        assert b.seen[0][0] == "GET /api/v2/x%2Fy?q HTTP/1.1", b.seen
        got, _ = exchange(d.port, get(b"/live/x", fields=H + b"Connection: close\r\n"))
        assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"ok") or b"\r\nok\r\n" in got, got
        got, _ = exchange(d.port, get(b"/other", fields=H + b"Connection: close\r\n"))
        assert got.startswith(b"HTTP/1.1 404 "), got


@test
def health_and_draining():
    with scene({"limits": {"stop": "10s"}, "workers": {"threads": 1, "seats": 4}}) as (d, m):
        assert d.call("/healthz").body == b"OK\n"
        assert d.call("/healthz", "POST").status == 405
        idle = connect(d.port)
        idle.sendall(get())
        assert read_answer(idle)[0] == 200
        held = connect(d.port)
        held.sendall(get(b"/function/f?hold=1"))
        m.get("/_mock/wait?held=1")
        d.p.send_signal(signal.SIGTERM)
        wait_for("closed listeners", lambda: refused(d.port))
        idle.sendall(get(b"/healthz"))
        status, fields, body = read_answer(idle)
        assert status == 503 and json.loads(body)["error"]["code"] == "draining", body
        assert fields[b"connection"] == b"close"
        m.post("/_mock/release")
        status, fields, _ = read_answer(held)
        assert status == 200 and fields[b"connection"] == b"close", fields


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it closed in that moment


if __name__ == "__main__":
    main()
