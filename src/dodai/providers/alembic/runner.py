"""Apply Alembic revisions one at a time with the user's own Alembic, under our lock and into our log."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dodai.core.errors import DodaiError
from dodai.migrations import apply, codes, ledger
from dodai.migrations.apply import Applied, Entry, Ran, Status
from dodai.migrations.migration import Migration
from dodai.migrations.ports import Connection, Target, is_database_error
from dodai.migrations.snapshot import schema_hash
from dodai.providers.alembic.reader import AlembicReader, ini_of
from dodai.providers.alembic.revision import Revision, in_order

LEDGER = "alembic_version"


@dataclass(frozen=True, slots=True)
class AlembicRunner:
    """`environment` is all that the user's env.py gets; it must hold the variable it takes the database URL from.

    The limits reach every driver that is built on libpq (psycopg, psycopg2) through `PGOPTIONS`. Others (asyncpg,
    pg8000) do not read it: for them whether the limits hold is unknown.
    """

    target: Target
    reader: AlembicReader
    environment: Mapping[str, str]

    def up(self, run: str, note: Callable[[str], None] = lambda _: None) -> Applied:
        """Apply what is pending; our own connection holds the lock meanwhile.

        Raises DOD222 with several heads, DOD250-259 when refused, DOD280 when a revision fails: those before it are
        applied and logged.
        """
        folder = self.reader.read()
        folder.sound()
        refusal = _several(self.reader.heads())
        if refusal:
            raise refusal
        conn = self.target.connect()
        try:
            conn.autocommit = True
            apply.check_connection(conn, self.target.policy, self.target.connect, note)
            with apply.only_runner(conn, self.target.policy, note):
                return self._up(conn, run, folder.migrations, note)
        finally:
            conn.close()

    def status(self) -> Status:
        """The revisions beside the version table. Raises what `target.connect` raises, nothing for bad files."""
        folder, heads = self.reader.read(), self.reader.heads()
        conn = self.target.connect()
        try:
            conn.autocommit = True
            at = current(conn)
            holder = apply.lock_holder(conn)
        finally:
            conn.close()
        done = ancestors(self.reader.revisions(), at)
        entries = [Entry(m.id, m.path, "applied" if m.id in done else "pending") for m in folder.migrations]
        entries += [Entry(id_, "", "newer") for id_ in sorted(at - {m.id for m in folder.migrations})]
        return Status(f"public.{LEDGER}", tuple(entries), folder.problems, _several(heads), holder)

    def _up(self, conn: Connection, run: str, migrations: Sequence[Migration], note: Callable[[str], None]) -> Applied:
        done = ancestors(self.reader.revisions(), current(conn))
        todo = [migration for migration in migrations if migration.id not in done]
        if not todo:
            return Applied(run, already=len(done))
        ledger.create_side_tables(conn)
        place = ledger.Ledger("public", LEDGER, present=True, side_present=True)
        ledger.begin_run(conn, run, "up", place, self.target.author(), schema_hash(conn))
        known = [migration for migration in migrations if migration.id in done]
        for migration in known:
            conn.execute(ledger.log_sql(run, migration, "up", "adopted", note="applied before dodai"))
        ran: list[Ran] = []
        for migration in todo:
            ran.append(self._one(conn, run, migration, [each.migration.id for each in ran]))
            note(f"{migration.path} in {ran[-1].ms:.0f} ms")
        after = schema_hash(conn)
        ledger.finish_run(conn, run, "done", after)
        return Applied(run, tuple(ran), len(done), schema_after=after)

    def _one(self, conn: Connection, run: str, migration: Migration, applied: list[str]) -> Ran:
        began = time.perf_counter()
        said = self._alembic(migration.id)
        ms = (time.perf_counter() - began) * 1000
        if said or migration.id not in ancestors(self.reader.revisions(), current(conn)):
            conn.execute(ledger.log_sql(run, migration, "up", "failed", ms=ms, note=said[:500]))
            ledger.finish_run(conn, run, codes.FAILED.id)
            message = f"{migration.path}: {said or 'alembic ended well, but its version table does not show it'}"
            details = (f"applied and recorded by this run: {', '.join(applied) or 'nothing'}",)
            raise DodaiError(codes.FAILED, message, codes.FAILED.fix.en, details=details)
        conn.execute(ledger.log_sql(run, migration, "up", "applied", ms=ms))
        return Ran(migration, "up", ms)

    def _alembic(self, revision: str) -> str:
        """The last line of what it said when it failed, "" when it ended well."""
        policy = self.target.policy
        limits = (
            f"-c lock_timeout={int(policy.lock_timeout_s * 1000)}ms"
            f" -c statement_timeout={int(policy.statement_timeout_s * 1000)}ms"
        )
        ini = ini_of(self.reader.root, self.reader.folder)
        command = [self.reader.python, "-m", "alembic", "-c", str(ini), "upgrade", revision]
        environment = {"PATH": os.environ.get("PATH", ""), **self.environment, "PGOPTIONS": limits}
        try:
            done = subprocess.run(
                command, cwd=ini.parent, env=environment, capture_output=True, text=True,
                timeout=policy.statement_timeout_s + policy.lock_patience_s, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return "" if done.returncode == 0 else _telling(lines)


def _several(heads: Sequence[str]) -> DodaiError | None:
    """DOD222 when the history has more than one end."""
    if len(heads) < 2:
        return None
    named = ", ".join(f"`{head}`" for head in heads)
    return DodaiError(codes.SEVERAL_HEADS, f"the history ends in {named}", codes.SEVERAL_HEADS.fix.en, exit_code=1)


def _telling(lines: list[str]) -> str:
    """The driver's own error among SQLAlchemy's: the line that names the exception."""
    named = [line for line in lines if "Error" in line or "psycopg" in line.lower()]
    return (named or lines or ["alembic failed"])[-1]


def current(conn: Connection) -> frozenset[str]:
    """The heads that the database is at; none when Alembic never ran there."""
    try:
        return frozenset(row[0] for row in conn.execute(f"SELECT version_num FROM {LEDGER}").fetchall())  # noqa: S608
    except Exception as error:
        if not is_database_error(error) or getattr(error, "sqlstate", "") != "42P01":
            raise
        return frozenset()


def ancestors(revisions: Iterable[Revision], heads: Iterable[str]) -> frozenset[str]:
    """`heads` and everything they follow; readiness asks for these."""
    parents = {revision.id: revision.parents for revision in in_order(revisions)}
    found: set[str] = set()
    waiting = list(heads)
    while waiting:
        id_ = waiting.pop()
        if id_ not in found:
            found.add(id_)
            waiting += parents.get(id_, ())
    return frozenset(found)
