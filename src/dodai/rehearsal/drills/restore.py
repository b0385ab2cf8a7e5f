"""The drill of a restore: a migration destroys data that nobody misses at first, and all of it comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.core.text import counted
from dodai.migrations.ports import MigrationTarget
from dodai.migrations.snapshot import schema_hash
from dodai.operations.journey import walk
from dodai.operations.policy import OperationsPolicy
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.load import Person, difference, people, repeatable
from dodai.rehearsal.ports import Stage, StageDatabase, Subject, Visit

ID = "data-is-restored"
SQL_FILES = ("goose",)
FILE = "99991231235958_emptied_by_a_rehearsal.sql"
_REFERRED = "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass(%s))"
Rows = Mapping[str, int]


def drills(
    policy: OperationsPolicy, visit: Visit, target: MigrationTarget | None, database: StageDatabase | None
) -> tuple[Drill, ...]:
    """The drill, for a service with journeys whose database gets its migrations from SQL files."""
    if policy.public_service is None or target is None or database is None or not people(policy.journeys):
        return ()
    if target.policy.format not in SQL_FILES:
        return ()
    return (
        Drill(
            ID,
            "operations",
            Text(
                "A migration that destroys rows is taken back with its data",
                "行を失わせたマイグレーションから、データごと復元する",
            ),
            f"exit 0{_within(policy)}; schema and rows are those of before, the journeys go, what was written since is "
            "listed row by row",
            partial(_restored, _Restore(policy, visit, target, database)),
        ),
    )


def _within(policy: OperationsPolicy) -> str:
    """The bound of the manifest as words of a sentence; empty without one."""
    bound_s = policy.database.restore_within_s
    return f" within {bound_s:g} s" if bound_s else ""


@dataclass(frozen=True, slots=True)
class _Restore:
    policy: OperationsPolicy
    visit: Visit
    target: MigrationTarget
    database: StageDatabase

    async def rows(self) -> Counter[str]:
        return Counter(await self.database.rows())

    async def schema(self) -> str:
        return await asyncio.to_thread(self._asked, schema_hash)

    async def victim(self, written: Counter[str]) -> str:
        """The table that people write most to and no other one refers to; empty when there is none."""
        for table, _ in written.most_common():
            if not await asyncio.to_thread(self._asked, lambda conn, name=table: _is_referred_to(conn, name)):
                return table
        return ""

    def _asked(self, ask: Any) -> Any:
        conn = self.target.connect()
        conn.autocommit = True
        try:
            return ask(conn)
        finally:
            conn.close()

    async def write(self, url: str, persons: tuple[Person, ...]) -> int:
        """How many writes of people were answered as they should be."""
        answered = 0
        for person in persons:
            visitor = self.visit(url)
            try:
                await person.enter(visitor)
                for journey in person.journeys:
                    walked = await walk(journey, visitor)
                    pairs = zip(journey.steps, walked.steps, strict=False)
                    answered += sum(step.effect == "write" and not result.problem for step, result in pairs)
            finally:
                await visitor.close()
        return answered


def _is_referred_to(conn: Any, table: str) -> bool:
    return bool(conn.execute(_REFERRED, (table,)).fetchone()[0])


async def _restored(case: _Restore, stage: Stage) -> DrillResult:
    """Rows are compared with what the smoke test of a deploy adds: it is walked once before and once after."""
    release = next(service.release for service in (await stage.host.status()).services if service.release)
    persons, per_walk = await repeatable(stage.url, case.visit, people(case.policy.journeys), case.rows)
    victim = await case.victim(sum(per_walk.values(), Counter()))
    if not victim:
        return DrillResult("no journey writes to a table that could be emptied", ok=False)
    before, schema = await case.rows(), await case.schema()
    text = f"-- +goose Up\nDELETE FROM {victim};\n\n-- +goose Down\nSELECT 1;\n"
    bad = await stage.derive(release, {f"{case.target.policy.folder}/{FILE}": text.encode()})
    destroyed = await stage.deploy(bad)
    if error := destroyed.error():
        raise error
    damaged = await case.rows()
    answered = await case.write(stage.url, persons)
    late = await case.rows()
    back = await stage.restore(release)
    after, tables = await case.rows(), await stage.replaced()
    smoke = difference(damaged, before) | {victim: damaged[victim]}
    expected = before + Counter({table: rows for table, rows in smoke.items() if rows > 0})
    since = {f"{one.schema}.{one.table}": (one.added, one.removed) for one in tables}
    owed = {t: (late[t] - (0 if t == victim else before[t]), before[t] if t == victim else 0) for t in late}
    owed = {table: rows for table, rows in owed.items() if rows != (0, 0)}
    listed = {table: rows for table, rows in since.items() if rows != (0, 0)}
    same_schema = schema == await case.schema()
    bound_s = case.policy.database.restore_within_s
    in_time = not bound_s or back.seconds <= bound_s
    over = "" if in_time else f", {bound_s:g} are allowed"
    ok = back.exit_code == 0 and in_time and same_schema and +after == +expected and listed == owed and answered > 0
    rescued = sum(added for added, _ in listed.values())
    observed = (
        f"exit {back.exit_code} after {back.seconds:.1f} s{over}, {before[victim]} destroyed rows of {victim} are back,"
        f" schema {'as before' if same_schema else 'differs'}, {counted(rescued, 'row')} written since are listed, "
        f"{answered} writes of people among them"
    )
    details = {
        "restoreSeconds": round(back.seconds, 1),
        "allowedSeconds": bound_s or None,
        "victim": victim,
        "rowsBefore": dict(before),
        "rowsAfter": dict(after),
        "rowsExpected": dict(expected),
        "listed": {table: list(rows) for table, rows in listed.items()},
        "owed": {table: list(rows) for table, rows in owed.items()},
        "steps": {record.id: round(record.seconds, 2) for record in back.records},
    }
    return DrillResult(observed, ok, (), details)


def _of(subject: Subject) -> tuple[Drill, ...]:
    return drills(subject.policy, subject.visit, subject.migrations, subject.database)


DRILLS = DrillFile("operations", _of, position=70)
