#!/usr/bin/env python3
"""Bad input and full queues: each gets the status of the error table, well-formed, with the run id."""
import hashlib
import json
import os
import socket
import subprocess
import tempfile

from harness import call, load, main, program, scene, test, wait_for


def error(a, status, code, retry_after=None):
    assert a.status == status, f"wanted {status}: {a}"
    assert a.headers["Content-Type"].startswith("application/json"), a
    e = a.json()["error"]
    assert e["code"] == code and e["message"], e
    assert (a.headers["Retry-After"] is not None) == bool(retry_after), a
    return e


def send(port, path, extra=b""):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + extra)
    return s


@test
def unknown_things():
    with scene(functions={"known": "cat"}) as (d, _):
        e = error(d.call("/function/unknown", "POST", body=b"x"), 404, "no_function")
        assert len(e["run"]) == 32 and e["message"].endswith(": function 'unknown'"), e
        e = error(d.call("/function/b%20c" + "d" * 99), 404, "no_function")
        assert e["message"].endswith(": function 'b%20c" + "d" * 59 + "'"), e
        error(d.call("/function/../etc/passwd"), 400, "bad_request")
        error(d.call("/nothing/here"), 404, "not_found")
        error(d.call("/v1/runs/" + "0" * 32), 404, "no_run")
        error(d.call("/v1/runs/xyz"), 404, "no_run")
        assert d.call("/function/known", "POST", body=b"x").body == b"x"


@test
def body_over_the_limit():
    with scene({"limits": {"body": "1KiB"}}) as (d, m):
        error(d.call("/function/f", "POST", body=b"x" * 1025), 413, "body_too_large")
        assert d.call("/function/f", "POST", body=b"x" * 1024).status == 200
        s = socket.create_connection(("127.0.0.1", d.port))
        s.sendall(b"POST /function/f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  + b"400\r\n" + b"x" * 1024 + b"\r\n1\r\ny\r\n0\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 413"), "chunked"
        assert m.stats()["total"] == 1


@test
def pool_queue_full():
    with scene({"workers": {"threads": 2, "seats": 1}, "limits": {"queue": 3}}) as (d, m):
        held = [send(d.port, "/function/f?hold=1") for _ in range(4)]
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 3)
        e = error(d.call("/function/f"), 503, "overloaded", retry_after=True)
        assert len(e["run"]) == 32
        wait_for("all", lambda: m.post("/_mock/release") and m.stats()["ended"] == 4)
        for s in held:
            assert s.recv(4096).startswith(b"HTTP/1.1 200")


@test
def policy_queue_full():
    policies = [{"policy": "few", "match": {"function": "f"}, "cap": {"seats": 1, "queue": 2}}]
    with scene({}, policies) as (d, m):
        held = [send(d.port, "/function/f?hold=1") for _ in range(3)]
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 2)
        error(d.call("/function/f"), 429, "queue_full", retry_after=True)
        assert d.call("/function/other").status == 200
        wait_for("all", lambda: m.post("/_mock/release") and m.stats()["ended"] == 4)
        for s in held:
            assert s.recv(4096).startswith(b"HTTP/1.1 200")


@test
def no_queue_at_all():
    """queue: 0 means that nothing waits, not that nothing runs."""
    policies = [{"policy": "none", "match": {"function": "f"}, "cap": {"seats": 1, "queue": 0}}]
    with scene({}, policies) as (d, m):
        for _ in range(3):
            assert d.call("/function/f").status == 200
        held = send(d.port, "/function/f?hold=1")
        m.get("/_mock/wait?held=1")
        error(d.call("/function/f"), 429, "queue_full", retry_after=True)
        m.post("/_mock/release")
        assert held.recv(4096).startswith(b"HTTP/1.1 200")


@test
def policy_wait():
    policies = [{"policy": "soon", "match": {"function": "f"}, "cap": {"seats": 1, "wait": "200ms"}}]
    with scene({}, policies) as (d, m):
        held = send(d.port, "/function/f?hold=1")
        m.get("/_mock/wait?held=1")
        error(d.call("/function/f"), 504, "wait_expired", retry_after=True)
        m.post("/_mock/release")
        held.close()


@test
def policy_rate_is_a_rate():
    """20 a second with a burst of 5: 25 calls cannot be granted in less than a second."""
    policies = [{"policy": "slow", "cap": {"rate": "20/s", "burst": 5}}]
    with scene({}, policies) as (d, m):
        r = load("-c", 25, "-n", 25, "-u", f"http://127.0.0.1:{d.port}/function/f")
        assert r["ok"] == 25 and r["seconds"] >= 0.95, r
        return f"{r['seconds']:.2f} s"


@test
def tenants_and_keys():
    key = "the-key"
    tenants = [{"name": "gold", "key-sha256": hashlib.sha256(key.encode()).hexdigest()}]
    with scene({"tenants": tenants, "anonymous": False}) as (d, m):
        error(d.call("/function/f"), 401, "unauthorized")
        error(d.call("/function/f", headers={"X-Api-Key": "wrong"}), 401, "unauthorized")
        assert d.call("/function/f", headers={"X-Api-Key": key}).status == 200
        a = d.call("/function/f?echo=head", headers={"Authorization": f"Bearer {key}"})
        assert a.status == 200 and key.encode() not in a.body, a
        run = d.call("/async-function/f", "POST", headers={"X-Api-Key": key}).headers["X-Call-Id"]
        assert d.call(f"/v1/runs/{run}", headers={"X-Api-Key": key}).status == 200
        assert key not in d.text()


@test
def another_tenants_run_is_not_there():
    def sha(k):
        return hashlib.sha256(k.encode()).hexdigest()

    tenants = [{"name": "a", "key-sha256": sha("ka")}, {"name": "b", "key-sha256": sha("kb")}]
    with scene({"tenants": tenants}) as (d, m):
        run = d.call("/async-function/f", "POST", headers={"X-Api-Key": "ka"}).headers["X-Call-Id"]
        error(d.call(f"/v1/runs/{run}", headers={"X-Api-Key": "kb"}), 404, "no_run")
        error(d.call(f"/v1/runs/{run}"), 404, "no_run")
        error(d.call(f"/v1/runs/{run}", "DELETE", headers={"X-Api-Key": "kb"}), 404, "no_run")


@test
def what_reaches_the_function():
    with scene() as (d, m):
        a = d.call("/function/f/a%2Fb/c%20d?q=%41&echo=head", "POST", body=b"hi", headers={
            "X-Mine": "1", "Connection": "X-Hop", "X-Hop": "2", "Keep-Alive": "x", "Te": "trailers",
            "X-Sequoia-Run": "forged", "X-Forwarded-For": "10.0.0.9",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        head = a.body.decode()
        assert head.startswith("POST /function/f/a%2Fb/c%20d?q=%41&echo=head HTTP/1.1\r\n"), head
        low = head.lower()
        assert "x-mine: 1" in low and "x-hop" not in low and "keep-alive" not in low, head
        assert "\r\nte:" not in low and "forged" not in low, head
        assert f"x-sequoia-run: {a.headers['X-Call-Id']}" in low, head
        assert "x-forwarded-for: 10.0.0.9, 127.0.0.1" in low, head
        assert "traceparent: 00-0af7651916cd43dd8448eb211c80319c-" in low, head
        assert "b7ad6b7169203331" not in low, head
        assert "content-length: 2" in low, head
        assert f"idempotency-key: {a.headers['X-Call-Id']}/" in low, head


@test
def own_idempotency_key_passes():
    with scene() as (d, m):
        a = d.call("/function/f?echo=head", headers={"Idempotency-Key": "mine-7"})
        assert a.body.lower().count(b"idempotency-key") == 1 and b"mine-7" in a.body, a


@test
def statuses_and_headers_pass_through():
    with scene() as (d, m):
        for status in (200, 201, 204, 301, 404, 418, 429, 500, 503):
            a = d.call(f"/function/f?status={status}&hdr=X-Own:v%20w&hdr=Keep-Alive:x")
            assert a.status == status, a
            assert a.headers["X-Own"] == "v w" and a.headers["Keep-Alive"] is None, a
            assert a.headers["X-Sequoia-Attempts"] == "1", a


@test
def bodies_pass_byte_for_byte():
    with scene() as (d, m):
        for size in (0, 1, 100, 65536, 262143, 262144, 262145, 3000000):
            body = os.urandom(size)
            a = d.call("/function/f?echo=1", "POST", body=body)
            assert a.status == 200 and a.body == body, f"{size}: {a.status} {len(a.body)}"
            a = d.call("/function/f?echo=1&chunked=1", "POST", body=iter([body[:7], body[7:]]))
            assert a.status == 200 and a.body == body, f"chunked {size}: {a.status} {len(a.body)}"


@test
def routes_pass_through():
    routes = [{"path": "/api/*", "backend": "faas", "function": "api"}]
    with scene({"routes": routes}) as (d, m):
        a = d.call("/api/x%2Fy/z?echo=head")
        assert a.status == 200 and a.body.startswith(b"GET /api/x%2Fy/z?echo=head HTTP/1.1\r\n"), a
        error(d.call("/other"), 404, "not_found")


@test
def streams_flow():
    """A streamed answer arrives while the function runs."""
    routes = [{"path": "/s/*", "backend": "faas", "stream": True}]
    with scene({"routes": routes}) as (d, m):
        s = send(d.port, "/s/x?dribble=100&size=20")
        data = s.recv(65536)
        while b"abc" not in data:
            data += s.recv(65536)
        assert m.stats()["inflight"] == 1, "it has not ended"
        s.close()
        wait_for("the end", lambda: m.stats()["inflight"] == 0 and d.quiet(), 20)


@test
def process_functions():
    scripts = {"up": "tr a-z A-Z", "bad": "echo no; exit 3", "dies": "kill -9 $$", "hang": "sleep 60",
               "vars": 'printf "%s|" "$Http_Method" "$Http_Path" "$Http_Query" "$Http_X_Mine"',
               "noisy": "echo to-the-log >&2; echo fine", "env": "echo ${SECRET-none}"}
    with scene({"backends": {"local": {"timeout": "1s"}}}, functions=scripts,
               env={**os.environ, "SECRET": "x"}) as (d, _):
        assert d.call("/function/up", "POST", body=b"abc").body == b"ABC"
        big = b"x" * 3000000
        assert d.call("/function/up", "POST", body=big).body == big.upper()
        a = d.call("/function/vars/p%20q?a=b", "PUT", headers={"X-Mine": "m"})
        assert a.body == b"PUT|/p%20q|a=b|m|", a
        a = d.call("/function/bad")
        assert a.status == 500 and a.body == b"no\n", a
        assert d.call("/function/dies").status == 502
        error(d.call("/function/hang"), 504, "function_timeout")
        assert d.call("/function/noisy").body == b"fine\n"
        wait_for("stderr in the log", lambda: "to-the-log" in d.text())
        assert d.call("/function/env").body == b"none\n"
        wait_for("quiet", d.quiet)


@test
def process_functions_leave_nothing():
    with scene({"backends": {"local": {"timeout": "500ms"}}},
               functions={"tree": "sleep 77 & sleep 77 & wait"}) as (d, _):
        for _ in range(4):
            error(d.call("/function/tree"), 504, "function_timeout")
        left = subprocess.run(["pgrep", "-f", "^sleep 77$"], capture_output=True, text=True)
        assert left.stdout == "", f"still alive: {left.stdout}"
        before = d.descriptors()
        for _ in range(50):
            d.call("/function/unknown")
        assert d.descriptors() <= before + 2


def settings_fault(text, *wanted):
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "bad.yaml")
    with open(path, "w") as f:
        f.write(text)
    r = subprocess.run([program("sequoiad"), "-t", "-c", path], capture_output=True, text=True)
    assert r.returncode == 78, f"exit {r.returncode}: {r.stderr}"
    for w in wanted:
        assert f"{path}:{w}" in r.stderr, f"wanted {w}\n{r.stderr}"


@test
def settings_faults_have_their_place():
    settings_fault("version: 1\nworkers: { seats: none }\nlimits: { wiat: 5s, body: 6MB2 }\n",
                   "2:19: error:", "3:11: error:", "3:27: error:")
    settings_fault("version: 1\nadmin: { socket: '/" + "x" * 110 + "' }\n"
                   "backends: { a: { type: process, functions: nowhere } }\n",
                   "2:18: error: socket: ", "3:44: error: functions: ")


main()
