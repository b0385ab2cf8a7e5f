"""What the environment says, read once at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """A missing name is a `KeyError` before anything has started."""

    port: int
    database_url: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        return cls(
            port=int(environment["PORT"]),
            database_url=environment["DATABASE_URL"],
        )
