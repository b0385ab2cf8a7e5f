"""An environment on a PostgreSQL that somebody else runs: deploy, migrate, roll back and restore as anywhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.end_to_end.small_app import SmallApp

from dodai.providers.local.secret_file import SecretFile
from dodai.providers.postgres.by_url import with_password
from dodai.providers.postgres.connection import connect

CANARY = "c4n4ry/pass word"
MORE = """[database]
used_by = ["web"]
[migrations]
folder = "db/migrations"
queries = ["queries/*.sql"]
[secret.DATABASE_PASSWORD]
used_by = []
rotation = "external"
"""


def execute(url, statement):
    with connect(url, autocommit=True) as session:
        cursor = session.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def bought(postgres):
    """The address of a database that a role of its own owns."""
    admin = postgres.dsn()
    execute(admin, f"CREATE ROLE bought LOGIN CREATEDB PASSWORD '{CANARY}'")
    execute(admin, "CREATE DATABASE bought OWNER bought")
    yield f"postgresql://bought@127.0.0.1:{postgres.port}/bought"
    owned = "SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = 'bought')"
    for (name,) in execute(admin, owned):
        execute(admin, f'DROP DATABASE "{name}" WITH (FORCE)')
    execute(admin, "DROP ROLE bought")


@pytest.fixture
def app(tmp_path, bought):
    small = SmallApp(tmp_path)
    small.write(
        environment=f'database = "postgres"\ndatabase_url = "{bought}"\ndatabase_password = "DATABASE_PASSWORD"',
        more=MORE,
    )
    small.migration(
        1, "CREATE TABLE note (id int PRIMARY KEY, author text);", "DROP TABLE note;", "SELECT author FROM note;"
    )
    yield small
    small.clear()


def released(app):
    told = json.loads(app.run("releases", "staging", "--json").stdout)
    return next(row["release"] for row in told["releases"] if row["live"]), told["restorePoints"]


def test_database_of_somebody_else_is_migrated_copied_and_restored_by_the_same_commands(app, bought):
    """Two releases, a restore point of dumped rows before the second, back in time to it; the password stays a secret."""
    said = []

    def run(*words, code=0, **extra):
        done = app.run(*words, **extra)
        said.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        return done

    assert "`dodai secrets set staging DATABASE_PASSWORD`" in run("deploy", "staging", "--yes", code=1).stderr
    SecretFile(app.folder / ".dodai" / "env" / "staging").put({"DATABASE_PASSWORD": CANARY})
    run("deploy", "staging", "--yes")
    first, points = released(app)
    assert points == []
    url = with_password(bought, CANARY)
    execute(url, "INSERT INTO note VALUES (1, 'hana')")
    assert "PostgreSQL" in run("doctor", "staging").stdout

    app.migration(
        2,
        "ALTER TABLE note DROP COLUMN author;",
        "ALTER TABLE note ADD COLUMN author text;",
        "SELECT id FROM note;",
    )
    run("deploy", "staging", "--yes")
    second, (point,) = released(app)
    assert second != first
    execute(url, "INSERT INTO note VALUES (2)")
    refused = run("rollback", "staging", "--yes", code=1)
    assert f"--restore {Path(point).name}" in refused.stderr

    back = run("rollback", "staging", first, "--restore", Path(point).name, "--yes")
    assert "is kept in the database `bought_before_" in back.stderr
    assert execute(url, "SELECT id, author FROM note") == [(1, "hana")]
    assert released(app)[0] == first
    kept = back.stderr.partition("kept in the database `")[2].partition("`")[0]
    assert execute(f"{url.removesuffix('bought')}{kept}", "SELECT id FROM note ORDER BY 1") == [(1,), (2,)]
    run("history", "staging")
    assert CANARY not in "".join(said)
    for file in (app.folder / ".dodai").rglob("*"):
        if file.is_file() and file.name not in ("secrets.json", "serving.json"):
            assert CANARY.encode() not in file.read_bytes(), file
