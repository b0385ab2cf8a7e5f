"""Plain SQL files and golang-migrate's pairs are read without annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.migrations.conftest import FAST

from dodai.migrations import run
from dodai.migrations.goose_file import FileError, parse_plain, read_files
from dodai.migrations.ports import Connection, Target

Make = Callable[..., Target]
PLAIN = replace(FAST, format="plain")


def test_the_whole_file_is_up_cut_by_a_real_lexer():
    """Bodies, quotes and a missing last semicolon are no trouble."""
    migration = parse_plain("m/001_a.sql", b"CREATE TABLE a (b text);\nDO $$\nBEGIN\n  NULL;\nEND $$;\nSELECT 'x;y'")
    assert [(s.line, s.sql.partition("\n")[0]) for s in migration.up] == [
        (1, "CREATE TABLE a (b text);"),
        (2, "DO $$"),
        (6, "SELECT 'x;y'"),
    ]
    assert (migration.id, migration.name, migration.reversible, migration.transactional) == ("1", "a", False, True)


def test_a_file_with_concurrently_runs_outside_a_transaction():
    """There is no annotation to say so."""
    assert not parse_plain("m/1_a.sql", b"CREATE INDEX CONCURRENTLY i ON a (b);").transactional


@pytest.mark.parametrize(
    ("text", "code"), [("COPY a FROM stdin;\n1\n\\.\n", "DOD220"), ("SELECT 'a", "DOD200"), ("SELECT 1 /* a", "DOD200")]
)
def test_what_cannot_be_sent_is_refused(text: str, code: str):
    """COPY data and open quotes."""
    with pytest.raises(FileError) as caught:
        parse_plain("m/1_a.sql", text.encode())
    assert caught.value.problem.code.id == code


def test_golang_migrate_pairs_are_one_migration_each(make_target: Make, conn: Connection):
    """Up and down stand in two files of one version."""
    files = {"000001_a.up.sql": "CREATE TABLE a (b int);", "000001_a.down.sql": "DROP TABLE a;"}
    folder = read_files({f"m/{name}": text.encode() for name, text in files.items()}, layout="plain")
    assert [(m.id, m.name, m.reversible) for m in folder.migrations] == [("1", "a", True)]
    target = make_target(files, PLAIN)
    run.up(target)
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] == "a"
    run.down(target)
    assert run.applied_ids(target) == ()


def test_python_formats_say_that_they_need_their_reader(make_target: Make):
    """Nothing is taken for an empty history."""
    target = make_target({"1_a.sql": "SELECT 1;"}, replace(FAST, format="alembic"))
    assert [p.code.id for p in run.status(target).problems] == ["DOD226"]
