"""Take over a database that another tool, or nobody, managed: the baseline is proven, not assumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.migrations import apply, ledger
from dodai.migrations.goose_file import history_of, statements_of
from dodai.migrations.migration import Migration
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.migrations.run.author import new_run
from dodai.migrations.run.schema_proof import FOREIGN_LEDGERS, nearest, prefixes, schema_of, unproven
from dodai.migrations.run.squash import stand_in
from dodai.migrations.snapshot import Snapshot


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


@apply.coded()
def adopt(
    target: MigrationTarget,
    shadow: Shadow,
    *,
    at: str = "",
    baselines: Sequence[str] = (),
    admit: Callable[[SqlConnection], None] = lambda _: None,
) -> Adopted:
    """Record as applied the files that built this schema: those whose schema on an empty server is equal to it.

    `at` chooses among prefixes that build the same schema (files that only change data). `baselines` are the versions
    of files that stand for applied ones which are gone (a squash); the same proof is asked of them. `admit` looks at
    the database first and may refuse it. Changes nothing but the ledger. Raises DOD260 with the differences to the
    nearest prefix when none is equal, or when several are.
    """
    migrations = [m for m in history_of(target).sound() if not m.repeatable]
    conn = target.connect()
    try:
        admit(conn)
        conn.autocommit = True
        with apply.only_runner(conn, target.policy, lambda _: None):
            state = apply.readable(lambda: ledger.read(conn, target.policy, target.tool))
            if state.ids:
                stood = stand_in(conn, target, state, migrations, shadow, baselines, at) if baselines else None
                ids = state.ids if stood is None else stood
                left = tuple(m.id for m in migrations if m.id not in ids)
                return Adopted(ids, left, already=stood is None)
            foreign = _foreign(conn, state.ledger)
            live = schema_of(conn, state.ledger.table)
            if target.tool:
                migrations = [m for m in statements_of(target, shadow).sound() if not m.repeatable]
            found = prefixes(migrations, shadow)
            count = _choose(migrations, found, live.without_schema(state.ledger.side, found), at)
            _record(conn, target, state.ledger, migrations[:count])
    finally:
        conn.close()
    ids = tuple(m.id for m in migrations)
    return Adopted(ids[:count], ids[count:], foreign)


def _foreign(conn: SqlConnection, own: ledger.Ledger) -> str:
    names = ", ".join(f"'{name}'" for name in FOREIGN_LEDGERS if name != own.table)
    row = conn.execute(f"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname IN ({names})").fetchone()  # noqa: S608
    return str(row[0]) if row else ""


def _choose(migrations: Sequence[Migration], found: Sequence[Snapshot], live: Snapshot, at: str) -> int:
    """How many files are in effect."""
    equal = [count for count, schema in enumerate(found) if schema == live]
    ids = ["0", *(m.id for m in migrations)]
    if at:
        equal = [count for count in equal if ids[count] == at]
    if len(equal) == 1:
        return equal[0]
    if equal:
        named = ", ".join(f"`{ids[count]}`" for count in equal)
        message = f"the versions {named} build the same schema; whether their data changes ran cannot be seen"
        fix = f"look at the data, then `{proposal.MIGRATE_ADOPT_AT(version=ids[equal[-1]])}`"
        raise unproven(message, fix)
    number = nearest(found, live)
    lines = found[number].differences(live)
    message = f"nearest is version `{ids[number]}`, with {len(lines)} differences (`-` expected, `+` found)"
    raise unproven(message, lines=lines)


def _record(conn: SqlConnection, target: MigrationTarget, place: ledger.Ledger, baseline: Sequence[Migration]) -> None:
    run = new_run()
    made = ledger.create(conn, place)
    if place.tool and not place.present:
        conn.execute(place.tool.create_sql(place.name))
    ledger.begin_run(conn, run, "adopt", made, target.author())
    rows = [
        ledger.record_sql(made, m, "up") + ledger.log_sql(made, run, m, "up", "adopted", note="schema proven equal")
        for m in baseline
    ]
    conn.execute("BEGIN;" + "".join(rows) + "COMMIT;")
    ledger.finish_run(conn, made, run, "done")
