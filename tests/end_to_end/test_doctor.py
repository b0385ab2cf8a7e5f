"""`dodai doctor ENV`: what a deploy would meet, asked without changing anything."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest
from tests.end_to_end.protected_app import SIGNERS, ProtectedApp

from dodai.providers.postgres.control import ControlConnection, PostgresLease

APPROVED = f'approvals = 2\nallowed_signers = "{SIGNERS}"'


@pytest.fixture
def app(tmp_path, database):
    folder = tmp_path / "app"
    folder.mkdir()
    made = ProtectedApp(folder, database)
    yield made
    made.clear()


def doctor(app, code):
    done = app.run("doctor", "staging", "--json")
    assert done.returncode == code, done.stdout
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


def ask(dsn, query):
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def test_looking_at_an_environment_that_nobody_used_makes_nothing(app):
    """No schema in the control database, no folder here; what lacks is named and the exit code is 1."""
    app.signers("hana").write(protection=APPROVED)
    rows = doctor(app, 1)
    assert "nothing was ever done here" in rows["control database"]["seen"]
    assert rows["clock"]["verdict"] == rows["lock"]["verdict"] == rows["journal copy"]["verdict"] == "ok"
    assert rows["gates"]["seen"] == "evidence of level source, 2 approvals"
    assert (rows["allowed_signers"]["verdict"], rows["allowed_signers"]["seen"]) == ("missing", f"1 keys in {SIGNERS}")
    assert ask(app.dsn, "SELECT to_regnamespace('dodai')") == [(None,)]
    assert not (app.folder / ".dodai").exists()
    app.signers("hana", "taro")
    assert doctor(app, 0)["allowed_signers"]["verdict"] == "ok"


def test_lock_and_copy_are_told_as_they_stand(app):
    """Who holds the lock and for how long; a copy that has more than the database is for a person."""
    app.write(protected=False)
    assert app.run("deploy", "staging", "--yes").returncode == 0
    rows = doctor(app, 0)
    assert (rows["lock"]["seen"], rows["journal copy"]["seen"]) == ("free", "the same")
    session = ControlConnection(app.dsn, "staging")
    lease = PostgresLease(session, "hana", "dodai deploy staging")
    asyncio.run(lease.acquire())
    before = ask(app.dsn, "SELECT * FROM dodai.control_lease")
    held = doctor(app, 0)["lock"]
    assert held["verdict"] == "warning"
    assert "`hana` (pid " in held["seen"]
    assert ask(app.dsn, "SELECT * FROM dodai.control_lease") == before
    session.close()
    head = app.folder / ".dodai" / "env" / "staging" / "journal.sqlite.head"
    head.write_text(f"9999 {'0' * 64}\n")
    row = doctor(app, 1)["journal copy"]
    assert "record 9999 here is not in the control database" in row["seen"]


def test_control_database_that_does_not_answer_is_told_without_its_password(app):
    """Exit 1; `status` and everything else on this machine are still described."""
    app.write(protected=False)
    manifest = app.folder / "dodai.toml"
    manifest.write_text(manifest.read_text().replace(app.dsn, "postgresql://hana:s3cret@127.0.0.1:1/dodai"))
    done = app.run("doctor", "staging")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    assert app.run("doctor", "stagin").returncode == 2
