"""The short way to "already up to date": it says so only where the whole of `up` would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.migrations.conftest import up

from dodai.cli.main import run
from dodai.cli.up_to_date import up_to_date
from dodai.migrations.ports import SqlConnection

MANIFEST = '[project]\nname = "small"\n[migrations]\n'
A = up("CREATE TABLE a (b int);", down=("DROP TABLE a;",))
B = up("ALTER TABLE a ADD COLUMN c text;", down=("ALTER TABLE a DROP COLUMN c;",))
FOLDER = Path("db/migrations")


@pytest.fixture
def applied(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project whose two files were applied by the command."""
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    (tmp_path / FOLDER / "1_a.sql").write_text(A)
    (tmp_path / FOLDER / "2_b.sql").write_text(B)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    assert not up_to_date(tmp_path, os.environ)
    assert run(["migrate", "up"]) == 0
    capsys.readouterr()
    return tmp_path


def edited(root: Path, _: SqlConnection) -> None:
    (root / FOLDER / "1_a.sql").write_text(A.replace("b int", "b bigint"))


def commented(root: Path, _: SqlConnection) -> None:
    (root / FOLDER / "1_a.sql").write_text(A + "-- said in other words\n")


def removed(root: Path, _: SqlConnection) -> None:
    (root / FOLDER / "1_a.sql").unlink()


def added(root: Path, _: SqlConnection) -> None:
    (root / FOLDER / "3_c.sql").write_text(up("CREATE TABLE c (b int);"))


def undone(_: Path, conn: SqlConnection) -> None:
    conn.execute("DELETE FROM goose_db_version WHERE version_id = 2")


def without_log(_: Path, conn: SqlConnection) -> None:
    conn.execute("DELETE FROM dodai.migration_log")


def without_side_tables(_: Path, conn: SqlConnection) -> None:
    conn.execute("DROP SCHEMA dodai CASCADE")


def somebody_elses(_: Path, conn: SqlConnection) -> None:
    conn.execute("COMMENT ON SCHEMA dodai IS 'protected by dodai, environment production'")


def read_only(_: Path, conn: SqlConnection) -> None:
    name = conn.execute("SELECT current_database()").fetchone()[0]
    conn.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')


def unsound_manifest(root: Path, _: SqlConnection) -> None:
    (root / "dodai.toml").write_text(MANIFEST + 'folder = "db/migrations"\nformatt = "goose"\n')


def another_ledger(root: Path, _: SqlConnection) -> None:
    (root / "dodai.toml").write_text(MANIFEST + 'ledger = "public.other"\n')


def damaged_memory(root: Path, _: SqlConnection) -> None:
    (root / ".dodai/cache/migrate-up.json").write_text("{")


@pytest.mark.parametrize(
    "change",
    [
        edited, commented, removed, added, undone, without_log, without_side_tables, somebody_elses, read_only,
        unsound_manifest, another_ledger, damaged_memory,
    ],
)  # fmt: skip
def test_whatever_is_different_is_left_to_the_whole_of_up(
    applied: Path, conn: SqlConnection, change: Callable[[Path, SqlConnection], None]
):
    """A file, the ledger, the log, the database or the manifest: the short way knows nothing of it."""
    assert up_to_date(applied, os.environ)
    change(applied, conn)
    assert not up_to_date(applied, os.environ)


def test_the_short_way_says_what_the_whole_of_up_says(applied: Path, capsys: pytest.CaptureFixture[str]):
    """In the same words, with the same exit code, and without the command line, the reference or psycopg."""
    command = [sys.executable, "-X", "importtime", "-m", "dodai", "migrate", "up"]
    done = subprocess.run(command, cwd=applied, env=dict(os.environ), capture_output=True, text=True, check=True)
    rows = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in rows}
    assert {"dodai.cli.up_to_date", "dodai.migrations.run.settled"} <= loaded
    assert not {"click", "psycopg", "asyncio", "dodai.core.manifest", "dodai.migrations.goose_file"} & loaded
    assert run(["migrate", "up"]) == 0
    whole = capsys.readouterr()
    own = [line for line in done.stderr.splitlines() if line not in rows]
    assert (done.stdout, own) == (whole.out, whole.err.splitlines())


def test_an_address_that_is_not_given_or_that_is_refused_is_left_to_the_whole_of_up(applied: Path):
    """No variable, a pooler, a remote server without its certificate: nothing is asked there."""
    for url in ("", "postgresql://u@h-pooler.example/x?sslmode=verify-full", "postgresql://u@db.example/x"):
        assert not up_to_date(applied, {"DATABASE_URL": url})


def test_what_cannot_be_kept_changes_nothing(applied: Path, capsys: pytest.CaptureFixture[str]):
    """A state folder that is a file: the command works as before."""
    kept = applied / ".dodai"
    for file in sorted(kept.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    kept.rmdir()
    kept.write_text("")
    assert run(["migrate", "up"]) == 0
    assert capsys.readouterr().out == "already up to date\n"
    assert not up_to_date(applied, os.environ)
