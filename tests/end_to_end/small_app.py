"""An application small enough to start in a tenth of a second, and the command line run on it like a person does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SERVER = """
import http.server, json, os, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = READY
        body = json.dumps({"ready": ready, "version": VERSION}).encode() if self.path == "/readyz" else b"hello from " + VERSION.encode()
        self.send_response(200 if ready or self.path != "/readyz" else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

READY = True
VERSION = os.environ["DODAI_RELEASE"]
print("small app starts", flush=True)
# SPOIL
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""

MANIFEST = """[project]
name = "small"
[env.staging]
{environment}
[service.web]
command = ["{{python}}", "web.py"]
public = true
drain = "1s"
health = {{ consecutive = 1, timeout = "3s" }}
{more}
[[journey]]
name = "look"
[[journey.step]]
name = "front"
path = "/"
contains = "hello from"
"""


@dataclass(frozen=True, slots=True)
class SmallApp:
    folder: Path

    def write(self, *, spoil="", environment="", more=""):
        (self.folder / "web.py").write_text(SERVER.replace("# SPOIL", spoil))
        (self.folder / "dodai.toml").write_text(MANIFEST.format(environment=environment, more=more))
        return self

    def argv(self, *words):
        return [sys.executable, "-m", "dodai", *words]

    def environment(self, extra=None):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DODAI_", "DATABASE_URL"))}
        return {**clean, **(extra or {})}

    def run(self, *words, timeout=60, **extra):
        return subprocess.run(
            self.argv(*words), cwd=self.folder, env=self.environment(extra), capture_output=True, text=True,
            timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def start(self, *words):
        """The command in the background, its output in `out.log`."""
        with (self.folder / "out.log").open("wb") as log:
            return subprocess.Popen(
                self.argv(*words),
                cwd=self.folder,
                env=self.environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def output(self):
        return (self.folder / "out.log").read_text()

    def processes(self):
        """The pids of everything that runs for this folder: its host, its shims, its services, its database."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes() + str((entry / "cwd").readlink()).encode()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if str(self.folder).encode() in words and state != "Z":
                    found.append(int(entry.name))
        return found

    def clear(self):
        """Leave nothing running, whatever the test did."""
        for env in ("local", "staging"):
            self.run("down", env)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def eventually(condition, seconds=15.0):
    """The first true value of `condition`; fails when there is none within the deadline."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.02)
    return value
