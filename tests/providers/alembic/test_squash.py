"""Old revisions are deleted, one new base stands for them: `adopt --baseline` is a proven `alembic stamp --purge`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.providers.alembic.test_check import A, B, report, revision
from tests.providers.alembic.test_run import NOTHING, POLICY, conn, shadow, target  # noqa: F401 - fixtures
from tests.support.command import dodai, git
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.migrations import enforce, run
from dodai.migrations.policy import GOOSE_LOCK_ID
from dodai.migrations.ports import SqlConnection

SQUASHED = revision(
    "n1",
    None,
    "op.create_table('quiz', sa.Column('id', sa.Integer, primary_key=True), sa.Column('title', sa.Text))",
    "op.drop_table('quiz')",
)
LATER = revision("n2", "n1", "op.create_table('later', sa.Column('x', sa.Integer))", "op.drop_table('later')")
"""The same table as A and B make together, and what comes after it."""


def heads(conn: SqlConnection) -> set[str]:  # noqa: F811 - the fixture
    return {row[0] for row in conn.execute("SELECT version_num FROM alembic_version").fetchall()}


def required(conn: SqlConnection, here, *ids: str) -> bool:  # noqa: F811 - the fixture
    return enforce.answer(ids, conn.execute(enforce.question(here.policy)).fetchall()).ready


def instead(here, **files: str) -> None:
    """The revisions of a squash in the place of all that there were."""
    versions = here.root / "alembic/versions"
    for path in versions.glob("*.py"):
        path.unlink()
    for name, text in files.items():
        (versions / f"{name}.py").write_text(text)


def refused(act) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def alembic(here, database: str, *words: str) -> str:
    """Alembic's own command line, on the same database."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *words], cwd=here.root, env={**os.environ, "APP_URL": database},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


MANIFEST = (
    f'[project]\nname = "shop"\npython = "{sys.executable}"\n[database]\nvariable = "APP_URL"\n'
    '[migrations]\nfolder = "alembic/versions"\nformat = "alembic"\n'
)


def test_the_command_that_up_and_status_print_adopts_a_squash(target, database: str, conn: SqlConnection):  # noqa: F811
    """It is carried out where it was printed; then Alembic itself has nothing to say against it."""
    here = target(a1=A, b2=B)
    run.up(here)
    (here.root / "dodai.toml").write_text(MANIFEST)
    instead(here, n1=SQUASHED, n2=LATER)
    up, status = (dodai("migrate", word, cwd=here.root, APP_URL=database) for word in ("up", "status"))
    assert "DOD254" in up.stderr
    assert "missing      alembic/versions/b2.py" in status.stdout
    (line,) = {
        found for said in (up.stderr, status.stdout) for found in re.findall(r"`(dodai migrate adopt[^`]*)`", said)
    }
    assert line == "dodai migrate adopt --baseline n1"
    typed = shlex.split(line)[1:]
    done = dodai(*typed, "--yes", cwd=here.root, APP_URL=database)
    assert done.stdout == "adopted: 1 migrations are in effect, 1 pending\n", done.stderr
    again = dodai(*typed, "--yes", cwd=here.root, APP_URL=database)
    assert again.stdout == "already adopted: 1 migrations are in effect, 1 pending\n", again.stderr
    assert heads(conn) == {"n1"}
    assert [ran.migration.id for ran in run.up(target()).ran] == ["n2"]
    assert run.status(target()).ok
    assert required(conn, here, "n1", "n2")
    assert required(conn, here, "a1", "b2"), "the release before it serves on: its schema is there"
    assert "n2 (head)" in alembic(here, database, "current")
    assert [ran.migration.id for ran in run.down(target(), count=2).ran] == ["n2", "n1"]


LABEL = 'branch_labels = ("{}",)\n\ndef upgrade'
OTHER = revision("x1", None, "op.create_table('other', sa.Column('x', sa.Integer))", "op.drop_table('other')")


def labelled(text: str, label: str) -> str:
    return text.replace("def upgrade", LABEL.format(label))


def test_rows_are_those_that_stamp_purge_leaves(target, database: str, conn: SqlConnection, shadow):  # noqa: F811
    """Of two branches with an end each: one base that is missing is named, then both stand there."""
    run.up(target(a1=labelled(A, "one"), b2=B, x1=labelled(OTHER, "two")))
    assert heads(conn) == {"b2", "x1"}
    instead(target(), n1=labelled(SQUASHED, "one"), n9=labelled(OTHER.replace("'x1'", "'n9'"), "two"))
    both = "`dodai migrate adopt --baseline n1 --baseline n9`"
    assert both in refused(lambda: run.up(target())).fix
    alone = refused(lambda: run.adopt(target(), shadow, baselines=["n1"]))
    assert (alone.code.id, both in alone.fix) == ("DOD260", True)
    assert heads(conn) == {"b2", "x1"}
    assert run.adopt(target(), shadow, baselines=["n1", "n9"]).pending == ()
    proven = heads(conn)
    assert run.up(target()).ran == ()
    alembic(target(), database, "stamp", "--purge", "n1", "n9")
    assert heads(conn) == proven == {"n1", "n9"}


def test_a_branch_that_was_not_squashed_stays_where_it_is(target, conn: SqlConnection, shadow):  # noqa: F811
    """Its head is known, and part of what is proven."""
    run.up(target(a1=labelled(A, "one"), b2=B, x1=labelled(OTHER, "two")))
    instead(target(), n1=labelled(SQUASHED, "one"), x1=labelled(OTHER, "two"))
    assert set(run.adopt(target(), shadow, baselines=["n1"]).baseline) == {"n1", "x1"}
    assert heads(conn) == {"n1", "x1"}
    assert run.up(target()).ran == ()


def test_one_base_for_two_heads(target, conn: SqlConnection, shadow):  # noqa: F811
    """Two rows become one."""
    run.up(target(a1=labelled(A, "one"), b2=B, x1=labelled(OTHER, "two")))
    all_of_it = SQUASHED.replace("'quiz',", "'other', sa.Column('x', sa.Integer)); op.create_table('quiz',", 1)
    instead(target(), n1=all_of_it)
    run.adopt(target(), shadow, baselines=["n1"])
    assert heads(conn) == {"n1"}
    assert run.status(target()).ok


def test_a_squash_of_the_last_revisions_follows_what_stayed(target, conn: SqlConnection, shadow):  # noqa: F811
    """What the baseline follows is in effect with it."""
    run.up(target(a1=A, b2=B, c3=revision("c3", "b2", "op.add_column('quiz', sa.Column('n', sa.Integer))")))
    both = "op.add_column('quiz', sa.Column('n', sa.Integer)); op.add_column('quiz', sa.Column('title', sa.Text))"
    instead(target(), a1=A, n1=revision("n1", "a1", both, NOTHING), n2=LATER)
    assert run.adopt(target(), shadow, baselines=["n1"]).baseline == ("a1", "n1")
    assert heads(conn) == {"n1"}
    assert [ran.migration.id for ran in run.up(target()).ran] == ["n2"]


def test_a_squash_of_several_revisions_is_named_by_its_last(target, conn: SqlConnection, shadow):  # noqa: F811
    """How far it reaches is seen by the schema; what follows is run."""
    run.up(target(a1=A, b2=B))
    instead(target(), n1=A.replace("'a1'", "'n1'"), n2=B.replace("'a1'", "'n1'").replace("'b2'", "'n2'"))
    (target().root / "alembic/versions/n3.py").write_text(LATER.replace("'n2'", "'n3'").replace("'n1'", "'n2'"))
    assert "`dodai migrate adopt --baseline n1`" in refused(lambda: run.up(target())).fix
    first = refused(lambda: run.adopt(target(), shadow, baselines=["n1"]))
    assert (first.code.id, first.fix) == ("DOD260", "the squash reaches to `n2`: `dodai migrate adopt --baseline n2`")
    assert run.adopt(target(), shadow, baselines=["n2"]).pending == ("n3",)
    assert heads(conn) == {"n2"}
    assert [ran.migration.id for ran in run.up(target()).ran] == ["n3"]


def test_a_squash_that_has_the_id_of_the_old_head_is_proven_too(target, database: str, conn: SqlConnection, shadow):  # noqa: F811
    """Many keep the id, so that nobody has to stamp; `up` sees another file and names the command, which settles it."""
    run.up(target(a1=A, b2=B))
    instead(target(), b2=SQUASHED.replace("'n1'", "'b2'"))
    edited = refused(lambda: run.up(target()))
    assert edited.code.id == "DOD253"
    assert "after a squash `dodai migrate adopt --baseline b2`" in edited.fix
    assert not run.adopt(target(), shadow, baselines=["b2"]).already
    assert run.up(target()).ran == ()
    assert run.adopt(target(), shadow, baselines=["b2"]).already
    assert heads(conn) == {"b2"}


def test_a_new_revision_under_an_old_id_is_not_taken_for_the_old_one(target, conn: SqlConnection, shadow):  # noqa: F811
    """The row says `b2`, which was another file: the schema tells that the new one was not run."""
    run.up(target(a1=A, b2=B))
    instead(target(), a1=SQUASHED.replace("'n1'", "'a1'"), b2=LATER.replace("'n1'", "'a1'").replace("'n2'", "'b2'"))
    done = run.adopt(target(), shadow, baselines=["a1"])
    assert (done.baseline, done.pending) == (("a1",), ("b2",))
    assert heads(conn) == {"a1"}
    assert not required(conn, target(), "b2")
    assert [ran.migration.id for ran in run.up(target()).ran] == ["b2"]
    assert required(conn, target(), "a1", "b2")


def test_whether_a_change_of_data_under_an_old_id_was_run_is_asked(target, conn: SqlConnection, shadow):  # noqa: F811
    """No schema can tell; the command that decides is named, and carried out as it stands."""
    run.up(target(a1=A, b2=B))
    data = revision("b2", "a1", "op.execute('UPDATE quiz SET title = 1')", NOTHING)
    instead(target(), a1=SQUASHED.replace("'n1'", "'a1'"), b2=data)
    unclear = refused(lambda: run.adopt(target(), shadow, baselines=["a1"]))
    assert (unclear.code.id, "`a1`, `b2`" in unclear.message) == ("DOD260", True)
    assert "`dodai migrate adopt --baseline a1 --at b2`" in unclear.fix
    assert heads(conn) == {"b2"}
    assert run.adopt(target(), shadow, baselines=["a1"], at="a1").pending == ("b2",)
    assert heads(conn) == {"a1"}


def everything(conn: SqlConnection) -> tuple[object, ...]:  # noqa: F811 - the fixture
    """What an adoption may change, and the schema's columns."""
    log = "SELECT count(*) FROM dodai.migration_log"
    columns = "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnum > 0 ORDER BY 1, 2"
    return heads(conn), conn.execute(log).fetchone(), conn.execute(columns).fetchall()


def test_a_squash_that_builds_something_else_changes_nothing(target, conn: SqlConnection, shadow):  # noqa: F811
    """The column that was forgotten is named, as is a file that is not there, or that does not run."""
    run.up(target(a1=A, b2=B))
    before = everything(conn)
    instead(target(), n1=A.replace("'a1'", "'n1'"))
    other = refused(lambda: run.adopt(target(), shadow, baselines=["n1"]))
    assert (other.code.id, other.exit_code) == ("DOD260", 1)
    assert "build another schema" in other.message
    assert other.details == ("+ column public.quiz.title text",)
    assert "no file" in refused(lambda: run.adopt(target(), shadow, baselines=["n7"])).message
    instead(target(), n1=revision("n1", None, "op.execute('SELECT nothing')"))
    assert "does not run on an empty server" in refused(lambda: run.adopt(target(), shadow, baselines=["n1"])).message
    assert everything(conn) == before
    assert refused(lambda: run.up(target())).code.id == "DOD254"


def test_what_comes_behind_the_baseline_is_not_run_for_the_proof(target, shadow):  # noqa: F811
    """A revision that needs rows says so on an empty server, and is nobody's business here."""
    run.up(target(a1=A, b2=B))
    needs_rows = "assert op.get_bind().exec_driver_sql('SELECT 1 FROM quiz').all(), 'no rows'"
    instead(target(), n1=SQUASHED, n2=revision("n2", "n1", needs_rows))
    assert run.adopt(target(), shadow, baselines=["n1"]).pending == ("n2",)


def test_two_at_once_are_one(target, database: str, conn: SqlConnection, shadow):  # noqa: F811
    """The second waits for the lock, and then there is nothing left to do."""
    run.up(target(a1=A, b2=B))
    instead(target(), n1=SQUASHED)
    patient = replace(POLICY, runner_patience_s=60.0)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run.adopt, target(patient), shadow, baselines=["n1"]) for _ in range(2)]
    assert sorted(done.result().already for done in both) == [False, True]
    assert conn.execute("SELECT count(*) FROM dodai.migration_log WHERE event = 'adopted'").fetchone() == (1,)
    conn.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")
    assert refused(lambda: run.adopt(target(), shadow, baselines=["n1"])).code.id == "DOD250"


def test_killed_it_has_done_all_of_it_or_nothing(target, database: str, conn: SqlConnection):  # noqa: F811
    """`kill -9` while it proves, and while its transaction waits for the table; the next one reaches the same end."""
    run.up(target(a1=A, b2=B))
    here = target()
    (here.root / "dodai.toml").write_text(MANIFEST)
    instead(here, n1=SQUASHED)
    command = [sys.executable, "-m", "dodai", "migrate", "adopt", "--baseline", "n1", "--yes"]

    def adopted() -> int:
        return int(conn.execute("SELECT count(*) FROM dodai.migration_log WHERE event = 'adopted'").fetchone()[0])

    def sessions() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(conn.execute(query).fetchone()[0])

    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'alembic_version'::regclass"
    holds = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {GOOSE_LOCK_ID}::oid"
    for seen in (holds, waits):
        if seen == waits:
            conn.execute("BEGIN; LOCK TABLE alembic_version IN SHARE MODE")
        with subprocess.Popen(command, cwd=here.root, env={"APP_URL": database, "PATH": os.environ["PATH"]}) as process:
            until(lambda seen=seen: conn.execute(seen).fetchone()[0], process=process)
            process.send_signal(signal.SIGKILL)
        if seen == waits:
            conn.execute("COMMIT")
        until(lambda: not sessions())
        assert (heads(conn), adopted()) in (({"b2"}, 0), ({"n1"}, 1))
    done = dodai(*command[3:], cwd=here.root, APP_URL=database)
    assert done.returncode == 0, done.stderr
    assert (heads(conn), adopted()) == ({"n1"}, 1)
    assert run.up(target()).ran == ()


def test_check_names_what_a_squash_took_away(target, postgres):  # noqa: F811 - the fixture
    """In its pull request, by each path, so that it is accepted on purpose; the new base is tried like any other."""
    here = target(a1=A, b2=B)
    for words in (("init", "-b", "main"), ("add", "."), ("commit", "-m", "first"), ("checkout", "-b", "squash")):
        git(here.root, *words)
    instead(here, n1=SQUASHED)
    found = report(target().tool, postgres).findings
    paths = {(finding.code.id, finding.place.path) for finding in found if finding.place}
    assert paths == {("DOD207", "alembic/versions/a1.py"), ("DOD207", "alembic/versions/b2.py")}
    assert all("[[check.accept]]" in finding.advice for finding in found)
