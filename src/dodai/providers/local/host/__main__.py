"""`python -m dodai.providers.local.host FOLDER ENV [--lifeline FD] [--report FD]`: be the host until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.engine.heap import give_back, keep_large_buffers_apart
from dodai.observability.segment.seal import CLOSED_SUFFIX, OPEN_SUFFIX, SIDECAR_SUFFIX
from dodai.providers.local.host import state
from dodai.providers.local.host.child import Child, ChildCommand, log_path
from dodai.providers.local.host.comeback import come_back, keep_watched
from dodai.providers.local.host.host_log import keep_within_bounds
from dodai.providers.local.host.host_socket import serve
from dodai.providers.local.host.log_file import LogFile
from dodai.providers.local.host.state import StateFolder
from dodai.providers.local.host.supervisor import Supervisor
from dodai.providers.local.host.wire import error_data

REACHABLE_S = 1.0
DESCRIPTORS = 65_536
SEAL_EVERY_S = 2.0
SEAL_LONGEST_S = 60.0
_SEAL = "import sys; from dodai.observability.segment import seal_all; seal_all(sys.argv[1])"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dodai host")
    parser.add_argument("folder", type=Path)
    parser.add_argument("env")
    parser.add_argument("--lifeline", type=int, default=-1, help="end when the other end of this pipe is closed")
    parser.add_argument("--report", type=int, default=-1, help="where to say `{}` once ready, or the error")
    options = parser.parse_args(argv)
    for fd in (options.lifeline, options.report):
        if fd >= 0:
            os.set_inheritable(fd, False)
    if os.fork():
        os._exit(0)  # whoever started us waits for this process only, and init will collect the host
    _raise_descriptors()
    _keep_no_cores()
    keep_large_buffers_apart()
    folder = StateFolder(options.folder)
    keep_within_bounds(folder.output)
    try:
        lock = state.take(folder)
    except DodaiError as error:
        _report(options.report, error_data(error))
        return error.exit_code
    try:
        state.end_leftovers(folder)
        asyncio.run(_host(folder, options))
    except DodaiError as error:
        _report(options.report, error_data(error))
        return error.exit_code
    finally:
        os.close(lock)
    return 0


async def _host(folder: StateFolder, options: argparse.Namespace) -> None:
    supervisor = Supervisor(folder, options.env, bound=options.lifeline >= 0)
    server = await serve(supervisor, folder.socket)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    loop.add_signal_handler(signal.SIGHUP, ending.set if supervisor.bound else _stay)
    if options.lifeline >= 0:
        loop.add_reader(options.lifeline, _on_lifeline, options.lifeline, ending)
    _report(options.report, {})
    sealing = loop.create_task(keep_sealed(folder.path, supervisor.base_environment()))
    beside = [sealing, loop.create_task(come_back(supervisor)), loop.create_task(give_back())]
    if not supervisor.bound:
        beside.append(loop.create_task(keep_watched(folder, options.env)))
    beside.append(loop.create_task(_keep_reachable(supervisor, folder)))
    waits = [loop.create_task(ending.wait()), loop.create_task(supervisor.stopped.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    server.close()
    if not supervisor.stopped.is_set():
        await supervisor.end_all()
    await asyncio.sleep(0)  # the answer to `down` is on its way out
    folder.socket.unlink(missing_ok=True)
    for task in (*waits, *beside):
        task.cancel()
    await asyncio.gather(*waits, *beside, return_exceptions=True)


async def _keep_reachable(supervisor: Supervisor, folder: StateFolder) -> None:
    """A socket that was cleaned away from /tmp, or replaced, is made again: whom nobody can ask nobody can stop."""
    mine = _identity(folder.socket)
    while True:
        await asyncio.sleep(REACHABLE_S)
        if _identity(folder.socket) != mine:
            await serve(supervisor, folder.socket)
            mine = _identity(folder.socket)


def _identity(path: Path) -> tuple[int, int]:
    """What names the file at `path`, whatever stands there by now; zeros for nothing."""
    try:
        found = path.lstat()
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


def _raise_descriptors() -> None:
    """Shells give 1,024; what the system allows is for whoever asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _keep_no_cores() -> None:
    """A core file has every secret of its process in it. A service that wants one raises its own soft limit."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _stay() -> None:
    """Whoever started it closed a terminal; it stays."""


def _on_lifeline(fd: int, ending: asyncio.Event) -> None:
    if not os.read(fd, 64):
        asyncio.get_running_loop().remove_reader(fd)
        ending.set()


def _report(fd: int, message: dict[str, object]) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.write(fd, json.dumps(message, default=list).encode() + b"\n")
            os.close(fd)


async def keep_sealed(folder: Path, environment: dict[str, str], every_s: float = SEAL_EVERY_S) -> None:
    """Look every `every_s` seconds, until cancelled. What is missed here is sealed by whoever reads it first."""
    lines = folder / "lines"
    while True:
        await asyncio.sleep(every_s)
        if unsealed(lines):
            await _seal(folder, lines, environment)


def unsealed(lines: Path) -> list[str]:
    """Names of closed segments without a sidecar."""
    names = {path.name for path in lines.glob(f"*{CLOSED_SUFFIX}*")}
    closed = (name for name in names if name.endswith(CLOSED_SUFFIX) and not name.endswith(OPEN_SUFFIX))
    return sorted(name for name in closed if name + SIDECAR_SUFFIX not in names)


async def _seal(folder: Path, lines: Path, environment: dict[str, str]) -> None:
    log = LogFile(log_path(folder, "sealing"))
    command = ChildCommand(argv=(sys.executable, "-P", "-c", _SEAL, str(lines)), cwd=str(folder), env=environment)
    child = Child(command, log)
    try:
        await child.start()
        await asyncio.wait([child.exited], timeout=SEAL_LONGEST_S)
    finally:
        await child.stop(0.0)
        log.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
