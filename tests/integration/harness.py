"""What the integration tests share: the real daemon, the mock FaaS, the load client, a runner.

Each test file is a program: it prints `ok NAME` or `FAIL NAME: why`, last `N passed, N failed`.
Programs come from $BUILD (default: the current folder); SQ_FULL=1 asks for the counts of the issues.
"""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("BUILD", ".")
FULL = os.environ.get("SQ_FULL") == "1"
# Sanitizers make everything slower: patience and counts follow.
SLOW = float(os.environ.get("SQ_SLOW", "1"))


def program(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        sys.exit(f"{path}: not built (set BUILD)")
    return os.path.abspath(path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=10):
    """Polls until the condition holds; its value is returned."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.005)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:200]!r}"


def call(port, path, method="GET", body=None, headers=None, timeout=30):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
    try:
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        return Answer(r.status, r.headers, r.read())
    finally:
        c.close()


class Process:
    """A child that is always ended, by its pid, and whose output is kept."""

    def __init__(self, argv, folder, name, env=None):
        self.log = open(os.path.join(folder, name + ".log"), "w+b")
        self.p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=self.log, env=env)

    def text(self):
        with open(self.log.name, "rb") as f:
            return f.read().decode(errors="replace")

    def end(self, sig=signal.SIGTERM, seconds=20):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        try:
            self.p.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            raise AssertionError(f"did not stop after {sig}\n{self.text()[-2000:]}")
        finally:
            self.log.close()
            self.p.stdout.close()
        return self.p.returncode


class Mock(Process):
    def __init__(self, folder, *args):
        super().__init__([program("tests/tools/mockfaas"), "-k", *args], folder, "mock")
        self.port = int(self.p.stdout.readline().split()[1])

    def get(self, path):
        a = call(self.port, path, timeout=60)
        assert a.status == 200, f"mock {path}: {a}"
        return a.json() if a.body[:1] in (b"{", b"[") else a.body

    def post(self, path):
        a = call(self.port, path, "POST")
        assert a.status == 200, f"mock {path}: {a}"
        return a.body

    def stats(self):
        return self.get("/_mock/stats")


class Daemon(Process):
    """sequoiad with settings given as a dict (written as JSON, which is YAML)."""

    def __init__(self, folder, settings, policies=None, env=None, wait=True):
        self.port = free_port()
        self.folder = folder
        self.file = os.path.join(folder, "sequoia.yaml")
        self.socket = os.path.join(folder, "sequoia.sock")
        base = {"version": 1, "listen": [{"address": f"127.0.0.1:{self.port}"}],
                "admin": {"socket": self.socket}, "state": os.path.join(folder, "var")}
        base.update(settings)
        if policies is not None:
            base["policies"] = "policies/*.yaml"
        self.write(base, policies)
        super().__init__([program("sequoiad"), "-c", self.file], folder, "sequoiad", env)
        if wait:
            wait_for("the daemon to be ready", self.ready, 20)

    def write(self, settings, policies=None):
        with open(self.file, "w") as f:
            json.dump(settings, f, indent=1)
        self.settings = settings
        if policies is not None:
            os.makedirs(os.path.join(self.folder, "policies"), exist_ok=True)
            with open(os.path.join(self.folder, "policies", "all.yaml"), "w") as f:
                f.write("\n---\n".join(json.dumps(p, indent=1) for p in policies))

    def ready(self):
        if self.p.poll() is not None:
            raise AssertionError(f"sequoiad ended with {self.p.returncode}\n{self.text()[-3000:]}")
        return "event=ready" in self.text()

    def call(self, path, *args, **kw):
        return call(self.port, path, *args, **kw)

    def ctl(self, *args):
        r = subprocess.run([program("sequoiactl"), "-s", self.socket, "-j", *args],
                           capture_output=True, timeout=60 * SLOW)
        assert r.returncode == 0, f"sequoiactl {args}: {r.returncode} {r.stderr}"
        return json.loads(r.stdout)

    def quiet(self):
        """No seat taken, nothing queued: what every fault must leave behind."""
        s = self.ctl("status")
        return s["seats_used"] == 0 and s["waiting"] == 0

    def memory_kib(self, which="VmRSS"):
        with open(f"/proc/{self.p.pid}/status") as f:
            return int(next(l for l in f if l.startswith(which)).split()[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.p.pid}/fd"))


def load(*args):
    r = subprocess.run([program("tests/tools/load"), "-j", *map(str, args)],
                       capture_output=True, timeout=600)
    assert r.stdout, f"load {args}: {r.stderr}"
    return json.loads(r.stdout)


def write_functions(folder, scripts):
    folder = os.path.join(folder, "functions")
    os.makedirs(folder)
    for name, text in scripts.items():
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(path, 0o755)
    return folder


@contextlib.contextmanager
def scene(settings=None, policies=None, mock=(), functions=None, **kw):
    """A folder, a mock FaaS, a daemon in front of it; the daemon must end well.

    With functions={name: shell script} the embedded host serves them instead of the mock.
    """
    folder = tempfile.mkdtemp(prefix="sequoia-test-")
    m = d = None
    try:
        m = Mock(folder, *mock)
        s = {"backends": {"faas": {"type": "openfaas", "url": f"http://127.0.0.1:{m.port}"}}}
        if functions is not None:
            s["backends"] = {"local": {"type": "process", "functions": write_functions(folder, functions)}}
        for key, value in (settings or {}).items():
            if isinstance(value, dict) and key in s:
                for k, v in value.items():
                    s[key].setdefault(k, {}).update(v)
            else:
                s[key] = value
        d = Daemon(folder, s, policies, **kw)
        yield d, m
        code = d.end()
        text = open(os.path.join(folder, "sequoiad.log"), errors="replace").read()
        assert code == 0, f"sequoiad ended with {code}\n{text[-3000:]}"
    except BaseException:
        if d:
            with open(os.path.join(folder, "sequoiad.log"), errors="replace") as f:
                print("---- sequoiad says\n" + f.read()[-3000:] + "\n----")
        raise
    finally:
        for p in (d, m):
            if p and p.p.poll() is None:
                p.p.kill()
                p.p.wait()
        shutil.rmtree(folder, ignore_errors=True)


TESTS = []


def test(f):
    TESTS.append(f)
    return f


def main():
    only = sys.argv[1:]
    passed = failed = 0
    for f in TESTS:
        if only and f.__name__ not in only:
            continue
        start = time.monotonic()
        try:
            note = f()
            passed += 1
            print(f"ok {f.__name__} ({time.monotonic() - start:.1f} s)" + (f": {note}" if note else ""))
        except Exception as e:  # a test's failure, told and counted
            failed += 1
            at = traceback.extract_tb(e.__traceback__)[1]
            print(f"FAIL {f.__name__}: line {at.lineno}: {e or at.line}")
            if not isinstance(e, AssertionError):
                traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)
