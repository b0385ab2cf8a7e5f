"""An application small enough to start in a tenth of a second, and the command line run on it like a person does."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import dodai, start_dodai
from tests.support.wait import until

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

    def migration(self, number, up, down, query):
        """A migration of the next release, and the query of that release."""
        for path, text in (
            (f"db/migrations/{number}_change.sql", f"-- +goose Up\n{up}\n-- +goose Down\n{down}\n"),
            ("queries/read.sql", f"{query}\n"),
        ):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)

    def run(self, *words, **extra):
        return dodai(*words, cwd=self.folder, **extra)

    def start(self, *words):
        """The command in the background, its output in `out.log`."""
        with (self.folder / "out.log").open("wb") as log:
            return start_dodai(*words, cwd=self.folder, output=log)

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
        """Leave nothing running, whatever the test did: `down` may be refused, and a launcher starts another Host."""
        for env in ("local", "staging"):
            self.run("down", env)
        for kept in self.folder.glob(".dodai/env/*/serving.json"):
            kept.unlink(missing_ok=True)  # first: from now on no launcher brings anything back
        until(lambda: not self.killed_all())

    def killed_all(self):
        """Who still ran for this folder, and got SIGKILL."""
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left
