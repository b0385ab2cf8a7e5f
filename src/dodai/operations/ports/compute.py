"""Where releases run: the port of a deploy plan, and the values it speaks in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Literal, Protocol, runtime_checkable

from dodai.core.dataclass import dataclass

Wire = Literal["http", "grpc"]
ReadyKind = Literal["http", "grpc", "tcp", "command", "heartbeat"]
ProbeState = Literal["ready", "not_ready", "no_answer", "not_served", "exited", "absent"]
InstanceState = Literal["starting", "running", "draining", "restarting", "crash_loop", "exited", "unreachable"]
"""`unreachable`: what it runs on is away, so whether it runs is unknown and nothing of it can be changed."""
FaultMode = Literal["pass", "refuse", "blackhole", "half_open", "latency", "reset", "half_close", "bandwidth"]
"""What stands before a service: only a rehearsal makes it anything but `pass`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How an instance is asked whether it is ready, always on its private port.

    - `http`: `path` answers 2xx. `host` is the Host header ("" the address itself), `scheme` what it is told that the
      visitor used (`X-Forwarded-Proto`, "" nothing)
    - `grpc`: `grpc.health.v1` says SERVING; `path` is the name of the service there, "" the whole server
    - `tcp`: it accepts a connection
    - `command` ends with 0, run where the service runs with what the service is told
    - `heartbeat`: a line of its output with the words `line` is no older than `age_s`
    """

    kind: ReadyKind = "http"
    path: str = "/readyz"
    host: str = ""
    scheme: str = ""
    command: tuple[str, ...] = ()
    line: str = ""
    age_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """How a process that gets traffic is asked whether it works at all, whatever its dependencies do.

    `path` is asked as readiness is (for gRPC the name of a service in `grpc.health.v1`, `/` the whole server) every
    `interval_s`; after `failures` in a row without a good answer the process is started again.
    """

    path: str
    interval_s: float = 5.0
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process may use at most; 0: as much as there is. `memory_bytes` is its private memory."""

    memory_bytes: int = 0
    cpus: int = 0
    open_files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service of the manifest, as it has to be run.

    The process gets `PORT` (it binds 127.0.0.1:$PORT), `DODAI_SERVICE`, `DODAI_RELEASE`, `DODAI_ENV`, `DODAI_STATE`
    and `DODAI_EDGE_KEY_FILE` from the provider, and otherwise only `env`, what `Compute.start` is given, and PATH,
    HOME, LANG and their like. `cwd` is relative to the release's tree. `port` is the *stable* loopback port, 0 for one
    that the provider picks once and keeps. `secrets` names the variables whose values must not be in its log.
    `listens` False: it is a worker, has no address and gets no `PORT`. `instances` of it run side by side, each as the
    account `user` ("" the one that runs everything), within `limits`.
    """

    name: str
    command: tuple[str, ...]
    cwd: str = "."
    protocol: Wire = "http"
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    ready: Readiness = Readiness()
    ready_timeout_s: float = 30.0
    liveness: Liveness | None = None
    drain_s: float = 10.0
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    listens: bool = True
    instances: int = 1
    user: str = ""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy of a release. `address` is its private one, "" for a worker; `live`: the stable address leads to
    it, or it is the worker that is kept alive.

    `region` is where it runs, "" on a provider that has none; `trouble` why it was started again the
    last time, or what else is the matter.
    """

    service: str
    release: str
    settings: str = ""
    state: InstanceState
    pid: int = 0
    address: str = ""
    live: bool = False
    restarts: int = 0
    started_at: float = 0.0
    exit_code: int | None = None
    log: str = ""
    connections: int = 0
    region: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProbe:
    """What a release of a service answered, all its instances together: as ready as the least ready one.

    `version` is the release it says it runs, "" when it says none. `not_served` (it answers, but not to the question
    that it is asked), `exited` and `absent` are final: waiting longer cannot help. `fix` says what would help, where
    that is known. `output` is the end of its log where that may say why. `dependencies` maps names to what the service
    said about them ("ok", or the reason). `pid` is that of the instance whose answer it is, 0 where nobody says.
    """

    state: ProbeState
    version: str = ""
    detail: str = ""
    fix: str = ""
    latency_ms: float = 0.0
    exit_code: int | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict)
    output: tuple[str, ...] = ()
    pid: int = 0

    @property
    def ready(self) -> bool:
        return self.state == "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """`address` is the stable one (`127.0.0.1:8001`); `release` the one it leads to, "" for none yet.

    `moving`: traffic is on its way from one release to another; not all instances that are to have it do, or too many.
    """

    name: str
    address: str = ""
    release: str = ""
    fault: FaultMode = "pass"
    instances: tuple[Instance, ...] = ()
    moving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeStatus:
    """What runs in an environment. `running` False: nothing does, the rest is what was last known.

    `unknown` says why nobody can tell whether anything runs: that is not the same as nothing.

    `kept`: what comes back by itself after a crash: the release, `@` and its settings, by service. `returning`: what
    served before is being started again by itself; `trouble` says why that takes so long, `stuck` that trying again
    changes nothing.
    """

    env: str
    running: bool
    unknown: str = ""
    returning: bool = False
    trouble: str = ""
    stuck: bool = False
    kept: Mapping[str, str] = field(default_factory=dict)
    since: float = 0.0
    services: tuple[ServiceStatus, ...] = ()
    fencing_token: int = 0

    def service(self, name: str) -> ServiceStatus | None:
        return next((service for service in self.services if service.name == name), None)


class Compute(Protocol):
    """Runs the services of one environment: any number of instances of a service, in any number of regions.

    A release of a service is started *beside* the one that serves, probed, switched to, and only then the old one is
    stopped. Every call is about a service and a release, never about one instance: how many there are, where, and in
    which order they are replaced is the provider's part. Where `settings` is left out, the newest of that release is
    meant. Calls are idempotent, have a deadline and raise only `DodaiError`. A call that is repeated after an unclear
    answer does no harm; what is true then is what `status` says.
    """

    def under(self, token: int, /) -> Compute:
        """The same, its changes carrying a fencing token: one older than the newest seen is refused (DOD399)."""
        ...

    def newest_token(self) -> int:
        """The newest fencing token that it has seen, whether or not anything runs."""
        ...

    async def prepare(self) -> None:
        """Start what has to run before anything can be changed (the Host of a local environment); else nothing."""
        ...

    async def address(self, service: str, /) -> str:
        """The stable `host:port` of a service, reserved now if need be, so that others can be told before it runs."""
        ...

    async def start(
        self, spec: ServiceSpec, release: str, artifact: str, env: Mapping[str, str], /, *, settings: str = ""
    ) -> Instance:
        """Start a release beside whatever runs; it gets no traffic yet. `artifact` is what `Artifacts.reference` says.

        Returns as soon as it exists. `env` may hold secrets: never in argv, and kept only where secrets are kept.
        `settings` names what it is started with: the same release with other ones runs beside it. One that runs under
        the same name with something else is refused (DOD394); one that exited is started anew.
        """
        ...

    async def probe(
        self, service: str, release: str, /, *, settings: str = "", wait_s: float = 0.0, consecutive: int = 1
    ) -> ServiceProbe:
        """What a release answers to its readiness check; with `wait_s`, asks until it is ready, is final, or time is
        over. `consecutive` good answers in a row, each on a fresh connection, make it ready. Never raises for an
        unready service.
        """
        ...

    async def switch(self, service: str, release: str, /, *, settings: str = "") -> None:
        """New connections go to this release, open ones stay where they are. Absent or exited: DOD393."""
        ...

    async def stop(self, service: str, release: str, drain_s: float | None = None, /, *, settings: str = "") -> None:
        """Retire it: let it finish, SIGTERM, SIGKILL when `drain_s` (default the spec's) is over; absent: nothing."""
        ...

    async def keep(self) -> None:
        """What serves now is what comes back by itself after a crash or a reboot; a provider that does so anyway does
        nothing here.
        """
        ...

    async def tail(self, name: str, release: str = "", /, lines: int = 40) -> tuple[str, ...]:
        """The end of what a release of a service wrote, oldest line first."""
        ...

    async def status(self) -> ComputeStatus:
        """What runs now; never raises when the provider is gone: `running` is False then."""
        ...


@runtime_checkable
class CanaryCompute(Compute, Protocol):
    """Compute that can give traffic to one instance of a release beside those that serve."""

    def under(self, token: int, /) -> CanaryCompute: ...

    async def let_in(self, service: str, release: str, /, *, settings: str = "") -> str:
        """One instance of it gets its share of the traffic; where that is. It has one already: nothing changes."""
        ...

    async def is_in(self, service: str, release: str, /, *, settings: str = "") -> bool:
        """Whether an instance of it gets traffic."""
        ...

    async def hold_back(self, service: str, release: str, /, *, settings: str = "") -> None:
        """No instance of it gets new traffic; absent: nothing."""
        ...


@runtime_checkable
class CloningCompute(Compute, Protocol):
    """Compute whose instances are made after those that are there."""

    async def possible(self, services: Sequence[str], release: str, /) -> None:
        """Raises what `start` would refuse of these services, before anything is changed."""
        ...


@runtime_checkable
class StagedCompute(Compute, Protocol):
    """Compute that takes its time to move traffic: of some services in stages, waiting in each until machines are
    healthy, and of all until whoever leads the traffic knows of a change.
    """

    def stages(self, service: str, /) -> int:
        """How many stages a switch of this service has at most; 0 where it moves the traffic at once."""
        ...

    def notice_s(self) -> float:
        """How long it waits between two changes of who gets traffic, and before it stops what had some."""
        ...
