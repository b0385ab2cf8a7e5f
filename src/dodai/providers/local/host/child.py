"""One process under a lifeline: started, heard, signalled, stopped, and gone when the host is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import field
from pathlib import Path

from dodai.agent import lifeline
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.local.codes import EXITED_AT_BOOT
from dodai.providers.local.host.log_file import LogFile

SHIM_MARGIN_S = 3.0
NEVER_STARTED = 127  # as a shell says it
OUTPUT_AFTER_EXIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCommand:
    """What to execute. `stop` are the signals of the lifeline, `grace_s` apart, before SIGKILL.

    `limits` are rlimits by name (`data` in bytes, `nofile`), `cpus` the processors that it may use, 0 for all.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    uid: int | None = None
    gid: int | None = None
    stop: tuple[str, ...] = ("TERM",)
    grace_s: float = 5.0
    limits: Mapping[str, int] = field(default_factory=dict)
    cpus: int = 0

    def options(self) -> list[str]:
        """What the lifeline is told of it."""
        told = ["--grace", str(self.grace_s), "--stop", self.stop[0]]
        told += [word for name in self.stop[1:] for word in ("--then", name)]
        return told + self.bounds()

    def bounds(self) -> list[str]:
        """What the lifeline is told of what it may be and use."""
        told = [word for name, number in self.limits.items() for word in ("--limit", f"{name}={number}")]
        told += ["--cpus", str(self.cpus)] if self.cpus else []
        told += ["--uid", str(self.uid)] if self.uid is not None else []
        return told + (["--gid", str(self.gid)] if self.gid is not None else [])


class Child:
    """A running command. `exited` is done, with the exit code, once nothing of it is left."""

    def __init__(self, command: ChildCommand, log: LogFile, heard: Callable[[bytes], None] = lambda _: None) -> None:
        self.command = command
        self.heard = heard
        self.log = log
        self.pid = 0
        self.started_at = time.time()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._shim: asyncio.subprocess.Process | None = None
        self._lifeline = -1
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reported: int | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        return not self.exited.done()

    @property
    def exit_code(self) -> int | None:
        return self.exited.result() if self.exited.done() else None

    async def start(self) -> None:
        """Return once the process exists (or, already, does not any more)."""
        # Pipes of our own, for asyncio waits for the end of its pipes, which a stray grandchild may hold.
        ours, theirs, output = os.pipe(), os.pipe(), os.pipe()
        command = self.command
        options = ["--fd", str(ours[0]), "--report", str(theirs[1]), *command.options()]
        try:
            self._shim = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", lifeline.__file__, *options, "--", *command.argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output[1],
                stderr=output[1],
                cwd=command.cwd,
                env=dict(command.env),
                pass_fds=(ours[0], theirs[1]),
                start_new_session=True,
            )
        except BaseException:
            self.exited.set_result(NEVER_STARTED)  # whoever stops it does not wait for the end of nothing
            os.close(ours[1])
            os.close(theirs[0])
            os.close(output[0])
            raise
        finally:
            os.close(ours[0])
            os.close(theirs[1])
            os.close(output[1])
        self._lifeline = ours[1]
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._hear(output[0])),
            loop.create_task(self._read_report(theirs[0])),
        ]
        self._tasks.append(loop.create_task(self._wait(self._shim)))
        await self._told

    def signal(self, name: str) -> None:
        """Send a signal to the process group; gone already: nothing to do."""
        if self.running and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.Signals["SIG" + name.removeprefix("SIG")])

    async def stop(self, grace_s: float | None = None) -> int:
        """The exit code, after the stop signals (`grace_s` between them, default the command's) and, at last, KILL."""
        grace_s = self.command.grace_s if grace_s is None else grace_s
        if self.running and self._lifeline >= 0:
            with contextlib.suppress(OSError):
                os.write(self._lifeline, f"{grace_s}\n".encode())
        bound_s = grace_s * (len(self.command.stop) + 1) + SHIM_MARGIN_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.exited), bound_s)
        if self.running and self._shim is not None:
            self.signal("KILL")
            with contextlib.suppress(ProcessLookupError):
                self._shim.kill()
        return await self.exited

    async def _hear(self, fd: int) -> None:
        async with reading(fd) as reader:
            while data := await reader.read(65536):
                self.log.write(data)
                self.heard(data)

    async def _read_report(self, fd: int) -> None:
        try:
            async with reading(fd) as reader:
                while line := await reader.readline():
                    word, _, number = line.decode().partition(" ")
                    if word == "pid":
                        self.pid = int(number)
                        self._tell()
                    else:
                        self._reported = int(number)
        finally:
            self._tell()

    def _tell(self) -> None:
        if not self._told.done():
            self._told.set_result(None)

    async def _wait(self, shim: asyncio.subprocess.Process) -> None:
        code = await shim.wait()
        os.close(self._lifeline)
        self._lifeline = -1
        await asyncio.wait(self._tasks[1:2], timeout=OUTPUT_AFTER_EXIT_S)
        if self._reported is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # the shim was killed: what the kernel did not end, we do
        # What the process left in the pipe belongs to its last words; a stray holder of the pipe is not waited for.
        await asyncio.wait(self._tasks[:2], timeout=OUTPUT_AFTER_EXIT_S)
        for task in self._tasks[:2]:
            task.cancel()
        self.log.flush()
        self.exited.set_result(self._reported if self._reported is not None else code if code >= 0 else 128 - code)


def not_started(name: str, error: OSError | ValueError) -> DodaiError:
    """DOD390 for what the system refuses to start: too large an environment, a folder that is gone, a NUL in a word."""
    said = f"`{name}` cannot be started: {getattr(error, 'strerror', '') or error}"
    return DodaiError(EXITED_AT_BOOT, said, "correct its command, folder and variables", exit_code=3)


@contextlib.asynccontextmanager
async def reading(fd: int) -> AsyncIterator[asyncio.StreamReader]:
    """A reader of the pipe, which is closed afterwards."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(fd, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        yield reader
    finally:
        transport.close()


def log_path(folder: Path, name: str) -> Path:
    """Where the output of `name` goes; the name may be a release and is made safe for a file system."""
    return folder / "logs" / ("".join(char if char.isalnum() or char in "._-" else "_" for char in name) + ".log")
