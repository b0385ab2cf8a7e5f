"""`[migrations]` as a value, and the decisions that need nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.section import bind, seconds

Format = Literal["goose", "plain", "dbmate", "diesel", "prisma", "flyway", "alembic", "django"]
LEDGER = "goose_db_version"
"""goose's own table; what `[migrations].ledger` is when nothing is said."""
TOOL_LEDGERS: Mapping[Format, str] = {"alembic": "alembic_version", "django": "django_migrations"}
"""Where the tools that run their own migrations keep what is applied."""
GOOSE_LOCK_ID = 4097083626
"""The session advisory lock of goose's own library, so that it and dodai exclude each other."""
AGENT_LOCK_ID = GOOSE_LOCK_ID + 1
"""Held by the connection in which another tool works for us: one that outlives its runner is seen by it."""
NO_BASE = "none"
"""`[migrations].base` of files that no branch has yet: nothing is compared, and the report says so."""
SIDE_SCHEMA = "dodai"
"""Where our tables in a user's database stand when `[migrations].log_schema` says nothing; then nothing else does."""
SIDE_TABLES: Mapping[str, str] = {
    "migration_run": "git_dirty",
    "migration_log": "token_sha256",
    "migration_fence": "runner_token",
    "migration_restored": "mark",
}
"""Our tables, each with a column by which it is told from a table of the user's that has the same name."""
_NAMES = ", ".join(f"'{name}'" for name in SIDE_TABLES)
_COLUMNS = ", ".join(f"('{name}', '{column}')" for name, column in SIDE_TABLES.items())
IS_OURS = (
    f"(c.relname IN ({_NAMES}) AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS own WHERE own.attrelid = c.oid"
    f" AND (c.relname, own.attname) IN ({_COLUMNS})))"
)
"""Of a row `c` of pg_class: whether it is a table of ours, in whatever schema; left out of snapshots and drift."""


@dataclass(frozen=True, slots=True)
class MigrationsPolicy:
    """`[migrations]`; times are seconds."""

    folder: str = "db/migrations"
    format: Format = "goose"
    ledger: str = LEDGER
    log_schema: str = SIDE_SCHEMA
    lock_timeout_s: float = seconds("500ms")
    lock_patience_s: float = seconds("2m")
    statement_timeout_s: float = seconds("15m")
    runner_patience_s: float = seconds("5m")
    base: str = ""
    queries: tuple[str, ...] = ()
    batch_lag_s: float = seconds("2s")
    evidence_age_s: float = seconds("1d")
    operator: str = ""
    window: str = ""
    plain_hosts: tuple[str, ...] = ()

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> MigrationsPolicy:
        """The policy in a validated `[migrations]` table; keys that are absent have their defaults."""
        return bind(cls, section)

    @property
    def table(self) -> str:
        """The ledger that counts: what `ledger` says, or the tool's own as long as nothing was said."""
        return TOOL_LEDGERS.get(self.format, self.ledger) if self.ledger == LEDGER else self.ledger

    @property
    def ledger_parts(self) -> tuple[str, str]:
        """Schema ("" when the search path decides) and table of the ledger."""
        return ledger_parts(self.table)


def ledger_parts(name: str) -> tuple[str, str]:
    """Schema ("" when there is none) and table of a name that may have a schema before it."""
    schema, _, table = name.rpartition(".")
    return schema, table


def missing_ids(required: Iterable[str], applied: Iterable[str]) -> tuple[str, ...]:
    """The required migration ids that are not applied, sorted; ready means none."""
    return tuple(sorted(set(required) - set(applied)))


def retry_wait_s(failures: int) -> float:
    """How long to step aside after the nth lock timeout: 0.25 s doubling up to 4 s, so that readers get through."""
    return float(min(0.25 * 2 ** (failures - 1), 4.0))
