"""What operations needs from outside: a Host that runs processes, and the plain values it speaks in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Wire = Literal["http", "grpc"]
ProbeState = Literal["ready", "not_ready", "no_answer", "exited", "absent"]
InstanceState = Literal["starting", "running", "draining", "restarting", "crash_loop", "exited"]
FaultMode = Literal["pass", "refuse", "blackhole", "half_open", "latency", "reset", "half_close", "bandwidth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service of the manifest, as the Host has to run it.

    The process gets `PORT` (it binds 127.0.0.1:$PORT), `DODAI_SERVICE`, `DODAI_RELEASE`, `DODAI_ENV`, `DODAI_STATE`
    and `DODAI_EDGE_KEY_FILE` from the Host, and otherwise only `env`, what `Host.start` is given, and PATH, HOME, LANG
    and their like. `cwd` is relative to the release's tree. `port` is the *stable* loopback port, 0 for one that the
    Host picks once and keeps. `ready_path` is asked on the instance's private port, with the edge key; for gRPC it is
    the name of the service in `grpc.health.v1` ("" is the whole server).
    """

    name: str
    command: tuple[str, ...]
    cwd: str = "."
    protocol: Wire = "http"
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    ready_path: str = "/readyz"
    ready_timeout_s: float = 30.0
    drain_s: float = 10.0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A part that has no releases: the database, the identity provider.

    `stop` are the signal names sent in turn, `grace_s` apart, before SIGKILL (PostgreSQL: INT, then QUIT). `uid` and
    `gid` are dropped to when the Host runs as root. `listens` (`127.0.0.1:5432`, or the path of a unix socket) is
    waited for, at most `ready_timeout_s`; empty: running is enough. `port` and `listens` may differ: with
    `forward` set, the Host opens a stable TCP forwarder named like the process, in front of `listens`, so that
    `Host.fault` can stand between it and its clients.
    """

    name: str
    command: tuple[str, ...]
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int | None = None
    gid: int | None = None
    stop: tuple[str, ...] = ("TERM",)
    grace_s: float = 5.0
    listens: str = ""
    ready_timeout_s: float = 30.0
    forward: bool = False
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRule:
    """Paths that may be kept by shared caches: `prefix` is literal (`/static/`), `ttl_s` the max-age."""

    prefix: str
    ttl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec:
    """What the local edge serves. `routes` are (path prefix, service name), the longest prefix wins.

    `port` 0: the Host picks one and keeps it. `scheme` is what the outside uses and becomes `x-forwarded-proto`.
    """

    routes: tuple[tuple[str, str], ...]
    port: int = 0
    scheme: Literal["http", "https"] = "http"
    cache: tuple[CacheRule, ...] = ()
    header_bytes: int = 32 * 1024
    body_bytes: int = 16 * 1024 * 1024
    head_timeout_s: float = 10.0
    idle_timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One process of a release. `address` is its private one; `live`: the stable address leads to it."""

    service: str
    release: str
    state: InstanceState
    pid: int = 0
    address: str = ""
    live: bool = False
    restarts: int = 0
    started_at: float = 0.0
    exit_code: int | None = None
    log: str = ""
    connections: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one instance answered. `version` is the release it says it runs, "" when it says none.

    `exited` and `absent` are final: waiting longer cannot help. `output` is the end of its log unless it is ready.
    `dependencies` maps names to what the service said about them ("ok", or the reason).
    """

    state: ProbeState
    version: str = ""
    detail: str = ""
    latency_ms: float = 0.0
    exit_code: int | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict)
    output: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return self.state == "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """`address` is the stable one (`127.0.0.1:8001`); `release` the one it leads to, "" for none yet."""

    name: str
    address: str = ""
    release: str = ""
    fault: FaultMode = "pass"
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    name: str
    state: InstanceState
    pid: int = 0
    listens: str = ""
    address: str = ""
    restarts: int = 0
    exit_code: int | None = None
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """What the Host of an environment runs. `running` False: nothing does, the rest is what was last known."""

    env: str
    running: bool
    pid: int = 0
    since: float = 0.0
    bound: bool = False
    edge: str = ""
    edge_key_file: str = ""
    services: tuple[ServiceStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    fencing_token: int = 0

    def service(self, name: str) -> ServiceStatus | None:
        return next((service for service in self.services if service.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What stands between a stable address and what is behind it.

    - `refuse`: connections are refused, open ones reset
    - `blackhole`: connecting gets no answer at all, open connections freeze
    - `half_open`: connections are accepted, then nothing ever comes; open ones freeze
    - `latency`: every answer arrives `latency_s` later
    - `reset`: the connection is reset after `after_bytes` of the answer
    - `half_close`: the answer ends (FIN) after `after_bytes`, while the other direction stays open
    - `bandwidth`: `bytes_per_s` each way
    """

    mode: FaultMode = "pass"
    latency_s: float = 0.0
    after_bytes: int = 0
    bytes_per_s: int = 0


class Host(Protocol):
    """Runs the parts of one environment. Every call is idempotent, has a deadline and raises only `DodaiError`.

    A release of a service is started *beside* the one that serves, probed, switched to, and only then the old one is
    stopped. A call that is repeated after an unclear answer does no harm; a call whose deadline passed says so
    (DOD392), and what is true then is what `status` says.
    """

    def under(self, token: int) -> Host:
        """The same Host whose changes carry a fencing token: one older than the newest seen is refused (DOD399)."""

    async def address(self, service: str, port: int = 0) -> str:
        """The stable `host:port` of a service, reserved now if need be, so that others can be told before it runs."""

    async def run(self, spec: ProcessSpec) -> ProcessStatus:
        """Start the process, wait until it listens; already running with the same spec: its status.

        An exit before that is DOD390 with the end of its output; one that never listens DOD391.
        """

    async def end(self, process: str) -> None:
        """Stop it by its own stop signals; not running: nothing to do."""

    async def start(self, spec: ServiceSpec, release: str, tree: str, env: Mapping[str, str]) -> Instance:
        """Start a release beside whatever runs; it gets no traffic yet. `tree` is the folder of the release.

        Returns as soon as the process exists. `env` may hold secrets: it travels over the socket, never argv, and is
        not kept on disk. A release that runs with other settings is refused (DOD394); one that exited is started anew.
        """

    async def probe(self, service: str, release: str, *, wait_s: float = 0.0, consecutive: int = 1) -> Probe:
        """What the instance answers to its readiness check; with `wait_s`, asks until it is ready, is final, or time
        is over. `consecutive` good answers in a row, each on a fresh connection, make it ready. Never raises for
        an unready service.
        """

    async def switch(self, service: str, release: str) -> None:
        """New connections go to this release, open ones stay where they are. Absent or exited: DOD393."""

    async def stop(self, service: str, release: str, drain_s: float | None = None) -> None:
        """Let it finish, SIGTERM, and SIGKILL when `drain_s` (default the spec's) is over; absent: nothing to do."""

    async def tail(self, name: str, release: str = "", lines: int = 40) -> tuple[str, ...]:
        """The end of what an instance (or, with no release, a process) wrote, oldest line first."""

    async def edge(self, spec: EdgeSpec) -> str:
        """The `http://host:port` where the edge now serves `spec`; a changed spec takes effect without a gap."""

    async def fault(self, name: str, fault: Fault) -> None:
        """Put a fault in front of a service or forwarded process; `Fault()` takes it away."""

    async def signal(self, name: str, signal: str, release: str = "") -> None:
        """Send `KILL`, `STOP`, `CONT`, `TERM`… to the process (of the live release by default), for drills."""

    async def status(self) -> HostStatus:
        """What runs now; never raises when the Host is gone."""

    async def down(self) -> None:
        """Stop everything in reverse order of `needs`, then the Host itself; already down: nothing to do."""


class Releases(Protocol):
    """Where releases of an environment are kept: immutable, content-addressed."""

    def publish(self, source: str, include: Sequence[str] = ()) -> str:
        """The id of the tree of `source` as it is now, copied if not there yet; `include`: ignored paths it needs."""

    def derive(self, tree_id: str, changes: Mapping[str, bytes | None]) -> str:
        """The id of `tree_id` with some files replaced, added or (None) removed."""

    def path(self, tree_id: str) -> str:
        """The folder of a published tree; DOD396 when it is not (any longer) there."""

    def prune(self, keep: int, in_use: Sequence[str]) -> tuple[str, ...]:
        """Remove all but the `keep` newest and those in use; the ids that were removed."""
