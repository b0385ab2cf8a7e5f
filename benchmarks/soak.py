"""Minutes of deploys back and forth under visitors, with silent connections beside them; the figures go to results.md.

.venv/bin/python benchmarks/soak.py        # ten minutes
.venv/bin/python benchmarks/soak.py 2      # two
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import os
import resource
import select
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.end_to_end.hosted_app import HostedApp
from tests.end_to_end.visitors import visitors

SILENT = 1300
STATUS_EACH_S = 10.0
HEAD = ("Minutes", "Deploys", "Requests", "Failed", "Silent connections", "`status`", "Host", "Load average")
NOTES = (
    "Four people on fresh connections through the edge, while a release and the one before it are deployed in turn;"
    " none of the silent connections ever says a word, and one that the edge closes is opened again. `status` is the"
    " whole command, median (min to max). Host: its memory in the end, and how much came after the first minute."
)


class Silence:
    """So many connections that say nothing, for as long as it lasts."""

    def __init__(self, port: int, count: int) -> None:
        self.port, self.closed = port, 0
        self.over = threading.Event()
        self.open = [self._connect() for _ in range(count)]
        self.thread = threading.Thread(target=self._keep, daemon=True)
        self.thread.start()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def _keep(self) -> None:
        while not self.over.wait(0.5):
            poll = select.poll()
            for one in self.open:
                poll.register(one, select.POLLIN | select.POLLHUP)
            ended = {fd for fd, _ in poll.poll(0)}
            for at, one in enumerate(self.open):
                if one.fileno() in ended:
                    one.close()
                    self.closed += 1
                    self.open[at] = self._connect()

    def end(self) -> None:
        self.over.set()
        self.thread.join(30)
        for one in self.open:
            one.close()


def memory_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def soak(app: HostedApp, minutes: float) -> tuple[str, ...]:
    app.deployed("# the other")
    app.deployed()
    silence = Silence(app.known()["ports"]["edge"], SILENT)
    deploys, took_s, early = 0, list[float](), 0.0
    try:
        with visitors(app, 4) as seen:
            began = time.monotonic()
            asked = began
            while time.monotonic() < began + minutes * 60:
                app.deployed("# the other" if deploys % 2 == 0 else "")
                deploys += 1
                if time.monotonic() > asked + STATUS_EACH_S:
                    asked = time.monotonic()
                    app.status(0)
                    took_s.append(time.monotonic() - asked)
                if not early and time.monotonic() > began + 60:
                    early = memory_mib(app.known()["pid"])
    finally:
        silence.end()
    now = memory_mib(app.known()["pid"])
    print(*seen.failed[:20], sep="\n")
    status = f"{statistics.median(took_s):.2f} ({min(took_s):.2f} to {max(took_s):.2f}) s"
    return (
        f"{minutes:g}", str(deploys), str(seen.answered), str(len(seen.failed)),
        f"{SILENT}, {silence.closed} closed by the edge", status, f"{now:.0f} MiB, {now - early:+.0f}",
        " ".join(f"{one:.1f}" for one in os.getloadavg()),
    )  # fmt: skip


def main() -> int:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as folder:
        app = HostedApp(Path(folder))
        try:
            row = soak(app, minutes)
        finally:
            app.clear()
    record("soak", "Soak", HEAD, [row], NOTES)
    return 1 if row[3] != "0" else 0


if __name__ == "__main__":
    sys.exit(main())
