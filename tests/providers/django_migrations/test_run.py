"""Django's migrations are applied by the project's own Django, one at a time, under our lock and into our log."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from tests.providers.django_migrations.conftest import ALL, OURS, POLICY, SETTINGS, migration

from dodai.core.errors import DodaiError
from dodai.migrations import enforce, run
from dodai.migrations.policy import GOOSE_LOCK_ID
from dodai.migrations.ports import SqlConnection

FAILS = migration([("quiz", "0002_owner")], "migrations.RunSQL('SELECT nothing', 'SELECT 1')")
TEXT = migration([("quiz", "0002_owner")], "migrations.AddField('question', 'hint', models.TextField(null=True))")


def manage(target, database: str, *words: str) -> str:
    """The project's own command line, on the same database."""
    settings = target.root / "web/shop/settings.py"
    plain = settings.read_text()
    pointed = f"{plain}\nDATABASES['default'].update({_words(database)!r})\n"
    settings.write_text(pointed)
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=target.root / "web",
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        settings.write_text(plain)
    return done.stdout


def _words(database: str) -> dict[str, str]:
    from psycopg.conninfo import conninfo_to_dict

    found = conninfo_to_dict(database)
    return {
        "NAME": found["dbname"],
        "USER": found["user"],
        "HOST": found["host"],
        "PORT": str(found["port"]),
        "PASSWORD": found.get("password", ""),
    }


def ready(conn: SqlConnection, *required: str) -> bool:
    return enforce.answer(required, conn.execute(enforce.question(POLICY)).fetchall()).ready


def rows(conn: SqlConnection) -> list[str]:
    return [r[0] for r in conn.execute("SELECT app || '.' || name FROM django_migrations ORDER BY id").fetchall()]


def test_everything_pending_is_applied_and_logged_and_a_second_run_does_nothing(target, database, conn: SqlConnection):
    """Also what Django's own apps bring; the settings' host is replaced by the one that our lock is at."""
    here = target()
    first = run.up(here)
    assert len(first.ran) == ALL
    assert [ran.migration.id for ran in first.ran if ran.migration.id in OURS] == list(OURS)
    assert first.notes == ("limits hold in the session of `psycopg`: lock_timeout 200 ms",)
    assert (run.up(here).already, run.up(here).ran) == (ALL, ())
    assert ready(conn, *run.required_ids(here))
    assert "No migrations to apply" in manage(here, database, "migrate")
    assert [r[0] for r in conn.execute("SELECT model FROM django_content_type ORDER BY model").fetchall()][-3:-1] == [
        "question",
        "score",
    ]


def test_what_manage_py_applied_is_taken_as_applied(target, database, conn: SqlConnection):
    """The ledger is Django's own; readiness learns of it with the next `up`."""
    here = target()
    manage(here, database, "migrate")
    assert run.status(here).pending == ()
    assert run.up(here).ran == ()
    assert ready(conn, *OURS)


def test_a_failing_migration_is_rolled_back_and_said_with_its_statement(target, conn: SqlConnection):
    """Those before it stay applied and recorded."""
    here = target({"quiz/migrations/0003_bad.py": FAILS})
    with pytest.raises(DodaiError) as caught:
        run.up(here)
    error = caught.value
    assert (error.code.id, error.data["sqlstate"]) == ("DOD280", "42703")
    assert "web/quiz/migrations/0003_bad.py" in error.message
    assert "SELECT nothing" in error.details[0]
    assert set(rows(conn)) >= set(error.data["applied"])
    assert "quiz.0003_bad" not in rows(conn)
    event = conn.execute("SELECT event, sqlstate FROM dodai.migration_log ORDER BY id DESC LIMIT 1").fetchone()
    assert event == ("failed", "42703")


def test_two_leaves_of_one_app_are_refused(target):
    """Before Django is asked; one app with two ends, however many apps there are."""
    here = target({"quiz/migrations/0003_a.py": TEXT, "quiz/migrations/0003_b.py": TEXT.replace("hint", "note")})
    with pytest.raises(DodaiError) as caught:
        run.up(here)
    assert caught.value.code.id == "DOD222"
    assert "quiz.0003_a" in caught.value.message
    assert run.status(here).refusal.code.id == "DOD222"


def test_a_reader_in_the_way_is_waited_for_in_steps(target, conn: SqlConnection):
    """`lock_timeout` holds in Django's session; the migration is tried again once the reader is gone."""
    run.up(target())
    conn.execute("BEGIN; SELECT * FROM quiz_question")
    patient = target({"quiz/migrations/0003_hint.py": TEXT}, replace(POLICY, lock_patience_s=30.0))
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if "idle in transaction" in text:
            conn.execute("COMMIT")

    done = run.up(patient, note=note)
    assert ([ran.migration.id for ran in done.ran], done.ran[0].retries >= 1) == (["quiz.0003_hint"], True)
    assert "idle in transaction" in notes[1]


def test_a_held_lock_and_a_database_that_is_not_postgresql_are_refused(target, conn: SqlConnection):
    """Before anything is changed."""
    conn.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")
    with pytest.raises(DodaiError) as caught:
        run.up(target())
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD250", 75)
    conn.execute("SELECT pg_advisory_unlock_all()")
    with pytest.raises(DodaiError) as caught:
        run.up(target({"shop/settings.py": SETTINGS.replace("postgresql", "sqlite3")}))
    assert caught.value.code.id == "DOD226"
    assert "sqlite3`, not PostgreSQL" in caught.value.message


def test_settings_that_cannot_be_loaded_are_named(target):
    """The place in the user's code, and what to do."""
    with pytest.raises(DodaiError) as caught:
        run.up(target({"shop/settings.py": "import os\nSECRET_KEY = os.environ['SHOP_SECRET']\n"}))
    assert caught.value.code.id == "DOD226"
    assert "SHOP_SECRET" in caught.value.message
    assert "shop/settings.py:2" in caught.value.message
    assert "[check].environment" in caught.value.fix


def test_down_undoes_in_the_order_that_was_applied(target, conn: SqlConnection):
    """Django's table and our log say so; a protected environment refuses."""
    here = target()
    run.up(here)
    assert [ran.migration.id for ran in run.down(here, to="quiz.0001_initial").ran] == list(OURS[:0:-1])
    assert rows(conn)[-1] == "quiz.0001_initial"
    assert not ready(conn, "quiz.0002_owner")
    assert conn.execute("SELECT to_regclass('score_score')").fetchone()[0] is None
    assert len(run.up(here).ran) == 2
    with pytest.raises(DodaiError) as caught:
        run.down(here, protected=True)
    assert caught.value.code.id == "DOD256"


def test_a_migration_without_a_way_back_is_refused_with_its_reason(target):
    """`RunPython` without `reverse_code`; the directive says why."""
    text = migration(
        [("quiz", "0002_owner")], "migrations.RunPython(fill)", head="def fill(apps, schema_editor): pass\n"
    )
    here = target({"quiz/migrations/0003_fill.py": f"# dodai: irreversible rows of 2019 are gone\n{text}"})
    run.up(here)
    with pytest.raises(DodaiError) as caught:
        run.down(here, to="quiz.0002_owner")
    assert caught.value.code.id == "DOD256"
    assert "rows of 2019" in caught.value.message


def test_an_edited_migration_is_refused_and_comments_do_not_count(target):
    """Django has no checksums; the log has."""
    run.up(target())
    path = "quiz/migrations/0002_owner.py"
    text = (target().root / "web" / path).read_text()
    assert run.up(target({path: f"# why\n{text}"})).ran == ()
    with pytest.raises(DodaiError) as caught:
        run.up(target({path: text.replace("null=True", "null=False")}))
    assert caught.value.code.id == "DOD253"


def test_a_non_atomic_migration_that_stops_says_that_a_part_stays(target, conn: SqlConnection):
    """It is not tried again by itself."""
    text = migration(
        [("quiz", "0002_owner")],
        "migrations.RunSQL('CREATE TABLE kept (a int)', 'DROP TABLE kept')",
        "migrations.RunSQL('CREATE TABEL nothing (a int)', 'SELECT 1')",
        body="atomic = False",
    )
    with pytest.raises(DodaiError) as caught:
        run.up(target({"quiz/migrations/0003_half.py": text}))
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD283", 4)
    assert conn.execute("SELECT to_regclass('kept')").fetchone()[0] == "kept"


def test_a_squash_counts_as_applied_once_all_that_it_replaces_is(target):
    """As Django counts it; the replaced rows are past."""
    run.up(target())
    squash = migration(
        [("auth", "0012_alter_user_first_name_max_length")],
        "migrations.CreateModel('Question', [('id', models.BigAutoField(primary_key=True)),"
        " ('text', models.TextField()), ('owner', models.ForeignKey(settings.AUTH_USER_MODEL, null=True,"
        " on_delete=models.CASCADE))])",
        body="replaces = [('quiz', '0001_initial'), ('quiz', '0002_owner')]",
    )
    here = target({"quiz/migrations/0001_squashed_0002_owner.py": squash})
    seen = run.status(here)
    assert seen.pending == ()
    assert "quiz.0001_squashed_0002_owner" in seen.applied
    assert run.up(here).ran == ()


def test_new_is_djangos_own_and_needs_an_app(target):
    """The file follows the app's leaf."""
    path = run.new(target(), "quiz.add_readers")
    assert path == "web/quiz/migrations/0003_add_readers.py"
    assert "0002_owner" in (target().root / path).read_text()
    with pytest.raises(DodaiError) as caught:
        run.new(target(), "add_readers")
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD201", 2)


def test_a_holder_that_was_replaced_commits_nothing(target, conn: SqlConnection):
    """The fence is proven in the transaction in which Django writes its ledger."""
    taken_over = "migrations.RunSQL('UPDATE dodai.migration_fence SET token = 9', 'SELECT 1')"
    here = target({"quiz/migrations/0003_late.py": migration([("quiz", "0002_owner")], taken_over)})
    with pytest.raises(DodaiError) as caught:
        run.up(here, token=8)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD351", 75)
    assert "quiz.0003_late" not in rows(conn)


def together(conn: SqlConnection, schema: str = "dodai") -> set[str]:
    """The migrations whose rows in Django's table and in our log are of one transaction."""
    query = f"""
        SELECT d.app || '.' || d.name FROM django_migrations AS d JOIN {schema}.migration_log AS log
        ON log.migration = d.app || '.' || d.name AND log.xmin = d.xmin AND log.event = 'applied'"""
    return {row[0] for row in conn.execute(query).fetchall()}


def test_the_log_in_another_schema_is_in_that_transaction_too(target, conn: SqlConnection):
    """The one that the manifest names; `public` has Django's own tables as well."""
    here = replace(target(), policy=replace(POLICY, log_schema="public"))
    ran = {each.migration.id for each in run.up(here).ran}
    assert together(conn, "public") == ran
    assert run.up(here).ran == ()
    assert conn.execute("SELECT to_regnamespace('dodai')").fetchone() == (None,)


def test_the_row_of_our_log_is_in_the_transaction_of_djangos_own(target, conn: SqlConnection):
    """Also where Django records behind the migration's transaction (foreign keys, `atomic = False`)."""
    alone = migration([("quiz", "0002_owner")], "migrations.RunSQL('SELECT 1', 'SELECT 1')", body="atomic = False")
    here = target({"quiz/migrations/0003_alone.py": alone})
    ran = {each.migration.id for each in run.up(here).ran}
    assert {*OURS, "quiz.0003_alone"} <= ran
    assert together(conn) == ran


def test_a_log_that_takes_no_row_rolls_the_migration_back(target, conn: SqlConnection):
    """The rights that are missing are named; once they are there the same command goes on."""
    run.up(target())
    conn.execute("CREATE ROLE django_poor; GRANT ALL ON SCHEMA public TO django_poor")
    conn.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO django_poor")
    made = "migrations.RunSQL('CREATE TABLE made (a int)', 'DROP TABLE made')"
    becomes = "migrations.RunSQL('SET SESSION AUTHORIZATION django_poor', migrations.RunSQL.noop)"
    here = target({"quiz/migrations/0003_poor.py": migration([("quiz", "0002_owner")], made, becomes)})
    try:
        with pytest.raises(DodaiError) as caught:
            run.up(here)
        assert caught.value.code.id == "DOD284"
        assert 'GRANT USAGE ON SCHEMA "dodai"' in caught.value.fix
        assert conn.execute("SELECT to_regclass('made')").fetchone() == (None,)
        assert "quiz.0003_poor" not in rows(conn)
        conn.execute("GRANT USAGE ON SCHEMA dodai TO django_poor")
        conn.execute("GRANT SELECT, INSERT ON dodai.migration_log TO django_poor")
        assert [each.migration.id for each in run.up(here).ran] == ["quiz.0003_poor"]
    finally:
        conn.execute("DROP OWNED BY django_poor CASCADE; DROP ROLE django_poor")


def test_what_a_killed_run_left_to_do_behind_its_last_migration_is_done_by_the_next(target, conn: SqlConnection):
    """Content types and permissions: `manage.py migrate` makes them at its end."""
    here = target()
    run.up(here)
    conn.execute("DELETE FROM auth_permission; DELETE FROM django_content_type")
    assert run.up(here).ran == ()
    assert conn.execute("SELECT count(*) FROM django_content_type").fetchone() == (0,)
    conn.execute("UPDATE dodai.migration_run SET outcome = NULL, finished_at = NULL")
    assert run.up(here).ran == ()
    assert conn.execute("SELECT count(*) FROM django_content_type WHERE model = 'question'").fetchone() == (1,)


def test_a_squash_is_applied_to_an_empty_database(target, database, conn: SqlConnection):
    """Django writes rows of what it replaces, and its own at the end; ours has it once."""
    squash = migration(
        [("auth", "0012_alter_user_first_name_max_length")],
        "migrations.CreateModel('Question', [('id', models.BigAutoField(primary_key=True)),"
        " ('text', models.TextField()), ('owner', models.ForeignKey(settings.AUTH_USER_MODEL, null=True,"
        " on_delete=models.CASCADE))])",
        body="replaces = [('quiz', '0001_initial'), ('quiz', '0002_owner')]",
    )
    here = target({"quiz/migrations/0001_squashed_0002_owner.py": squash})
    assert "quiz.0001_squashed_0002_owner" in [each.migration.id for each in run.up(here).ran]
    assert {"quiz.0001_initial", "quiz.0002_owner", "quiz.0001_squashed_0002_owner"} <= set(rows(conn))
    assert run.up(here).ran == ()
    assert "No migrations to apply" in manage(here, database, "migrate")


def test_a_statement_that_no_transaction_may_hold_is_told_in_djangos_words(target):
    """The attribute that is named has it run."""
    run.up(target())
    alone = "migrations.RunSQL('REINDEX DATABASE', 'SELECT 1')"
    with pytest.raises(DodaiError) as caught:
        run.up(target({"quiz/migrations/0003_alone.py": migration([("quiz", "0002_owner")], alone)}))
    assert (caught.value.code.id, caught.value.data["sqlstate"]) == ("DOD280", "25001")
    assert caught.value.fix == "say `atomic = False` in the migration"
    text = migration([("quiz", "0002_owner")], alone, body="atomic = False")
    assert len(run.up(target({"quiz/migrations/0003_alone.py": text})).ran) == 1
