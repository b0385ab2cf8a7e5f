"""What the host runs: a service of one release, or a process without releases; each restarted when it crashes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dodai.core.errors import DodaiError
from dodai.operations.ports import Instance, InstanceState, ProcessSpec, ProcessStatus, ServiceProbe, ServiceSpec
from dodai.providers.local.host import account
from dodai.providers.local.host.child import Child, ChildCommand, log_path, not_started
from dodai.providers.local.host.hidden import secret_values
from dodai.providers.local.host.kept import proven
from dodai.providers.local.host.log_file import LogFile
from dodai.providers.local.host.probe import accepts, ask_command, ask_grpc, ask_http, ask_tcp
from dodai.providers.local.host.upkeep import Backoff, Heartbeat, until_hung
from dodai.providers.local.loopback import free_port

POLL_S = 0.05
COMMAND_POLL_S = 0.5
MISASKED_S = 0.6  # in a row; a server that is still loading its routes may answer 404 for a moment
HUNG_GRACE_S = 2.0  # what does not answer seldom ends in order
OUTPUT_LINES = 40


class RunningInstance:
    """A child, and the next one when it crashes while it is wanted."""

    def __init__(self, name: str, log: LogFile) -> None:
        self.name = name
        self.log = log
        self.child: Child | None = None
        self.wanted = False  # restarted when it crashes
        self.stopping = False
        self.restarts = 0
        self.trouble = ""  # why it was started again the last time
        self.tell: Callable[[str], None] = lambda _: None  # who hears of that
        self._backoff = Backoff()
        self._guard: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """It runs, or is about to again."""
        return self.child is not None and (self.child.running or (self.wanted and not self.stopping))

    @property
    def looping(self) -> bool:
        """Whether it crashes again and again; it is started again all the same, longer and longer apart."""
        return self._backoff.looping

    @property
    def exit_code(self) -> int | None:
        return self.child.exit_code if self.child else None

    @property
    def state(self) -> InstanceState:
        if self.child is not None and self.child.running:
            return "draining" if self.stopping else "running"
        if not self.alive:
            return "exited"
        return "crash_loop" if self.looping else "restarting"

    def command(self) -> ChildCommand:
        """What to execute now; a restart asks again."""
        raise NotImplementedError

    def started(self) -> None:
        """A new process is there."""

    def heard(self, data: bytes) -> None:
        """Its process said something."""

    async def start(self) -> None:
        self.child = Child(self.command(), self.log, self.heard)
        try:
            await self.child.start()
        except (OSError, ValueError) as error:  # too large an environment, a folder that is gone, a NUL
            raise not_started(self.name, error) from None
        self.started()
        self._guard = asyncio.get_running_loop().create_task(self._restart_on_crash())

    def signal(self, name: str) -> None:
        if self.child is not None:
            self.child.signal(name)

    def tail(self, lines: int) -> tuple[str, ...]:
        return self.log.tail(lines)

    async def end(self, grace_s: float | None) -> None:
        self.stopping = True
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait([self._guard])
        if self.child is not None:
            await self.child.stop(grace_s)
        self.log.close()

    async def _restart_on_crash(self) -> None:
        while self.child is not None:
            reason = await self._ended(self.child)
            if not self.wanted:
                return
            pause_s = self._backoff.pause_s(time.time() - self.child.started_at)
            self.trouble = f"started again {self.restarts + 1} times, the last time because {reason}"
            self.log.write(f"[dodai] {reason}; it is started again in {pause_s:g} s\n".encode())
            self.tell(reason)
            await asyncio.sleep(pause_s)
            self.restarts += 1
            self.child = await self._next()
            self.started()

    async def _ended(self, child: Child) -> str:
        """Wait for its end, or make an end of it when it runs and does not work; the reason."""
        hung = asyncio.ensure_future(self.hung())
        either: list[asyncio.Future[Any]] = [child.exited, hung]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not child.running:
                return f"it ended with code {child.exit_code}"
            reason = hung.result()
        finally:
            hung.cancel()
        await child.stop(HUNG_GRACE_S)
        return reason

    async def hung(self) -> str:
        """Return, with the reason, once the process runs and does not work; never where nothing is asked."""
        await asyncio.get_running_loop().create_future()
        return ""

    async def proven(self) -> None:
        """Raises `DodaiError` when what is to be started again is not what was started."""

    async def _next(self) -> Child:
        """The next process; what cannot even be started (no more processes, a file that is gone) is tried again."""
        while True:
            try:
                await self.proven()
                child = Child(self.command(), self.log, self.heard)
                await child.start()
            except (OSError, DodaiError) as error:
                pause_s = self._backoff.pause_s(0.0)
                why = error.message if isinstance(error, DodaiError) else error.strerror
                self.trouble = f"it cannot be started: {why}"
                self.tell(self.trouble)
                await asyncio.sleep(pause_s)
            else:
                return child


class SimpleProcess(RunningInstance):
    """A process without releases: wanted from the moment it listens until it is ended."""

    def __init__(self, spec: ProcessSpec, base: Mapping[str, str], folder: Path) -> None:
        super().__init__(spec.name, LogFile(log_path(folder, spec.name), secret_values(spec.env)))
        self.spec = spec
        self.folder = folder
        self.base = base

    @property
    def target(self) -> tuple[str, int] | str:
        host, _, port = self.spec.listens.rpartition(":")
        return (host, int(port)) if host and port.isdigit() else self.spec.listens

    def command(self) -> ChildCommand:
        spec = self.spec
        env = {**self.base, **spec.env}
        cwd = spec.cwd or str(self.folder)
        return ChildCommand(
            argv=spec.command, cwd=cwd, env=env, uid=spec.uid, gid=spec.gid, stop=spec.stop, grace_s=spec.grace_s
        )

    async def listening(self, bound_s: float) -> bool:
        """Whether it accepts connections, asked until it does, has ended, or time is over."""
        assert self.child is not None  # noqa: S101 - started before
        end = time.monotonic() + bound_s
        while self.child.running:
            if not self.spec.listens or await accepts(self.target):
                self.wanted = True
                return True
            if time.monotonic() >= end:
                return False
            await asyncio.wait([self.child.exited], timeout=POLL_S)
        return False

    async def stop(self) -> None:
        await self.end(None)

    def describe(self, *, address: str) -> ProcessStatus:
        return ProcessStatus(
            name=self.name,
            state=self.state,
            pid=self.child.pid if self.child and self.child.running else 0,
            listens=self.spec.listens,
            address=address,
            restarts=self.restarts,
            exit_code=self.exit_code,
            log=str(self.log.path),
            trouble=self.trouble,
        )


class ServiceProcess(RunningInstance):
    """One instance of a service of one release, on a private port; wanted once traffic goes to it."""

    def __init__(
        self,
        spec: ServiceSpec,
        release: str,
        tree: str,
        given: Mapping[str, str],
        folder: Path,
        settings: str = "",
        number: int = 1,
    ) -> None:
        name = f"{spec.name}-{release}" + (f".{number}" if number > 1 else "")
        log = LogFile(log_path(folder, name), secret_values({**spec.env, **given}, spec.secrets))
        super().__init__(spec.name, log)
        self.spec = spec
        self.folder = folder
        self.release = release
        self.settings = settings
        self.tree = tree
        self.given = dict(given)
        self.base: Mapping[str, str] = {}
        self.port = 0
        self.live = False
        self.moved: Callable[[], None] = lambda: None  # another process is there: who sends it traffic hears of it
        self.edge_key: Callable[[], Mapping[str, str]] = dict
        self.heartbeat = Heartbeat(spec.ready.line)

    def command(self) -> ChildCommand:
        self.heartbeat.begin()
        self.port = free_port() if self.spec.listens else 0
        argv, cwd, env = self._to_run(self.spec.command)
        return account.bounded(self.spec, argv, cwd, env)

    def _to_run(self, command: tuple[str, ...]) -> tuple[tuple[str, ...], str, dict[str, str]]:
        """What runs `command` beside this process: program and arguments, folder, environment."""
        cwd = os.path.join(self.tree, self.spec.cwd)  # noqa: PTH118 - stays as written, links included
        own = {name: value.replace("{port}", str(self.port)) for name, value in self.spec.env.items()}
        home = account.variables(self.spec.user)
        env = {**self.base, **home, **own, **self.given, **({"PORT": str(self.port)} if self.port else {})}
        return tuple(word.replace("{port}", str(self.port)) for word in command), cwd, env

    async def proven(self) -> None:
        await proven(self.folder, self.tree, self.spec)

    def started(self) -> None:
        if self.live:
            self.moved()

    def go_live(self) -> None:
        self.live = self.wanted = True

    def heard(self, data: bytes) -> None:
        self.heartbeat.hear(data)

    async def hung(self) -> str:
        if self.spec.ready.kind == "heartbeat":
            return await self.heartbeat.silent(self.spec.ready.age_s, self.spec.ready_timeout_s, lambda: self.live)
        if self.spec.liveness is None:
            return await super().hung()
        return await until_hung(self.spec.liveness, self._ask_liveness, self.spec.ready_timeout_s)

    async def _ask_liveness(self) -> ServiceProbe:
        """Asked only once traffic goes there: before, readiness and its deadline decide."""
        liveness, child = self.spec.liveness, self.child
        assert liveness is not None  # noqa: S101 - asked only with one
        if not self.live or child is None:
            return ServiceProbe(state="ready")
        ready = replace(self.spec.ready, path=liveness.path)
        if self.spec.protocol == "grpc":
            return await ask_grpc(self.name, self.port, replace(ready, path=liveness.path.strip("/")))
        return await ask_http(self.name, self.port, ready, self.edge_key())

    async def probe(self, headers: Mapping[str, str], *, wait_s: float, consecutive: int) -> ServiceProbe:
        end = time.monotonic() + wait_s
        good, misasked_since = 0, 0.0
        while True:
            child = self.child
            if child is None or (not child.running and not self.alive):
                return self._exited()
            answer = await self._ask_until_exit(child, headers)
            good = good + 1 if answer.ready else 0
            if good >= max(1, consecutive):
                return answer
            if not child.running and not self.alive:
                return self._exited()
            now = time.monotonic()
            misasked_since = (misasked_since or now) if answer.state == "not_served" else 0.0
            if misasked_since and (now >= misasked_since + MISASKED_S or now >= end):
                return answer
            if now >= end:
                return _with_output(answer, self.tail(OUTPUT_LINES))
            pause_s = COMMAND_POLL_S if self.spec.ready.kind == "command" else POLL_S
            await asyncio.wait([child.exited], timeout=pause_s)

    async def _ask_until_exit(self, child: Child, headers: Mapping[str, str]) -> ServiceProbe:
        asking = asyncio.ensure_future(self._ask(headers))
        both: list[asyncio.Future[Any]] = [asking, child.exited]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            return ServiceProbe(state="no_answer", detail="it ended while it was asked")
        return asking.result()

    async def _ask(self, headers: Mapping[str, str]) -> ServiceProbe:
        ready = self.spec.ready
        if ready.kind == "grpc":
            return await ask_grpc(self.name, self.port, ready)
        if ready.kind == "tcp":
            return await ask_tcp(self.port)
        if ready.kind == "heartbeat":
            return self.heartbeat.probe(ready.age_s)
        if ready.kind == "command":
            return await ask_command(account.bounded(self.spec, *self._to_run(ready.command)))
        return await ask_http(self.name, self.port, ready, headers)

    def _exited(self) -> ServiceProbe:
        detail = f"exited with code {self.exit_code}" + (" again and again" if self.looping else "")
        return ServiceProbe(state="exited", detail=detail, exit_code=self.exit_code, output=self.tail(OUTPUT_LINES))

    def describe(self, *, connections: int) -> Instance:
        running = self.child is not None and self.child.running
        return Instance(
            service=self.name,
            release=self.release,
            settings=self.settings,
            state=self.state,
            pid=self.child.pid if self.child and running else 0,
            address=f"127.0.0.1:{self.port}" if self.port else "",
            live=self.live,
            restarts=self.restarts,
            started_at=self.child.started_at if self.child else 0.0,
            exit_code=self.exit_code,
            log=str(self.log.path),
            connections=connections,
            trouble=self.trouble,
        )


def _with_output(probe: ServiceProbe, output: tuple[str, ...]) -> ServiceProbe:
    """An answer that did not suffice; one that was ready came too seldom in a row, so it is not."""
    return ServiceProbe(
        state="not_ready" if probe.ready else probe.state,
        version=probe.version,
        detail=probe.detail or "ready, but not often enough in a row",
        latency_ms=probe.latency_ms,
        dependencies=probe.dependencies,
        output=output,
    )
