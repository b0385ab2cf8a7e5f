"""What a run did, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dodai.core.dataclass import dataclass
from dodai.migrations.migration import Direction, Migration

if TYPE_CHECKING:
    from dodai.migrations.apply.blocker_watch import Blocker


@dataclass(frozen=True, slots=True)
class Ran:
    """One migration that went through; times are milliseconds."""

    migration: Migration
    direction: Direction
    ms: float
    lock_wait_ms: float = 0.0
    retries: int = 0
    resumed_at: int = 0
    statement_ms: tuple[float, ...] = ()
    blockers: tuple[Blocker, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.migration.id,
            "path": self.migration.path,
            "direction": self.direction,
            "ms": round(self.ms, 3),
            "lockWaitMs": round(self.lock_wait_ms, 3),
            "retries": self.retries,
            "resumedAt": self.resumed_at or None,
            "statements": [
                {"line": statement.line, "ms": round(ms, 3)}
                for statement, ms in zip(self.migration.statements(self.direction), self.statement_ms, strict=False)
            ],
            "blockers": [str(blocker) for blocker in self.blockers],
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What `up` or `down` did. `already` counts what was in effect before."""

    run: str
    ran: tuple[Ran, ...] = ()
    already: int = 0
    notes: tuple[str, ...] = ()
    direction: Direction = "up"
    schema_after: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.ran)

    def as_json(self) -> dict[str, Any]:
        """The body of `dodai.migrate.up/1` or `dodai.migrate.down/1`."""
        return {
            "schema": f"dodai.migrate.{self.direction}/1",
            "run": self.run,
            "ran": [ran.as_json() for ran in self.ran],
            "already": self.already,
            "notes": list(self.notes),
            "schemaHash": self.schema_after or None,
        }
