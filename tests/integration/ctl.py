#!/usr/bin/env python3
"""sequoiactl against the real daemon: each command's table, its -j, its errors and exit codes."""
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading

from harness import SLOW, Daemon, main, program, scene, test, wait_for

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SEQUOIACTL = os.environ.get("SEQUOIACTL") or program("sequoiactl")


def ctl(*args, env=None, cwd=None, **kw):
    """Exit code, standard output, standard error."""
    e = {k: v for k, v in os.environ.items() if k != "SEQUOIA_SOCKET"}
    e.update(env or {}, LC_ALL="C.UTF-8")
    r = subprocess.run([os.path.abspath(SEQUOIACTL), *args], capture_output=True, text=True, env=e,
                       cwd=cwd, timeout=60 * SLOW, **kw)
    return r.returncode, r.stdout, r.stderr


def done(d, *args):
    code, out, err = ctl("-s", d.socket, *args)
    assert (code, err) == (0, ""), f"{args}: {code} {err}"
    return out


def data(d, *args):
    return json.loads(done(d, "-j", *args))


def table(text):
    """An aligned table as a list of dicts; an empty cell is "-"."""
    lines = text.rstrip("\n").split("\n")
    heads = lines[0].split()
    rows = []
    for line in lines[1:]:
        cells = line.split(None, len(heads) - 1)
        assert len(cells) == len(heads), f"{heads}: {line!r}"
        rows.append(dict(zip(heads, cells)))
    return rows


@contextlib.contextmanager
def busy(waiting=3):
    """Two seats; two naps in flight until `gate` exists, more of them waiting, one upper call done."""
    with tempfile.TemporaryDirectory() as folder:
        gate = os.path.join(folder, "gate")
        nap = f"while [ ! -e {gate} ]; do sleep 0.02; done; cat"
        settings = {"workers": {"seats": 2, "threads": 2}}
        policies = [{"policy": "naps", "match": {"function": "nap"}, "cap": {"seats": 2},
                     "prioritize": {"class": 7, "share": "function"}}]
        with scene(settings, policies, functions={"nap": nap, "upper": "tr a-z A-Z"}) as (d, _):
            try:
                assert d.call("/function/upper", "POST", b"abc").body == b"ABC"
                for _ in range(2 + waiting):
                    assert d.call("/async-function/nap", "POST", b"zzz").status == 202
                wait_for("the queue", lambda: data(d, "status")["waiting"] == waiting)
                yield d, gate
            finally:
                open(gate, "w").close()


STATUS = ["version", "pid", "uptime_ns", "threads", "draining", "seats_limit", "seats_used", "waiting",
          "running", "runs", "accepted", "refused", "ok", "failed", "cancelled", "expired", "overruns",
          "memory_bytes", "memory_limit_bytes", "policy_generation"]
LANE = ["class", "queue", "share", "share_value", "order", "state", "depth", "oldest_ns", "parked_on"]
CAP = ["cap", "kind", "limit", "used", "parked", "source"]
RUN = ["id", "chain", "tenant", "trigger", "state", "accepted", "started", "ended", "queue_ns",
       "attempts", "status", "fault", "detail"]
BACKEND = ["backend", "type", "target", "seats_limit", "seats_used", "started", "failed", "connects",
           "last_failure"]


@test
def status():
    with busy() as (d, gate):
        s = data(d, "status")
        assert list(s) == STATUS, list(s)
        wanted = {"pid": d.p.pid, "threads": 2, "draining": False, "seats_limit": 2, "seats_used": 2,
                  "waiting": 3, "running": 2, "accepted": 6, "ok": 1, "refused": 0}
        assert {k: s[k] for k in wanted} == wanted, s
        text = done(d, "status")
        for line in (f"pid {d.p.pid}, 2 threads, up ", "\nstate       serving\n", "2 of 2 in use",
                     "3 waiting, 2 running", "6 accepted, 0 refused"):
            assert line in text, f"{line!r} in {text}"
        open(gate, "w").close()
        wait_for("all to end", lambda: data(d, "status")["ok"] == 6)


@test
def queue():
    with busy() as (d, gate):
        q = data(d, "queue")
        assert [list(l) for l in q["lanes"]] == [LANE] and all(list(c) == CAP for c in q["caps"]), q
        lane, caps = q["lanes"][0], {c["cap"]: c for c in q["caps"]}
        assert (lane["class"], lane["queue"], lane["share"], lane["depth"]) == (7, "PQ", "function", 3)
        assert lane["share_value"] == "nap" and lane["oldest_ns"] > 0, lane
        assert (caps["pool"]["limit"], caps["pool"]["used"], caps["pool"]["kind"]) == (2, 2, "seats")
        lanes, caps = done(d, "queue").split("\n\n")
        row = table(lanes)[0]
        assert (row["CLASS"], row["QUEUE"], row["FLOW"], row["DEPTH"]) == ("7", "PQ", "nap", "3"), row
        assert re.fullmatch(r"[0-9.]+(ns|us|ms|s)", row["OLDEST"]), row
        assert {"CAP": "pool", "KIND": "seats", "USED": "2", "LIMIT": "2"}.items() <= table(caps)[0].items()
        open(gate, "w").close()
        wait_for("all to end", d.quiet)
        assert data(d, "queue")["lanes"] == []
        assert done(d, "queue").startswith("Nothing waits.\n\nCAP")


@test
def rates_have_their_unit():
    policies = [{"policy": "fast", "match": {"function": "upper"}, "cap": {"rate": "250/s"}}]
    with scene(policies=policies, functions={"upper": "tr a-z A-Z"}) as (d, _):
        assert d.call("/function/upper", "POST", b"abc").body == b"ABC"
        cap = next(c for c in data(d, "queue")["caps"] if c["kind"] == "rate")
        assert cap["limit"] == 250, cap
        rows = table(done(d, "queue").split("\n\n")[1])
        assert [r["LIMIT"] for r in rows if r["KIND"] == "rate"] == ["250/s"], rows
        assert all(r["LIMIT"].isdigit() for r in rows if r["KIND"] != "rate"), rows


@test
def runs():
    with busy() as (d, gate):
        all_runs = data(d, "runs")["runs"]
        assert all(list(r) == RUN for r in all_runs), all_runs
        states = [r["state"] for r in all_runs if r["chain"] == "nap"]
        assert states == ["pending"] * 3 + ["running"] * 2, states  # newest first
        first = next(r for r in all_runs if r["state"] == "running")
        assert re.fullmatch(r"[0-9a-f]{32}", first["id"]), first
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["started"]), first
        assert first["trigger"] == "async" and first["ended"] is None and first["fault"] is None
        assert len(data(d, "runs", "--limit", "2")["runs"]) == 2
        assert len(data(d, "runs", "--state=pending", "--limit=2")["runs"]) == 2
        assert len(data(d, "runs", "--state", "pending")["runs"]) == 3
        assert data(d, "runs", "--state", "failed")["runs"] == []
        assert done(d, "runs", "--state", "failed") == \
            "No runs. (Synchronous calls are not kept when they have ended.)\n"
        rows = table(done(d, "runs", "--state", "running"))
        assert [(r["CHAIN"], r["TENANT"], r["BY"], r["STATE"], r["TRIES"]) for r in rows] == \
            [("nap", "anonymous", "async", "running", "1")] * 2, rows
        open(gate, "w").close()
        wait_for("all to end", d.quiet)
        ended = [r for r in data(d, "runs", "--state", "ok")["runs"] if r["chain"] == "nap"]
        assert len(ended) == 5 and {r["status"] for r in ended} <= {200, None}, ended
        assert all(r["started"] <= r["ended"] for r in ended), ended


@test
def backends():
    with busy() as (d, _):
        rows = data(d, "backends")["backends"]
        assert [list(r) for r in rows] == [BACKEND], rows
        b = rows[0]
        assert (b["backend"], b["type"], b["seats_limit"], b["failed"]) == ("local", "process", None, 0), b
        assert b["seats_used"] == 2 and b["started"] == 3 and b["target"].endswith("/functions"), b
        row = table(done(d, "backends"))[0]
        assert (row["BACKEND"], row["USED"], row["LIMIT"], row["STARTED"]) == ("local", "2", "-", "3"), row


@test
def settings():
    with scene({"workers": {"seats": 5}}, functions={"upper": "tr a-z A-Z"}) as (d, _):
        rows = {r["key"]: r for r in data(d, "settings")["settings"]}
        assert rows["workers.seats"]["value"] == "5", rows["workers.seats"]
        assert re.search(r"sequoia\.yaml:\d+$", rows["workers.seats"]["origin"]), rows["workers.seats"]
        assert rows["limits.wait"] == {"key": "limits.wait", "value": "50s", "origin": "default"}
        shown = {r["SETTING"]: r for r in table(done(d, "settings"))}
        assert shown["limits.wait"]["VALUE"] == "50s" and shown["limits.wait"]["SET-BY"] == "default"


@test
def metrics():
    with open(os.path.join(SOURCE, "src", "tables", "metrics.tbl")) as f:
        names = re.findall(r'^SQ_METRIC_COUNTER\(\w+, "(\w+)"', f.read(), re.M)
    with busy() as (d, _):
        gauge = 'sequoia_cap_used{scope="pool"} 2\n'
        wait_for("the gauges of this second", lambda: gauge in done(d, "metrics"))
        text = done(d, "metrics")
        sample = re.compile(r'[a-z_]+(\{scope="[^"\n]*"\})? -?\d+')
        for line in text.splitlines():
            assert re.match(r"# (HELP|TYPE) sequoia_\w+ ", line) or sample.fullmatch(line), line
        for name in names:
            assert f"# TYPE sequoia_{name} counter\nsequoia_{name} " in text, name
        assert "\nsequoia_runs_accepted_total 6\n" in text, text
        assert data(d, "metrics")["text"].startswith("# HELP sequoia_")
        return f"{len(names)} counters"


@test
def help_and_man_page():
    with open(os.path.join(SOURCE, "src", "tables", "commands.tbl")) as f:
        tbl = f.read()
    with open(os.path.join(SOURCE, "man", "sequoiactl.1")) as f:
        man = f.read()
    commands = re.findall(r'^SQ_COMMAND\(\w+, "([^"]+)", \w+, "([^"]+)"\)', tbl, re.M)
    options = re.findall(r'^SQ_COMMAND_OPTION\((\w+), "([^"]+)"', tbl, re.M)
    assert len(commands) >= 7 and len(options) >= 2
    code, text, err = ctl("help")
    assert code == 0 and not err
    for name, what in commands:
        assert re.search(rf"^  {name} +{re.escape(what)}$", text, re.M), f"{name} in {text}"
        assert re.search(rf"^\.It Cm {name}\b", man, re.M), f"{name} in sequoiactl.1"
        code, one, err = ctl("help", name)
        assert code == 0 and one.startswith("Usage: sequoiactl [-s SOCKET] [-j] " + name), one
        assert ctl(name, "-h") == (0, one, "")
    for command, option in options:
        assert f"--{option}" in ctl("help", command)[1]
        assert f"Fl -{option}" in man, option
    assert ctl("-h") == ctl("help") == ctl("--help")
    code, text, err = ctl("-V")
    assert code == 0 and re.fullmatch(r"sequoia \d+\.\d+\.\d+\n", text), text


@test
def usage_errors():
    cases = [
        ([], "a command is missing"),
        (["flush"], "flush: no such command"),
        (["stat"], "stat: no such command"),
        (["-x", "status"], "-x: no such option"),
        (["status", "--fast"], "--fast: no such option"),
        (["status", "now"], "now: one word too many"),
        (["-s"], "-s needs a value"),
        (["runs", "--limit"], "--limit needs a value"),
        (["runs", "--limit", "0"], "limit: 0 is not a whole number above 0"),
        (["runs", "--limit", "-3"], "is not a whole number"),
        (["runs", "--limit", "3x"], "is not a whole number"),
        (["runs", "--limit", "99999999999999999999"], "is not a whole number"),
        (["runs", "--state", "gone"], "state: gone is not pending|running"),
        (["runs", "--state", ""], "is not pending|running"),
        (["help", "flush"], "flush: no such command"),
        (["-s", "x" * 200, "status"], "too long for a socket"),
    ]
    for args, words in cases:
        code, out, err = ctl(*args)
        assert (code, out) == (64, "") and words in err and err.startswith("sequoiactl: "), \
            f"{args}: {code} {err}"
        assert err.count("\n") == 1, err
    return f"{len(cases)} cases"


@test
def no_daemon():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "none.sock")
        for args, env, words in [
                (["-s", path, "status"], {}, f"no daemon answers at {path}: is sequoiad running?"),
                (["status"], {"SEQUOIA_SOCKET": path}, f"no daemon answers at {path}"),
                (["status"], {}, "no daemon answers at run/sequoia.sock or /run/sequoia/sequoia.sock")]:
            code, out, err = ctl(*args, env=env, cwd=folder)
            assert (code, out) == (2, "") and words in err and "-s SOCKET" in err, f"{args}: {code} {err}"
        with socket.socket(socket.AF_UNIX) as s:  # left behind by a daemon that was killed
            s.bind(path)
        assert ctl("-s", path, "status")[0] == 2


@test
def where_the_socket_is():
    with scene(functions={}) as (d, _):
        os.makedirs(os.path.join(d.folder, "run"))
        os.symlink(d.socket, os.path.join(d.folder, "run", "sequoia.sock"))
        assert ctl("status", cwd=d.folder)[0] == 0
        assert ctl("status", env={"SEQUOIA_SOCKET": d.socket})[0] == 0
        assert ctl("status", "-s", d.socket, env={"SEQUOIA_SOCKET": "/none"})[0] == 0
        assert os.stat(d.socket).st_mode & 0o777 == 0o660
        if os.geteuid() == 0:
            os.chmod(d.folder, 0o755)
            code, _, err = ctl("-s", d.socket, "status", cwd="/", user="nobody",
                                group="nogroup", extra_groups=[])
            assert code == 1 and "permission denied" in err, f"{code} {err}"
        # A full disk under standard output is told, too.
        with open("/dev/full", "w") as full:
            r = subprocess.run([SEQUOIACTL, "-s", d.socket, "status"], stdout=full,
                               stderr=subprocess.PIPE, text=True, timeout=60)
        assert r.returncode == 1 and "cannot write: No space left" in r.stderr, r


NOWHERE = {"faas": {"type": "openfaas", "url": "http://127.0.0.1:9"}}


def answers(path, *lines):
    """A server that is no sequoiad: says the lines, one after each that it is sent, and closes."""
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen()

    def serve():
        c, _ = s.accept()
        with s, c:
            for i, line in enumerate(lines):
                if i > 0:
                    c.recv(65536)
                c.sendall(line.encode())

    threading.Thread(target=serve, daemon=True).start()


HELLO = '{"sequoia-admin": 1, "version": "9"}\n'


@test
def strange_servers():
    long_name = "x" * 300000
    row = {"backend": "a\x1b[31mb\x07", "type": "openfaas", "target": long_name}
    with tempfile.TemporaryDirectory() as folder:
        cases = [
            (["SSH-2.0-OpenSSH_9.2\n"], 2, "is no sequoiad"),
            ([""], 2, "closed the connection"),
            ([HELLO, ""], 2, "closed the connection"),
            ([HELLO, '{"ok": tr'], 2, "is no sequoiad"),
            (['{"sequoia-admin": 2}\n'], 1, "protocol 2, this sequoiactl 1"),
            (['{"ok": false, "code": "busy", "message": "Too many"}\n'], 1, "Too many"),
            ([HELLO, '{"ok": false, "code": "forbidden", "message": "Not you"}\n'], 1, "Not you"),
            ([HELLO, '{"ok": false, "code": "not_found", "message": "No run"}\n'], 3, "No run"),
            ([HELLO, '{"ok": false, "code": "bad_argument", "message": "Hm"}\n'], 64, "Hm"),
            ([HELLO, '{"ok": false}\n'], 1, "did not say why"),
        ]
        for i, (lines, wanted, words) in enumerate(cases):
            path = os.path.join(folder, str(i))
            answers(path, *lines)
            code, out, err = ctl("-s", path, "status")
            assert (code, out) == (wanted, "") and words in err, f"{lines}: {code} {err}"
        path = os.path.join(folder, "s")
        answers(path, HELLO, json.dumps({"ok": True, "data": {"backends": [row]}}) + "\n")
        code, out, err = ctl("-s", path, "backends")
        assert code == 0 and long_name in out and "\x1b" not in out and "\x07" not in out, out[:300]
        return f"{len(cases) + 1} cases"


def settings_of(path):
    return {"admin": {"socket": path}, "backends": NOWHERE}


@test
def one_daemon_per_socket():
    with scene(functions={}) as (d, _), tempfile.TemporaryDirectory() as other:
        second = Daemon(other, settings_of(d.socket), wait=False)
        assert second.p.wait(20 * SLOW) == 1
        assert f"{d.socket}: another daemon answers there" in second.text(), second.text()
        assert ctl("-s", d.socket, "status")[0] == 0
        second.end()
        # Killed, it leaves its socket; the next one takes the place.
        path = os.path.join(other, "run", "a.sock")
        third = Daemon(other, settings_of(path))
        third.end(signal.SIGKILL)
        assert os.path.exists(path)
        fourth = Daemon(other, settings_of(path))
        assert ctl("-s", path, "status")[0] == 0
        assert fourth.end() == 0
        assert not os.path.exists(path)


def refused(settings):
    """What a daemon with these settings says, that cannot start."""
    with tempfile.TemporaryDirectory() as folder:
        d = Daemon(folder, {"backends": NOWHERE, **settings}, wait=False)
        try:
            assert d.p.wait(20 * SLOW) == 1, d.text()
            return d.text()
        finally:
            d.end()


@test
def one_daemon_per_address():
    for host in ("127.0.0.1", "*"):
        with scene(functions={}) as (d, _):
            address = f"{host}:{d.port}"
            text = refused({"listen": [{"address": "127.0.0.1:0"}, {"address": address}]})
            assert f"cannot listen at {address}: Address already in use: another sequoiad or program " \
                "listens there" in text, text
            assert d.call("/healthz").status == 200


@test
def one_daemon_per_state():
    with scene(functions={"upper": "tr a-z A-Z"}) as (d, _):
        state = d.settings["state"]
        text = refused({"state": state})
        assert f"state {state}: another daemon uses it; stop it, or set state" in text, text
        assert d.call("/function/upper", "POST", b"abc").body == b"ABC"
        modes = {f: os.stat(os.path.join(state, f)).st_mode & 0o777 for f in os.listdir(state)}
        assert {"lock", "metrics.db"} <= set(modes) and set(modes.values()) == {0o640}, modes
        assert os.stat(state).st_mode & 0o777 == 0o750
        d.end(signal.SIGKILL)
        with tempfile.TemporaryDirectory() as folder:  # the lock has gone with it
            assert Daemon(folder, {"state": state, "backends": NOWHERE}).end() == 0
        d.__init__(d.folder, d.settings)


@test
def a_state_that_cannot_be_used():
    with tempfile.TemporaryDirectory() as state:
        os.mkdir(os.path.join(state, "metrics.db"))
        text = refused({"state": state})
        assert re.search(rf"state {state}: metrics.db: cannot open it: .*: Is a directory", text), text
        file = os.path.join(state, "file")
        open(file, "w").close()
        text = refused({"state": file + "/var"})
        assert f"state {file}/var: Not a directory" in text, text


@test
def command_line_of_the_daemon():
    def run(*args):
        r = subprocess.run([program("sequoiad"), *args], capture_output=True, text=True, timeout=60)
        return r.returncode, r.stdout, r.stderr

    code, text, _ = run("--help")
    assert code == 0 and text.startswith("Usage: sequoiad ") and run("-h") == (0, text, "")
    assert "-h, --help" in text and "-V, --version" in text, text
    assert re.fullmatch(r"sequoia \d+\.\d+\.\d+\n", run("--version")[1]) and run("-V") == run("--version")
    assert run("--nope")[0] == 64 and run("now")[0] == 64
    code, text, err = run("-t", "-c", os.path.join(SOURCE, "conf", "sequoia.yaml"))
    assert code == 0 and text.endswith("sequoia.yaml: ok, 0 policies\n"), err
    code, text, _ = run("-T", "-c", os.path.join(SOURCE, "conf", "sequoia.yaml"))
    assert code == 0 and re.search(r"^policies +none +#", text, re.M), text


@test
def metrics_db():
    calls = 40
    with tempfile.TemporaryDirectory() as state:
        path = os.path.join(state, "metrics.db")
        with scene({"state": state}, functions={"upper": "tr a-z A-Z", "bad": "exit 3"}) as (d, _):
            for i in range(calls):
                d.call("/function/" + ("bad" if i % 4 == 0 else "upper"), "POST", b"abc")
            d.call("/function/none", "POST", b"abc")
            with contextlib.closing(sqlite3.connect(path)) as seen:
                wait_for("a gauge", lambda: seen.execute("SELECT 1 FROM gauges").fetchone())
        db = sqlite3.connect(path)
        one = lambda sql: db.execute(sql).fetchone()
        assert one("SELECT count(*), count(fault) FROM arrivals")[0] >= calls
        assert one("SELECT count(*) FROM invocations") == (calls,)
        assert one("SELECT calls, p50_ms > 0 FROM function_1m WHERE function = 'upper' "
                   "ORDER BY minute DESC")[1] == 1
        assert one("SELECT sum(calls) FROM function_1m WHERE function = 'bad'") == (calls // 4,)
        assert one("SELECT DISTINCT tenant, backend, attempt FROM invocations_named") == \
            ("anonymous", "local", 1)
        assert one("SELECT count(*) > 0 FROM gauges_named WHERE scope = 'pool' AND cap = 64") == (1,)
        db.execute("PRAGMA user_version = 9")
        db.close()
        with tempfile.TemporaryDirectory() as folder:
            d = Daemon(folder, {"state": state, "backends": NOWHERE}, wait=False)
            assert d.p.wait(20 * SLOW) == 1
            assert "written by another version of Sequoia (schema 9" in d.text(), d.text()
            d.end()


if __name__ == "__main__":
    main()
