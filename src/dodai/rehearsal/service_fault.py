"""Faults of a service for whose alert the runbook has one command: it freezes, hangs, or crashes again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.rehearsal.crowd import Crowd
from dodai.rehearsal.ports import Stage

NOTE = "written-by-a-rehearsal.txt"
_MARKER = "hang-now"
_LOOK_S = 0.05
_HANGING = """

class _Hanging:
    # Written by a rehearsal: the first request after a file was made blocks the event loop of its process for good.
    def __init__(self, app):
        self.app = app

    def __getattr__(self, name):
        return getattr(self.app, name)

    async def __call__(self, scope, receive, send):
        import os
        import time

        if os.path.exists({marker!r}):
            os.unlink({marker!r})
            while True:
                time.sleep(1.0)
        await self.app(scope, receive, send)


{name} = _Hanging({name})
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """A stage on which `begin` makes the fault happen; `problem` says why that is not possible here.

    `release` is what the command of the runbook brings into service.
    """

    release: str
    begin: Callable[[], Awaitable[None]]
    problem: str = ""


Fault = Callable[[Stage, Crowd], AbstractAsyncContextManager[Ready]]
"""After the block the stage serves what it served before it."""


@asynccontextmanager
async def freezing(service: str, stage: Stage, _people: Crowd) -> AsyncIterator[Ready]:
    """Its process is stopped by a signal."""
    yield Ready(await live(stage, service), partial(stage.host.signal, service, "STOP"))


@asynccontextmanager
async def hanging(service: str, cwd: str, app: str, stage: Stage, _people: Crowd) -> AsyncIterator[Ready]:
    """A release of it whose event loop is blocked by a request; heartbeats of the process go on."""
    module, _, name = app.partition(":")
    good, marker = await live(stage, service), _marker(stage)
    path, source = await _source_of(stage, good, PurePosixPath(cwd, *module.split(".")))
    if "dodai.asgi" not in source or not name.isidentifier():
        yield Ready(good, _nothing, f"`{app}` has no event loop that this drill can stop: `{path}` has no `dodai.asgi`")
        return
    text = source + _HANGING.format(marker=str(marker), name=name)
    bad = await stage.derive(good, {path: text.encode()})
    try:
        problem = await _deployed(stage, bad)
        yield Ready(bad, partial(asyncio.to_thread, marker.touch), problem)
    finally:
        marker.unlink(missing_ok=True)
        await _back(stage, service, good)


@asynccontextmanager
async def crashing(service: str, stage: Stage, people: Crowd) -> AsyncIterator[Ready]:
    """A release of it whose processes are killed as soon as they have answered somebody."""
    good = await live(stage, service)
    bad = await stage.derive(good, {NOTE: b"The same release, under another name.\n"})
    killing = set[asyncio.Task[None]]()

    async def begin() -> None:
        killing.add(asyncio.create_task(_kill_who_answers(service, bad, stage, people)))

    try:
        problem = await _deployed(stage, bad)
        yield Ready(good, begin, problem)
    finally:
        for task in killing:
            task.cancel()
        await asyncio.gather(*killing, return_exceptions=True)
        await _back(stage, service, good)


async def live(stage: Stage, service: str) -> str:
    """The release of `service` that serves; empty without one."""
    found = (await stage.host.status()).service(service)
    return found.release if found else ""


async def _kill_who_answers(service: str, release: str, stage: Stage, people: Crowd) -> None:
    """A process that said nothing before its end was never heard of: each one answers somebody first."""
    since_s = time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_S)
        if people.answered_s < since_s:
            continue
        if await live(stage, service) != release:
            return
        await stage.host.signal(service, "KILL", release)
        since_s = time.monotonic()


def _marker(stage: Stage) -> Path:
    return Path(stage.state).absolute() / _MARKER


async def _source_of(stage: Stage, release: str, module: PurePosixPath) -> tuple[str, str]:
    """Path and text of a module of the release; the text is empty where there is none."""
    for path in (f"{module}.py", f"{module}/__init__.py"):
        try:
            return path, (await stage.read_file(release, path)).decode()
        except (OSError, UnicodeDecodeError):
            continue
    return f"{module}.py", ""


async def _deployed(stage: Stage, release: str) -> str:
    """Why `release` did not get into service; empty when it did."""
    error = (await stage.deploy(release)).error()
    return f"the release with the fault does not get into service: {error.message}" if error else ""


async def _back(stage: Stage, service: str, release: str) -> None:
    if await live(stage, service) == release:
        return
    error: DodaiError | None = (await stage.deploy(release)).error()
    if error is not None:
        raise error


async def _nothing() -> None:
    """Where there is no fault to begin."""
