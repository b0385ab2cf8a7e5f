"""`python launcher.py FOLDER ENV PYTHON [--stay]`: brings the Host of an environment back, within a budget.

It waits for the lock that a Host holds for as long as it lives, so it needs to be nobody's parent; the Host in turn
starts a launcher when there is none. After `down` nothing is kept and it ends. With `--stay` it is run by a service
manager: it stays in front, waits for its turn where there is another launcher, and for something to be kept where
nothing is. Run by path: standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque

LOCK, LAUNCHER_LOCK, KEPT = "host.lock", "launcher.lock", "serving.json"
FIRST_S, LONGEST_S, SLICE_S = 0.1, 30.0, 0.1
BUDGET, WINDOW_S = 5, 60.0
"""So many starts within the window follow each other quickly; from then on one each `LONGEST_S`, without giving up."""
START_S = 30.0
LOOK_S = 1.0
STAY = "--stay"


def main(argv: list[str]) -> int:
    folder, env, python = argv[:3]
    if STAY in argv:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            wait_until_kept(folder)
            watch(folder, env, python, turn=fcntl.LOCK_EX)
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(BlockingIOError):  # there is one
        watch(folder, env, python, turn=fcntl.LOCK_EX | fcntl.LOCK_NB)
    return 0


def watch(folder: str, env: str, python: str, *, turn: int) -> None:
    """Bring it back again and again; return once nothing is kept any more."""
    mine = os.open(os.path.join(folder, LAUNCHER_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # noqa: PTH118
    try:
        fcntl.flock(mine, turn)
        starts: deque[float] = deque(maxlen=BUDGET)
        while True:
            wait_until_gone(folder)
            if not still_wanted(folder, pause_s(starts, time.monotonic())):
                return
            starts.append(time.monotonic())
            start(folder, env, python)
    finally:
        os.close(mine)


def wait_until_kept(folder: str) -> None:
    """Return once something is to come back: it was stopped on purpose, or nothing was deployed yet."""
    while not os.path.exists(os.path.join(folder, KEPT)):  # noqa: PTH110, PTH118 - starts fast
        time.sleep(LOOK_S)


def wait_until_gone(folder: str) -> None:
    """Return once no Host holds the lock of the folder."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CLOEXEC)  # noqa: PTH118
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)


def still_wanted(folder: str, pause_s: float) -> bool:
    """Whether something is to come back, still so after the pause; `down` ends the pause as well."""
    end = time.monotonic() + pause_s
    while os.path.exists(os.path.join(folder, KEPT)):  # noqa: PTH110, PTH118 - starts fast
        if (left := end - time.monotonic()) <= 0:
            return True
        time.sleep(min(left, SLICE_S))
    return False


def pause_s(starts: deque[float], now: float) -> float:
    """The seconds before the next start: nothing at first, then longer."""
    recent = [at for at in starts if now - at < WINDOW_S]
    if len(recent) >= BUDGET:
        return LONGEST_S
    return FIRST_S * float(2 ** len(recent) - 1)


def start(folder: str, env: str, python: str) -> None:
    """Start a Host, which detaches itself, and wait until it says that it is there or why not."""
    if not os.path.isdir(folder):  # noqa: PTH112
        sys.exit(0)
    told, tell = os.pipe()
    command = [python, "-P", "-m", "dodai.providers.local.host", folder, env, "--report", str(tell)]
    with open(os.path.join(folder, "host.log"), "ab") as output:  # noqa: PTH118, PTH123
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(tell,),
                start_new_session=True, cwd=folder, timeout=START_S, check=False,
            )  # fmt: skip
        os.close(tell)
        with open(told, "rb") as report:  # noqa: PTH123 - a descriptor
            report.readline()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
