"""The Host as everybody else sees it: calls over the unix socket, and how a host comes to be."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, TypeVar

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError, Reply
from dodai.engine.state_folder import make_folder
from dodai.operations.ports import (
    EdgeSpec,
    Fault,
    HostStatus,
    Instance,
    ProcessSpec,
    ProcessStatus,
    ServiceProbe,
    ServiceSpec,
    ServiceStatus,
)
from dodai.providers.local.codes import DEADLINE_PASSED, HOST_GONE, HOST_HELD
from dodai.providers.local.host import account, kept, launcher, state, wire
from dodai.providers.local.host.hidden import Mask, secret_values
from dodai.providers.local.host.state import StateFolder
from dodai.providers.local.host.terminal import run_on_terminal

CALL_S = 30.0
MARGIN_S = 5.0
START_S = 15.0
ENDING_S = 2.0
"""How long a host may live on that has given its lock back."""
DOWN_S = 60.0
LAUNCHER_S = 3.0


@dataclass(slots=True)
class HostLifeline:
    """The descriptor that a bound host lives by (-1: none). Copies of a client have the same one, closed once."""

    descriptor: int = -1

    def let_go(self) -> None:
        held, self.descriptor = self.descriptor, -1
        if held >= 0:
            os.close(held)


@dataclass(frozen=True, slots=True)
class HostClient:
    """`Compute` and `Host` of `dodai.operations.ports` over a socket, a connection per call.

    `patience_s` is how long `down` waits before it kills the host.
    """

    folder: StateFolder
    env: str
    token: int | None = None
    lifeline: HostLifeline = field(default_factory=HostLifeline)
    patience_s: float = DOWN_S

    def under(self, token: int) -> HostClient:
        return replace(self, token=token)

    def newest_token(self) -> int:
        return state.read_known(self.folder).fencing_token

    async def prepare(self) -> None:
        await open_host(self.folder.path, self.env, detached=True)

    async def bind(self) -> HostClient:
        return await open_host(self.folder.path, self.env, detached=False)

    async def address(self, service: str, port: int = 0) -> str:
        return str(await self._call("address", service=service, port=port))

    async def run(self, spec: ProcessSpec) -> ProcessStatus:
        result = await self._call("run", spec.ready_timeout_s + CALL_S, spec=spec)
        return _value(ProcessStatus, result)

    async def end(self, process: str) -> None:
        await self._call("end", process=process)

    async def start(
        self, spec: ServiceSpec, release: str, tree: str, env: Mapping[str, str], *, settings: str = ""
    ) -> Instance:
        arguments = {"spec": spec, "release": release, "tree": tree, "env": dict(env), "settings": settings}
        return _value(Instance, await self._call("start", **arguments))

    async def probe(
        self, service: str, release: str, *, settings: str = "", wait_s: float = 0.0, consecutive: int = 1
    ) -> ServiceProbe:
        which = {"service": service, "release": release, "settings": settings}
        return _value(
            ServiceProbe, await self._call("probe", wait_s + CALL_S, **which, wait_s=wait_s, consecutive=consecutive)
        )

    async def switch(self, service: str, release: str, *, settings: str = "") -> None:
        await self._call("switch", service=service, release=release, settings=settings)

    async def stop(self, service: str, release: str, drain_s: float | None = None, *, settings: str = "") -> None:
        bound_s = CALL_S + 2 * (drain_s if drain_s is not None else CALL_S)
        await self._call("stop", bound_s, service=service, release=release, drain_s=drain_s, settings=settings)

    async def keep(self) -> None:
        await self._call("keep")

    async def tail(self, name: str, release: str = "", lines: int = 40) -> tuple[str, ...]:
        return tuple(await self._call("tail", name=name, release=release, lines=lines))

    def on_terminal(
        self, spec: ServiceSpec, release: str, tree: str, env: Mapping[str, str], command: Sequence[str]
    ) -> int:
        own = {name: value for name, value in spec.env.items() if "{port}" not in value}
        told = state.service_environment(self.folder, self.env, spec.name, release)
        environment = {**told, **account.variables(spec.user), **own, **env}
        environment.pop(state.MARK)  # it belongs to who asked for it, no Host looks after it
        for name in ("TERM", "COLUMNS", "LINES"):
            environment |= {name: os.environ[name]} if name in os.environ else {}
        hidden = secret_values({**own, **env}, spec.secrets)
        run = account.bounded(spec, tuple(command), str(Path(tree) / spec.cwd), environment)
        return run_on_terminal(run.argv, Path(run.cwd), run.env, hidden, run.bounds())

    def without_secrets(self, words: Sequence[str], spec: ServiceSpec, env: Mapping[str, str]) -> tuple[str, ...]:
        mask = Mask(secret_values({**spec.env, **env}, spec.secrets))
        return tuple(mask.of(word.encode(errors="surrogateescape")).decode(errors="replace") for word in words)

    def brought_back_by(self) -> tuple[str, ...]:
        python = sys.executable
        return (python, "-I", "-S", launcher.__file__, str(self.folder.path), self.env, python, launcher.STAY)

    async def edge(self, spec: EdgeSpec) -> str:
        return str(await self._call("edge", spec=spec))

    async def fault(self, name: str, fault: Fault) -> None:
        await self._call("fault", name=name, fault=fault)

    async def signal(self, name: str, signal: str, release: str = "") -> None:
        await self._call("signal", name=name, signal=signal, release=release)

    async def status(self) -> HostStatus:
        try:
            return _value(HostStatus, await self._call("status", 5.0))
        except DodaiError as error:
            return last_known(self.folder, self.env, error.message)

    async def down(self) -> None:
        kept.forget(self.folder.path)  # first: nothing brings back what is stopped on purpose
        await _until(lambda: self._lives() or not state.is_watched(self.folder), LAUNCHER_S)
        if self._lives():
            with contextlib.suppress(DodaiError):
                await self._call("down", self.patience_s)
            if not await self._ended() and not await self._terminated() and not await self._kill():
                message = f"the host of `{self.env}`, pid `{state.read_known(self.folder).pid}`, does not end"
                raise DodaiError(DEADLINE_PASSED, message, "end that process by hand", "provider", 4)
        await asyncio.to_thread(state.end_leftovers, self.folder)
        self.lifeline.let_go()

    def _lives(self) -> bool:
        return state.is_held(self.folder) or state.any_host(self.folder) > 0

    async def _ended(self) -> bool:
        return await _until(lambda: not self._lives(), min(MARGIN_S, self.patience_s))

    async def _terminated(self) -> bool:
        """Whether a host that cannot be called ended in order when it was told to by a signal."""
        if (pid := state.any_host(self.folder)) and not self.folder.socket.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)  # one that was stopped hears of it too
            return await _until(lambda: not self._lives(), self.patience_s)
        return False

    async def _kill(self) -> bool:
        """Whether a host that answers no more could be ended; the lifelines end what it ran."""
        pid = state.any_host(self.folder)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return await _until(lambda: not self._lives(), MARGIN_S)

    async def _call(self, name: str, deadline_s: float = CALL_S, /, **arguments: Any) -> Any:
        """The result of one call; the host's own error, or DOD398 when there is no host, DOD392 when it is mute."""
        call = {"id": next(_IDS), "call": name, "args": arguments, "deadline_s": deadline_s, "token": self.token}
        try:
            async with asyncio.timeout(deadline_s + min(MARGIN_S, deadline_s)):
                answer = await self._exchange(wire.line(call))
        except TimeoutError:
            raise DodaiError(
                DEADLINE_PASSED,
                f"the host did not answer `{name}` within {deadline_s:g} s",
                self._look(),
                "provider",
                reply="ambiguous",
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):  # it never heard of the call
            raise self.gone(name) from None
        except OSError:
            raise self.gone(name, reply="ambiguous") from None
        if "error" in answer:
            raise wire.read_error(answer["error"])
        return answer.get("result")

    async def _exchange(self, call: bytes) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self.folder.socket), limit=wire.LINE_BYTES)
        try:
            writer.write(call)
            await writer.drain()
            line = await reader.readline()
            if not line:
                raise ConnectionResetError
            return dict(json.loads(line))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def gone(self, name: str, reply: Reply = "unavailable") -> DodaiError:
        """The error of a call that nobody answered; a call that never came to it is not worth repeating when nothing
        brings a Host back.
        """
        try:
            pid = state.any_host(self.folder) if self._lives() else 0
            how = f"it runs, pid {pid}" if pid else "its processes have ended with it"
            if not pid and reply == "unavailable" and not state.is_held(self.folder):
                reply = "unavailable" if state.is_watched(self.folder) else "rejected"
        except OSError:  # of another user: last_known says whose it is
            how = "whether it runs cannot be asked"
        message = f"no host of `{self.env}` answered `{name}`; {how}"
        return DodaiError(HOST_GONE, message, self._look(), "provider", reply=reply)

    def _look(self) -> str:
        look = proposal.STATUS(env=self.env)
        return f"look at `{look}` and `{self.folder.output}`: every call is safe to repeat"


_IDS = itertools.count(1)


T = TypeVar("T")


def _value(kind: type[T], data: Any) -> T:
    value: T = wire.read(kind, data)
    return value


def client(folder: Path, env: str) -> HostClient:
    """The Host of `env` in `folder`, whether one runs or not."""
    return HostClient(StateFolder(folder.absolute()), env)


def last_known(folder: StateFolder, env: str, said: str = "") -> HostStatus:
    """What was true when the last host ended: nothing runs. One that lives and does not answer is unknown, not gone."""
    try:
        held, watched, comes_back = state.is_held(folder), state.is_watched(folder), kept.is_kept(folder.path)
    except OSError as error:
        owner = _owner(folder.path)
        why = f"`{folder.lock}` cannot be asked ({error.strerror}): it belongs to `{owner}`; ask as that user"
        return HostStatus(env=env, running=False, unknown=why, owner=owner)
    known = state.read_known(folder)
    returning = watched and comes_back and not held and not state.living_pid(folder)
    unknown = "" if returning else _unknown(folder, said, held=held)
    services = tuple(
        ServiceStatus(name=name, address=f"127.0.0.1:{known.ports.get(name, 0)}", release=release)
        for name, release in known.live.items()
    )
    return HostStatus(
        env=known.env or env,
        running=False,
        unknown=unknown,
        returning=returning,
        comes_back=comes_back,
        since=known.since,
        bound=known.bound,
        services=services,
        fencing_token=known.fencing_token,
    )


def _unknown(folder: StateFolder, said: str, *, held: bool) -> str:
    """Why nobody can say whether a host runs; `""` when none does."""
    pid = state.any_host(folder)
    if held:
        return f"pid {pid or 'unknown'} holds `{folder.lock}` and does not answer on `{folder.socket}`: {said}"
    if pid:
        return f"its host, pid {pid}, runs and does not answer, and the lock in `{folder.path}` was removed"
    if left := state.marked(folder.mark):
        return f"pid {', '.join(map(str, left[:5]))} of it still run, and no host answers for them"
    return ""


def _owner(path: Path) -> str:
    """Who owns the nearest folder upwards that may be looked at."""
    for folder in (path, *path.parents):
        with contextlib.suppress(PermissionError, FileNotFoundError, KeyError):
            return pwd.getpwuid(folder.stat().st_uid).pw_name
    return "another user"


async def open_host(folder: Path, env: str, *, detached: bool) -> HostClient:
    """The Host of `env`, started when none runs.

    Detached it outlives this process; else it is bound to it and ends, with everything it runs, when this process
    does, however that happens. One that comes back with what served before is waited for, unless it says that it
    cannot. A bound one needs the environment for itself: DOD397 (exit 75) when somebody has it.
    """
    found = client(folder, env)
    make_folder(found.folder.path)
    end = time.monotonic() + START_S
    while True:
        if detached and state.is_held(found.folder):
            status = await found.status()
            if status.running and (not status.returning or status.trouble or time.monotonic() > end):
                return found
            if time.monotonic() > end:
                raise found.gone("status")
            await asyncio.sleep(0.05)  # it is starting, or ending: then it lets go
            continue
        try:
            lifeline = await asyncio.to_thread(_spawn, found.folder, env, detached)
        except DodaiError as error:
            if not detached or error.code is not HOST_HELD or time.monotonic() > end:
                raise
            if not state.is_held(found.folder):  # its process lives: it is ending, or its lock was removed
                end = min(end, time.monotonic() + ENDING_S)
                await asyncio.sleep(ENDING_S / 4)
        if not detached:
            return replace(found, lifeline=HostLifeline(lifeline))


def _spawn(folder: StateFolder, env: str, detached: bool) -> int:
    """Start the host and wait for its first word; the write end of its lifeline, which stays open here (-1: none)."""
    life = None if detached else os.pipe()
    told, tell = os.pipe()
    passed = [tell, *([life[0]] if life else [])]
    command = [sys.executable, "-P", "-X", "utf8", "-m", "dodai.providers.local.host"]
    command += [str(folder.path), env, "--report", str(tell)]
    command += ["--lifeline", str(life[0])] if life else []
    environment = {name: value for name, value in os.environ.items() if name != state.MARK}
    try:
        folder.output.touch(0o640)
        folder.output.chmod(0o640)
        with folder.output.open("ab") as output:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=passed,
                start_new_session=True, env=environment, cwd=folder.path, check=True,
            )  # fmt: skip
    finally:
        for fd in passed:
            os.close(fd)
    try:
        _wait_for_report(folder, told)
    except BaseException:
        if life:
            os.close(life[1])
        raise
    return life[1] if life else -1


def _wait_for_report(folder: StateFolder, told: int) -> None:
    import select

    with os.fdopen(told, "rb") as reports:
        ready = select.select([reports], [], [], START_S)[0]
        line = reports.readline() if ready else b""
    if not line:
        output = folder.output.read_text(errors="replace").splitlines()[-20:]
        raise DodaiError(
            HOST_GONE, "the host did not start", "read the last lines of its output", "dodai", details=tuple(output)
        )
    report = json.loads(line)
    if report:
        raise wire.read_error(report)


async def _until(condition: Callable[[], bool], bound_s: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + bound_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True
