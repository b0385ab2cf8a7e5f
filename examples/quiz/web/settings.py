"""What the environment says, read once at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """A missing name is a `KeyError` before anything has started; no secret has a default."""

    backend_addr: str
    release: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        return cls(
            backend_addr=environment["BACKEND_ADDR"],
            release=environment.get("DODAI_RELEASE", ""),
        )
