"""`dodai` from a process that has loaded it already: a fork per command, as a prefork server does for requests.

A command that a test runs is a process of its own, with its own pid, descriptors, folder and environment, and it runs
`dodai.__main__.main` from its first line. What it saves is loading the same 350 modules some thousand times, which was
a quarter of the suite's processor time. Tests of the start itself (`python -m dodai`, the locale, a missing module) and
commands in the background start the interpreter.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that an interpreter reads while it starts: a command that gets one of them starts anew."""

LOADED = (
    *(f"dodai.{area}" for area in ("cli", "wiring", "operations", "rehearsal", "migrations", "engine")),
    *("dodai.providers.local", "dodai.providers.postgres"),
)
"""Packages whose modules no command has to load again; those of others load when they are asked for, as outside."""

CLIENTS = (
    "psycopg",
    "httpx2",
    "httpcore2",
    "truststore",
    "anyio._backends._asyncio",
    "encodings.idna",
    "encodings.ascii",
    "encodings.utf_8_sig",
)
"""What these load within a function, or what their libraries load with the first connection."""


class Forks:
    """The loaded process of this test worker. Started by the first command, ended with the worker."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.getpid()
        self.socket = ours
        self.server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )  # fmt: skip
        theirs.close()
        self.replies = ours.makefile("r")
        atexit.register(self.close)

    def run(
        self,
        words: tuple[str, ...],
        cwd: Path | str | None,
        env: Mapping[str, str],
        stdin: Any,
        timeout_s: float,
        driver: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of `python -m dodai WORDS`, or of `python DRIVER WORDS`, with both outputs captured."""
        argv = [sys.executable, *([str(driver)] if driver else ["-m", "dodai"]), *words]
        with _output() as out, _output() as err, Path(os.devnull).open("rb") as nothing:
            given: IO[bytes] | Any = nothing if stdin == subprocess.DEVNULL else stdin
            asked = {"argv": argv, "cwd": str(cwd or Path.cwd()), "env": dict(env), "driver": str(driver or "")}
            request = json.dumps(asked).encode(errors="surrogateescape")
            descriptors = [given if isinstance(given, int) else given.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self.socket, [len(request).to_bytes(8, "big")], descriptors)
            self.socket.sendall(request)
            pid = int(self.replies.readline())
            self.socket.settimeout(timeout_s)
            try:
                returncode = int(self.replies.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                forks.pop(self.pid, None)  # its reply would be taken for the next command's
                raise subprocess.TimeoutExpired(argv, timeout_s, _text(out), _text(err)) from None
            finally:
                self.socket.settimeout(None)
            return subprocess.CompletedProcess(argv, returncode, _text(out), _text(err))

    def close(self) -> None:
        if self.pid == os.getpid():
            self.socket.close()
            self.replies.close()
            self.server.wait(10)


forks: dict[int, Forks] = {}


def run(
    words: tuple[str, ...],
    cwd: Path | str | None,
    env: Mapping[str, str],
    stdin: Any,
    timeout_s: float,
    driver: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """See `Forks.run`; by the loaded process of whoever asks (a test may have forked itself)."""
    mine = forks.get(os.getpid()) or forks.setdefault(os.getpid(), Forks())
    return mine.run(words, cwd, env, stdin, timeout_s, driver)


def _output() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _load() -> None:
    """What commands load at their start and on their way: a deploy met 200 modules more than its verb names."""
    for package in LOADED:
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    for name in CLIENTS:
        importlib.import_module(name)
    importlib.import_module("dodai.providers.local.browser").authorities()


def _serve(connection: socket.socket) -> Callable[[], None] | None:
    """Answer one request after the other: the pid first, then how it ended. In a fork, what it is to do."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
        if not head:
            return None
        size = int.from_bytes(head, "big")
        parts: list[bytes] = []
        while size > (had := sum(map(len, parts))):
            parts.append(connection.recv(size - had))
        asked = json.loads(b"".join(parts))
        pid = os.fork()
        if pid == 0:
            connection.close()
            return _become(asked["argv"], asked["cwd"], asked["env"], descriptors, asked["driver"])
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(f"{pid}\n".encode())
        connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())


def _become(argv: list[str], cwd: str, env: dict[str, str], descriptors: list[int], driver: str) -> Callable[[], None]:
    """Make this process what `python -m dodai`, or a script that drives it, starts with; returns what it runs then."""
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv, sys.orig_argv = [driver or "dodai", *argv[2 if driver else 3 :]], argv
    if driver:
        sys.path[:0] = [os.path.dirname(driver), str(Path(__file__).parents[2])]  # noqa: PTH120 - as python does
        return lambda: _run_script(driver)
    sys.path.insert(0, cwd)
    from dodai.__main__ import main

    return main


def _run_script(driver: str) -> None:
    runpy.run_path(driver, run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # of the modules beside this one, none is a command's
    _load()
    gc.freeze()  # what was loaded is never looked at again, so that no fork copies it
    if command := _serve(socket.socket(fileno=int(sys.argv[1]))):
        command()
