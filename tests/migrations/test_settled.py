"""A second `up`: files that were applied byte for byte are not parsed again, and everything else is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.migrations.conftest import up

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.migrations.run.settled import settled

Make = Callable[..., MigrationTarget]
A = up("CREATE TABLE a (b int);", down=("DROP TABLE a;",))
B = up("ALTER TABLE a ADD COLUMN c text;", down=("ALTER TABLE a DROP COLUMN c;",))
NEEDS_A_VARIABLE = "-- +goose ENVSUB ON\n" + up("CREATE TABLE e (b text DEFAULT '${WORD?is needed}');")


def is_settled(target: MigrationTarget) -> bool:
    conn = target.connect()
    try:
        return settled(conn, target, "a-run", lambda _: None) is not None
    finally:
        conn.close()


def outcome(target: MigrationTarget) -> str:
    """The code of a refusal, or what ran."""
    try:
        return " ".join(ran.migration.name for ran in run.up(target).ran)
    except DodaiError as error:
        return error.code.id


@pytest.fixture
def applied(make_target: Make) -> MigrationTarget:
    target = make_target({"1_a.sql": A, "2_b.sql": B})
    assert not is_settled(target)
    assert outcome(target) == "a b"
    return target


def folder_of(target: MigrationTarget) -> Path:
    return target.root / target.policy.folder


def test_nothing_to_do_is_known_without_parsing(applied: MigrationTarget, conn: SqlConnection):
    """It says as much as a run that looked closely, and leaves no trace."""
    runs = conn.execute("SELECT count(*) FROM dodai.migration_run").fetchone()
    assert is_settled(applied)
    done = run.up(applied)
    assert (done.ran, done.already, done.notes) == ((), 2, ())
    assert conn.execute("SELECT count(*) FROM dodai.migration_run").fetchone() == runs


def test_a_variable_is_needed_when_a_file_is_applied_and_not_again(make_target: Make):
    """What an applied file would expand to now is of no interest to anybody."""
    target = make_target({"1_e.sql": NEEDS_A_VARIABLE})
    bare = replace(target, environment={})
    assert outcome(bare) == "DOD200"
    assert outcome(replace(target, environment={"WORD": "x"})) == "e"
    assert outcome(bare) == ""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("1_a.sql", A + "-- only said in other words\n", ""),
        ("1_a.sql", A.replace("b int", "b bigint"), "DOD253"),
        ("1_a.sql", None, "DOD254"),
        ("2_b.sql", None, ""),
        ("3_c.sql", up("CREATE TABLE c (b int);"), "c"),
        ("2_again.sql", B, "DOD202"),
        ("b.sql", B, "DOD201"),
        ("3_c.go", "package migrations\n", "DOD226"),
        ("repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT b FROM a;", "v"),
    ],
)
def test_any_difference_is_looked_at(applied: MigrationTarget, name: str, text: str | None, expected: str):
    """One byte, one file more or less: the whole way, with its refusals."""
    path = folder_of(applied) / name
    path.parent.mkdir(exist_ok=True)
    path.unlink() if text is None else path.write_text(text)
    assert not is_settled(applied)
    assert outcome(applied) == expected


def test_a_version_that_nobody_knows_is_not_up_to_date(applied: MigrationTarget):
    """Everything is applied, but what was asked for is not: a typing error."""
    with pytest.raises(DodaiError) as caught:
        run.up(applied, to="999")
    assert caught.value.code.id == "DOD266"
    assert run.up(applied, to="1").ran == ()


def test_what_was_undone_is_applied_again(applied: MigrationTarget):
    """The log still knows the file; the ledger decides."""
    run.down(applied)
    assert not is_settled(applied)
    assert outcome(applied) == "b"
    assert is_settled(applied)


def test_what_another_tool_applied_is_recorded_first(applied: MigrationTarget, conn: SqlConnection):
    """The ledger has a version of which the log knows nothing."""
    (folder_of(applied) / "3_c.sql").write_text(up("SELECT 1;"))
    conn.execute("INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, true)")
    assert not is_settled(applied)
    assert outcome(applied) == ""
    assert is_settled(applied)


def test_a_connection_that_would_be_refused_is_refused(applied: MigrationTarget, conn: SqlConnection):
    """Nothing to do is no reason to accept a database that could not take it."""
    name = conn.execute("SELECT current_database()").fetchone()[0]
    conn.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert outcome(applied) == "DOD259"
