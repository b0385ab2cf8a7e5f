"""`[env.NAME]`: where an environment runs, what it is asked for, and what each vendor has to be told, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.section import key, seconds, table, unwritten

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
    """`[env.NAME.authentik]`; "" is not compared. Without `blueprint_file` nothing is changed there."""

    url: str = ""
    application: str = ""
    redirect_uris: tuple[str, ...] = ()
    client_id: str = ""
    blueprint: str = ""
    blueprint_file: str = ""


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
