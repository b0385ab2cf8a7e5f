"""What the manifest says about environments, services, journeys and limitations, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.manifest import Manifest
from dodai.core.section import bind, key, rows, seconds, size, table, tables, unwritten

Protocol = Literal["http", "grpc"]
Part = Literal["compute", "database", "edge", "identity", "secrets"]
PARTS: tuple[Part, ...] = ("compute", "database", "edge", "identity", "secrets")
"""What `[env.NAME]` names a provider for. Artifacts come with compute: it decides what a release is made of."""
Level = Literal["source", "artifact"]
"""What a rehearsal ran: the same source in local processes, or the same artifact in a container environment."""


FIT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
"""The name of an environment: it becomes a folder of the state, and stands in addresses."""


@dataclass(frozen=True, slots=True)
class NeonPolicy:
    """`[env.NAME.neon]`. `database` "" is the name in `[database]`; empty `allowed_ips` are not compared."""

    project: str = ""
    branch: str = "main"
    role: str = ""
    database: str = ""
    allowed_ips: tuple[str, ...] = ()
    restore_points: Literal["branch", "snapshot"] = "branch"


@dataclass(frozen=True, slots=True)
class FlyPolicy:
    """`[env.NAME.fly]`: the Fly app of each service, which are replaced some machines at a time, which by a canary."""

    apps: Mapping[str, str] = key(dict)
    rolling: tuple[str, ...] = ()
    max_unavailable: float = 0.33
    canary: tuple[str, ...] = ()
    canary_for_s: float = seconds("5m")
    canary_requests: int = 50


@dataclass(frozen=True, slots=True)
class CloudflarePolicy:
    """`[env.NAME.cloudflare]`. The host name is that of the first of `public_origins`."""

    zone: str = ""
    origin: str = ""
    origin_key: bool = True


@dataclass(frozen=True, slots=True)
class AuthentikPolicy:
    """`[env.NAME.authentik]`. `client_id` and `blueprint` "" are not compared."""

    url: str = ""
    application: str = ""
    redirect_uris: tuple[str, ...] = ()
    client_id: str = ""
    blueprint: str = ""


@dataclass(frozen=True, slots=True)
class EnvironmentPolicy:
    """`[env.NAME]`. `port` 0 means the Host picks one and keeps it; `freeze` are windows as written.

    `manual_steps` -1: nobody says how many there may be.
    """

    name: str = unwritten()
    provider: str = "local"
    public_origins: tuple[str, ...] = ()
    control_url: str = ""
    port: int = 0
    client_header: str = ""
    manual_steps: int = -1
    protected: bool = False
    evidence: Level = "source"
    approvals: int = 1
    approval_age_s: float = seconds("1d")
    allowed_signers: str = ""
    freeze: tuple[str, ...] = ()
    direct_origins: tuple[str, ...] = ()
    closed_ports: tuple[str, ...] = ()
    certificate_left_s: float = seconds("21d")
    compute: str = ""
    database: str = ""
    edge: str = ""
    identity: str = ""
    secrets: str = ""
    secrets_file: str = ""
    secrets_recipients: tuple[str, ...] = ()
    secrets_read: tuple[str, ...] = ()
    secrets_write: tuple[str, ...] = ()
    folder: str = ""
    database_url: str = ""
    database_pooled_url: str = ""
    database_password: str = ""
    database_roles: tuple[str, ...] = ()
    evidence_signers: str = ""
    neon: NeonPolicy = table(NeonPolicy)
    fly: FlyPolicy = table(FlyPolicy)
    cloudflare: CloudflarePolicy = table(CloudflarePolicy)
    authentik: AuthentikPolicy = table(AuthentikPolicy)

    @property
    def ways_around_edge(self) -> tuple[str, ...]:
        """Where the public service may be reached past its edge, as URLs; the vendor's own name of it is one."""
        behind = (f"https://{self.cloudflare.origin}",) if self.cloudflare.origin else ()
        return tuple(dict.fromkeys((*self.direct_origins, *behind)))

    def provider_of(self, part: Part) -> str:
        """The provider of one part: the one named for it, else the one named for all."""
        named: str = getattr(self, part)
        return named or self.provider

    def key_of(self, part: Part) -> str:
        """The key that names the provider of a part."""
        return part if getattr(self, part) else "provider"

    @property
    def control_secret(self) -> str:
        """The secret that `control_url` names instead of an address: `secret:NAME`; `""` for none."""
        return self.control_url.removeprefix("secret:") if self.control_url.startswith("secret:") else ""

    @property
    def lacks(self) -> str:
        """The key without which its protection could not be kept; `""` when there is none."""
        if self.protected and not self.control_url:
            return "`control_url`"
        return "`allowed_signers`" if self.protected and self.approvals and not self.allowed_signers else ""


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
