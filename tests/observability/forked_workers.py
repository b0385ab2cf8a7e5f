"""A server that starts workers again and again, each of which writes lines and is killed: `FOLDER WORKERS LINES`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.observability.traffic import request

from dodai.observability.line_format import dump
from dodai.observability.segment import SegmentWriter


def work(folder: Path, number: int, count: int) -> None:
    """Every tenth request fails; it never returns."""
    try:
        writer = SegmentWriter(folder, "web", f"i{number}")
        for at in range(count):
            outcome = "server_error" if at % 10 == 0 else "ok"
            writer.write(dump(request(time.time(), outcome=outcome, instance=f"web-{number}")))
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, workers, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for number in range(workers):
        pid = os.fork()
        if pid == 0:
            work(folder, number, count)
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main()
