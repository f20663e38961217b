#!/usr/bin/env python3
"""The README's way in, word for word but for the port: start, call, look, stop."""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from harness import Process, free_port, main, program, test, wait_for

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def commands(text):
    """The indented commands of `Build and try it` and `See the queues`, after the build."""
    lines = [l.strip() for l in text.splitlines() if l.startswith("    ")]
    return [l for l in lines if re.match(r"(curl|\./sequoiactl|sequoiactl) ", l)]


@test
def the_commands_of_the_readme():
    text = open(os.path.join(TOP, "README.md")).read()
    port = str(free_port())
    folder = tempfile.mkdtemp(prefix="sequoia-readme-")
    for name in ("sequoiad", "sequoiactl"):
        os.symlink(program(name), os.path.join(folder, name))
    shutil.copytree(os.path.join(TOP, "functions"), os.path.join(folder, "functions"))
    shutil.copy(os.path.join(TOP, "README.md"), folder)
    assert "    ./sequoiad &\n" in text
    with open(os.path.join(folder, "s.yaml"), "w") as f:
        f.write(f"version: 1\nlisten: [ {{ address: '127.0.0.1:{port}' }} ]\n")
    here = os.getcwd()
    os.chdir(folder)
    d = Process(["./sequoiad", "-c", "s.yaml"], folder, "sequoiad")
    try:
        wait_for("the daemon", lambda: "event=ready" in d.text())
        outputs = {}
        for c in commands(text):
            shell = re.sub(r"\s{2,}.*", "", c.replace("8080", port))
            shell = shell.replace("sequoiactl", "./sequoiactl").replace("././", "./")
            r = subprocess.run(shell, shell=True, capture_output=True, text=True, timeout=30)
            assert r.returncode == 0, f"{c}: {r.stderr}"
            outputs[c] = r.stdout
        assert hashlib.sha256(b"hello").hexdigest() in next(v for c, v in outputs.items() if "hash" in c)
        words = next(v for c, v in outputs.items() if "/words" in c)
        assert str(len(text.split())) in words, words
        assert any("2 accepted" in v for v in outputs.values()), outputs
        assert d.end() == 0
        rows = subprocess.run(["sqlite3", "var/metrics.db", "SELECT * FROM function_1m"],
                              capture_output=True, text=True)
        assert rows.returncode == 0 and "hash" in rows.stdout, rows
        return f"{len(outputs)} commands"
    finally:
        if d.p.poll() is None:
            d.p.kill()
        os.chdir(here)
        shutil.rmtree(folder)


@test
def the_readme_has_every_error_code():
    with open(os.path.join(TOP, "src", "tables", "errors.tbl")) as f:
        codes = re.findall(r'^SQ_ERROR\(\w+, "(\w+)", (\d+)', f.read(), re.M)
    with open(os.path.join(TOP, "README.md")) as f:
        text = f.read()
    assert len(codes) > 20 and text.count("\n") <= 120
    for code, status in codes:
        assert re.search(rf"\b{status}\b[^0-9]*\b{code}\b", text), f"{status} {code} is not in README.md"
    return f"{len(codes)} codes"


main()
