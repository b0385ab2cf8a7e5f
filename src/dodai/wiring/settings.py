"""What services of a local environment are told: addresses, the database, and secrets made for development."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dodai.operations.policy import OperationsPolicy, Service
from dodai.operations.ports import Compute
from dodai.runtime.config import read_sections

KEY_RINGS = ("DODAI_CSRF_KEYS", "DODAI_IDENTITY_KEYS")
"""dodai's own key rings: every service gets them, whether or not the manifest names them."""

_FOR_PEERS = ("csrf", "dependency", "observability")


class Database(Protocol):
    """Where the application's database is."""

    def url(self, *, direct: bool = True) -> str: ...


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """`file` keeps the secrets: mode 0600, never in a release or a journal.

    `required` names the migrations of a release, `sections` is the validated manifest of one (of none: today's).
    """

    policy: OperationsPolicy
    file: Path
    origins: Callable[[], Awaitable[tuple[str, ...]]]
    database: Database
    host: Compute
    required: Callable[[str], Awaitable[tuple[str, ...]]]
    sections: Callable[[str], Mapping[str, Any]]

    async def missing(self) -> tuple[str, ...]:
        known = self.values()
        return tuple(name for name in (*KEY_RINGS, *self.policy.secrets) if name not in known)

    async def complete(self) -> None:
        known = dict(self.values())
        for name in await self.missing():
            known[name] = _key_ring() if name in KEY_RINGS else secrets.token_urlsafe(32)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(known, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.file)

    async def environment(self, service: Service, release: str = "") -> Mapping[str, str]:
        """What `service` of `release` is told; without a release nothing that depends on one."""
        known = self.values()
        own = [secret.name for secret in self.policy.secrets.values() if service.name in secret.used_by]
        values = {name: known[name] for name in (*KEY_RINGS, *own)}
        values["DODAI_PUBLIC_ORIGINS"] = ",".join(await self.origins())
        if service.protocol == "http" and not service.app:
            values["DODAI_SETTINGS"] = peer_settings(self.sections(release))
        for need in service.needs:
            values[f"{_shout(need)}_ADDR"] = await self.host.address(need)
        if service.name in self.policy.database.used_by:
            values[self.policy.database.variable] = self.database.url(direct=False)
            if release:
                values["DODAI_REQUIRED_SCHEMA"] = ",".join(await self.required(release))
        return values

    def values(self) -> Mapping[str, str]:
        """The secrets by name; empty before the first `complete`."""
        try:
            found: dict[str, str] = json.loads(self.file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found


def sections_of(today: Mapping[str, Any], path: Callable[[str], str]) -> Callable[[str], Mapping[str, Any]]:
    """The validated manifest by release, whose tree is at `path(release)`; `today` without one."""
    return lambda release: read_sections(f"{path(release)}/dodai.toml") if release else today


def peer_settings(sections: Mapping[str, Any]) -> str:
    """What a web tier in another language needs of the manifest, as JSON: it has no TOML reader of its own."""
    return json.dumps({name: sections[name] for name in _FOR_PEERS if name in sections}, sort_keys=True)


def _key_ring() -> str:
    return "k1:" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def _shout(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name).upper()
