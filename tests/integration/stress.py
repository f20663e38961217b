#!/usr/bin/env python3
"""Everything at once, for ThreadSanitizer: calls, faults, hang-ups, reloads, admin, cancels, drain."""
import random
import signal
import socket
import threading
import time

from harness import SLOW, load, main, scene, test, wait_for

SECONDS = 8


def hangups(port, until):
    while time.monotonic() < until:
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(b"GET /function/h?delay=20 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(random.random() * 0.03)
        s.close()


def cancels(d, until):
    while time.monotonic() < until:
        run = d.call("/async-function/c?delay=20", "POST", body=b"x").headers["X-Call-Id"]
        d.call(f"/v1/runs/{run}")
        assert d.call(f"/v1/runs/{run}", "DELETE").status in (200, 202, 409)
        d.call(f"/v1/runs/{run}/result?wait=50ms")


def admin(d, until):
    while time.monotonic() < until:
        for command in ("status", "queue", "runs", "backends", "settings"):
            d.ctl(command)


def reloads(d, policies, until):
    n = 0
    while time.monotonic() < until:
        n += 1
        policies[0]["cap"]["seats"] = 4 + n % 5
        policies[0]["prioritize"] = {"class": n % 3, "share": ["none", "function"][n % 2]}
        d.write(d.settings, policies)
        d.p.send_signal(signal.SIGHUP)
        time.sleep(0.1)


def calls(d, until, fine):
    u = f"http://127.0.0.1:{d.port}/function"
    while time.monotonic() < until:
        r = load("-c", 48, "-d", 2, "-u", f"{u}/a?delay=2", "-u", f"{u}/b?size=400000",
                 "-u", f"{u}/a?status=500", "-u", f"{u}/c?fault=reset", "-u", f"{u}/d?fault=close")
        fine.append(sum(r["errors"].values()) == 0)


@test
def everything_at_once():
    policies = [{"policy": "p", "match": {"function": "a"}, "cap": {"seats": 4}}]
    with scene({"workers": {"threads": 3, "seats": 16}}, policies) as (d, m):
        until = time.monotonic() + SECONDS
        fine, failures = [], []

        def guarded(f, *args):
            try:
                f(*args)
            except Exception as e:
                failures.append(f"{f.__name__}: {e}")

        threads = [threading.Thread(target=guarded, args=a) for a in (
            (calls, d, until, fine), (hangups, d.port, until), (hangups, d.port, until),
            (cancels, d, until), (admin, d, until), (reloads, d, policies, until))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures, failures
        assert fine and all(fine), "a client saw a broken answer"
        wait_for("quiet", d.quiet, 20)
        assert m.stats()["peak"] <= 16, m.stats()["peak"]
        text = d.text()
        at = text.find("WARNING: ThreadSanitizer")
        assert at < 0, text[at:at + 6000]


main()
