"""dodai's own tables are in the schema that `[migrations] log_schema` names, and a log that is elsewhere is not begun anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, NO_TX, up

from dodai.core.errors import DodaiError
from dodai.migrations import check, fence, run
from dodai.migrations.lock_probe import tables
from dodai.migrations.policy import GOOSE_LOCK_ID
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.migrations.run import belonging
from dodai.migrations.run.settled import settled
from dodai.migrations.snapshot import snapshot

FILES = {
    "1_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)),
    "2_no.sql": up("CREATE INDEX CONCURRENTLY a_b ON a (b);", down=("DROP INDEX CONCURRENTLY a_b;",), head=NO_TX),
}
LEDGER = '"public"."goose_db_version"'
Make = Callable[..., MigrationTarget]


@pytest.fixture
def at(make_target: Make) -> Callable[[str], MigrationTarget]:
    """The same files and database, with our tables in the named schema."""
    target = make_target(FILES)
    return lambda schema: replace(target, policy=replace(FAST, log_schema=schema))


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def ours(conn: SqlConnection) -> dict[str, list[str]]:
    """Our tables by schema."""
    rows = conn.execute(
        "SELECT schemaname, array_agg(tablename::text ORDER BY tablename) FROM pg_tables"
        " WHERE tablename LIKE 'migration_%' GROUP BY 1"
    ).fetchall()
    return dict(rows)


def carry_out(conn: SqlConnection, error: DodaiError) -> None:
    """What the message says, as the owner."""
    for statement in re.findall(r"`((?:BEGIN|GRANT|CREATE|COMMENT)[^`]*)`", error.fix):
        conn.execute(statement)


def history(conn: SqlConnection, schema: str) -> list[tuple[object, ...]]:
    return conn.execute(f"SELECT migration, event FROM {schema}.migration_log ORDER BY id").fetchall()


@pytest.mark.parametrize("schema", ["ops", "there", "public", "user"])
def test_the_whole_life_of_a_history_is_in_that_schema(
    at: Callable[[str], MigrationTarget], conn: SqlConnection, shadow: Shadow, schema: str
):
    """Made where it is missing; one that holds tables of others; `public`; a name that is a word of SQL."""
    conn.execute("CREATE SCHEMA there; CREATE TABLE there.others (x int)")
    target = at(schema)
    belonging.announce(target, 1)
    belonging.mark(target, "production")
    assert len(run.up(target, token=1, beside_tables=True).ran) == 2
    assert len(run.down(target, count=2).ran) == 2
    assert len(run.up(target, token=1).ran) == 2
    assert run.status(target).applied == ("1", "2")
    assert run.applied_ids(target) == ("1", "2")
    with target.reading() as reading:
        assert settled(reading, target, "", lambda _: None) is not None
    assert run.newest_token(target) == 1
    assert ours(conn) == {schema: ["migration_fence", "migration_log", "migration_run"]}
    assert belonging.owner(target) == "production"
    theirs = ["+ column there.others.x integer", "+ schema there", "+ table there.others"]
    drift = [line for line in theirs if schema != "there" or "schema" not in line]
    assert list(check.live_schema("x", target, shadow).differences) == drift


def test_no_look_at_a_schema_takes_our_tables_for_the_users(at: Callable[[str], MigrationTarget], conn: SqlConnection):
    """A snapshot, the lock probe and the row counts see a table of the same name that is not ours."""
    before = snapshot(conn)
    conn.execute("CREATE SCHEMA mine; CREATE TABLE mine.migration_log (x int)")
    with_theirs = snapshot(conn)
    assert with_theirs != before
    target = at("public")
    belonging.announce(target, 1)
    assert len(run.up(target, token=1, beside_tables=True).ran) == 2
    run.down(target, count=2)
    assert snapshot(conn) == with_theirs
    assert {each.name for each in tables(conn).values()} == {"mine.migration_log", "public.goose_db_version"}
    conn.execute("ANALYZE")
    assert set(run.save_rows(target)) == {"mine.migration_log", "public.goose_db_version"}


def test_our_tables_alone_are_not_unmanaged_tables(at: Callable[[str], MigrationTarget]):
    """A deploy has made the fence before the first migration."""
    belonging.announce(at("public"), 1)
    assert len(run.up(at("public"), token=1).ran) == 2


@pytest.mark.parametrize(
    "act",
    [
        run.up,
        run.down,
        run.status,
        run.applied_ids,
        run.newest_token,
        lambda target: belonging.announce(target, 2),
        lambda target: run.up(target, token=2),
        lambda target: run.repair(target, ("1",), reason="because"),
    ],
)
def test_a_log_in_another_schema_is_not_begun_anew(
    at: Callable[[str], MigrationTarget], conn: SqlConnection, act: Callable[[MigrationTarget], object]
):
    """Whatever asks first is told where it is and what moves it, and has changed nothing; then all goes on."""
    belonging.announce(at("dodai"), 1)
    run.up(at("dodai"), token=1)
    told, there = history(conn, "dodai"), ours(conn)
    error = refused(lambda: act(at("ops")))
    assert (error.code.id, error.exit_code) == ("DOD269", 1)
    assert (history(conn, "dodai"), ours(conn)) == (told, there)
    assert not conn.execute("SELECT to_regnamespace('ops') IS NOT NULL").fetchone()[0]
    carry_out(conn, error)
    assert ours(conn) == {"ops": ["migration_fence", "migration_log", "migration_run"]}
    assert run.up(at("ops"), token=2).already == 2
    assert history(conn, "ops") == told
    assert refused(lambda: run.up(at("dodai"))).code.id == "DOD269"


@pytest.mark.parametrize("moved", ["migration_run", "migration_log"])
def test_tables_that_were_moved_in_part_are_moved_to_the_end(
    at: Callable[[str], MigrationTarget], conn: SqlConnection, moved: str
):
    """Somebody typed the statements one by one and was interrupted."""
    run.up(at("dodai"))
    told = history(conn, "dodai")
    conn.execute(f"CREATE SCHEMA ops; ALTER TABLE dodai.{moved} SET SCHEMA ops")
    for schema in ("ops", "dodai"):
        assert refused(lambda schema=schema: run.up(at(schema))).code.id == "DOD269"
    carry_out(conn, refused(lambda: run.up(at("ops"))))
    assert run.up(at("ops")).already == 2
    assert history(conn, "ops") == told


def test_a_log_of_another_ledger_in_that_schema_is_not_taken_for_ours(
    at: Callable[[str], MigrationTarget], conn: SqlConnection
):
    """Two applications share a database; one of them now names the schema of the other."""
    run.up(at("ops"))
    other = replace(at("dodai"), policy=replace(FAST, ledger="public.other", log_schema="dodai"))
    conn.execute("DROP TABLE a")
    run.up(other, beside_tables=True)
    error = refused(lambda: run.up(at("dodai")))
    assert error.code.id == "DOD269"
    assert error.fix.startswith('say `log_schema = "ops"` again')
    assert run.up(at("ops")).already == 2
    assert run.up(other).already == 2


@pytest.mark.parametrize("names", [("migration_log",), ("migration_log", "migration_run"), ("migration_fence",)])
def test_a_table_of_that_name_that_is_not_ours_is_left_alone(
    at: Callable[[str], MigrationTarget], conn: SqlConnection, names: tuple[str, ...]
):
    """Nothing is made beside it, not even the ledger."""
    for name in names:
        conn.execute(f"CREATE TABLE {name} (what text)")
    error = refused(lambda: run.up(at("public"), beside_tables=True))
    assert error.code.id == "DOD270"
    assert f'`"public".{names[0]}`' in error.message
    assert conn.execute("SELECT to_regclass('goose_db_version')").fetchone() == (None,)
    assert len(run.up(at("ops"), beside_tables=True).ran) == 2


def test_of_two_runners_with_different_schemas_one_applies_and_the_other_is_refused(
    at: Callable[[str], MigrationTarget], conn: SqlConnection
):
    """Both have seen that there is no log, and wait for the same lock."""
    conn.execute(f"SELECT pg_advisory_lock({GOOSE_LOCK_ID})")
    results: dict[str, object] = {}
    waiting = {schema: threading.Event() for schema in ("ops", "other")}

    def go(schema: str) -> None:
        def note(_: str) -> None:
            waiting[schema].set()

        try:
            results[schema] = len(run.up(at(schema), note=note).ran)
        except DodaiError as error:
            results[schema] = error.code.id

    threads = [threading.Thread(target=go, args=(schema,)) for schema in waiting]
    for thread in threads:
        thread.start()
    assert all(event.wait(20) for event in waiting.values())
    conn.execute(f"SELECT pg_advisory_unlock({GOOSE_LOCK_ID})")
    for thread in threads:
        thread.join()
    assert sorted(map(str, results.values())) == ["2", "DOD269"]
    assert len(ours(conn)) == 1


def test_of_two_holders_with_different_schemas_the_second_begins_no_fence(
    at: Callable[[str], MigrationTarget], conn: SqlConnection
):
    """Before anything was applied: a token that the other does not look at would replace nobody."""
    belonging.announce(at("dodai"), 5)
    error = refused(lambda: belonging.announce(at("ops"), 6))
    assert error.code.id == "DOD269"
    assert fence.newest(conn, "dodai", LEDGER) == 5
    carry_out(conn, error)
    belonging.announce(at("ops"), 6)
    assert fence.newest(conn, "ops", LEDGER) == 6


def test_another_schema_is_no_way_around_the_gate_of_a_protected_environment(
    at: Callable[[str], MigrationTarget], conn: SqlConnection
):
    """Whatever the manifest of a command names; the words of others at a schema stay."""
    conn.execute("COMMENT ON SCHEMA public IS 'ours for ever'")
    belonging.mark(at("public"), "production")
    for schema in ("public", "dodai", "ops"):
        error = refused(lambda schema=schema: belonging.refuse(at(schema), "local"))
        assert error.code.id == "DOD264"
    assert conn.execute("SELECT obj_description('public'::regnamespace, 'pg_namespace')").fetchone() == (
        "ours for ever",
    )
    carry_out(conn, error)
    belonging.refuse(at("public"), "local")
    belonging.mark(at("dodai"), "production")
    assert refused(lambda: belonging.refuse(at("ops"), "local")).code.id == "DOD264"


def test_adopt_leaves_the_schema_of_the_log_out(
    at: Callable[[str], MigrationTarget], conn: SqlConnection, shadow: Shadow
):
    """A schema that a DBA made for it is not one that the files should have built."""
    conn.execute("CREATE SCHEMA ops; CREATE TABLE a (b int); CREATE INDEX a_b ON a (b)")
    assert run.adopt(at("ops"), shadow).baseline == ("1", "2")
    assert [row[1] for row in history(conn, "ops")] == ["adopted", "adopted"]
    assert check.live_schema("x", at("ops"), shadow).differences == ()
    assert run.up(at("ops")).already == 2


@pytest.fixture
def project(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "db" / "migrations"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (tmp_path / "dodai.toml").write_text('[project]\nname = "small"\n[migrations]\nlog_schema = "ops"\n')
    monkeypatch.setenv("DATABASE_URL", database)
    return tmp_path


def dodai(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dodai", *words],
        cwd=project, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_short_way_of_nothing_to_do_looks_there_and_loads_no_more(project: Path, conn: SqlConnection):
    """It says so where the log is there, and is refused like the whole of `up` once the manifest names another schema."""
    assert dodai(project, "migrate", "up").returncode == 0
    assert ours(conn) == {"ops": ["migration_log", "migration_run"]}
    again = dodai(project, "migrate", "up")
    assert again.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines() if "import time:" in line}
    assert "dodai.migrations.run.settled" in loaded
    assert not {"dodai.migrations.side_tables", "dodai.migrations.fence", "click"} & loaded
    (project / "dodai.toml").write_text('[project]\nname = "small"\n[migrations]\nlog_schema = "public"\n')
    moved = dodai(project, "migrate", "up")
    assert (moved.returncode, "DOD269" in moved.stderr) == (1, True)


@pytest.mark.parametrize(
    "word", ["", "Ops", 'o"ps', "a.b", "pg_mine", "information_schema", "1st", "x" * 64, "ops;", "ö"]
)
def test_what_is_no_plain_name_of_a_schema_is_a_problem_of_the_manifest(project: Path, word: str):
    """With file and line, before anything is connected to."""
    (project / "dodai.toml").write_text(f"[project]\nname = 'small'\n[migrations]\nlog_schema = '{word}'\n")
    done = dodai(project, "migrate", "up")
    assert done.returncode == 2
    assert "dodai.toml:4" in done.stderr
    assert "the name of a PostgreSQL schema" in done.stderr
