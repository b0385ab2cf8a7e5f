"""`up` applies what is pending, once, under lock, and its ledger is true whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.migrations.conftest import FAST, NO_TX, up

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.policy import GOOSE_LOCK_ID
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

Make = Callable[..., MigrationTarget]
TWO = {
    "1_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)),
    "2_c.sql": up("CREATE TABLE c (d int);", "INSERT INTO c VALUES (1);", down=("DROP TABLE c;",)),
}


def versions(conn: SqlConnection) -> list[int]:
    return [row[0] for row in conn.execute("SELECT version_id FROM goose_db_version ORDER BY id").fetchall()]


def refused(target: MigrationTarget, **options: bool) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        run.up(target, **options)
    return caught.value


def test_pending_files_are_applied_in_order_and_a_second_run_does_nothing(make_target: Make, conn: SqlConnection):
    """The ledger has goose's rows, the log who did it."""
    first, second = run.up(make_target(TWO)), run.up(make_target(TWO))
    assert [ran.migration.id for ran in first.ran] == ["1", "2"]
    assert (second.ran, second.already) == ((), 2)
    assert versions(conn) == [0, 1, 2]
    assert conn.execute("SELECT actor, outcome FROM dodai.migration_run").fetchall() == [("somebody", "done")]


def test_a_failing_file_is_rolled_back_whole_and_the_error_says_what_was_done(make_target: Make, conn: SqlConnection):
    """File, line, statement, what is applied, what is rolled back and what was not touched."""
    files = {
        **TWO,
        "3_x.sql": up("CREATE TABLE x (y int);", "", "INSERT INTO x\n  VALUES ('no');"),
        "4_y.sql": TWO["1_a.sql"],
    }
    error = refused(make_target(files))
    assert (error.code.id, error.exit_code) == ("DOD280", 3)
    assert "3_x.sql:5, statement 2" in error.message
    assert "22P02" in error.message
    assert error.data["applied"] == ["1", "2"]
    assert error.data["pending"] == ["4"]
    assert any("rolled back" in line and "3_x.sql" in line for line in error.details)
    assert versions(conn) == [0, 1, 2]
    assert conn.execute("SELECT to_regclass('x')").fetchone()[0] is None
    assert conn.execute(
        "SELECT migration, statement, sqlstate FROM dodai.migration_log WHERE event = 'failed'"
    ).fetchall() == [("3", 2, "22P02")]


def test_an_error_position_counts_from_the_statement_not_from_what_is_sent_with_it(make_target: Make):
    """The first statement of a file travels with the opening of its transaction."""
    error = refused(make_target({"1_a.sql": up("CREATE TABLE a (\n  b int,\n  c nothing\n);")}))
    assert "1_a.sql:4, statement 1" in error.message


def test_settings_of_one_file_do_not_change_how_the_next_is_read(make_target: Make, conn: SqlConnection):
    """`standard_conforming_strings = off` would make a backslash of the next file an escape."""
    head = "SET standard_conforming_strings = off; SET search_path = pg_temp;"
    body = r"CREATE TABLE b AS SELECT 'a\'::text AS t;"
    run.up(make_target({"1_a.sql": up(head), "2_b.sql": up(body)}))
    assert conn.execute("SELECT t FROM public.b").fetchone()[0] == "a" + chr(92)


def test_nothing_is_run_when_one_file_cannot_be_read(make_target: Make, conn: SqlConnection):
    """All files are read before any is run."""
    assert refused(make_target({**TWO, "3_x.sql": "SELECT 1;\n"})).code.id == "DOD200"
    assert conn.execute("SELECT to_regclass('goose_db_version')").fetchone()[0] is None


def test_ten_runners_at_once_apply_each_file_once(make_target: Make, conn: SqlConnection):
    """Exactly one runner applies each file; the others find it done."""
    target = make_target(
        {f"{n}_t.sql": up(f"CREATE TABLE t{n} (a int);", f"INSERT INTO t{n} VALUES (1);") for n in range(1, 8)}
    )
    gate = threading.Barrier(10)

    def one(_: int) -> list[str]:
        gate.wait(timeout=30)
        return [ran.migration.id for ran in run.up(target).ran]

    with ThreadPoolExecutor(10) as pool:
        ran = [id_ for ids in pool.map(one, range(10)) for id_ in ids]
    assert sorted(ran) == [str(n) for n in range(1, 8)]
    assert versions(conn) == list(range(8))


def test_a_held_lock_is_refused_with_75_and_names_its_holder(make_target: Make, conn: SqlConnection):
    """A goose library user holds the same lock."""
    conn.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")
    error = refused(make_target(TWO, replace(FAST, runner_patience_s=0.2)))
    assert (error.code.id, error.exit_code) == ("DOD250", 75)
    assert f"`{conn.info.backend_pid}`" in error.message


def test_the_lock_is_given_back_after_a_failure(make_target: Make, conn: SqlConnection):
    """Nobody has to wait for a runner that failed."""
    refused(make_target({"1_a.sql": up("SELECT nothing;")}))
    assert conn.execute(f"SELECT pg_try_advisory_lock({GOOSE_LOCK_ID})").fetchone()[0]


def test_a_lock_timeout_is_retried_until_the_reader_is_gone(make_target: Make, conn: SqlConnection):
    """The file steps back, names the reader and goes through once it has left."""
    target = make_target({"1_a.sql": TWO["1_a.sql"]})
    run.up(target)
    conn.execute("BEGIN; SELECT * FROM a")
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if len(notes) == 2:
            conn.execute("COMMIT")

    done = run.up(make_target({"2_b.sql": up("ALTER TABLE a ADD COLUMN c int;")}), note=note)
    assert done.ran[0].retries == 2
    assert str(conn.info.backend_pid) in notes[-1]


def test_a_reader_that_never_leaves_ends_in_a_coded_error_that_names_it(make_target: Make, conn: SqlConnection):
    """After the patience is over nothing is changed, and the error says whom to ask."""
    target = make_target({"1_a.sql": TWO["1_a.sql"]})
    run.up(target)
    conn.execute("BEGIN; SELECT * FROM a")
    error = refused(make_target({"2_b.sql": up("ALTER TABLE a ADD COLUMN c int;")}, replace(FAST, lock_patience_s=0.5)))
    assert error.code.id == "DOD281"
    assert any(f"`{conn.info.backend_pid}`" in line for line in error.details)
    conn.execute("COMMIT")
    assert versions(conn) == [0, 1]


def test_a_version_below_an_applied_one_is_refused_and_can_be_allowed(make_target: Make, conn: SqlConnection):
    """goose's rule; `allow_missing` applies it knowingly."""
    target = make_target({"2_b.sql": TWO["2_c.sql"]})
    run.up(target)
    make_target(TWO)
    (target.root / "db/migrations/2_c.sql").unlink()
    assert refused(target).code.id == "DOD252"
    assert [ran.migration.id for ran in run.up(target, allow_missing=True).ran] == ["1"]
    assert versions(conn) == [0, 2, 1]


def test_an_edited_applied_file_is_refused_unless_only_comments_changed(make_target: Make):
    """The meaning decides, not the bytes."""
    run.up(make_target(TWO))
    run.up(make_target({"1_a.sql": "-- a word\n" + TWO["1_a.sql"]}))
    assert refused(make_target({"1_a.sql": TWO["1_a.sql"].replace("int", "bigint")})).code.id == "DOD253"


def test_a_missing_applied_file_is_refused_but_an_older_tree_is_fine(make_target: Make):
    """A rollback to an older release finds a database ahead of it and says so."""
    target = make_target({**TWO, "3_e.sql": up("SELECT 1;")})
    run.up(target)
    (target.root / "db/migrations/3_e.sql").unlink()
    assert "ahead" in run.up(target).notes[0]
    (target.root / "db/migrations/1_a.sql").unlink()
    assert refused(target).code.id == "DOD254"


def test_a_file_that_ends_its_own_transaction_is_refused_before_anything_runs(make_target: Make, conn: SqlConnection):
    """COMMIT in the middle would leave half a file."""
    error = refused(make_target({"1_a.sql": up("CREATE TABLE a (b int);", "COMMIT;")}))
    assert error.code.id == "DOD223"
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] is None


def test_a_transaction_left_open_is_refused_with_the_fix_of_a_file_that_has_none_of_its_own(make_target: Make):
    """Such a file is not told to become what it is already."""
    target = make_target({"1_a.sql": up("BEGIN;", "CREATE TABLE a (b int);", head=NO_TX)})
    error = refused(target)
    assert error.code.id == "DOD223"
    assert "COMMIT;" in error.fix
    assert "NO TRANSACTION" not in error.fix


def test_settings_of_one_file_do_not_reach_the_next(make_target: Make, conn: SqlConnection):
    """pg_dump's empty search path would hide the ledger and the next file's tables."""
    run.up(
        make_target(
            {"1_a.sql": up("SELECT set_config('search_path', '', false);"), "2_b.sql": up("CREATE TABLE b (c int);")}
        )
    )
    assert versions(conn) == [0, 1, 2]
    assert conn.execute("SELECT to_regclass('public.b')").fetchone()[0]


def test_a_no_transaction_file_goes_on_with_the_statement_that_failed(make_target: Make, conn: SqlConnection):
    """What is in effect is recorded statement by statement and not repeated."""
    make_target({"1_a.sql": up("CREATE TABLE a (b int);", "INSERT INTO a VALUES (1), (1);")})
    text = up(
        "INSERT INTO a VALUES (2);",
        "CREATE UNIQUE INDEX CONCURRENTLY a_b ON a (b);",
        "INSERT INTO a VALUES (3);",
        head=NO_TX,
    )
    target = make_target({"2_b.sql": text})
    error = refused(target)
    assert (error.code.id, error.exit_code) == ("DOD283", 4)
    assert "2_b.sql:4, statement 2" in error.message
    assert conn.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone()[0] == 0
    assert run.status(target).entries[1].standing == "half applied"
    conn.execute("DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a WHERE b = 1)")
    assert run.up(target).ran[0].resumed_at == 2
    assert [row[0] for row in conn.execute("SELECT b FROM a ORDER BY b").fetchall()] == [1, 2, 3]
    assert versions(conn) == [0, 1, 2]


def test_the_done_part_of_a_half_applied_file_must_not_change(make_target: Make):
    """Going on would mix two versions of the file."""
    make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    refused(make_target({"2_b.sql": up("INSERT INTO a VALUES (1);", "VACUUM nothing;", head=NO_TX)}))
    assert (
        refused(make_target({"2_b.sql": up("INSERT INTO a VALUES (9);", "VACUUM a;", head=NO_TX)})).code.id == "DOD261"
    )
    run.up(make_target({"2_b.sql": up("INSERT INTO a VALUES (1);", "VACUUM a;", head=NO_TX)}))


def test_a_repeatable_file_runs_again_only_when_its_meaning_changes(make_target: Make, conn: SqlConnection):
    """Views and functions live in files that are changed in place."""
    view = "CREATE OR REPLACE VIEW v AS SELECT 1 AS a;\n"
    run.up(make_target({**TWO, "repeatable/v.sql": view}))
    assert not run.up(make_target({"repeatable/v.sql": "-- same\n" + view})).changed
    again = run.up(make_target({"repeatable/v.sql": view.replace("1", "2")}))
    assert [ran.migration.id for ran in again.ran] == ["R:v"]
    assert conn.execute("SELECT a FROM v").fetchone()[0] == 2
    assert versions(conn) == [0, 1, 2]


def test_a_read_only_database_is_refused(make_target: Make, conn: SqlConnection):
    """A replica or a database set to read-only takes no migrations."""
    conn.execute(f'ALTER DATABASE "{conn.info.dbname}" SET default_transaction_read_only = on')
    assert refused(make_target(TWO)).code.id == "DOD259"


def test_a_remote_server_must_be_verified_unless_its_network_is_private(
    database: str, postgres: Cluster, make_target: Make
):
    """The name of the host decides, as in libpq; `plain_hosts` exempts one."""
    url = postgres.dsn(database.partition("?")[0].rpartition("/")[2], tcp=True)
    far = url.replace("@127.0.0.1", "@db.example.com").partition("?")[0] + "?hostaddr=127.0.0.1"
    target = replace(make_target(TWO), connect=lambda: connect(far))
    error = refused(target)
    assert (error.code.id, "db.example.com" in error.message) == ("DOD066", True)
    private = replace(target, policy=replace(FAST, plain_hosts=("db.example.com",)))
    assert run.up(private).changed


def test_a_role_without_rights_gets_a_coded_error(make_target: Make, conn: SqlConnection):
    """The ledger cannot be made, so nothing is applied."""
    conn.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE nobody_much LOGIN")
    target = make_target(TWO)

    def as_role() -> SqlConnection:
        opened = target.connect()
        opened.autocommit = True
        opened.execute("SET SESSION AUTHORIZATION nobody_much")
        return opened

    try:
        assert refused(replace(target, connect=as_role)).code.id == "DOD284"
    finally:
        conn.execute("DROP ROLE nobody_much")


def test_a_server_session_that_dies_mid_statement_leaves_a_true_ledger(make_target: Make, conn: SqlConnection):
    """The connection is lost, the file is not applied, the next run applies it."""
    kill = "SELECT pg_terminate_backend(pg_backend_pid());"
    error = refused(make_target({"1_a.sql": up("CREATE TABLE a (b int);", kill)}))
    assert (error.code.id, error.exit_code) == ("DOD282", 4)
    assert versions(conn) == [0]
    run.up(make_target({"1_a.sql": up("CREATE TABLE a (b int);")}))
    assert versions(conn) == [0, 1]


def test_the_deploy_step_observes_applies_and_verifies(make_target: Make):
    """Needed while something is pending, done afterwards."""
    import asyncio

    from dodai.migrations.run import step

    class Context:
        plan_id = step_id = env = actor = ""
        fencing_token = 1

        def __init__(self) -> None:
            self.notes: list[str] = []

        def remaining_s(self) -> float:
            return 30.0

        def note(self, text: str) -> None:
            self.notes.append(text)

    async def walk() -> list[str]:
        one, context = step(make_target(TWO)), Context()
        before = await one.observe(context)
        await one.apply(context)
        after = await one.verify(context)
        return [before.state, after.state, *context.notes]

    assert asyncio.run(walk())[:2] == ["needed", "done"]


def test_two_applications_share_a_database_each_with_versions_of_its_own(make_target: Make, conn: SqlConnection):
    """The log of one ledger says nothing about the versions of another."""
    run.up(make_target(TWO))
    other = make_target({"1_a.sql": up("CREATE TABLE other (b int);")}, replace(FAST, ledger="other_versions"))
    (other.root / "db/migrations/2_c.sql").unlink()
    assert [ran.migration.id for ran in run.up(other).ran] == ["1"]
    assert run.up(other).already == 1


def test_values_of_the_environment_are_never_shown_or_logged(make_target: Make, conn: SqlConnection):
    """A failing ENVSUB statement is named by its place; neither error nor log quotes it."""
    text = "-- +goose ENVSUB ON\n-- +goose Up\nSELECT 'hush'::int, '${SECRET}'::int;\n"
    target = replace(make_target({"1_a.sql": text}), environment={"SECRET": "hunter2"})
    error = refused(target)
    assert error.code.id == "DOD280"
    assert "1_a.sql:3" in error.message
    shown = f"{error.message} {error.details} {error.data}"
    logged = conn.execute("SELECT string_agg(l::text, ' ') FROM dodai.migration_log l").fetchone()[0]
    assert "hunter2" not in shown + logged
    assert "hush" not in shown + logged
