"""`up --dry-run`, `--print-sql`, `--to` and `validate`: what would happen is told, and nothing more happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.migrations.conftest import NO_TX, run_check, up, write
from tests.support.command import dodai, git

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection

Make = Callable[..., MigrationTarget]
M = "db/migrations/"
FILES = {
    "1_a.sql": up("CREATE TABLE a (b int);"),
    "2_i.sql": up("CREATE INDEX CONCURRENTLY i ON a (b);", head=NO_TX),
    "3_c.sql": up("ALTER TABLE a ADD COLUMN c text;"),
    "repeatable/v.sql": "CREATE OR REPLACE VIEW v AS SELECT b FROM a;",
}


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def test_a_preview_names_what_up_applies_and_changes_nothing(make_target: Make, conn: SqlConnection):
    """In its order; the database does not even get a ledger."""
    target = make_target(FILES)
    seen = [m.id for m in run.preview(target)]
    assert conn.execute("SELECT to_regclass('goose_db_version'), to_regnamespace('dodai')").fetchone() == (None, None)
    assert seen == [ran.migration.id for ran in run.up(target).ran]
    assert run.preview(target) == ()


def test_a_preview_is_refused_as_up_is(make_target: Make, conn: SqlConnection):
    """Bad files, tables without a ledger, an edit."""
    conn.execute("CREATE TABLE customer (id int)")
    target = make_target(FILES)
    for options in ({}, {"to": "2"}):
        asked = refused(lambda options=options: run.preview(target, **options))
        done = refused(lambda options=options: run.up(target, **options))
        assert (asked.code, asked.message, asked.fix) == (done.code, done.message, done.fix)
    run.up(target, beside_tables=True)
    make_target({"1_a.sql": up("CREATE TABLE a (b bigint);")})
    assert refused(lambda: run.preview(target)).code.id == refused(lambda: run.up(target)).code.id == "DOD253"


def test_status_says_that_up_would_refuse_tables_without_a_ledger(make_target: Make, conn: SqlConnection):
    """Before anybody tries."""
    conn.execute("CREATE TABLE customer (id int)")
    seen = run.status(make_target(FILES))
    assert seen.refusal is not None
    assert seen.refusal.code.id == "DOD265"


def test_to_is_the_last_version_that_is_applied(make_target: Make):
    """Repeatable files wait for the end of the history; what is applied already is no error, what is unknown is one."""
    target = make_target(FILES)
    assert [m.id for m in run.preview(target, to="2")] == ["1", "2"]
    assert [ran.migration.id for ran in run.up(target, to="2").ran] == ["1", "2"]
    assert run.up(target, to="1").ran == ()
    assert refused(lambda: run.up(target, to="9")).code.id == "DOD266"
    assert [ran.migration.id for ran in run.up(target).ran] == ["3", "R:v"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n[migrations]\n')
    write(tmp_path, {M + name: text for name, text in FILES.items()})
    return tmp_path


def test_the_command_prints_the_statements_and_no_value_of_the_environment(
    project: Path, database: str, conn: SqlConnection
):
    """What is printed goes through psql."""
    write(project, {f"{M}4_e.sql": "-- +goose ENVSUB ON\n" + up("SELECT '${SECRET_WORD}';")})
    done = dodai("migrate", "up", "--print-sql", cwd=project, DATABASE_URL=database, SECRET_WORD="hush")
    assert done.returncode == 0, done.stderr
    assert (
        "-- pending  db/migrations/2_i.sql  (not one transaction)\nCREATE INDEX CONCURRENTLY i ON a (b);\n"
        in done.stdout
    )
    assert "hush" not in done.stdout
    answer = json.loads(dodai("migrate", "up", "--dry-run", "--json", cwd=project, DATABASE_URL=database).stdout)
    assert [row["id"] for row in answer["pending"]] == ["1", "2", "3", "4", "R:v"]
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] is None


def test_validate_needs_no_server_and_names_every_problem(project: Path):
    """It says how many files it read."""
    assert dodai("migrate", "validate", cwd=project).returncode == 0
    write(project, {f"{M}4_x.sql": "SELECT 1;", f"{M}5_y.sql": up("CREATE TABLE y (z int);", "COMMIT;")})
    done = dodai("migrate", "validate", cwd=project)
    assert done.returncode == 1
    assert [line[:6] for line in done.stdout.splitlines() if line.startswith("DOD")] == ["DOD200", "DOD223"]
    assert "5 files read, 2 problems" in done.stderr
    answer = json.loads(dodai("migrate", "validate", "--json", cwd=project).stdout)
    assert [row["path"] for row in answer["problems"]] == [f"{M}4_x.sql", f"{M}5_y.sql"]


def test_validate_of_a_folder_without_migrations_is_an_error(tmp_path: Path):
    """Nothing found is not nothing wrong."""
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n[migrations]\n')
    (tmp_path / M).mkdir(parents=True)
    assert dodai("migrate", "validate", cwd=tmp_path).returncode == 1


def test_check_sees_the_variables_that_up_sees(project: Path):
    """A file that needs one is read as it will be applied."""
    git(project, "init", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-m", "first")
    write(
        project,
        {
            f"{M}4_e.sql": "-- +goose ENVSUB ON\n"
            + up("CREATE TABLE ${TABLE_NAME?is needed} (b int);", down=("DROP TABLE ${TABLE_NAME};",))
        },
    )
    bare, given = (
        dodai("check", "migrations", "--fast", "--base", "main", cwd=project, **words)
        for words in ({}, {"TABLE_NAME": "e"})
    )
    assert "TABLE_NAME" in bare.stdout
    assert "DOD200" not in given.stdout, given.stdout


def test_check_shows_no_value_of_the_environment_in_a_failure(
    tmp_path: Path, shadow: Shadow, monkeypatch: pytest.MonkeyPatch
):
    """The server quotes the statement that it could not run."""
    monkeypatch.setenv("SECRET_WORD", "hush")
    git(tmp_path, "init", "-b", "main")
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    write(tmp_path, {f"{M}1_e.sql": "-- +goose ENVSUB ON\n" + up("SELECT '${SECRET_WORD}'::int;", down=("SELECT 1;",))})
    found = run_check(tmp_path, shadow, environment={"SECRET_WORD": "hush"}).findings
    assert [f.code.id for f in found] == ["DOD208"]
    assert "hush" not in str(found)
