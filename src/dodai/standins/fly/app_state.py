"""An app of the stand-in: its machines and its secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.standins.fly.machine_process import FlyMachine, now


@dataclass(slots=True)
class FlyAppState:
    """One app of the account."""

    name: str
    machines: dict[str, FlyMachine] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    secrets_at: dict[str, str] = field(default_factory=dict)
    version: int = 0
    half_secrets: bool = False


def digests(state: FlyAppState, values: Mapping[str, str]) -> list[dict[str, str]]:
    """Fly's digests cannot be made by anybody else: they are for seeing a change."""
    return [
        {
            "name": name,
            "digest": hashlib.sha256(f"{state.name}/{name}/{value}".encode()).hexdigest()[:16],
            "created_at": state.secrets_at.get(name, now()),
        }
        for name, value in values.items()
    ]
