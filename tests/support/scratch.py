"""Where the tests write: in memory when there is room, which halves the processor time of the suites with a database.

A server of PostgreSQL is three hundred files for each database, and a journal is flushed at every record: on a disk that
is most of what those tests cost. `TMPDIR`, when somebody set it, decides instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 3 * 2**30
PREFIX = "dodai-tests-"


def room_in_memory(folder: Path = MEMORY) -> bool:
    """Whether tests may write and start programs there, with what the largest of them needs to spare."""
    if not os.access(folder, os.W_OK):
        return False
    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_frsize >= ENOUGH_BYTES and not seen.f_flag & os.ST_NOEXEC


def sweep(folder: Path = MEMORY) -> None:
    """Remove what test runs left that are gone."""
    for path in folder.glob(f"{PREFIX}*"):
        if not Path("/proc", path.name.rpartition("-")[2]).exists():
            shutil.rmtree(path, ignore_errors=True)


def choose() -> Path | None:
    """The folder made for this test run, which every process below it inherits; None when `TMPDIR` stays as it is."""
    if "TMPDIR" in os.environ or not room_in_memory():
        return None
    sweep()
    folder = MEMORY / f"{PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o755, exist_ok=True)  # a server that drops root has to get through
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
    return folder


FOLDER = choose()


def pytest_sessionfinish(exitstatus: int) -> None:
    """Nothing stays in memory, unless a test failed: then it does until the next run."""
    if FOLDER and exitstatus == 0:
        shutil.rmtree(FOLDER, ignore_errors=True)
