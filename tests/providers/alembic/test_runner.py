"""Revisions are applied by the user's own Alembic, one at a time, under our lock and into our log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.postgres_fixture import database, postgres  # noqa: F401
from tests.providers.alembic.test_reader import A, B, revision

from dodai.core.errors import DodaiError
from dodai.migrations import enforce
from dodai.migrations.policy import GOOSE_LOCK_ID, MigrationsPolicy
from dodai.migrations.ports import Author, Target
from dodai.providers.alembic.reader import AlembicReader
from dodai.providers.alembic.runner import AlembicRunner, ancestors
from dodai.providers.postgres.connection import connect

POLICY = MigrationsPolicy(
    folder="alembic/versions", format="alembic", lock_timeout_s=0.2, lock_patience_s=2.0, runner_patience_s=0.2
)
ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ["APP_URL"].replace("postgresql://", "postgresql+psycopg://")
with create_engine(url).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture
def runner(tmp_path: Path, database: str) -> Callable[..., AlembicRunner]:  # noqa: F811
    def make(**files: str) -> AlembicRunner:
        versions = tmp_path / "alembic" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
        (tmp_path / "alembic" / "env.py").write_text(ENV_PY)
        for name, text in files.items():
            (versions / f"{name}.py").write_text(text)
        target = Target(tmp_path, POLICY, lambda: connect(database), lambda: Author(actor="somebody"))
        return AlembicRunner(target, AlembicReader(tmp_path, POLICY.folder, sys.executable), {"APP_URL": database})

    return make


def test_pending_revisions_are_applied_and_logged_and_a_second_run_does_nothing(runner, database: str):  # noqa: F811
    """Readiness asks our log, because Alembic keeps heads only."""
    first = runner(a1=A, b2=B).up("run1")
    assert [ran.migration.id for ran in first.ran] == ["a1", "b2"]
    assert runner().up("run2").already == 2
    conn = connect(database, autocommit=True)
    rows = conn.execute(enforce.question(POLICY)).fetchall()
    assert enforce.answer({"a1", "b2"}, rows).ready
    assert not enforce.answer({"c3"}, rows).ready
    conn.close()


def test_a_failing_revision_stops_the_run_and_says_what_was_applied(runner):
    """The one before stays applied, the error is the driver's."""
    bad = revision("b2", "a1", "op.execute('SELECT nothing')", "op.execute('SELECT 1')")
    with pytest.raises(DodaiError) as caught:
        runner(a1=A, b2=bad).up("run1")
    assert caught.value.code.id == "DOD280"
    assert "UndefinedColumn" in caught.value.message
    assert "a1" in caught.value.details[0]
    runner(b2=B).up("run2")


def test_the_lock_timeout_reaches_the_driver(runner, database: str):  # noqa: F811
    """A reader in the way ends the statement after `lock_timeout`, not after minutes."""
    runner(a1=A).up("run1")
    reader = connect(database, autocommit=True)
    reader.execute("BEGIN; SELECT * FROM quiz")
    with pytest.raises(DodaiError) as caught:
        runner(b2=B).up("run2")
    assert "LockNotAvailable" in caught.value.message
    reader.close()


def test_two_heads_and_a_held_lock_are_refused(runner, database: str):  # noqa: F811
    """Before anything is changed."""
    c = revision("c3", "a1", "op.execute('SELECT 1')", "op.execute('SELECT 1')")
    with pytest.raises(DodaiError) as caught:
        runner(a1=A, b2=B, c3=c).up("run1")
    assert caught.value.code.id == "DOD222"
    (runner().reader.root / "alembic/versions/c3.py").unlink()
    holder = connect(database, autocommit=True)
    holder.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")
    with pytest.raises(DodaiError) as caught:
        runner().up("run2")
    assert caught.value.exit_code == 75
    holder.close()


def test_ancestors_are_heads_and_all_they_follow(runner):
    """The ids that a release requires."""
    revisions = runner(a1=A, b2=B).reader.revisions()
    assert ancestors(revisions, ["b2"]) == {"a1", "b2"}
    assert ancestors(revisions, []) == frozenset()
