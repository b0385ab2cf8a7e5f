"""Revisions are applied by the user's own Alembic, one at a time, under our lock and into our log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from tests.providers.alembic.test_check import A, B, revision

from dodai.core.errors import DodaiError
from dodai.migrations import enforce, graph, run
from dodai.migrations.interpreter import Interpreter
from dodai.migrations.policy import AGENT_LOCK_ID, GOOSE_LOCK_ID, MigrationsPolicy
from dodai.migrations.ports import Author, Copy, MigrationTarget, SqlConnection
from dodai.providers.alembic.tool import Alembic
from dodai.providers.postgres.connection import connect

POLICY = MigrationsPolicy(
    folder="alembic/versions", format="alembic", lock_timeout_s=0.2, lock_patience_s=2.0, runner_patience_s=0.2
)
ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    url = os.environ["APP_URL"].replace("postgresql://", "postgresql+psycopg://")
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
NOTHING = "op.execute('SELECT 1')"


@pytest.fixture
def target(tmp_path: Path, database: str) -> Callable[..., MigrationTarget]:
    """The history of the named revisions; without any, the one that is there."""

    def make(policy: MigrationsPolicy = POLICY, **files: str) -> MigrationTarget:
        versions = tmp_path / "alembic" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
        (tmp_path / "alembic" / "env.py").write_text(ENV_PY)
        (tmp_path / "alembic" / "script.py.mako").write_text(
            "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n\n"
            "def upgrade(): pass\n\ndef downgrade(): pass\n"
        )
        for name, text in files.items():
            (versions / f"{name}.py").write_text(text)
        tool = Alembic(tmp_path, policy.folder, Interpreter(sys.executable, {}, "APP_URL"))
        return MigrationTarget(tmp_path, policy, lambda: connect(database), lambda: Author(actor="somebody"), tool=tool)

    return make


@pytest.fixture
def conn(database: str) -> SqlConnection:
    opened = connect(database, autocommit=True)
    yield opened
    opened.close()


def ready(conn: SqlConnection, *required: str) -> bool:
    return enforce.answer(required, conn.execute(enforce.question(POLICY)).fetchall()).ready


def test_pending_revisions_are_applied_and_logged_and_a_second_run_does_nothing(target, conn: SqlConnection):
    """Readiness asks our log, because Alembic keeps heads only."""
    first = run.up(target(a1=A, b2=B))
    assert [ran.migration.id for ran in first.ran] == ["a1", "b2"]
    assert first.notes == ("limits hold in the session of `psycopg`: lock_timeout 200 ms",)
    assert run.up(target()).already == 2
    assert ready(conn, "a1", "b2")
    assert not ready(conn, "c3")


def test_what_alembic_had_applied_by_itself_opens_readiness_after_up(target, conn: SqlConnection):
    """Nothing is pending, and still the log must learn of it."""
    run.up(target(a1=A, b2=B))
    conn.execute("DROP SCHEMA dodai CASCADE")
    assert run.up(target()).ran == ()
    assert ready(conn, "a1", "b2")


def test_a_failing_revision_stops_the_run_and_says_what_was_applied(target):
    """The one before stays applied, the error is the driver's with its statement."""
    bad = revision("b2", "a1", "op.execute('SELECT nothing')", NOTHING)
    with pytest.raises(DodaiError) as caught:
        run.up(target(a1=A, b2=bad))
    assert caught.value.code.id == "DOD280"
    assert "UndefinedColumn" in caught.value.message
    assert "SELECT nothing" in caught.value.details[0]
    assert caught.value.data["sqlstate"] == "42703"
    assert caught.value.data["applied"] == ["a1"]
    assert [ran.migration.id for ran in run.up(target(b2=B)).ran] == ["b2"]


def test_a_reader_in_the_way_is_waited_for_in_steps_and_named(target, conn: SqlConnection):
    """The lock timeout holds in the driver's session, and the revision is tried again once the reader is gone."""
    run.up(target(a1=A))
    conn.execute("BEGIN; SELECT * FROM quiz")
    with pytest.raises(DodaiError) as caught:
        run.up(target(replace(POLICY, lock_patience_s=0.1), b2=B))
    assert (caught.value.code.id, caught.value.data["sqlstate"]) == ("DOD281", "55P03")
    assert any("idle in transaction" in line for line in caught.value.details)

    def note(text: str) -> None:
        if "idle in transaction" in text:
            conn.execute("COMMIT")

    done = run.up(target(replace(POLICY, lock_patience_s=20.0)), note=note)
    assert (done.ran[0].migration.id, done.ran[0].retries >= 1) == ("b2", True)


def test_two_heads_and_a_held_lock_are_refused(target, conn: SqlConnection):
    """Before anything is changed."""
    c = revision("c3", "a1", NOTHING, NOTHING)
    with pytest.raises(DodaiError) as caught:
        run.up(target(a1=A, b2=B, c3=c))
    assert caught.value.code.id == "DOD222"
    assert run.status(target()).refusal.code.id == "DOD222"
    (target().root / "alembic/versions/c3.py").unlink()
    conn.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")
    with pytest.raises(DodaiError) as caught:
        run.up(target())
    assert caught.value.exit_code == 75


def test_an_env_py_that_connects_elsewhere_is_refused_before_a_change(target, postgres, conn: SqlConnection):
    """The tool's own session must see our lock, or lock and change would be in two databases."""
    with postgres.fresh_database("other") as other:
        here = target(a1=A)
        env = here.root / "alembic" / "env.py"
        env.write_text(ENV_PY.replace('os.environ["APP_URL"]', repr(other)))
        with pytest.raises(DodaiError) as caught:
            run.up(here)
        assert caught.value.code.id == "DOD263"
        there = connect(other, autocommit=True)
        assert there.execute("SELECT to_regclass('quiz')").fetchone()[0] is None
        there.close()


def test_the_session_of_a_killed_runner_is_not_overtaken(target, conn: SqlConnection):
    """Its statement may still be at work although its lock is gone."""
    conn.execute("SET application_name = 'dodai-agent-00000000'")
    conn.execute(f"SELECT pg_advisory_lock_shared({AGENT_LOCK_ID})")
    with pytest.raises(DodaiError) as caught:
        run.up(target(a1=A))
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD250", 75)
    conn.execute("SELECT pg_advisory_unlock_all()")
    assert len(run.up(target()).ran) == 1


def test_an_env_py_without_sqlalchemys_engine_leaves_the_limits_unknown(target):
    """Said, and never taken for proven."""
    here = target(a1=A)
    env = ENV_PY.replace("with create_engine(url).connect() as connection:", "if True:")
    env = env.replace("context.configure(connection=connection, transaction_per_migration=True)", MOCK)
    (here.root / "alembic" / "env.py").write_text(env)
    said: list[str] = []
    with pytest.raises(DodaiError) as caught:
        run.up(here, note=said.append)
    assert "its own table does not show it" in caught.value.message
    assert said == ["whether lock_timeout and statement_timeout hold in the session is unknown"]


MOCK = """
        context.configure(dialect_name="postgresql", as_sql=True)"""


def test_the_row_of_our_log_is_in_the_transaction_of_alembics_own(target, conn: SqlConnection):
    """Whatever role env.py works in, and also behind an `autocommit_block`; its own `on_version_apply` is called too."""
    conn.execute("CREATE ROLE alembic_owner; GRANT ALL ON SCHEMA public TO alembic_owner")
    alone = "with op.get_context().autocommit_block():\n        op.execute('SELECT 1')"
    here = target(a1=A, b2=B, c3=revision("c3", "b2", alone))
    theirs = "connection.exec_driver_sql('SET ROLE alembic_owner'); connection.commit()\n        called = []\n        "
    env = ENV_PY.replace("        context.configure(connection=connection, ", f"        {theirs}{OWN_CALLBACK}", 1)
    (here.root / "alembic" / "env.py").write_text(env)
    try:
        assert len(run.up(here).ran) == 3
        query = "SELECT log.migration FROM alembic_version AS v JOIN dodai.migration_log AS log ON log.xmin = v.xmin"
        assert conn.execute(query).fetchall() == [("c3",)]
        owners = conn.execute("SELECT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert {row[0] for row in owners} == {"alembic_owner"}
        assert [row[0] for row in conn.execute("SELECT migration FROM dodai.migration_log ORDER BY id").fetchall()] == [
            "a1", "b2", "c3",
        ]  # fmt: skip
    finally:
        conn.execute("DROP OWNED BY alembic_owner CASCADE; DROP ROLE alembic_owner")
    assert (here.root / "called").read_text().split() == ["a1", "b2", "c3"]


def test_the_log_in_another_schema_is_in_that_transaction_too(target, conn: SqlConnection):
    """Readiness asks it there; once the manifest names another schema, nothing is begun anew."""
    ops = replace(POLICY, log_schema="ops")
    here = target(ops, a1=A, b2=B)
    assert len(run.up(here).ran) == 2
    query = "SELECT log.migration FROM alembic_version AS v JOIN ops.migration_log AS log ON log.xmin = v.xmin"
    assert conn.execute(query).fetchall() == [("b2",)]
    assert enforce.answer(["a1", "b2"], conn.execute(enforce.question(ops)).fetchall())
    assert run.up(here).already == 2
    assert len(run.down(here).ran) == 1
    assert conn.execute("SELECT to_regnamespace('dodai')").fetchone() == (None,)
    with pytest.raises(DodaiError) as caught:
        run.up(replace(here, policy=POLICY))
    assert caught.value.code.id == "DOD269"


OWN_CALLBACK = """context.configure(
            on_version_apply=lambda step, **_: open("called", "a").write(step.up_revision_id + " "),
            connection=connection, """


def test_a_log_that_takes_no_row_rolls_the_revision_back(target, conn: SqlConnection):
    """The right that is missing is named."""
    conn.execute("CREATE ROLE alembic_poor; GRANT ALL ON SCHEMA public TO alembic_poor")
    here = target(a1=A)
    env = ENV_PY.replace(
        "        context.configure(connection=c", f"        {BECOMES_POOR}\n        context.configure(connection=c"
    )
    (here.root / "alembic" / "env.py").write_text(env)
    try:
        with pytest.raises(DodaiError) as caught:
            run.up(here)
        assert (caught.value.code.id, caught.value.exit_code) == ("DOD284", 1)
        assert 'GRANT USAGE ON SCHEMA "dodai"' in caught.value.fix
        assert not conn.execute(
            "SELECT FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        assert run.applied_ids(here) == ()
    finally:
        conn.execute("DROP OWNED BY alembic_poor CASCADE; DROP ROLE alembic_poor")


BECOMES_POOR = "connection.exec_driver_sql('SET SESSION AUTHORIZATION alembic_poor'); connection.commit()"


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_env_py_with_a_transaction_of_its_own_is_believed_once_it_has_committed(
    target, conn: SqlConnection, end: str
):
    """One that rolls back at its end, without an error, has applied nothing."""
    here = target(a1=A, b2=B)
    env = ENV_PY.replace(
        "        context.configure(connection=c",
        "        own = connection.begin()\n        context.configure(connection=c",
    )
    (here.root / "alembic" / "env.py").write_text(f"{env}        own.{end}()\n")
    if end == "commit":
        assert [each.migration.id for each in run.up(here).ran] == ["a1", "b2"]
    else:
        with pytest.raises(DodaiError) as caught:
            run.up(here)
        assert "its own table does not show it" in caught.value.message
    count = 2 if end == "commit" else 0
    assert conn.execute("SELECT count(*) FROM dodai.migration_log WHERE event = 'applied'").fetchone() == (count,)
    assert len(run.applied_ids(here)) == count


def test_down_undoes_one_revision_at_a_time_and_merges_too(target, conn: SqlConnection):
    """A merge has no way down that `alembic downgrade` could be told in words."""
    c = revision("c3", "a1", "op.create_table('c', sa.Column('x', sa.Integer))", "op.drop_table('c')")
    merge = revision("d4", None, NOTHING, NOTHING).replace("down_revision = None", "down_revision = ('b2', 'c3')")
    here = target(a1=A, b2=B, c3=c, d4=merge)
    run.up(here)
    assert [ran.migration.id for ran in run.down(here).ran] == ["d4"]
    assert {row[0] for row in conn.execute("SELECT version_num FROM alembic_version").fetchall()} == {"b2", "c3"}
    assert [ran.migration.id for ran in run.down(here, to="a1").ran] == ["c3", "b2"]
    assert run.applied_ids(here) == ("a1",)
    assert not ready(conn, "b2")
    with pytest.raises(DodaiError) as caught:
        run.down(here, protected=True)
    assert caught.value.code.id == "DOD256"


def test_a_revision_without_a_way_down_is_refused(target):
    """Nothing is undone then."""
    here = target(a1=A, b2=revision("b2", "a1", NOTHING))
    run.up(here)
    with pytest.raises(DodaiError) as caught:
        run.down(here, count=2)
    assert caught.value.code.id == "DOD256"
    assert run.applied_ids(here) == ("a1", "b2")


def test_an_edited_revision_is_refused_until_it_is_repaired(target):
    """Comments do not count; the checksum is ours, Alembic has none."""
    run.up(target(a1=A))
    assert run.up(target(a1="# why\n" + A)).already == 1
    with pytest.raises(DodaiError) as caught:
        run.up(target(a1=A.replace("'quiz'", "'quizzes'", 1)))
    assert caught.value.code.id == "DOD253"
    run.repair(target(), "a1", reason="renamed by hand")
    assert run.up(target()).already == 1


def test_a_database_ahead_of_the_files_is_refused_when_something_is_pending(target, conn: SqlConnection):
    """Alembic can do nothing then; the file must come back."""
    run.up(target(a1=A, b2=B))
    (target().root / "alembic/versions/b2.py").unlink()
    assert [e.standing for e in run.status(target()).entries] == ["pending", "missing"]
    with pytest.raises(DodaiError) as caught:
        run.up(target())
    assert caught.value.code.id == "DOD254"


def test_ancestors_are_heads_and_all_they_follow(target):
    """The ids that a release requires."""
    here = target(a1=A, b2=B)
    assert run.required_ids(here) == ("a1", "b2")
    assert graph.ancestors(here.tool.read().migrations, ["b2"]) == {"a1", "b2"}
    assert graph.ancestors(here.tool.read().migrations, []) == frozenset()


def test_new_is_alembics_own_and_follows_the_head(target):
    """The file comes from the project's template."""
    path = run.new(target(a1=A), "add readers")
    assert path.startswith("alembic/versions/")
    assert path.endswith("_add_readers.py")
    assert "down_revision = 'a1'" in (target().root / path).read_text()


class Second:
    """A second database in the place of a copy."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def copied(self, _run: str):
        return nullcontext(Copy(self.dsn, "a second database", production_data=False))


@pytest.fixture
def shadow(postgres):
    """Empty databases of the session's server."""

    @contextmanager
    def start():
        with ExitStack() as stack:

            def new():
                dsn = stack.enter_context(postgres.fresh_database("shadow"))
                return lambda: connect(dsn)

            yield new

    return start


def test_a_database_that_nobody_recorded_is_adopted_and_alembic_agrees(target, conn: SqlConnection, shadow):
    """The baseline is proven by the schema; Alembic's own table then says so."""
    here = target(a1=A, b2=B)
    run.up(here)
    run.down(here)
    conn.execute("DROP TABLE alembic_version; DROP SCHEMA dodai CASCADE")
    adopted = run.adopt(here, shadow)
    assert (adopted.baseline, adopted.pending, adopted.foreign) == (("a1",), ("b2",), "")
    assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [("a1",)]
    assert ready(conn, "a1")
    assert [ran.migration.id for ran in run.up(here).ran] == ["b2"]


def test_a_rehearsal_measures_each_statement_in_alembics_own_session(target, postgres, conn: SqlConnection):
    """Locks, rewrites and the wait of innocent readers on the copy; the original is left alone."""
    early = target(a1=A, b2=B)
    run.up(early)
    with postgres.fresh_database("copy") as dsn:
        run.up(replace(early, connect=lambda: connect(dsn)))
        here = target(c3=revision("c3", "b2", "op.execute('ALTER TABLE quiz ALTER id TYPE bigint')", NOTHING))
        seen = run.rehearse(here, Second(dsn), connect)
    assert seen.failure is None
    assert seen.pending == ("alembic/versions/c3.py",)
    effects = [e for s in seen.statements for e in s.effects if e.rewritten]
    assert [(e.table, e.lock) for e in effects] == [("public.quiz", "AccessExclusiveLock")]
    assert {wait.kind for wait in seen.waits} == {"read", "write"}
    assert run.applied_ids(target()) == ("a1", "b2")


def test_a_rehearsal_of_a_bad_revision_is_a_result(target, postgres):
    """DOD286 with what Alembic's driver said."""
    here = target(a1=revision("a1", None, "op.execute('SELECT nothing')", NOTHING))
    with postgres.fresh_database("copy") as dsn:
        seen = run.rehearse(here, Second(dsn), connect)
    assert seen.failure is not None
    assert seen.failure.code.id == "DOD286"
    assert "UndefinedColumn" in seen.failure.message


def test_a_statement_that_no_transaction_may_hold_is_told_in_alembics_words(target):
    """The block that is named has it run."""
    alone = "op.execute('REINDEX DATABASE')"
    with pytest.raises(DodaiError) as caught:
        run.up(target(a1=A, b2=revision("b2", "a1", alone, NOTHING)))
    assert (caught.value.code.id, caught.value.data["sqlstate"]) == ("DOD280", "25001")
    assert caught.value.fix == "put such statements into `with op.get_context().autocommit_block():`"
    inside = f"with op.get_context().autocommit_block():\n        {alone}"
    assert [ran.migration.id for ran in run.up(target(b2=revision("b2", "a1", inside, NOTHING))).ran] == ["b2"]
