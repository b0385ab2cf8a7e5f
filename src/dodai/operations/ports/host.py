"""What runs the parts of an environment as processes of this machine: for `up`, `down` and the rehearsal's stage.

No vendor implements it and no deploy plan knows it: a plan acts through `Compute`, `Edge` and `DatabaseService`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.operations.ports.compute import ComputeStatus, FaultMode, InstanceState, ServiceSpec
from dodai.operations.ports.edge import EdgeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A part that has no releases: the database, the identity provider.

    `stop` are the signal names sent in turn, `grace_s` apart, before SIGKILL (PostgreSQL: INT, then QUIT). `uid` and
    `gid` are dropped to when the Host runs as root. `listens` (`127.0.0.1:5432`, or the path of a unix socket) is
    waited for, at most `ready_timeout_s`; empty: running is enough. `port` and `listens` may differ: with
    `forward` set, a stable TCP forwarder named like the process is opened in front of `listens`, so that
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
class ProcessStatus:
    name: str
    state: InstanceState
    pid: int = 0
    listens: str = ""
    address: str = ""
    restarts: int = 0
    exit_code: int | None = None
    log: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus(ComputeStatus):
    """What the Host of a local environment runs, its own process and its edge included.

    `owner`: the user that it belongs to, where only that user can say. `comes_back`: what served is kept, and a Host
    that starts serves it. `edge_key` says which key the edge sends, and nothing about it.
    """

    pid: int = 0
    bound: bool = False
    owner: str = ""
    comes_back: bool = False
    edge: str = ""
    edge_serves: EdgeSpec | None = None
    edge_key_file: str = ""
    edge_key: str = ""
    processes: tuple[ProcessStatus, ...] = ()


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
    """Runs processes that have no releases, and does to them what only a rehearsal wants done."""

    def under(self, token: int, /) -> Host:
        """The same, its changes carrying a fencing token: one older than the newest seen is refused (DOD399)."""
        ...

    async def bind(self) -> Host:
        """The Host, started and bound to this process: it ends, with all it runs, however this process ends.

        It needs the environment for itself: DOD397 (exit 75) when somebody has it. End it with `down`.
        """
        ...

    async def run(self, spec: ProcessSpec, /) -> ProcessStatus:
        """Start the process, wait until it listens; already running with the same spec: its status.

        An exit before that is DOD390 with the end of its output; one that never listens DOD391.
        """
        ...

    async def end(self, process: str, /) -> None:
        """Stop it by its own stop signals; not running: nothing to do."""
        ...

    async def fault(self, name: str, fault: Fault, /) -> None:
        """Put a fault in front of a service or forwarded process; `Fault()` takes it away."""
        ...

    async def signal(self, name: str, signal: str, release: str = "", /) -> None:
        """Send `KILL`, `STOP`, `CONT`, `TERM`… to the process (of the live release by default), for drills."""
        ...

    def on_terminal(
        self, spec: ServiceSpec, release: str, tree: str, env: Mapping[str, str], command: Sequence[str], /
    ) -> int:
        """The exit code of `command`, run as the service would be, with our standard input and output, secrets masked.

        128 + N when signal N ended it, 127 when it cannot be started. It ends with this process.
        """
        ...

    def without_secrets(self, words: Sequence[str], spec: ServiceSpec, env: Mapping[str, str], /) -> tuple[str, ...]:
        """`words` as they may be written down: what a service is given and nobody may read is replaced."""
        ...

    def brought_back_by(self) -> tuple[str, ...]:
        """The command that a service manager runs, and that starts the Host again with what served before it ended."""
        ...

    async def status(self) -> HostStatus:
        """What runs now; never raises when the Host is gone."""
        ...

    async def down(self) -> None:
        """Stop everything in reverse order of `needs`, then the Host itself; already down: nothing to do."""
        ...
