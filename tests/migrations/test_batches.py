"""A backfill in batches: ranges of a key that commit one by one, and go on where they stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.migrations.conftest import NO_TX, run_check, up, write
from tests.support.command import git

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.apply.key_ranges import ranged
from dodai.migrations.goose_file import parse, parse_plain
from dodai.migrations.migration import BatchDirective, FileError, Statement
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection

Make = Callable[..., MigrationTarget]
TABLE = up(
    "CREATE TABLE a (id int PRIMARY KEY, word text, n int DEFAULT 0);", "INSERT INTO a SELECT generate_series(1, 10);"
)
BATCH = "-- dodai: batch a id 3"


def fill(statement: str, batch: str = BATCH) -> str:
    return up(batch, statement, head=NO_TX)


def reached(conn: SqlConnection) -> list[str]:
    rows = conn.execute("SELECT note FROM dodai.migration_log WHERE event = 'batch' ORDER BY id").fetchall()
    return [row[0] for row in rows]


def counts(conn: SqlConnection) -> list[int]:
    return [row[0] for row in conn.execute("SELECT n FROM a ORDER BY id").fetchall()]


def test_each_range_commits_for_itself_and_every_row_is_changed_once(make_target: Make, conn: SqlConnection):
    """Ten rows, three at a time; the ledger has the file when all are done, and each range was a transaction."""
    run.up(make_target({"1_a.sql": TABLE, "2_fill.sql": fill("UPDATE a SET n = n + 1;")}))
    assert reached(conn) == ["3", "6", "9", "10"]
    assert counts(conn) == [1] * 10
    assert conn.execute("SELECT count(DISTINCT xmin::text) FROM a").fetchone()[0] == 4
    assert conn.execute("SELECT max(version_id) FROM goose_db_version").fetchone()[0] == 2


def test_a_failed_range_leaves_the_ones_before_and_the_next_run_goes_on_behind_them(
    make_target: Make, conn: SqlConnection
):
    """Half applied is said so; what was counted once is not counted again."""
    target = make_target({"1_a.sql": TABLE, "2_fill.sql": fill("UPDATE a SET n = n + 1 + 0 / (id - 8);")})
    with pytest.raises(DodaiError) as failed:
        run.up(target)
    assert failed.value.code.id == "DOD283"
    assert reached(conn) == ["3", "6"]
    assert [(entry.id, entry.standing) for entry in run.status(target).entries] == [
        ("1", "applied"),
        ("2", "half applied"),
    ]
    with pytest.raises(DodaiError) as edited:
        run.up(make_target({"2_fill.sql": fill("UPDATE a SET n = n + 2;")}))
    assert edited.value.code.id == "DOD261"
    make_target({"2_fill.sql": fill("UPDATE a SET n = n + 1 + 0 / (id - 8);")})
    conn.execute("DELETE FROM a WHERE id = 8; UPDATE a SET n = 0")
    done = run.up(target)
    assert [(ran.migration.id, ran.resumed_at) for ran in done.ran] == [("2", 1)]
    assert reached(conn) == ["3", "6", "10"]
    assert counts(conn) == [0] * 6 + [1] * 3


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        ("-- dodai: batch a word 3", "may be NULL"),
        ("-- dodai: batch a n 3", "may be NULL"),
        ("-- dodai: batch a other 3", "is not there"),
        ("-- dodai: batch a late 3", "has no index"),
    ],
)
def test_a_key_that_cannot_cut_the_table_is_refused_before_a_row_is_changed(
    make_target: Make, conn: SqlConnection, batch: str, why: str
):
    """Rows would be left out, or each batch would read the whole table."""
    table = TABLE.replace("n int DEFAULT 0", "n int DEFAULT 0, late int NOT NULL DEFAULT 1")
    table = table.replace("INSERT INTO a SELECT", "INSERT INTO a (id) SELECT")
    with pytest.raises(DodaiError) as refused:
        run.up(make_target({"1_a.sql": table, "2_fill.sql": fill("UPDATE a SET n = 1;", batch)}))
    assert (refused.value.code.id, why in refused.value.message) == ("DOD267", True)
    assert "db/migrations/2_fill.sql:3" in refused.value.message
    assert counts(conn) == [0] * 10


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (up(BATCH, "UPDATE a SET n = 1;"), 2),
        (fill("INSERT INTO a VALUES (11);"), 3),
        (fill("UPDATE a SET n = 1 RETURNING id;"), 3),
        (fill("UPDATE a SET n = 1;", "-- dodai: batch a id"), 3),
        (fill("UPDATE a SET n = 1;", "-- dodai: batch a id 0"), 3),
        (up("UPDATE a SET n = 1;", BATCH, head=NO_TX), 4),
    ],
)
def test_a_directive_that_cannot_be_carried_out_is_refused_where_it_stands(text: str, line: int):
    """In a file that is one transaction, before another statement or none, or in another form."""
    with pytest.raises(FileError) as refused:
        parse("db/migrations/2_fill.sql", text.encode())
    assert (refused.value.problem.code.id, refused.value.problem.line) == ("DOD225", line)


def test_a_directive_belongs_to_the_statement_behind_it_in_either_way():
    """Also in a plain file, which then runs statement by statement."""
    text = fill("UPDATE a SET n = 1;") + f"-- +goose Down\nSELECT 1;\n{BATCH}\nUPDATE a SET n = 0;\n"
    found = parse("2_fill.sql", text.encode())
    assert [bool(each.batch) for each in (*found.up, *found.down)] == [True, False, True]
    plain = parse_plain("2_fill.sql", f"SELECT 1;\n{BATCH}\nUPDATE a SET n = 1;".encode())
    assert ([bool(each.batch) for each in plain.up], plain.transactional) == ([False, True], False)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE a SET n = 1;", "UPDATE a SET n = 1\nWHERE id <= '6'"),
        (
            "DELETE FROM a WHERE n = 1 OR n = 2 -- some\n;",
            "DELETE FROM a WHERE ( n = 1 OR n = 2 -- some\n\n) AND id <= '6'",
        ),
        (
            "UPDATE a SET n = (SELECT max(n) FROM b WHERE b.id = a.id), word = 'where' -- where\n;",
            "UPDATE a SET n = (SELECT max(n) FROM b WHERE b.id = a.id), word = 'where' -- where\n\nWHERE id <= '6'",
        ),
    ],
)
def test_a_range_is_one_more_condition_of_the_statement(statement: str, expected: str):
    """Beside an OR, in spite of a WHERE in a query, a string or a comment."""
    batch = BatchDirective("a", "id", 3, 1)
    assert ranged(Statement(statement, 1), batch, None, "6") == expected
    assert ranged(Statement(statement, 1), batch, "3", "6") == expected.replace("id <=", "id > '3' AND id <=")


def test_check_takes_a_batch_for_the_way_to_write_a_whole_table(tmp_path: Path, shadow: Shadow):
    """The same statement without it is DOD228."""
    git(tmp_path, "init", "-b", "main")
    write(tmp_path, {"db/migrations/1_a.sql": TABLE})
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "checkout", "-b", "branch")
    down = "-- +goose Down\nSELECT 1;\n"
    write(tmp_path, {"db/migrations/2_fill.sql": fill("UPDATE a SET n = 1;") + down})
    assert run_check(tmp_path, shadow).findings == ()
    write(tmp_path, {"db/migrations/2_fill.sql": fill("UPDATE a SET n = 1;", "") + down})
    assert [found.code.id for found in run_check(tmp_path, shadow).findings] == ["DOD228"]
