#!/usr/bin/env python3
"""A million calls leave memory and descriptors flat; a hundred thousand queued ones stay small."""
import os
import time

from harness import FULL, SLOW, load, main, scene, test, wait_for


@test
def calls_leave_nothing_behind():
    calls = 1_000_000 if FULL else 100_000
    if SLOW > 1:
        calls = 20_000
    with scene({"workers": {"threads": 2, "seats": 32}}) as (d, m):
        u = f"http://127.0.0.1:{d.port}/function"
        urls = ["-u", f"{u}/a", "-u", f"{u}/b?size=3000", "-u", f"{u}/c?size=3000&chunked=1",
                "-u", f"{u}/d?status=500"]
        load("-c", 64, "-n", calls // 5, *urls)
        before, fds = d.memory_kib(), d.descriptors()
        r = load("-c", 64, "-n", calls, *urls)
        assert sum(r["status"].values()) == calls and not any(r["errors"].values()), r
        wait_for("quiet", d.quiet)
        after = d.memory_kib()
        # The ring of metric rows and the allocator's arenas fill within the first fifth.
        if SLOW == 1:
            assert after - before < 8 * 1024, f"{before} KiB before, {after} KiB after {calls} calls"
        assert d.descriptors() <= fds + 4, f"{fds} descriptors before, {d.descriptors()} after"
        assert m.stats()["total"] == calls + calls // 5
        return (f"{calls} calls at {r['rate']:.0f}/s, memory {before} -> {after} KiB, "
                f"descriptors {fds} -> {d.descriptors()}")


@test
def queued_calls_are_small():
    n = 100_000 if FULL or SLOW == 1 else 10_000
    settings = {"workers": {"threads": 2, "seats": 1}, "limits": {"queue": 200000, "async-wait": "1h",
                                                                  "memory": "4GiB"}}
    with scene(settings) as (d, m):
        u = f"http://127.0.0.1:{d.port}/async-function/f"
        header = "X-Filler: " + "x" * 1000
        d.call("/async-function/f?hold=1", "POST", body=b"x")
        m.get("/_mock/wait?held=1")
        before = d.memory_kib()
        r = load("-c", 32, "-n", n, "-m", "POST", "-b", 16, "-H", header, "-u", u)
        assert r["status"] == {"202": n}, r
        assert d.ctl("status")["waiting"] == n
        each = (d.memory_kib() - before) * 1024 / n
        start = time.monotonic()
        d.ctl("queue")
        d.ctl("status")
        cli = (time.monotonic() - start) / 2
        if SLOW == 1:
            assert each <= 8192, f"{each:.0f} bytes for each queued call"
        m.post("/_mock/release")
        wait_for("all of them to run", lambda: m.stats()["ended"] == n + 1, 120)
        wait_for("quiet", d.quiet)
        return f"{n} queued, {each:.0f} bytes each, CLI {1000 * cli:.0f} ms"


main()
