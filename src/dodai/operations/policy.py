"""What the manifest says about services, journeys and limitations, and in whole, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.manifest import Manifest
from dodai.core.section import bind, key, rows, seconds, size, table, tables, unwritten
from dodai.operations.environment_policy import EnvironmentPolicy

Protocol = Literal["http", "grpc"]


@dataclass(frozen=True, slots=True)
class Health:
    """Healthy means `consecutive` good answers in a row within `timeout_s`. What is empty depends on the service."""

    kind: Literal["", "http", "grpc", "tcp", "command", "heartbeat"] = ""
    path: str = ""
    host: str = ""
    scheme: Literal["", "http", "https"] = ""
    command: tuple[str, ...] = ()
    heartbeat: str = ""
    heartbeat_age_s: float = seconds("30s")
    consecutive: int = 3
    timeout_s: float = seconds("30s")
    liveness: str = ""
    liveness_interval_s: float = seconds("5s")
    liveness_failures: int = 3


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """`[service.NAME.limits]`, for each of its processes; 0 for none."""

    memory_bytes: int = size("0B")
    cpus: int = 0
    open_files: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """`[service.NAME]`."""

    command: tuple[str, ...]
    name: str = unwritten("")
    kind: Literal["server", "worker"] = "server"
    cwd: str = "."
    build: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    protocol: Protocol = "http"
    app: str = ""
    client: str = ""
    public: bool = False
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = key(dict)
    drain_s: float = seconds("10s")
    instances: int = 1
    user: str = ""
    local_only: bool = False
    csrf: Literal["on", "off"] = "on"
    csrf_reason: str = ""
    health: Health = table(Health)
    limits: ServiceLimits = table(ServiceLimits)

    @property
    def ready_kind(self) -> Literal["http", "grpc", "tcp", "command", "heartbeat"]:
        """How it is asked whether it is ready."""
        otherwise: Literal["http", "grpc", "heartbeat"] = "heartbeat" if self.health.heartbeat else self.protocol
        return self.health.kind or ("command" if self.health.command else otherwise)

    @property
    def ready_path(self) -> str:
        """What is asked for: a path, or the name of a service in `grpc.health.v1`."""
        return self.health.path or ("/readyz" if self.ready_kind == "http" else "")


@dataclass(frozen=True, slots=True)
class Client:
    """`[client.NAME]`: another web tier that can take the place of a service."""

    service: str
    folder: str
    command: tuple[str, ...]
    name: str = unwritten("")
    build: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    env: Mapping[str, str] = key(dict)

    def stand_in(self, service: Service) -> Service:
        """`service` as it runs with this tier in its place."""
        return replace(
            service,
            command=self.command,
            cwd=self.folder,
            build=self.build,
            include=self.include,
            env={**service.env, **self.env},
            app="",
        )


@dataclass(frozen=True, slots=True)
class Dependency:
    """`[dependency.NAME]`: what a caller does when it does not answer. Times are seconds."""

    kind: Literal["grpc", "http", "postgres"]
    name: str = unwritten("")
    connect_timeout_s: float = seconds("1s")
    deadline_s: float = seconds("5s")
    retry_budget: float = 0.1
    breaker_failures: int = 5
    breaker_reset_s: float = seconds("2s")
    pool_size: int = 10
    statement_timeout_s: float = seconds("5s")


@dataclass(frozen=True, slots=True)
class Database:
    """`[database]`. `restore_within_s` 0: nobody says how long a restore may take."""

    variable: str = "DATABASE_URL"
    name: str = "app"
    role: str = ""
    major: int = 0
    shadow_url: str = ""
    used_by: tuple[str, ...] = ()
    restore_within_s: float = seconds("0s")


@dataclass(frozen=True, slots=True)
class EdgeLimit:
    """`[edge.limit.NAME]`: what one client may send."""

    path: str
    name: str = unwritten("")
    methods: tuple[str, ...] = ("POST",)
    requests: int = 10
    window_s: float = seconds("1m")


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """`[edge]`."""

    static: tuple[str, ...] = ()
    max_body_bytes: int = size("10MiB")
    limits: Mapping[str, EdgeLimit] = tables(EdgeLimit, name="limit")


Rotation = Literal["overlap", "replace", "external", "dual-role"]
"""How a secret is changed: both values are recognised for a while, one takes the place of the other, its issuer makes
the new value, or (never in a manifest) two roles of the database take turns."""


@dataclass(frozen=True, slots=True)
class Secret:
    """`[secret.NAME]`. `overlap_s`: how long what the old value made stays in use. `every_s` 0: never due."""

    used_by: tuple[str, ...]
    name: str = unwritten("")
    owner: str = ""
    rotation: Rotation = "replace"
    overlap_s: float = seconds("24h")
    every_s: float = seconds("0s")


@dataclass(frozen=True, slots=True)
class DeclaredSetting:
    """`[setting.NAME]`: a variable that is no secret and that a platform may set. `default`: what holds without."""

    used_by: tuple[str, ...]
    name: str = unwritten()
    about: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class JourneyStep:
    """One request of a journey and what its answer must be."""

    name: str
    path: str
    method: str = "GET"
    effect: Literal["read", "write"] = "read"
    form: Mapping[str, str] = key(dict)
    status: int = 200
    contains: str = ""
    location: str = ""
    save: Mapping[str, str] = key(dict)


@dataclass(frozen=True, slots=True)
class Journey:
    """`[[journey]]`."""

    name: str
    title: str = ""
    user: str = "anonymous"
    steps: tuple[JourneyStep, ...] = rows(JourneyStep, name="step")
    title_ja: str = ""


@dataclass(frozen=True, slots=True)
class Limitation:
    """`[[limitation]]`."""

    id: str
    text: str
    text_en: str = ""
    resolved_by: str = ""


@dataclass(frozen=True, slots=True)
class OperationsPolicy:
    """Everything operations needs to know of the manifest."""

    project: str = unwritten()
    environments: Mapping[str, EnvironmentPolicy] = tables(EnvironmentPolicy, name="env")
    services: Mapping[str, Service] = tables(Service, name="service")
    clients: Mapping[str, Client] = tables(Client, name="client")
    dependencies: Mapping[str, Dependency] = tables(Dependency, name="dependency")
    database: Database = table(Database)
    edge: EdgePolicy = table(EdgePolicy)
    secrets: Mapping[str, Secret] = tables(Secret, name="secret")
    settings: Mapping[str, DeclaredSetting] = tables(DeclaredSetting, name="setting")
    journeys: tuple[Journey, ...] = rows(Journey, name="journey")
    limitations: tuple[Limitation, ...] = rows(Limitation, name="limitation")

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> OperationsPolicy:
        """The policy of a valid manifest; a service with a `client` runs that one's program."""
        policy = bind(cls, manifest.data, project=manifest.name)
        chosen = {
            name: policy.clients[service.client].stand_in(service)
            for name, service in policy.services.items()
            if service.client
        }
        return replace(policy, services={**policy.services, **chosen}) if chosen else policy

    def without_local_only(self) -> OperationsPolicy:
        """The same without services that stand in locally for what is elsewhere; nothing needs them either."""
        kept = {name: one for name, one in self.services.items() if not one.local_only}
        services = {
            name: replace(one, needs=tuple(need for need in one.needs if need in kept)) for name, one in kept.items()
        }
        return replace(self, services=services)

    def manual_steps_of(self, environment: EnvironmentPolicy) -> tuple[str, ...]:
        """Secrets that a person has to get from their issuer; none here, where dodai makes up every value."""
        if environment.provider_of("compute") == "local":
            return ()
        return tuple(secret.name for secret in self.secrets.values() if secret.rotation == "external")

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
