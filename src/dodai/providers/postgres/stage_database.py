"""The database of a rehearsal's stage, as drills look at it and get in its way: directly, beside the application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations.policy import IS_OURS, SIDE_SCHEMA

TABLES = f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SIDE_SCHEMA}')
  AND NOT {IS_OURS} AND NOT (c.relname = ANY(%s)) ORDER BY 1
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class PostgresStageDatabase:
    """`url` is asked for late: the stage is built after its drills are known. `ledgers` are no tables of the app's."""

    url: Callable[[], str]
    ledgers: tuple[str, ...] = ()

    async def rows(self) -> Mapping[str, int]:
        """How many rows every table of the application has."""
        return await asyncio.to_thread(self._rows)

    def _rows(self) -> Mapping[str, int]:
        from dodai.providers.postgres.connection import connect

        with connect(self.url()) as conn:
            tables = [name for (name,) in conn.execute(TABLES, (list(self.ledgers),)).fetchall()]
            return {name: conn.execute(_count(name)).fetchall()[0][0] for name in tables}

    async def fill(self, table: str, rows: int) -> None:
        """A table `schema.name` of our own with so many rows, beside those of the application."""
        await asyncio.to_thread(self._fill, table, rows)

    def _fill(self, table: str, rows: int) -> None:
        from psycopg.sql import SQL, Identifier

        from dodai.providers.postgres.connection import connect

        made = SQL("CREATE TABLE {} AS SELECT generate_series(1, {}) AS id")
        with connect(self.url()) as conn:
            conn.execute(made.format(Identifier(*table.split(".")), rows))
            conn.commit()

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Every table of the application is locked against everybody for the length of the block."""
        from dodai.providers.postgres.connection import connect_async

        async with await connect_async(self.url()) as conn:
            found = await (await conn.execute(TABLES, (list(self.ledgers),))).fetchall()
            if found:
                await conn.execute(f"LOCK TABLE {', '.join(name for (name,) in found)}".encode())
            try:
                yield
            finally:
                await conn.rollback()

    async def answers(self) -> bool:
        """Whether a connection of our own gets an answer now."""
        from dodai.providers.postgres.connection import connect_async

        try:
            async with await connect_async(self.url(), timeout_s=2) as conn:
                await conn.execute("SELECT 1")
        except DodaiError:
            return False
        return True


def _count(table: str) -> bytes:
    """`table` comes quoted from the server itself."""
    return f"SELECT count(*) FROM {table}".encode()  # noqa: S608 - quoted by quote_ident
