#!/usr/bin/env python3
"""The engine's corners: stop with clients that stay, results against memory, reloads, rates, grants
that nobody waits for. Each was a fault once."""
import random
import signal
import socket
import time

from harness import FULL, SLOW, load, main, scene, test, wait_for


def keep_alive(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(20 * SLOW)
    return s


def send(s, path):
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            break
        data += more
    return data.decode()


def reload(d):
    n = d.text().count("event=reloaded")
    d.p.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: d.text().count("event=reloaded") > n)
    time.sleep(0.1)  # the homes' first slice


@test
def stop_while_clients_stay():
    """A request on an open connection just when all is quiet: answered or refused, never a crash."""
    for _ in range(40 if FULL else 8):
        with scene({"workers": {"threads": 2, "seats": 16}}) as (d, m):
            clients = [keep_alive(d.port) for _ in range(20)]
            for s in clients:
                send(s, "/function/f")
                head(s)
            d.p.send_signal(signal.SIGTERM)
            time.sleep(0.009 + 0.005 * random.random())
            for s in clients:
                try:
                    send(s, "/function/f?delay=100")
                except OSError:
                    pass
            d.p.wait(20 * SLOW)
            assert d.p.returncode == 0, d.text()[-2000:]


@test
def results_give_way_to_calls():
    """Kept results are the first to go when memory is short."""
    with scene({"workers": {"threads": 2, "seats": 8}, "limits": {"memory": "8MiB"}}) as (d, m):
        first = d.call("/async-function/f?size=200000", "POST", body=b"x").headers["X-Call-Id"]
        for _ in range(200):
            # One that finds the memory full may be refused, but makes room for the next.
            assert d.call("/async-function/f?size=200000", "POST", body=b"x").status in (202, 503)
        wait_for("the calls", d.quiet)
        wait_for("room", lambda: d.call("/function/f").status == 200, 5)
        assert d.call(f"/v1/runs/{first}").status == 404


@test
def many_policies_on_one_call():
    policies = [{"policy": f"p{i}", "cap": {"seats": 50, "rate": "1000/s", "queue": 1000, "running": 500}}
                for i in range(16)]
    with scene({}, policies) as (d, m):
        assert d.call("/function/f").status == 200
        assert len(d.ctl("queue")["caps"]) == 2 + 4 * 16


@test
def a_rate_survives_reloads():
    policies = [{"policy": "slow", "cap": {"rate": "1/m", "burst": 1, "wait": "200ms"}}]
    with scene({}, policies) as (d, m):
        assert [d.call("/function/f").status for _ in range(2)] == [200, 504]
        for _ in range(3):
            reload(d)
            assert d.call("/function/f").status == 504


@test
def slow_and_fast_rates():
    for rate, burst, statuses in (("3/h", 2, [200, 200, 504]), ("5000000/s", 1, [200] * 5)):
        policies = [{"policy": "r", "cap": {"rate": rate, "burst": burst, "wait": "200ms"}}]
        with scene({}, policies) as (d, m):
            seen = [d.call("/function/f").status for _ in statuses]
            assert seen == statuses, f"{rate}: {seen}"


@test
def a_reload_gives_the_new_order():
    new = [{"policy": "all", "prioritize": {"order": "deadline", "within": "20s"}},
           {"policy": "soon", "match": {"function": "urgent"}, "prioritize": {"within": "5s"}}]
    with scene({"workers": {"threads": 1, "seats": 1}}, [{"policy": "all", "prioritize": {"order": "fifo"}}]) as (d, m):
        clients = []

        def go(path):
            clients.append(keep_alive(d.port))
            send(clients[-1], path)

        go("/function/held?hold=3")
        m.get("/_mock/wait?held=1")
        for n, name in enumerate(("old1", "old2")):
            go(f"/function/{name}")
            wait_for("the queue", lambda: d.ctl("status")["waiting"] == n + 1)
        d.write(d.settings, new)
        reload(d)
        go("/function/urgent")
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 3)
        m.post("/_mock/release")
        wait_for("all", lambda: m.stats()["ended"] == 4)
        log = [l.split(",") for l in m.get("/_mock/log").decode().splitlines()[1:]]
        started = [l[2] for l in log if l[4] == "+"]
        assert started.index("urgent") == 1, started


@test
def memory_limit_follows_a_reload():
    with scene({"limits": {"memory": "64MiB"}}) as (d, m):
        d.write({**d.settings, "limits": {"memory": "1MiB"}})
        reload(d)
        assert d.ctl("status")["memory_limit_bytes"] == 1 << 20
        runs = [d.call("/async-function/f?size=200000", "POST").status for _ in range(3)]
        assert 202 in runs
        d.write({**d.settings, "limits": {"memory": "64MiB"}})
        reload(d)
        assert d.call("/function/f").status == 200


@test
def a_deadline_on_a_stream_frees_its_seat():
    """The client reads nothing, its deadline passes: the function is drained, not waited for."""
    policies = [{"policy": "w", "prioritize": {"within": "1s"}}]
    settings = {"workers": {"threads": 1, "seats": 2}, "backends": {"faas": {"timeout": "30s"}},
                "routes": [{"path": "/s*", "backend": "faas", "stream": True}]}
    with scene(settings, policies) as (d, m):
        s = keep_alive(d.port)
        send(s, "/s/x?huge=60")
        start = time.monotonic()
        wait_for("the seat", lambda: m.stats()["ended"] == 1 and d.quiet(), 15)
        assert time.monotonic() - start < 15 * SLOW
        s.close()


@test
def a_grant_that_nobody_asked_for_is_started():
    """A hang-up on one loop lets a rate's next token be granted there: the function must start."""
    policies = [{"policy": "slow", "match": {"function": "r"}, "cap": {"rate": "1/s", "burst": 1}}]
    with scene({"workers": {"threads": 2, "seats": 8}}, policies) as (d, m):
        loops = {0: [], 1: []}
        while min(len(v) for v in loops.values()) < 2:
            s = keep_alive(d.port)
            send(s, "/function/free")
            run = next(l for l in head(s).split("\r\n") if l.lower().startswith("x-call-id")).split(": ")[1]
            loops[int(run[16:18], 16)].append(s)
        a, b = loops[0], loops[1]
        send(b[0], "/function/r")
        head(b[0])
        send(b[1], "/function/r")
        time.sleep(0.1)
        send(a[0], "/function/r")
        send(a[1], "/function/r")
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 3)
        b[1].close()
        d.p.send_signal(signal.SIGSTOP)
        a[1].close()
        time.sleep(1.2)
        d.p.send_signal(signal.SIGCONT)
        # Without other traffic: the one left gets its turn.
        assert head(a[0]).startswith("HTTP/1.1 200")
        wait_for("quiet", d.quiet)


@test
def names_made_up_by_clients_stay_bounded():
    n = 60_000 if FULL else 20_000
    with scene({"workers": {"threads": 2, "seats": 64}}) as (d, m):
        u = f"http://127.0.0.1:{d.port}/function"
        busy = [keep_alive(d.port) for _ in range(80)]
        for i, s in enumerate(busy):  # places in use must not keep the others
            send(s, f"/function/busy{i}?hold=1")
        wait_for("busy ones", lambda: m.stats()["held"] == 64)
        m.post("/_mock/release?n=60")
        load("-c", 16, "-n", n, "-u", f"{u}/first{{i}}")
        before = d.memory_kib()
        load("-c", 16, "-n", n, "-u", f"{u}/second{{i}}")
        grown = d.memory_kib() - before
        if SLOW == 1:
            assert grown < 16 * 1024, f"{grown} KiB more after {n} more names"
        wait_for("all", lambda: m.post("/_mock/release") is not None and d.quiet(), 20)
        return f"{grown} KiB more for {n} more names"


@test
def a_failed_function_is_a_failed_run():
    with scene() as (d, m):
        run = d.call("/async-function/f?status=500", "POST").headers["X-Call-Id"]
        a = d.call(f"/v1/runs/{run}/result?wait=10s")
        assert a.status == 500, a
        assert d.call(f"/v1/runs/{run}").json()["state"] == "failed"
        assert [r["id"] for r in d.ctl("runs", "--state", "failed")["runs"]] == [run]
        assert d.ctl("status")["failed"] == 1


@test
def broken_calls_are_logged():
    with scene() as (d, m):
        d.call("/function/f?fault=close", "POST")
        wait_for("the line", lambda: "event=call-failed backend=faas function=f" in d.text())
        assert "code=backend_broken" in d.text()


main()
