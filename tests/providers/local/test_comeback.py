"""What comes back after a Host died is what ran last, not what was written down before that."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque

from tests.support.wait import until_async

from dodai.operations.ports import ProcessSpec
from dodai.providers.local.host import kept, launcher, open_host, state
from dodai.providers.local.host.comeback import come_back
from dodai.providers.local.host.kept import Serving
from dodai.providers.local.host.state import StateFolder
from dodai.providers.local.host.supervisor import Supervisor
from dodai.providers.local.loopback import free_port

LISTENS = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(1e6)"


def listener():
    """A process of the same name on a port of its own, as a database that found its port taken."""
    port = str(free_port())
    return ProcessSpec(name="database", command=(sys.executable, "-c", LISTENS, port), listens=f"127.0.0.1:{port}")


async def test_process_that_was_started_anew_comes_back_as_it_ran_last(tmp_path):
    """Nobody kept it since: at its old address it would be waited for in vain, and nobody be served."""
    host = await open_host(tmp_path / "env", "staging", detached=True)
    first, second = listener(), listener()
    try:
        await host.run(first)
        await host.keep()
        await host.end("database")
        await host.run(second)
        died = (await host.status()).pid
        await until_async(lambda: state.is_watched(host.folder))
        os.kill(died, signal.SIGKILL)

        async def back():
            status = await host.status()
            return status.processes if status.running and not status.returning and status.pid != died else ()

        (process,) = await until_async(back)
        assert process.listens == second.listens
    finally:
        await host.down()


async def test_host_is_back_once_somebody_started_a_process_with_other_settings(tmp_path):
    """It does not try for ever what a person has done otherwise, and does not say that it is still coming back."""
    folder = StateFolder(tmp_path)
    first, second = listener(), listener()
    kept.keep(tmp_path, Serving(processes=(first,)))
    supervisor = Supervisor(folder, "staging", bound=False)
    try:
        await supervisor.run(second)
        kept.keep(tmp_path, Serving(processes=(first,)))
        async with asyncio.timeout(20):
            await come_back(supervisor)
        status = await supervisor.status()
        assert (status.returning, status.trouble, status.processes[0].listens) == (False, "", second.listens)
    finally:
        await supervisor.down()


def test_launcher_waits_for_nothing_to_speak_of_until_its_budget_is_spent():
    """Whoever kills the Host a few times within a minute waits no longer for the last one; then it is a crash loop."""
    starts: deque[float] = deque(maxlen=launcher.BUDGET)
    pauses = []
    for at in range(launcher.BUDGET + 2):
        pauses.append(launcher.pause_s(starts, float(at)))
        starts.append(float(at))
    assert max(pauses[: launcher.BUDGET]) < 2.0
    assert pauses[launcher.BUDGET :] == [launcher.LONGEST_S] * 2
