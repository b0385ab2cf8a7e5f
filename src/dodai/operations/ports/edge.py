"""What stands between visitors and the public service: the edge, and where they sign in."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from dodai.core.dataclass import dataclass

OPEN_RESERVED = ("/-/dodai/csrf", "/-/dodai/probe")
"""Of the paths that dodai answers itself, those that an edge lets through: what pages ask for, what a deploy proves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRule:
    """Paths that may be kept by shared caches: `prefix` is literal (`/static/`), `ttl_s` the max-age."""

    prefix: str
    ttl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `requests` of one client within `window_s`, of `methods` to `path` (`/sign-in`, or `/questions/*`).

    Until `relieved_until_s`, a Unix time, it holds nobody back; it holds again afterwards without anybody's doing.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    requests: int
    window_s: float
    relieved_until_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec:
    """What the edge serves. `routes` are (path prefix, service name), the longest prefix wins.

    `port` is for a local edge, 0: it picks one and keeps it. `scheme` is what the outside uses and becomes
    `x-forwarded-proto`. `client_header` is for a local edge behind a proxy: the header in which that one says who asks.
    """

    routes: tuple[tuple[str, str], ...]
    port: int = 0
    scheme: Literal["http", "https"] = "http"
    cache: tuple[CacheRule, ...] = ()
    limits: tuple[RateLimit, ...] = ()
    client_header: str = ""
    header_bytes: int = 32 * 1024
    body_bytes: int = 16 * 1024 * 1024
    head_timeout_s: float = 10.0
    idle_timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """What the edge serves now. `url` is where visitors arrive, "" while it serves nothing.

    `differs`: what is not as the manifest says, in words. `serves`: what it was given, where that can be asked.
    `limits`: whether it is one that can hold to rate limits.
    """

    url: str = ""
    serves: EdgeSpec | None = None
    differs: tuple[str, ...] = ()
    limits: bool = True


class Edge(Protocol):
    """Leads outside traffic to the public service, with its cache and limits."""

    def under(self, token: int, /) -> Edge:
        """The same, its changes carrying a fencing token: one older than the newest seen is refused."""
        ...

    async def observe(self) -> EdgeState:
        """What it serves now; never raises when it is gone."""
        ...

    async def apply(self, spec: EdgeSpec, /) -> EdgeState:
        """Serve `spec` without a gap, and say what is served then; already so: nothing changes."""
        ...


@runtime_checkable
class KeptEdge(Edge, Protocol):
    """An edge that somebody else runs; what it was before a plan changed it is kept."""

    def of_plan(self, plan_id: str, /) -> KeptEdge:
        """The same, its changes being those of a plan."""
        ...

    @property
    def changed(self) -> bool:
        """Whether the plan began to change something that can be taken back."""
        ...

    async def back(self) -> bool:
        """Whether the plan had changed something; the edge is then as it was before its first change."""
        ...

    async def possible(self, spec: EdgeSpec, /) -> None:
        """Raises where `apply` would be refused for good, found by looking alone."""
        ...

    def remarks(self) -> tuple[str, ...]:
        """What is not changed from here and a person should know."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityState:
    """What sign-in allows now. `differs`: what is not as the manifest says, `remarks`: what a person should know."""

    issuer: str
    differs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class IdentityService(Protocol):
    """Where people sign in; looked at, and changed only where its configuration is declared (`DeclaredIdentity`)."""

    async def observe(self) -> IdentityState:
        """What sign-in allows; raises where that cannot be seen, which is neither agreement nor difference."""
        ...


@runtime_checkable
class DeclaredIdentity(IdentityService, Protocol):
    """Sign-in that a file of the repository describes; what it was before a plan changed it is kept."""

    def of_release(self, tree: str, /) -> DeclaredIdentity | None:
        """The same, described by the file and the manifest of the release in `tree`; None where that describes none."""
        ...

    def of_plan(self, plan_id: str, /) -> DeclaredIdentity:
        """The same, its changes being those of a plan."""
        ...

    @property
    def changed(self) -> bool:
        """Whether the plan began to change something that can be taken back."""
        ...

    async def differs(self) -> tuple[str, ...]:
        """What `apply` would change, in words; also where there is nothing of it yet."""
        ...

    async def possible(self) -> None:
        """Raises where `apply` would be refused for good, found without changing anything."""
        ...

    async def apply(self) -> None:
        """Bring sign-in to what the file says and look at the effect; raises where it is not seen."""
        ...

    async def back(self) -> bool:
        """Whether the plan had changed something; sign-in is then as it was before its first change."""
        ...
