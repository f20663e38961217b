#!/usr/bin/env python3
"""Clients that go away, runs that are cancelled, stop and reload: what is in the queue, what runs."""
import json
import signal
import socket
import threading
import time

from harness import SLOW, call, load, main, scene, test, wait_for

ONE = {"workers": {"threads": 2, "seats": 1}}


def send(port, path, head=""):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
    return s


def held(d, m):
    """One call in flight on the only seat, until released."""
    s = send(d.port, "/function/held?hold=7")
    m.get("/_mock/wait?held=1")
    return s


@test
def gone_while_queued_is_never_invoked():
    with scene(ONE) as (d, m):
        first = held(d, m)
        waiting = [send(d.port, "/function/queued") for _ in range(20)]
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 20)
        for s in waiting:
            s.close()
        wait_for("the places to be freed", lambda: d.ctl("status")["waiting"] == 0)
        m.post("/_mock/release")
        assert first.recv(4096).startswith(b"HTTP/1.1 200")
        wait_for("quiet", d.quiet)
        assert "queued" not in m.stats()["by_function"], m.stats()


@test
def gone_while_running_holds_its_seat():
    with scene(ONE) as (d, m):
        first = held(d, m)
        first.close()
        second = send(d.port, "/function/second")
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 1)
        time.sleep(0.2)
        s = m.stats()
        assert s["inflight"] == 1 and s["peak"] == 1 and s["hungup"] == 0, s
        m.post("/_mock/release")
        assert second.recv(4096).startswith(b"HTTP/1.1 200")
        assert m.stats()["peak"] == 1


@test
def cancel_a_queued_run():
    with scene(ONE) as (d, m):
        first = held(d, m)
        a = d.call("/async-function/later", "POST", body=b"x")
        assert a.status == 202 and a.json()["durable"] is False, a
        run = a.headers["X-Call-Id"]
        assert d.call(f"/v1/runs/{run}").json()["state"] == "pending"
        b = d.call(f"/v1/runs/{run}", "DELETE")
        assert b.status == 200 and b.json()["state"] == "cancelled", b
        assert d.call(f"/v1/runs/{run}", "DELETE").status == 409
        m.post("/_mock/release")
        assert first.recv(4096).startswith(b"HTTP/1.1 200")
        wait_for("quiet", d.quiet)
        assert "later" not in m.stats()["by_function"]


@test
def cancel_a_running_run():
    with scene(ONE) as (d, m):
        a = d.call("/async-function/long?hold=7", "POST", body=b"x")
        run = a.headers["X-Call-Id"]
        m.get("/_mock/wait?held=1")
        b = d.call(f"/v1/runs/{run}", "DELETE")
        assert b.status == 202 and b.json()["state"] == "failing", b
        assert not d.quiet(), "the seat is held until the function has ended"
        m.post("/_mock/release")
        wait_for("quiet", d.quiet)
        assert d.call(f"/v1/runs/{run}").json()["state"] == "cancelled"


@test
def results_are_kept():
    with scene() as (d, m):
        runs = [d.call(f"/async-function/echo?echo=1", "POST", body=b"body %d" % i).headers["X-Call-Id"]
                for i in range(20)]
        for i, run in enumerate(runs):
            a = d.call(f"/v1/runs/{run}/result?wait=10s")
            assert a.status == 200 and a.body == b"body %d" % i, a
            v = d.call(f"/v1/runs/{run}").json()
            assert v["state"] == "ok" and v["chain"] == "echo", v


@test
def long_poll_waits():
    with scene(ONE) as (d, m):
        run = d.call("/async-function/f?hold=7", "POST").headers["X-Call-Id"]
        start = time.monotonic()
        assert d.call(f"/v1/runs/{run}/result?wait=300ms").status == 202
        assert time.monotonic() - start >= 0.3
        threading.Timer(0.3, lambda: m.post("/_mock/release")).start()
        assert d.call(f"/v1/runs/{run}/result?wait=20s").status == 200


@test
def gone_in_the_turn_of_its_answer():
    """Stopped meanwhile, the daemon finds the hang-up and the answer in one turn of its loop."""
    with scene({"workers": {"threads": 1, "seats": 2}}) as (d, m):
        run = d.call("/async-function/f?hold=7", "POST").headers["X-Call-Id"]
        clients = [send(d.port, f"/v1/runs/{run}/result?wait=500ms"), send(d.port, "/function/g?hold=8"),
                   send(d.port, f"/v1/runs/{run}/result?wait=20s")]
        m.get("/_mock/wait?held=2")
        time.sleep(0.2)  # their sockets are watched from now on
        d.p.send_signal(signal.SIGSTOP)
        for s in clients:
            s.close()
        m.post("/_mock/release")
        time.sleep(0.5)  # the first one's time is over, too
        d.p.send_signal(signal.SIGCONT)
        wait_for("quiet", d.quiet)
        assert d.call(f"/v1/runs/{run}/result?wait=20s").status == 200


@test
def wait_limit():
    with scene({**ONE, "limits": {"wait": "300ms"}}) as (d, m):
        first = held(d, m)
        a = d.call("/function/late")
        assert a.status == 504 and a.json()["error"]["code"] == "wait_expired", a
        assert d.ctl("status")["waiting"] == 0
        m.post("/_mock/release")
        first.close()


@test
def drain_serves_what_it_took():
    """SIGTERM: what was accepted is answered, nobody new is let in, and the daemon ends by itself."""
    with scene({"workers": {"threads": 2, "seats": 2}}) as (d, m):
        sockets = [send(d.port, "/function/f?delay=200") for _ in range(10)]
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 8)
        d.p.send_signal(signal.SIGTERM)
        for s in sockets:
            data = s.recv(4096)
            assert data.startswith(b"HTTP/1.1 200"), data
            assert b"connection: close" in data.lower(), data
        d.p.wait(10 * SLOW)
        assert d.p.returncode == 0


@test
def drain_has_an_end():
    with scene({**ONE, "limits": {"stop": "500ms"}}) as (d, m):
        first = held(d, m)
        second = send(d.port, "/function/queued")
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 1)
        d.p.send_signal(signal.SIGTERM)
        data = second.recv(4096)
        assert data.startswith(b"HTTP/1.1 503") and b'"draining"' in data, data
        d.p.wait(15 * SLOW)
        assert d.p.returncode == 0
        first.close()


@test
def reload_moves_what_waits_and_keeps_counts():
    policies = [{"policy": "p", "match": {"function": "*"}, "cap": {"seats": 2}}]
    with scene({"workers": {"threads": 2, "seats": 8}}, policies) as (d, m):
        sockets = [send(d.port, f"/function/f?hold={i + 1}") for i in range(20)]
        wait_for("the queue", lambda: d.ctl("status")["waiting"] == 18)
        policies[0]["cap"]["seats"] = 5
        policies[0]["prioritize"] = {"class": 10, "share": "tenant"}
        d.write(d.settings, policies)
        d.p.send_signal(signal.SIGHUP)
        m.get("/_mock/wait?inflight=5")
        time.sleep(0.2)
        assert m.stats()["inflight"] == 5, m.stats()
        q = d.ctl("queue")
        assert [l["class"] for l in q["lanes"]] == [10] and q["lanes"][0]["depth"] == 15, q
        policies[0]["cap"]["seats"] = 1
        d.write(d.settings, policies)
        d.p.send_signal(signal.SIGHUP)
        wait_for("the new limit", lambda: any(c["limit"] == 1 for c in d.ctl("queue")["caps"]))
        m.post("/_mock/release?n=5")
        wait_for("the next", lambda: m.stats()["ended"] == 5)
        m.get("/_mock/wait?inflight=1")
        time.sleep(0.2)
        assert m.stats()["inflight"] == 1, m.stats()
        wait_for("all", lambda: m.post("/_mock/release") and m.stats()["ended"] == 20, 20)
        for s in sockets:
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
        assert m.stats()["peak"] == 5


@test
def a_process_that_speaks_after_a_reload():
    wait = "while test ! -e go; do sleep 0.01; done"
    with scene({"workers": {"threads": 1, "seats": 2}}, functions={"late": f"{wait}\necho later >&2"}) as (d, _):
        a = []
        t = threading.Thread(target=lambda: a.append(d.call("/function/late")))
        t.start()
        wait_for("its start", lambda: d.ctl("status")["seats_used"] == 1)
        for n in range(1, 4):  # whoever still has what the first one freed will find out
            d.write(d.settings)
            d.p.send_signal(signal.SIGHUP)
            wait_for("the reload", lambda: d.text().count("event=reloaded") == n)
        open(d.folder + "/functions/go", "w").close()
        t.join()
        assert a[0].status == 200, a
        assert "function=late text=later" in d.text(), d.text()


@test
def a_broken_reload_keeps_the_old():
    with scene(ONE, [{"policy": "p", "cap": {"seats": 1}}]) as (d, m):
        with open(d.folder + "/policies/all.yaml", "w") as f:
            f.write("policy: p\ncap: { seets: 2 }\n")
        d.p.send_signal(signal.SIGHUP)
        wait_for("the complaint", lambda: "reload-refused" in d.text())
        assert 'kept=old reason="1 fault, printed above"' in d.text(), d.text()
        assert "all.yaml:2:8: error" in d.text(), d.text()
        assert d.call("/function/f").status == 200


@test
def a_reload_says_what_needs_a_restart():
    with scene(ONE) as (d, m):
        s = json.loads(json.dumps(d.settings))
        s["listen"].append({"address": "127.0.0.1:1"})
        s["workers"]["threads"], s["limits"] = 3, {"wait": "7s", "headers": "16KiB"}
        s["backends"]["faas"]["timeout"] = "61s"
        s["metrics"] = {"raw": "2h"}
        d.write(s)
        d.p.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: "event=reloaded" in d.text())
        lines = [l for l in d.text().splitlines() if "event=needs-restart" in l]
        keys = [l.split("key=")[1].split()[0].strip('"') for l in lines]
        assert sorted(keys) == ["backends.faas.timeout", "limits.headers", "listen[1].address", "metrics.raw",
                                "workers.threads"], lines
        assert all("level=warn" in l for l in lines), lines
        assert "in_force=1m file=61s" in next(l for l in lines if "timeout" in l), lines
        assert d.call("/function/f").status == 200


@test
def a_hundred_reloads_under_load():
    policies = [{"policy": "p", "cap": {"seats": 8, "per": "function"}}]
    with scene({"workers": {"threads": 2, "seats": 16}}, policies) as (d, m):
        u = f"http://127.0.0.1:{d.port}/function"
        result = {}
        t = threading.Thread(target=lambda: result.update(
            load("-c", 64, "-n", 4000, "-u", f"{u}/a?delay=5&jitter=5", "-u", f"{u}/b?delay=5")))
        t.start()
        for i in range(100):
            policies[0]["prioritize"] = {"class": i % 5, "share": ["none", "function"][i % 2]}
            d.write(d.settings, policies)
            d.p.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        t.join()
        assert result["ok"] == 4000 and list(result["status"]) == ["200"], result
        s = m.stats()
        assert s["peak"] <= 16 and all(f["peak"] <= 8 for f in s["by_function"].values()), s


main()
