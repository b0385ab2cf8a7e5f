"""What drills see of the stage's database and how they get in its way, against a real PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from dodai.providers.postgres.stage_database import PostgresStageDatabase


@pytest.fixture
def stage(database: str) -> PostgresStageDatabase:
    with psycopg.connect(database) as conn:
        conn.execute('CREATE TABLE answers (n int); CREATE TABLE "odd name""s" (n int); CREATE TABLE ledger (n int)')
        conn.execute("INSERT INTO answers VALUES (1), (2); CREATE SCHEMA dodai; CREATE TABLE dodai.log (n int)")
        conn.execute("CREATE TABLE migration_log (token_sha256 text)")
    return PostgresStageDatabase(lambda: database, ("ledger",))


async def test_rows_of_every_table_of_the_application_are_counted(stage: PostgresStageDatabase):
    """Whatever they are called; ledgers and the tables of dodai itself are not the application's."""
    assert await stage.rows() == {"public.answers": 2, 'public."odd name""s"': 0}


async def test_locked_tables_let_nobody_read_until_the_block_ends(stage: PostgresStageDatabase, database: str):
    """A reader gives up after its own lock timeout, and reads again afterwards."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as reader:
        await reader.execute("SET lock_timeout = '50ms'")
        async with stage.locked():
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await reader.execute("SELECT * FROM answers")
        assert len(await (await reader.execute("SELECT * FROM answers")).fetchall()) == 2


async def test_database_that_is_away_is_told_from_one_that_answers(stage: PostgresStageDatabase):
    """No exception, a plain no."""
    assert await stage.answers()
    assert not await PostgresStageDatabase(lambda: "postgresql://nobody@127.0.0.1:1/nothing").answers()
