"""The migration lock while files run that give locks back, and what is told of those who stand in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.migrations.conftest import NO_TX, up

from dodai.core.errors import DodaiError
from dodai.migrations import run, sql
from dodai.migrations.policy import GOOSE_LOCK_ID
from dodai.migrations.ports import MigrationTarget, SqlConnection

Make = Callable[..., MigrationTarget]
FREE = f"SELECT pg_try_advisory_lock({GOOSE_LOCK_ID}) AND pg_advisory_unlock({GOOSE_LOCK_ID})"
LOSES_IT = {
    "in a transaction": up("SELECT pg_advisory_unlock_all();"),
    "in a block": up("DO 'BEGIN PERFORM pg_advisory_unlock_all(); END';"),
    "statement by statement": up("SELECT pg_advisory_unlock_all();", head=NO_TX),
    "outside of any transaction": up("DISCARD ALL;", head=NO_TX),
}


class Between:
    """A connection that does something of somebody else's behind each message."""

    def __init__(self, inner: Any, behind: Callable[[str], None]) -> None:
        self.__dict__.update(inner=inner, behind=behind)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def execute(self, query: str, *words: Any, **options: Any) -> Any:
        found = self.inner.execute(query, *words, **options)
        self.behind(query)
        return found


def watched(target: MigrationTarget, behind: Callable[[str], None]) -> MigrationTarget:
    """The run's own connection, not that of its watch, which may ask between a statement and what follows it."""
    first = iter([True])

    def connect() -> SqlConnection:
        made = target.connect()
        return Between(made, behind) if next(first, False) else made  # type: ignore[return-value]

    return replace(target, connect=connect)


@pytest.mark.parametrize("text", LOSES_IT.values(), ids=LOSES_IT.keys())
def test_a_file_that_gives_every_lock_back_lets_no_other_runner_in(text: str, make_target: Make, conn: SqlConnection):
    """Nobody gets the lock before its COMMIT nor behind it; once the run is over anybody does."""
    target = make_target({"1_a.sql": text, "2_b.sql": up("CREATE TABLE b (c int);")})
    alone: list[bool] = []

    def look(query: str) -> None:
        if query.startswith("INSERT INTO") and "migration_run" in query:
            alone.append(False)  # the run has begun
        elif alone and "pg_advisory_unlock(" not in query and "DISCARD" not in query:
            alone.append(bool(conn.execute(FREE).fetchone()[0]))

    done = run.up(watched(target, look))
    assert [each.migration.id for each in done.ran] == ["1", "2"]
    assert len(alone) > 4
    assert not any(alone)
    assert conn.execute(FREE).fetchone()[0]


def test_a_runner_that_took_the_lost_lock_is_left_alone(make_target: Make, conn: SqlConnection):
    """Who comes between `DISCARD ALL` and the next look has it: this run stops, and says where."""
    target = make_target({"1_a.sql": up("DISCARD ALL;", "CREATE TABLE a (b int);", head=NO_TX)})

    def take(query: str) -> None:
        if query == "DISCARD ALL;":
            conn.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")

    with pytest.raises(DodaiError) as refused:
        run.up(watched(target, take))
    assert refused.value.code.id == "DOD250"
    assert refused.value.exit_code == 75
    assert "1_a.sql:3, statement 1" in refused.value.message
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] is None
    conn.execute(f"SELECT pg_advisory_unlock({GOOSE_LOCK_ID})")
    assert run.up(target).changed


@given(st.text(st.characters(exclude_characters="\0'$\"\\")))
def test_no_value_of_a_blocking_query_is_told(value: str):
    """However it is quoted, and where the text was cut within it."""
    word = f"secret{value}secret"
    query = f"UPDATE person SET a = '{word}', b = E'{word}', c = $${word}$$, d = 4711 -- secret\nWHERE e = '{word}"
    assert sql.masked(query, 200) == "UPDATE person SET a = ?, b = ?, c = ?, d = ? WHERE e = ?"


def test_a_long_blocking_query_is_cut():
    """Names stay readable; the line has the length that was asked for."""
    assert sql.masked('SELECT  "A b",\n' + "column_name, " * 40, 40) == 'SELECT "A b", column_name, column_nam...'
