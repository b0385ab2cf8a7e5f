"""The schema of an environment beside its releases: what is applied, what a release needs, whether its queries fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import Connect, SqlConnection, is_database_error, server_message, sqlstate
from dodai.migrations.queries import MISFITS, Query, read_queries
from dodai.operations.environment import Environment
from dodai.operations.project import Project
from dodai.operations.release import RollbackTrial

UNTYPED = "42P18"
"""The server could not tell a placeholder's type: it had resolved every name by then."""


@dataclass(frozen=True, slots=True)
class ReleaseSchema:
    """`operations.release.Schema`: the application's database beside the releases of `environment`."""

    environment: Environment

    async def applied(self) -> tuple[str, ...]:
        here = self.environment
        if here.project.migrations is None or not here.database.url():
            return ()
        return await asyncio.to_thread(run.applied_ids, here.migrations.target(here.project.root))

    async def required(self, release: str) -> tuple[str, ...]:
        """The migrations in the files of `release`."""
        project = self.environment.released(release)
        if project.migrations is None:
            return ()
        return await asyncio.to_thread(run.required_ids, self.environment.migrations.target(project.root))

    async def pending(self, project: Project) -> tuple[str, ...] | None:
        """What `project`, a release or the working tree, would apply; None while the database does not answer."""
        here = self.environment
        if project.migrations is None or not here.database.url():
            return None
        try:
            seen = await asyncio.to_thread(run.status, here.migrations.target(project.root))
        except DodaiError:  # it does not run yet; the step that starts it comes later
            return None
        return tuple(entry.id for entry in seen.pending)

    async def trial(self, release: str) -> RollbackTrial:
        """The queries of `release` prepared on the schema of now."""
        try:
            project = self.environment.released(release)
        except DodaiError as error:
            return RollbackTrial("unknown", 0, (error.message,))
        if project.migrations is None:
            return RollbackTrial("unknown", 0, ("it names no `[migrations]`",))
        queries = read_queries(project.root, project.migrations.queries)
        if not queries:
            return RollbackTrial("unknown", 0, ("it names no queries in `[migrations].queries`",))
        return await asyncio.to_thread(_tried, queries, self.environment.migrations.connect)


def _tried(queries: Iterable[Query], connect: Connect) -> RollbackTrial:
    known, misfits, unclear = 0, list[str](), list[str]()
    connection = connect()
    try:
        connection.execute("SET lock_timeout = '2s'")
        for query in queries:
            known += 1
            state, said = _prepared(connection, query)
            if state in MISFITS:
                misfits.append(f"{query.path}:{query.line}: {said}")
            elif state not in ("", UNTYPED):
                unclear.append(f"{query.path}:{query.line}: {said}")
    finally:
        connection.close()
    return RollbackTrial("no" if misfits else "unknown" if unclear else "yes", known, tuple(misfits or unclear))


def _prepared(connection: SqlConnection, query: Query) -> tuple[str, str]:
    """The SQLSTATE and words of the server for a query it cannot prepare; both empty when it can."""
    try:
        connection.execute(f"PREPARE dodai_trial AS {query.sql}")
    except Exception as error:
        if not is_database_error(error):
            raise
        return sqlstate(error) or "?", server_message(error)
    connection.execute("DEALLOCATE dodai_trial")
    return "", ""
