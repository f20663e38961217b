#!/usr/bin/env python3
"""Whatever a backend does, the client gets the designed status and the seat comes back."""
import http.client
import resource
import socket
import time

from harness import SLOW, call, free_port, main, scene, test, wait_for

SEATS = {"workers": {"threads": 2, "seats": 2}, "backends": {"faas": {"timeout": "2s"}},
         "limits": {"answer": "1MiB"}}


def seat_back(d):
    wait_for("the seat to come back", d.quiet, 10)
    a = d.call("/function/good")
    assert a.status == 200 and a.body == b"ok\n", f"a good call afterwards: {a}"


def fault(query, status, code=None, method="GET", settings=None):
    with scene(settings or SEATS) as (d, m):
        for _ in range(3):  # more often than there are seats
            a = d.call(f"/function/f?{query}", method)
            assert a.status == status, f"wanted {status}: {a}"
            if code:
                e = a.json()["error"]
                assert e["code"] == code, e
                assert len(e["run"]) == 32 and a.headers["X-Call-Id"] == e["run"], a
        seat_back(d)


@test
def refuses():
    with scene({"backends": {"faas": {"url": f"http://127.0.0.1:{free_port()}"}}}) as (d, _):
        a = d.call("/function/f")
        assert a.status == 502 and a.json()["error"]["code"] == "backend_unreachable", a
        wait_for("the seat", d.quiet)


@test
def resets():
    fault("fault=reset", 502, "backend_broken", "POST")


@test
def closes_without_an_answer():
    fault("fault=close", 502, "backend_broken", "POST")


@test
def hangs():
    fault("fault=hang", 504, "function_timeout")


@test
def overrun_is_counted():
    with scene(SEATS) as (d, m):
        d.call("/function/f?fault=hang")
        wait_for("the seat", d.quiet)
        assert d.ctl("status")["overruns"] == 1, d.ctl("status")


@test
def garbage_of_every_kind():
    with scene(SEATS) as (d, m):
        kinds = [l.split(None, 2) for l in m.get("/_mock/garbage").decode().splitlines()]
        assert len(kinds) >= 10
        for number, verdict, what in kinds:
            try:
                a = d.call(f"/function/f?garbage={number}", timeout=10)
                seen = a.status
            except (http.client.HTTPException, ConnectionError, socket.timeout) as e:
                seen = type(e).__name__  # cut off after the head: the client can tell
            if verdict == "bad":
                assert seen in (502, 504, "IncompleteRead", "ConnectionResetError"), f"{what}: {seen}"
                continue
            told = int(what[:3]) if what[:4] in ("204 ", "304 ") else 200
            assert seen == told or "may refuse" in what and seen == 502, f"{what}: {seen}"
            assert seen == 502 or a.body == (b"ok\n" if told == 200 else b""), f"{what}: {a}"
        seat_back(d)
        return f"{len(kinds)} kinds"


def cut(query):
    """An answer that breaks off: the client must not take it for whole."""
    with scene(SEATS) as (d, m):
        try:
            a = d.call(f"/function/f?{query}", timeout=20)
            assert a.status in (502, 504), f"taken for whole: {a}"
        except (http.client.IncompleteRead, ConnectionResetError, http.client.RemoteDisconnected):
            pass
        seat_back(d)


@test
def closes_half_way():
    cut("fault=half&size=100000")


@test
def closes_half_way_chunked():
    cut("fault=half&size=100000&chunked=1")


@test
def hangs_half_way():
    cut("fault=hanghalf&size=100000")


@test
def answer_over_the_limit():
    fault("size=2000000", 502, "too_large")


@test
def chunked_answer_over_the_limit():
    cut("huge=3&chunked=1")


@test
def a_hundred_megabytes():
    with scene({"limits": {"answer": "128MiB"}}) as (d, m):
        a = d.call("/function/f?huge=100", timeout=120)
        assert a.status == 200 and len(a.body) == 100 * 1024 * 1024, f"{a.status} {len(a.body)}"
        assert a.body[:26] == b"abcdefghijklmnopqrstuvwxyz"
        del a
        seat_back(d)
        return f"daemon's memory afterwards {d.memory_kib() // 1024} MiB"


@test
def dribbles():
    with scene({"backends": {"faas": {"timeout": "20s"}}}) as (d, m):
        a = d.call("/function/f?dribble=50&size=20")
        assert a.status == 200 and len(a.body) == 20, a
        seat_back(d)


@test
def dribbles_past_its_timeout():
    cut("dribble=1000&size=20")


@test
def a_slow_reader_holds_no_seat():
    with scene({"workers": {"threads": 1, "seats": 1}}) as (d, m):
        s = socket.create_connection(("127.0.0.1", d.port))
        s.settimeout(20 * SLOW)
        s.sendall(b"GET /function/f?huge=40 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the function to end", lambda: m.stats()["ended"] == 1, 20)
        seat_back(d)
        got = 0
        while True:
            data = s.recv(65536)
            if not data:
                break
            got += len(data)
            if got > 40 * 1024 * 1024:
                break
        s.close()
        assert got > 40 * 1024 * 1024, got


ONE = {"workers": {"threads": 1, "seats": 1}}  # the next call is on the same connection


def metric(d, name):
    lines = d.ctl("metrics")["text"].splitlines()
    return int(next(l for l in lines if l.startswith(f"sequoia_{name} ")).split()[1])


@test
def stale_connection_is_retried():
    with scene(ONE) as (d, m):
        for i in range(5):
            assert d.call("/function/f?fault=stalenext").status == 200
            assert d.call("/function/g").status == 200
            assert metric(d, "invocation_retries_total") == i + 1
        assert m.stats()["by_function"]["g"]["total"] == 5, m.stats()
        for _ in range(5):  # closed while it is idle
            assert d.call("/function/f?fault=stale&after=1").status == 200
            time.sleep(0.01)
            assert d.call("/function/f").status == 200
        seat_back(d)


@test
def stale_connection_is_not_retried_once_sent():
    """A POST that may have been processed is not sent twice."""
    with scene(ONE) as (d, m):
        assert d.call("/function/f?fault=stalenext").status == 200
        a = d.call("/function/g", "POST", body=b"x")
        assert a.status == 502 and a.json()["error"]["code"] == "backend_broken", a
        assert metric(d, "invocation_retries_total") == 0
        assert metric(d, "backend_connects_total") == 1, "it was on a connection of its own"
        assert m.stats()["by_function"].get("g", {}).get("total", 0) <= 1, m.stats()
        seat_back(d)


@test
def many_interim_answers():
    with scene() as (d, m):
        a = d.call("/function/f?fault=slow100&n=5&every=1")
        assert a.status == 200, a
        seat_back(d)


@test
def head_has_no_body():
    with scene() as (d, m):
        a = d.call("/function/f?size=1000", "HEAD")
        assert a.status == 200 and a.body == b"" and a.headers["Content-Length"] == "1000", a
        seat_back(d)


@test
def out_of_descriptors():
    """Running out of descriptors is an error in the log and for those calls, not a stop."""
    with scene() as (d, m):
        resource.prlimit(d.p.pid, resource.RLIMIT_NOFILE, (d.descriptors() + 40, 20000))
        sockets = []
        for _ in range(200):
            s = socket.create_connection(("127.0.0.1", d.port))
            s.sendall(b"GET /function/f?delay=50 HTTP/1.1\r\nHost: x\r\n\r\n")
            sockets.append(s)
        time.sleep(0.5)
        assert d.p.poll() is None, "it stopped"
        for s in sockets:
            s.close()
        wait_for("quiet", d.quiet, 20)
        wait_for("service again", lambda: call(d.port, "/function/good").status == 200, 20)
        assert "level=error event=http-library says=\"Hit process or system resource limit" in d.text(), d.text()


main()
