"""What is applied and what is left, read without changing anything."""

from __future__ import annotations

from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import ledger
from dodai.migrations.apply.leftover import invalid_indexes
from dodai.migrations.apply.pending_files import edited, overtaken, pending, without_file
from dodai.migrations.apply.preconditions import coded, lock_holder, readable, refuse_unmanaged
from dodai.migrations.goose_file import history_of
from dodai.migrations.migration import FileProblem, Migration, MigrationFolder
from dodai.migrations.ports import MigrationTarget, SqlConnection

Standing = Literal["applied", "pending", "out of order", "edited", "missing", "newer", "half applied", "changed"]


@dataclass(frozen=True, slots=True)
class MigrationEntry:
    """One migration; `at` is when it was applied, as the ledger says (the database's local time)."""

    id: str
    path: str
    standing: Standing
    at: str = ""
    statements_done: int = 0
    statements: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "path": self.path or None,
            "standing": self.standing,
            "appliedAt": self.at or None,
            "statementsDone": self.statements_done,
            "statements": self.statements,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """`refusal` says why `migrate up` would not run, when it would not."""

    ledger: str
    entries: tuple[MigrationEntry, ...]
    problems: tuple[FileProblem, ...] = ()
    refusal: DodaiError | None = None
    lock_holder: str = "nobody"
    invalid_indexes: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[MigrationEntry, ...]:
        return tuple(e for e in self.entries if e.standing in ("pending", "out of order", "half applied", "changed"))

    @property
    def applied(self) -> tuple[str, ...]:
        return tuple(e.id for e in self.entries if e.standing in ("applied", "edited", "missing", "newer"))

    @property
    def ok(self) -> bool:
        """Nothing is left to do and nothing is wrong."""
        return not self.pending and not self.problems and self.refusal is None and not self.invalid_indexes

    def as_json(self) -> dict[str, Any]:
        """The body of `dodai.migrate.status/1`."""
        return {
            "schema": "dodai.migrate.status/1",
            "ledger": self.ledger,
            "applied": len(self.applied),
            "pending": [entry.id for entry in self.pending],
            "migrations": [entry.as_json() for entry in self.entries],
            "problems": [
                {"path": p.path, "line": p.line, "code": p.code.id, "message": p.message} for p in self.problems
            ],
            "refusal": self.refusal.as_json() if self.refusal else None,
            "invalidIndexes": list(self.invalid_indexes),
            "lockHolder": None if self.lock_holder == "nobody" else self.lock_holder,
        }


@coded()
def status(target: MigrationTarget) -> Status:
    """The ledger beside the files. Raises what `target.connect` raises, DOD281 and DOD284; nothing for bad files."""
    folder = history_of(target)
    with target.reading() as conn:
        state = readable(lambda: ledger.read(conn, target.policy, target.tool))
        halves = _half_applied(conn, state, folder.migrations)
        holder = lock_holder(conn)
        invalid = invalid_indexes(conn)
        refusal = _refusal(conn, folder, state)
    return Status(
        state.ledger.name, _entries(folder.migrations, state, halves), folder.problems, refusal, holder, invalid
    )


def _refusal(conn: SqlConnection, folder: MigrationFolder, state: ledger.State) -> DodaiError | None:
    if several := folder.several():
        return several
    try:
        pending(folder.migrations, state)
        if folder.migrations and not state.ledger.present and not state.ledger.side_present:
            refuse_unmanaged(conn)
    except DodaiError as error:
        return error
    return None


def _half_applied(conn: Any, state: ledger.State, migrations: tuple[Migration, ...]) -> dict[str, int]:
    if not state.ledger.side_present:
        return {}
    applied = set(state.ids)
    candidates = [m for m in migrations if not m.transactional and not m.repeatable and m.id not in applied]
    progress = {m.id: ledger.progress(conn, state.ledger, m.id, "up") for m in candidates}
    return {id_: len(seen.done) for id_, seen in progress.items() if seen.begun}


def _entries(
    migrations: tuple[Migration, ...], state: ledger.State, halves: dict[str, int]
) -> tuple[MigrationEntry, ...]:
    at = {row.id: row.at.isoformat(" ", "seconds") if row.at else "" for row in state.applied}
    versioned = [m for m in migrations if not m.repeatable]
    early = overtaken(versioned, state)
    changed = {m.id for m in edited(migrations, state)}
    entries = [
        MigrationEntry(
            m.id,
            m.path,
            _standing(m, at, early, changed, halves, state),
            at.get(m.id, ""),
            halves.get(m.id, 0),
            len(m.up),
        )
        for m in migrations
    ]
    gone, newer = without_file(versioned, state)
    for id_ in (*gone, *newer):
        recorded = state.recorded.get(id_)
        path = recorded.path if recorded else ""
        entries.append(MigrationEntry(id_, path, "newer" if id_ in newer else "missing", at[id_]))
    return tuple(entries)


def _standing(
    migration: Migration,
    at: dict[str, str],
    early: frozenset[str],
    changed: set[str],
    halves: dict[str, int],
    state: ledger.State,
) -> Standing:
    if migration.repeatable:
        recorded = state.recorded.get(migration.id)
        if recorded is None:
            return "pending"
        return "applied" if recorded.same(migration) else "changed"
    if migration.id in at:
        return "edited" if migration.id in changed else "applied"
    if migration.id in halves:
        return "half applied"
    return "out of order" if migration.id in early else "pending"
