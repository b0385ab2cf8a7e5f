"""How a Host comes back to what served before it died, and who watches over it meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.engine.moment import utc
from dodai.operations.codes import DEPENDENCIES_UNFIT
from dodai.providers.local.codes import OTHER_SETTINGS, UNSAFE_TREE
from dodai.providers.local.host import kept, launcher, state
from dodai.providers.local.host.kept import KeptRelease, Serving, proven
from dodai.providers.local.host.state import StateFolder
from dodai.providers.local.host.supervisor import Supervisor

AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LOOK_S = 0.25


async def come_back(supervisor: Supervisor) -> None:
    """Serve again what served when the last Host died; what cannot be started is tried again, longer and longer apart.

    A bound Host is somebody's own: it starts with nothing, and nothing comes back after it.
    """
    folder = supervisor.folder.path
    try:
        if supervisor.bound:
            kept.forget(folder)
            return
        if (serving := _kept(folder)) is not None:
            _say(f"comes back with {', '.join(f'{one.spec.name} {one.release}' for one in serving.services)}")
            await _serve(supervisor, serving)
            await supervisor.keep()
    finally:
        supervisor.returning = False


def _kept(folder: Path) -> Serving | None:
    try:
        return kept.kept(folder)
    except ValueError as error:
        _say(str(error))
        return None


async def _serve(supervisor: Supervisor, serving: Serving) -> None:
    for process in serving.processes:
        await _until_done(supervisor, process.name, partial(supervisor.run, process))
    if (edge := serving.edge) is not None:
        await _until_done(supervisor, "edge", partial(supervisor.edge, edge))
    for one in serving.services:
        await _until_done(supervisor, one.spec.name, partial(_start, supervisor, one))


async def _start(supervisor: Supervisor, one: KeptRelease) -> None:
    """Traffic goes there even when it is not ready in time: from then on it is started again whenever it crashes."""
    name = one.spec.name
    if supervisor.live_release(name):
        return  # a person has brought it into service meanwhile
    await proven(supervisor.folder.path, one.tree, one.spec)
    await supervisor.start(one.spec, one.release, one.tree, one.env, settings=one.settings)
    probe = await supervisor.probe(name, one.release, settings=one.settings, wait_s=one.spec.ready_timeout_s)
    if not probe.ready:
        _say(f"{name} {one.release} is not ready: {probe.detail or probe.state}")
    if not supervisor.live_release(name):  # a person may have switched to something newer meanwhile
        await supervisor.switch(name, one.release, settings=one.settings)


async def _until_done(supervisor: Supervisor, name: str, act: Callable[[], Awaitable[object]]) -> None:
    for attempt in itertools.count():
        try:
            await act()
        except DodaiError as error:
            if error.code is OTHER_SETTINGS:  # a person has started it anew meanwhile
                supervisor.trouble, supervisor.stuck = "", False
                return
            wait_s = AGAIN_S[min(attempt, len(AGAIN_S) - 1)]
            supervisor.trouble = f"`{name}` does not come back: {error.message}"
            supervisor.stuck = error.code in (UNSAFE_TREE, DEPENDENCIES_UNFIT)  # nothing by itself makes it whole
            if supervisor.stuck:
                supervisor.trouble += f"; {error.fix}"
            _say(f"{supervisor.trouble}; again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
        else:
            supervisor.trouble, supervisor.stuck = "", False
            return


async def keep_watched(folder: StateFolder, env: str) -> None:
    """A launcher waits at all times, from the first moment there is something to come back to."""
    while True:
        if kept.is_kept(folder.path) and not state.is_watched(folder):
            environment = {name: value for name, value in os.environ.items() if name != state.MARK}
            started = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launcher.__file__, str(folder.path), env, sys.executable),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
                cwd=folder.path,
            )
            await started.wait()
        await asyncio.sleep(LOOK_S)


def _say(words: str) -> None:
    """A line of host.log."""
    sys.stderr.write(f"{utc(time.time())} {words}\n")
    sys.stderr.flush()
