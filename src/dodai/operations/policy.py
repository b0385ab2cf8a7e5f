"""What the manifest says about environments, services, journeys and limitations, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dodai.core.manifest import Manifest

Protocol = Literal["http", "grpc"]
Level = Literal["source", "artifact"]
"""What a rehearsal ran: the same source in local processes, or the same artifact in a container environment."""


@dataclass(frozen=True, slots=True)
class EnvironmentPolicy:
    """`[env.NAME]`. `port` 0 means the Host picks one and keeps it; `freeze` are windows as written."""

    name: str
    provider: str
    public_origins: tuple[str, ...]
    control_url: str
    port: int
    protected: bool
    evidence: Level = "source"
    approvals: int = 1
    approval_age_s: float = 86_400.0
    allowed_signers: str = ""
    freeze: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        return self.provider == "local"

    @property
    def lacks(self) -> str:
        """The key without which its protection could not be kept; `""` when there is none."""
        if self.protected and not self.control_url:
            return "`control_url`"
        return "`allowed_signers`" if self.protected and self.approvals and not self.allowed_signers else ""


@dataclass(frozen=True, slots=True)
class Health:
    """Healthy means `consecutive` good answers in a row within `timeout_s`."""

    path: str
    consecutive: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Service:
    """`[service.NAME]`."""

    name: str
    command: tuple[str, ...]
    cwd: str
    protocol: Protocol
    app: str
    public: bool
    needs: tuple[str, ...]
    env: Mapping[str, str]
    drain_s: float
    local_only: bool
    csrf: Literal["on", "off"]
    csrf_reason: str
    health: Health


@dataclass(frozen=True, slots=True)
class Dependency:
    """`[dependency.NAME]`: what a caller does when it does not answer. Times are seconds."""

    name: str
    kind: Literal["grpc", "http", "postgres"]
    connect_timeout_s: float
    deadline_s: float
    retry_budget: float
    breaker_failures: int
    breaker_reset_s: float
    pool_size: int
    statement_timeout_s: float


@dataclass(frozen=True, slots=True)
class Database:
    """`[database]`."""

    variable: str
    name: str
    major: int
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """`[edge]`."""

    static: tuple[str, ...]
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class Secret:
    """`[secret.NAME]`."""

    name: str
    used_by: tuple[str, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class JourneyStep:
    """One request of a journey and what its answer must be."""

    name: str
    method: str
    path: str
    effect: Literal["read", "write"]
    form: Mapping[str, str]
    status: int
    contains: str
    location: str
    save: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Journey:
    """`[[journey]]`."""

    name: str
    title: str
    user: str
    steps: tuple[JourneyStep, ...]
    title_ja: str = ""


@dataclass(frozen=True, slots=True)
class Limitation:
    """`[[limitation]]`."""

    id: str
    text: str
    text_en: str
    resolved_by: str


@dataclass(frozen=True, slots=True)
class OperationsPolicy:
    """Everything operations needs to know of the manifest."""

    project: str
    environments: Mapping[str, EnvironmentPolicy]
    services: Mapping[str, Service]
    dependencies: Mapping[str, Dependency]
    database: Database
    edge: EdgePolicy
    secrets: Mapping[str, Secret]
    journeys: tuple[Journey, ...]
    limitations: tuple[Limitation, ...]

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> OperationsPolicy:
        """The policy of a valid manifest."""
        edge, database = manifest.section("edge") or {}, manifest.section("database") or {}
        return cls(
            project=manifest.name,
            environments={name: _environment(name, raw) for name, raw in manifest.named("env").items()},
            services={name: _service(name, raw) for name, raw in manifest.named("service").items()},
            dependencies={name: _dependency(name, raw) for name, raw in manifest.named("dependency").items()},
            database=Database(**database),
            edge=EdgePolicy(tuple(edge["static"]), edge["max_body"]),
            secrets={n: Secret(n, tuple(raw["used_by"]), raw["owner"]) for n, raw in manifest.named("secret").items()},
            journeys=tuple(_journey(raw) for raw in manifest.repeated("journey")),
            limitations=tuple(Limitation(**raw) for raw in manifest.repeated("limitation")),
        )

    @property
    def public_service(self) -> Service | None:
        """The one service the edge sends outside traffic to."""
        return next((service for service in self.services.values() if service.public), None)

    def start_order(self) -> tuple[Service, ...]:
        """Services so that each comes after those it needs; raises `ValueError` naming a cycle."""
        ordered: dict[str, Service] = {}
        visiting: list[str] = []

        def visit(name: str) -> None:
            if name in ordered:
                return
            if name in visiting:
                raise ValueError(f"services need each other: `{' -> '.join([*visiting, name])}`")
            visiting.append(name)
            for need in self.services[name].needs:
                visit(need)
            visiting.pop()
            ordered[name] = self.services[name]

        for name in self.services:
            visit(name)
        return tuple(ordered.values())


def _environment(name: str, raw: Mapping[str, Any]) -> EnvironmentPolicy:
    return EnvironmentPolicy(
        name=name,
        provider=raw["provider"],
        public_origins=tuple(raw["public_origins"]),
        control_url=raw["control_url"],
        port=raw["port"],
        protected=raw["protected"],
        evidence=raw["evidence"],
        approvals=raw["approvals"],
        approval_age_s=raw["approval_age"],
        allowed_signers=raw["allowed_signers"],
        freeze=tuple(raw["freeze"]),
    )


def _service(name: str, raw: Mapping[str, Any]) -> Service:
    health = raw["health"]
    return Service(
        name=name,
        command=tuple(raw["command"]),
        cwd=raw["cwd"],
        protocol=raw["protocol"],
        app=raw["app"],
        public=raw["public"],
        needs=tuple(raw["needs"]),
        env=raw["env"],
        drain_s=raw["drain"],
        local_only=raw["local_only"],
        csrf=raw["csrf"],
        csrf_reason=raw["csrf_reason"],
        health=Health(health["path"], health["consecutive"], health["timeout"]),
    )


def _dependency(name: str, raw: Mapping[str, Any]) -> Dependency:
    return Dependency(
        name=name,
        kind=raw["kind"],
        connect_timeout_s=raw["connect_timeout"],
        deadline_s=raw["deadline"],
        retry_budget=raw["retry_budget"],
        breaker_failures=raw["breaker_failures"],
        breaker_reset_s=raw["breaker_reset"],
        pool_size=raw["pool_size"],
        statement_timeout_s=raw["statement_timeout"],
    )


def _journey(raw: Mapping[str, Any]) -> Journey:
    steps = tuple(JourneyStep(**step) for step in raw["step"])
    return Journey(raw["name"], raw["title"], raw["user"], steps, raw["title_ja"])
