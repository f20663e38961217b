"""Raw requests for the front's tests, and a backend that writes down what reaches it."""
import contextlib
import os
import shutil
import socket
import tempfile
import threading

from harness import Daemon

H = b"Host: a\r\n"


class Backend:
    """Answers every request 200 and writes down its request line; one thread per connection."""

    def __init__(self):
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with contextlib.suppress(OSError, ValueError), s, s.makefile("rb") as f:
            while line := f.readline():
                fields = {}
                while (h := f.readline()) not in (b"\r\n", b""):
                    name, _, value = h.partition(b":")
                    fields[name.lower()] = value.strip()
                body = f.read(int(fields.get(b"content-length", 0)))
                self.seen.append((line.decode("latin-1").strip(), fields, body))
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self):
        self.listener.close()


@contextlib.contextmanager
def front(limits=None, **settings):
    folder = tempfile.mkdtemp(prefix="sequoia-guard-")
    b = Backend()
    d = None
    try:
        d = Daemon(folder, {"backends": {"faas": {"type": "openfaas", "url": f"http://127.0.0.1:{b.port}"}},
                            "limits": limits or {}, **settings})
        yield d, b
        code = d.end()
        assert code == 0, f"sequoiad ended with {code}\n{d_text(folder)}"
    finally:
        b.close()
        if d and d.p.poll() is None:
            d.p.kill()
            d.p.wait()
        shutil.rmtree(folder, ignore_errors=True)


def d_text(folder):
    with open(os.path.join(folder, "sequoiad.log"), errors="replace") as f:
        return f.read()[-3000:]


def exchange(port, *pieces, seconds=5):
    """Sends the pieces one by one; all that comes back until the other side closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(seconds)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for p in pieces:
                s.sendall(p)
        except OSError:
            pass
        try:
            while data := s.recv(65536):
                got += data
        except socket.timeout:
            return got, False
        except ConnectionResetError:
            pass
        return got, True


def good(port):
    got, closed = exchange(port, b"GET /function/good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert closed and got.startswith(b"HTTP/1.1 200 "), f"a good request got {got!r}"


def get(target=b"/function/f", fields=H, version=b"HTTP/1.1", method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def post(fields, body=b""):
    return get(method=b"POST", fields=H + fields) + body


def statuses(got):
    return [int(p[:3]) for p in got.split(b"HTTP/1.1 ")[1:]]
