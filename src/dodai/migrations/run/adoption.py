"""Take over a database that another tool, or nobody, managed: the baseline is proven, not assumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import apply, codes, ledger
from dodai.migrations.goose_file import history_of, statements_of
from dodai.migrations.lock_probe.walk import run_file
from dodai.migrations.look import look
from dodai.migrations.migration import Migration
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.migrations.run.author import new_run
from dodai.migrations.snapshot import Snapshot, snapshot

FOREIGN_LEDGERS = (
    "alembic_version",
    "django_migrations",
    "schema_migrations",
    "flyway_schema_history",
    "_sqlx_migrations",
    "__diesel_schema_migrations",
    "_prisma_migrations",
)


@dataclass(frozen=True, slots=True)
class Adopted:
    """`baseline` are the ids now recorded as applied; `foreign` the ledger of another tool that was found and left."""

    baseline: tuple[str, ...]
    pending: tuple[str, ...]
    foreign: str = ""
    already: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": "dodai.migrate.adopt/1",
            "baseline": list(self.baseline),
            "pending": list(self.pending),
            "foreignLedger": self.foreign or None,
            "already": self.already,
        }


def adopt(
    target: MigrationTarget,
    shadow: Shadow,
    *,
    at: str = "",
    baseline: str = "",
    admit: Callable[[SqlConnection], None] = lambda _: None,
) -> Adopted:
    """Record as applied the files that built this schema: those whose schema on an empty server is equal to it.

    `at` chooses among prefixes that build the same schema (files that only change data). `baseline` is the version of a
    file that stands for applied ones which are gone (a squash); the same proof is asked of it. `admit` looks at the
    database first and may refuse it. Changes nothing but the ledger. Raises DOD260 with the differences to the nearest
    prefix when none is equal, or when several are.
    """
    migrations = [m for m in history_of(target).sound() if not m.repeatable]
    conn = target.connect()
    try:
        admit(conn)
        conn.autocommit = True
        with apply.only_runner(conn, target.policy, lambda _: None):
            state = ledger.read(conn, target.policy, target.tool)
            if state.ids and baseline:
                return _squash(conn, target, state, migrations, shadow, baseline)
            if state.ids:
                left = tuple(m.id for m in migrations if m.id not in state.ids)
                return Adopted(state.ids, left, already=True)
            foreign = _foreign(conn, state.ledger)
            live = without_ledgers(snapshot(conn, state.ledger.table)).ignoring_order
            if target.tool:
                migrations = [m for m in statements_of(target, shadow).sound() if not m.repeatable]
            count = _choose(migrations, _prefixes(migrations, shadow), live, at)
            _record(conn, target, state.ledger, migrations[:count])
    finally:
        conn.close()
    ids = tuple(m.id for m in migrations)
    return Adopted(ids[:count], ids[count:], foreign)


def without_ledgers(schema: Snapshot) -> Snapshot:
    """The schema without the tables other tools keep their records in."""
    return Snapshot(tuple(line for line in schema.lines if not any(name in line for name in FOREIGN_LEDGERS)))


def _foreign(conn: SqlConnection, own: ledger.Ledger) -> str:
    names = ", ".join(f"'{name}'" for name in FOREIGN_LEDGERS if name != own.table)
    row = conn.execute(f"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname IN ({names})").fetchone()  # noqa: S608
    return str(row[0]) if row else ""


def _prefixes(migrations: Sequence[Migration], shadow: Shadow) -> list[Snapshot]:
    """The schema after none, one, two, … of the files."""
    with shadow() as database:
        conn = database()()
        conn.autocommit = True
        seen = look(conn)
        found = [seen.snapshot.ignoring_order]
        for migration in migrations:
            run_file(conn, migration, "up")
            seen = look(conn, seen)
            found.append(seen.snapshot.ignoring_order)
        conn.close()
    return found


def _choose(migrations: Sequence[Migration], prefixes: Sequence[Snapshot], live: Snapshot, at: str) -> int:
    """How many files are in effect."""
    equal = [count for count, schema in enumerate(prefixes) if schema == live]
    ids = ["0", *(m.id for m in migrations)]
    if at:
        equal = [count for count in equal if ids[count] == at]
    if len(equal) == 1:
        return equal[0]
    if equal:
        named = ", ".join(f"`{ids[count]}`" for count in equal)
        message = f"the versions {named} build the same schema; whether their data changes ran cannot be seen"
        fix = f"look at the data, then `{proposal.MIGRATE_ADOPT_AT(version=ids[equal[-1]])}`"
        raise DodaiError(codes.ADOPT_UNPROVEN, message, fix, exit_code=1)
    distances = [(len(schema.differences(live)), -count) for count, schema in enumerate(prefixes)]
    nearest = -min(distances)[1]
    lines = prefixes[nearest].differences(live)
    message = f"nearest is version `{ids[nearest]}`, with {len(lines)} differences (`-` expected, `+` found)"
    raise DodaiError(codes.ADOPT_UNPROVEN, message, codes.ADOPT_UNPROVEN.fix.en, exit_code=1, details=lines[:20])


def _squash(
    conn: SqlConnection,
    target: MigrationTarget,
    state: ledger.State,
    migrations: Sequence[Migration],
    shadow: Shadow,
    baseline: str,
) -> Adopted:
    """The file `baseline` in the place of the applied versions that have no file any more, where it builds the same."""
    stands = next((m for m in migrations if m.id == baseline), None)
    gone = [id_ for id_ in state.ids if id_ not in {m.id for m in migrations}]
    if stands is None or target.tool:
        said = "Alembic and Django squash by themselves" if target.tool else f"`{baseline}` is the version of no file"
        raise DodaiError(codes.ADOPT_UNPROVEN, said, f"see `{proposal.MIGRATE_STATUS()}`", exit_code=1)
    if not gone:
        return Adopted(state.ids, tuple(m.id for m in migrations if m.id not in state.ids), already=True)
    kept = [m for m in migrations if m.id in state.ids or m is stands]
    wanted = _prefixes(kept, shadow)[-1]
    live = without_ledgers(snapshot(conn, state.ledger.table)).ignoring_order
    if lines := wanted.differences(live):
        message = f"`{stands.path}` and what is applied behind it build another schema (`-` expected, `+` found)"
        raise DodaiError(codes.ADOPT_UNPROVEN, message, codes.ADOPT_UNPROVEN.fix.en, exit_code=1, details=lines[:20])
    run, place = new_run(), ledger.create(conn, state.ledger)
    ledger.begin_run(conn, run, "adopt", place, target.author())
    note = f"stands for {len(gone)} versions, {gone[0]} to {gone[-1]}; schema proven equal"
    out = f"DELETE FROM {place.name} WHERE version_id IN ({', '.join(str(int(id_)) for id_ in gone)});"  # noqa: S608
    into = "" if stands.id in state.ids else ledger.record_sql(place, stands, "up")
    conn.execute(f"BEGIN;{out}{into}{ledger.log_sql(run, stands, 'up', 'adopted', note=note)}COMMIT;")
    ledger.finish_run(conn, run, "done")
    applied = tuple(m.id for m in kept)
    return Adopted(applied, tuple(m.id for m in migrations if m.id not in applied))


def _record(conn: SqlConnection, target: MigrationTarget, place: ledger.Ledger, baseline: Sequence[Migration]) -> None:
    run = new_run()
    made = ledger.create(conn, place)
    if place.tool and not place.present:
        conn.execute(place.tool.create_sql(place.name))
    ledger.begin_run(conn, run, "adopt", made, target.author())
    rows = [
        ledger.record_sql(made, m, "up") + ledger.log_sql(run, m, "up", "adopted", note="schema proven equal")
        for m in baseline
    ]
    conn.execute("BEGIN;" + "".join(rows) + "COMMIT;")
    ledger.finish_run(conn, run, "done")
