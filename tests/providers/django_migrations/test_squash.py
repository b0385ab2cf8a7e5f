"""An app's migrations are deleted and made anew: `adopt --baseline` proves the new ones before Django's rows are theirs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.providers.django_migrations.conftest import OURS, POLICY, SCORE_1, migration
from tests.providers.django_migrations.test_check import committed, report
from tests.providers.django_migrations.test_run import manage, ready, rows
from tests.support.command import dodai, git
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.policy import GOOSE_LOCK_ID
from dodai.migrations.ports import SqlConnection

AUTH = ("auth", "0012_alter_user_first_name_max_length")
CREATE = (
    "migrations.CreateModel('Question', [('id', models.BigAutoField(primary_key=True)), ('text', models.TextField()),"
    " ('owner', models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE))])"
)
FRESH = migration([AUTH], CREATE)
"""What `makemigrations` writes for the models as they are, once the files of the app are deleted."""
HINT = "migrations.AddField('question', 'hint', models.TextField(null=True))"


def follows(app: str, name: str) -> str:
    """The migration of `score`, which had to be edited: what it followed was deleted."""
    return SCORE_1.replace("('quiz', '0002_owner')", f"('{app}', '{name}')")


def instead(here, files: dict[str, str]) -> None:
    """The migrations of `quiz` are these, and no others; other files by their path."""
    for path in (here.root / "web/quiz/migrations").glob("0*.py"):
        path.unlink()
    for cache in (here.root / "web").rglob("__pycache__"):
        shutil.rmtree(cache)  # it goes by second and size, and a name may be as long as another
    for name, text in files.items():
        (here.root / "web" / (name if "/" in name else f"quiz/migrations/{name}.py")).write_text(text)


def refused(act) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def ours(conn: SqlConnection) -> list[str]:
    return [row for row in rows(conn) if row.startswith(("quiz.", "score."))]


MANIFEST = f'[project]\nname = "shop"\npython = "{sys.executable}"\n[migrations]\nfolder = "web"\nformat = "django"\n'
NAMES = pytest.mark.parametrize("name", ["0001_initial", "0001_fresh"], ids=["a name that is applied", "a new name"])


@pytest.mark.share(2)
@NAMES
def test_the_command_that_up_and_status_print_adopts_it(target, database: str, conn: SqlConnection, name: str):
    """Carried out where it was printed; then `manage.py migrate` has nothing to do, and `down` knows the order."""
    here = target()
    run.up(here)
    (here.root / "dodai.toml").write_text(MANIFEST)
    instead(
        here,
        {
            name: FRESH,
            "0002_hint": migration([("quiz", name)], HINT),
            "score/migrations/0001_initial.py": follows("quiz", name),
        },
    )
    up, status = (dodai("migrate", word, cwd=here.root, DATABASE_URL=database) for word in ("up", "status"))
    assert "DOD254" in up.stderr
    assert "missing      web/quiz/migrations/0002_owner.py" in status.stdout
    (line,) = {
        found for said in (up.stderr, status.stdout) for found in re.findall(r"`(dodai migrate adopt[^`]*)`", said)
    }
    assert line == f"dodai migrate adopt --baseline quiz.{name}"
    typed = shlex.split(line)[1:]
    done = dodai(*typed, "--yes", cwd=here.root, DATABASE_URL=database)
    assert done.stdout == "adopted: 16 migrations are in effect, 1 pending\n", done.stderr
    again = dodai(*typed, "--yes", cwd=here.root, DATABASE_URL=database)
    assert again.stdout == "already adopted: 16 migrations are in effect, 1 pending\n", again.stderr
    assert ours(conn) == [f"quiz.{name}", "score.0001_initial"]
    assert [ran.migration.id for ran in run.up(target()).ran] == ["quiz.0002_hint"]
    assert run.status(target()).ok
    assert ready(conn, f"quiz.{name}", "quiz.0002_hint", "score.0001_initial")
    assert "No migrations to apply" in manage(here, database, "migrate")
    assert "No migrations to prune" in manage(here, database, "migrate", "quiz", "--prune")
    undone = [ran.migration.id for ran in run.down(target(), count=3).ran]
    assert undone == ["quiz.0002_hint", "score.0001_initial", f"quiz.{name}"]


def test_what_another_app_follows_must_be_there(target, database: str, conn: SqlConnection, shadow):
    """Django cannot load a history with a hole in it, and nor can we; the file that has to be edited is named."""
    here = target()
    run.up(here)
    instead(here, {"0001_fresh": FRESH})
    hole = refused(lambda: run.adopt(target(), shadow, baselines=["quiz.0001_fresh"]))
    assert (hole.code.id, "score/migrations/0001_initial.py` follows `quiz.0002_owner`" in hole.message) == (
        "DOD207",
        True,
    )
    assert set(OURS) <= set(rows(conn))


def test_a_new_migration_under_an_old_name_is_not_taken_for_the_old_one(target, conn: SqlConnection, shadow):
    """Names come from what a migration does, so they come again: the row of `0002_owner` was another file's."""
    here = target()
    run.up(here)
    instead(here, {"0001_initial": FRESH, "0002_owner": migration([("quiz", "0001_initial")], HINT),
                   "score/migrations/0001_initial.py": follows("quiz", "0001_initial")})  # fmt: skip
    assert refused(lambda: run.up(target())).code.id == "DOD253"
    done = run.adopt(target(), shadow, baselines=["quiz.0001_initial"])
    assert done.pending == ("quiz.0002_owner",)
    assert ours(conn) == ["quiz.0001_initial", "score.0001_initial"]
    assert not ready(conn, "quiz.0002_owner")
    assert [ran.migration.id for ran in run.up(target()).ran] == ["quiz.0002_owner"]
    assert ready(conn, "quiz.0001_initial", "quiz.0002_owner", "score.0001_initial")


def test_several_apps_at_once(target, database: str, conn: SqlConnection, shadow):
    """Each that was made anew has to be named; one alone does not build what is there, and says which else."""
    here = target()
    run.up(here)
    (here.root / "web/score/migrations/0001_initial.py").unlink()
    instead(here, {"0001_fresh": FRESH, "score/migrations/0001_anew.py": follows("quiz", "0001_fresh")})
    both = "`dodai migrate adopt --baseline quiz.0001_fresh --baseline score.0001_anew`"
    assert both in refused(lambda: run.up(target())).fix
    alone = refused(lambda: run.adopt(target(), shadow, baselines=["quiz.0001_fresh"]))
    assert (alone.code.id, both in alone.fix) == ("DOD260", True)
    run.adopt(target(), shadow, baselines=["quiz.0001_fresh", "score.0001_anew"])
    assert ours(conn) == ["quiz.0001_fresh", "score.0001_anew"]
    assert run.up(target()).ran == ()
    assert "No migrations to apply" in manage(here, database, "migrate")


def test_a_squash_in_two_files_is_named_by_its_last(target, database: str, conn: SqlConnection, shadow):
    """`makemigrations` writes two where apps need each other."""
    here = target()
    run.up(here)
    table = CREATE.partition(", ('owner'")[0] + "])"
    owner = "migrations.AddField('question', 'owner', models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE))"
    instead(here, {"0001_one": migration([AUTH], table), "0002_two": migration([("quiz", "0001_one")], owner),
                   "score/migrations/0001_initial.py": follows("quiz", "0002_two")})  # fmt: skip
    assert refused(lambda: run.adopt(target(), shadow, baselines=["quiz.0001_one"])).code.id == "DOD260"
    run.adopt(target(), shadow, baselines=["quiz.0002_two"])
    assert ours(conn) == ["quiz.0001_one", "quiz.0002_two", "score.0001_initial"]
    assert run.up(target()).ran == ()
    assert "No migrations to apply" in manage(here, database, "migrate")


def test_what_manage_py_alone_had_applied_is_adopted_too(target, database: str, conn: SqlConnection, shadow):
    """Our log knows nothing of it, and has the baseline behind it."""
    here = target()
    manage(here, database, "migrate")
    instead(here, {"0001_fresh": FRESH, "score/migrations/0001_initial.py": follows("quiz", "0001_fresh")})
    assert refused(lambda: run.up(target())).code.id == "DOD254"
    run.adopt(target(), shadow, baselines=["quiz.0001_fresh"])
    assert ready(conn, "quiz.0001_fresh")
    assert run.up(target()).ran == ()
    assert run.status(target()).ok


def test_what_builds_something_else_changes_nothing(target, conn: SqlConnection, shadow):
    """The column that was forgotten is named; so is a migration of another app that has to be applied first."""
    here = target()
    run.up(here)
    before = (rows(conn), conn.execute("SELECT count(*) FROM dodai.migration_log").fetchone())
    short = migration([AUTH], CREATE.partition(", ('owner'")[0] + "])")
    instead(here, {"0001_fresh": short, "score/migrations/0001_initial.py": follows("quiz", "0001_fresh")})
    other = refused(lambda: run.adopt(target(), shadow, baselines=["quiz.0001_fresh"]))
    assert (other.code.id, other.exit_code) == ("DOD260", 1)
    assert "+ column public.quiz_question.owner_id integer" in other.details
    instead(here, {"0001_fresh": FRESH.replace("dependencies = [", "dependencies = [('score', '0002_more'), "),
                   "score/migrations/0001_initial.py": migration([]), "score/migrations/0002_more.py": migration([("score", "0001_initial")])})  # fmt: skip
    first = refused(lambda: run.adopt(target(), shadow, baselines=["quiz.0001_fresh"]))
    assert "`quiz.0001_fresh` follows `score.0002_more`, which is not applied here" in first.message
    assert (rows(conn), conn.execute("SELECT count(*) FROM dodai.migration_log").fetchone()) == before


def test_rows_of_an_app_that_nobody_squashed_are_left_alone(target, conn: SqlConnection, shadow):
    """An app that is not installed any more leaves its rows, in Django as here."""
    here = target()
    run.up(here)
    conn.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('past', '0001_initial', now())")
    assert run.up(target()).ran == ()
    instead(here, {"0001_fresh": FRESH, "score/migrations/0001_initial.py": follows("quiz", "0001_fresh")})
    run.adopt(target(), shadow, baselines=["quiz.0001_fresh"])
    assert "past.0001_initial" in rows(conn)


def test_adopting_a_database_records_what_a_squash_replaces(target, database: str, conn: SqlConnection, shadow):
    """Django counts a squash as applied by the rows of its parts; its own alone would have it run again."""
    squash = migration([AUTH], CREATE, body="replaces = [('quiz', '0001_initial'), ('quiz', '0002_owner')]")
    here = target({"quiz/migrations/0001_squashed_0002_owner.py": squash})
    run.up(here)
    conn.execute("DROP TABLE django_migrations; DROP SCHEMA dodai CASCADE")
    run.adopt(target(), shadow)
    assert {"quiz.0001_initial", "quiz.0002_owner", "quiz.0001_squashed_0002_owner"} <= set(rows(conn))
    assert "No migrations to apply" in manage(here, database, "migrate")
    assert run.up(target()).ran == ()


def test_two_at_once_are_one(target, conn: SqlConnection, shadow):
    """The second waits for the lock, and then there is nothing left to do."""
    run.up(target())
    instead(target(), {"0001_fresh": FRESH, "score/migrations/0001_initial.py": follows("quiz", "0001_fresh")})
    patient = replace(POLICY, runner_patience_s=90.0)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run.adopt, target(None, patient), shadow, baselines=["quiz.0001_fresh"]) for _ in range(2)]
    assert sorted(done.result().already for done in both) == [False, True]
    assert ours(conn) == ["quiz.0001_fresh", "score.0001_initial"]


def test_killed_it_has_done_all_of_it_or_nothing(target, database: str, conn: SqlConnection):
    """`kill -9` while it proves, and while its transaction waits for the table; the next one reaches the same end."""
    here = target()
    run.up(here)
    (here.root / "dodai.toml").write_text(MANIFEST)
    instead(here, {"0001_fresh": FRESH, "score/migrations/0001_initial.py": follows("quiz", "0001_fresh")})
    command = [sys.executable, "-m", "dodai", "migrate", "adopt", "--baseline", "quiz.0001_fresh", "--yes"]
    old, new = (list(OURS), 0), (["quiz.0001_fresh", "score.0001_initial"], 2)

    def state() -> tuple[list[str], int]:
        adopted = conn.execute("SELECT count(*) FROM dodai.migration_log WHERE event = 'adopted'").fetchone()[0]
        return ours(conn), int(adopted)

    def sessions() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(conn.execute(query).fetchone()[0])

    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'django_migrations'::regclass"
    holds = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {GOOSE_LOCK_ID}::oid"
    for seen in (holds, waits):
        if seen == waits:
            conn.execute("BEGIN; LOCK TABLE django_migrations IN SHARE MODE")
        with subprocess.Popen(
            command, cwd=here.root, env={"DATABASE_URL": database, "PATH": os.environ["PATH"]}
        ) as one:
            until(lambda seen=seen: conn.execute(seen).fetchone()[0], process=one)
            one.send_signal(signal.SIGKILL)
        if seen == waits:
            conn.execute("COMMIT")
        until(lambda: not sessions())
        assert state() in (old, new)
    done = dodai(*command[3:], cwd=here.root, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert state() == new
    assert run.up(target()).ran == ()


def test_check_names_what_it_took_away_or_changed(target, shadow):
    """In its pull request, by each path, so that it is accepted on purpose."""
    here = target()
    committed(here)
    git(here.root, "checkout", "-b", "squash")
    instead(here, {"0001_initial": FRESH, "score/migrations/0001_initial.py": follows("quiz", "0001_initial")})
    findings = [finding for finding in report(target(), shadow).findings if finding.place]
    assert all(finding.fix.endswith("; of a squash accept it in `[[check.accept]]`") for finding in findings)
    found = {(finding.code.id, finding.place.path) for finding in findings}
    assert found == {
        ("DOD205", "web/quiz/migrations/0001_initial.py"),
        ("DOD207", "web/quiz/migrations/0002_owner.py"),
        ("DOD205", "web/score/migrations/0001_initial.py"),
    }
