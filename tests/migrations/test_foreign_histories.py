"""Histories that other tools wrote and applied: what they hold is carried out or named, and never passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, NO_TX, POLICY, run_check, up, write

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.goose_file import FileError, parse, parse_plain, read_folder
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection

Make = Callable[..., MigrationTarget]
PLAIN = replace(FAST, format="plain")
M = "db/migrations/"


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


# --- what is in the folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ({"0001_a/up.sql": "SELECT 1;"}, "diesel (`0001_a/up.sql`)"),
        ({"20260101_a/migration.sql": "SELECT 1;"}, "Prisma"),
        ({"1_a.SQL": "SELECT 1;"}, "does not end in `.sql`"),
        ({"0001_initial.py": ""}, "Django or Alembic (`0001_initial.py`)"),
        ({"README.md": ""}, "it holds `README.md`"),
        ({}, "it is empty"),
    ],
)
def test_a_folder_without_a_migration_is_an_error_that_says_what_is_there(
    make_target: Make, branch: Path, shadow: Shadow, files: dict[str, str], seen: str
):
    """Nothing found is not nothing to do: neither `up` nor `status` nor `check` passes it."""
    target = make_target(files)
    for found in (refused(lambda: run.up(target)), run.status(target).problems[0]):
        assert found.code.id == "DOD201"
        assert seen in found.message
    report = run_check(branch, shadow)
    assert [f.code.id for f in report.errors] == ["DOD201"]
    assert seen in report.errors[0].message


def test_a_folder_emptied_after_it_was_applied_is_an_error(make_target: Make, tmp_path: Path):
    """As is one that is gone."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    run.up(target)
    (tmp_path / M / "1_a.sql").unlink()
    assert "it is empty" in refused(lambda: run.up(target)).message
    (tmp_path / M).rmdir()
    assert "does not exist" in refused(lambda: run.up(target)).message


def test_a_folder_and_a_dangling_link_named_like_a_file_are_named(make_target: Make, tmp_path: Path):
    """Both look like a migration and are none; the run stops before anything is applied."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);"), "2_b.sql/x.txt": ""})
    (tmp_path / M / "3_c.sql").symlink_to("nowhere.sql")
    found = refused(lambda: run.up(target))
    assert "`db/migrations/2_b.sql` is a folder" in found.message
    assert "`db/migrations/3_c.sql` cannot be read" in " ".join(found.details)
    assert run.applied_ids(target) == ()


def test_a_file_in_capitals_is_no_reason_to_say_that_nothing_is_left(make_target: Make, tmp_path: Path):
    """Beside files that were all applied."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    run.up(target)
    write(tmp_path, {f"{M}2_b.SQL": up("SELECT 1;")})
    assert "2_b.SQL" in refused(lambda: run.up(target)).message


# --- what is in a file ----------------------------------------------------------------------------------------------


OWN = up("BEGIN;", "CREATE TABLE t (id bigint PRIMARY KEY);", "COMMIT;", down=("BEGIN;", "DROP TABLE t;", "END;"))


def test_begin_and_commit_around_a_file_are_its_one_transaction(make_target: Make, conn: SqlConnection):
    """Applied and taken down with the ledger row in the same transaction."""
    target = make_target({"1_t.sql": OWN})
    run.up(target)
    assert conn.execute("SELECT to_regclass('t')").fetchone()[0] == "t"
    run.down(target)
    assert conn.execute("SELECT to_regclass('t')").fetchone()[0] is None


def test_a_failure_inside_begin_and_commit_leaves_nothing(make_target: Make, conn: SqlConnection):
    """goose would have committed the first half."""
    body = up("BEGIN;", "CREATE TABLE t (id int);", "SELECT 1/0;", "COMMIT;")
    assert refused(lambda: run.up(make_target({"1_t.sql": body}))).code.id == "DOD280"
    assert conn.execute("SELECT to_regclass('t')").fetchone()[0] is None


def test_begin_and_commit_in_a_new_file_are_a_warning(branch: Path, shadow: Shadow):
    """Once for each way, at the line of BEGIN; the check stays green."""
    write(branch, {f"{M}1_t.sql": OWN})
    report = run_check(branch, shadow)
    assert report.ok
    assert [(f.code.id, f.level, f.place.line) for f in report.findings if f.place] == [
        ("DOD223", "warning", 2),
        ("DOD223", "warning", 6),
    ]


def test_every_file_that_up_cannot_carry_out_is_named_at_once(make_target: Make, conn: SqlConnection):
    """A history of another tool is put right in one pass, not in one run for each file."""
    middle = up("CREATE TABLE {} (b int);", "COMMIT;", "SELECT 1;")
    target = make_target({f"{n}_a.sql": middle.format(f"t{n}") for n in (1, 2, 3)})
    found = refused(lambda: run.up(target))
    assert found.code.id == "DOD223"
    assert [text.partition(":")[0] for text in (found.message, *found.details)] == [f"{M}{n}_a.sql" for n in (1, 2, 3)]
    assert conn.execute("SELECT to_regclass('t1')").fetchone()[0] is None


def test_a_file_that_accepts_its_own_commit_runs_as_it_stands(
    make_target: Make, conn: SqlConnection, branch: Path, shadow: Shadow
):
    """Statement by statement, so that a failure behind the COMMIT goes on there; `check` calls it neither found nor unused."""
    text = "-- dodai: accept DOD223 applied by goose since 2023\n" + up(
        "CREATE TABLE a (b int);", "COMMIT;", "CREATE TABLE c (d int);", "SELECT 1 / {0};"
    )
    target = make_target({"1_a.sql": text.replace("{0}", "0")})
    with pytest.raises(DodaiError) as failed:
        run.up(target)
    assert failed.value.code.id == "DOD283"
    assert conn.execute("SELECT to_regclass('a') IS NOT NULL, to_regclass('c') IS NOT NULL").fetchone() == (True, True)
    done = run.up(make_target({"1_a.sql": text.replace("{0}", "1")}))
    assert [(ran.migration.id, ran.resumed_at) for ran in done.ran] == [("1", 4)]
    write(branch, {f"{M}2_a.sql": text.replace("{0}", "1")})
    report = run_check(branch, shadow)
    assert not [found for found in report.findings if found.code.id in ("DOD223", "DOD227")]


def test_a_date_in_an_acceptance_is_for_check_and_up_does_the_same_on_every_day(
    make_target: Make, conn: SqlConnection, branch: Path, shadow: Shadow
):
    """A new database must come out as the old ones did, whenever it is made; `check` asks for another decision."""
    text = "-- dodai: accept DOD223 applied by goose until 2020-01-01\n" + up(
        "CREATE TABLE a (b int);", "COMMIT;", "CREATE TABLE c (d int);"
    )
    assert [ran.migration.id for ran in run.up(make_target({"1_a.sql": text})).ran] == ["1"]
    assert conn.execute("SELECT to_regclass('c') IS NOT NULL").fetchone()[0]
    write(branch, {f"{M}2_a.sql": text})
    findings = [f for f in run_check(branch, shadow).findings if f.code.id == "DOD227"]
    assert {found.message for found in findings} == {"`DOD223` expired on 2020-01-01"}


def test_several_unreadable_files_are_named_at_once(make_target: Make):
    """The same for what cannot be read."""
    target = make_target({"1_a.sql": "SELECT 1;", "2_b.sql": "SELECT 1;", "3_c.sql": up("SELECT 1;")})
    found = refused(lambda: run.up(target))
    assert "1_a.sql" in found.message
    assert "2_b.sql" in " ".join(found.details)


def test_two_statements_on_a_line_without_transaction_run_as_goose_runs_them(
    make_target: Make, branch: Path, shadow: Shadow, conn: SqlConnection
):
    """In one message, which is one transaction; a new file is advised to give each lines of its own."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int); CREATE TABLE c (d int);", head=NO_TX)})
    run.up(target)
    assert conn.execute("SELECT to_regclass('a'), to_regclass('c')").fetchone() == ("a", "c")
    report = run_check(branch, shadow)
    assert ("DOD221", "warning") in [(f.code.id, f.level) for f in report.findings]


@pytest.mark.parametrize("parser", [parse, parse_plain])
def test_a_nul_is_refused_at_its_line(parser: Callable[..., object]):
    """The server would stop reading there and say that all went well."""
    with pytest.raises(FileError) as caught:
        parser(f"{M}1_a.sql", b"-- +goose Up\nCREATE TABLE a (b int)\0, NONSENSE;\n")
    assert (caught.value.problem.code.id, caught.value.problem.line) == ("DOD200", 2)


def test_a_dump_of_todays_pg_dump_applies(make_target: Make, conn: SqlConnection):
    """It begins and ends with a command of psql that changes nothing."""
    dump = "\\restrict k3y\nCREATE TABLE a (b int);\nCOPY a FROM stdin;\n1\n\\.\n\n\\unrestrict k3y\n"
    run.up(make_target({"1_a.sql": dump}, PLAIN))
    assert conn.execute("SELECT b FROM a").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("line", "said"),
    [("\\connect other", "`\\connect` leads to another database"), ("\\i b.sql", "`\\i` is a command of psql")],
)
def test_other_commands_of_psql_are_named(line: str, said: str):
    """At their line."""
    with pytest.raises(FileError) as caught:
        parse_plain(f"{M}1_a.sql", f"SELECT 1;\n{line}\n".encode())
    assert said in caught.value.problem.message
    assert caught.value.problem.line == 2


@pytest.mark.parametrize("before", ["", "-- +goose Up\n", "-- +goose Up\nSELECT 1;\n"])
def test_a_command_of_psql_in_a_goose_file_is_named_wherever_it_stands(before: str):
    """Before the annotation too, where it is not SQL that stands too early."""
    with pytest.raises(FileError) as caught:
        parse(f"{M}1_a.sql", f"{before}\\connect other\nSELECT 2;\n".encode())
    problem = caught.value.problem
    assert problem.message == "`\\connect` leads to another database; leave it out"
    assert (problem.line, problem.quote) == (before.count("\n") + 1, "\\connect other")


# --- what is in the database ----------------------------------------------------------------------------------------


def test_names_of_the_user_do_not_come_into_queries_of_ours(
    make_target: Make, branch: Path, shadow: Shadow, conn: SqlConnection
):
    """A table named as a type that our own look casts to."""
    body = (
        "SET search_path = public, pg_catalog;\nCREATE TABLE text (a int);\nCREATE TABLE int8 (a int);\n"
        "CREATE TABLE ao (ao_id int);\nALTER TABLE ao ADD PRIMARY KEY (ao_id);\n"
    )
    target = make_target({"1_a.sql": f"-- dodai: irreversible a baseline\n{body}"}, PLAIN)
    report = run_check(branch, shadow, policy=replace(POLICY, format="plain"))
    assert (report.findings, report.unknown) == ((), ())
    assert [ran.migration.id for ran in run.up(target).ran] == ["1"]
    assert run.up(target).ran == ()


def leave_an_invalid_index(conn: SqlConnection) -> None:
    conn.execute("CREATE TABLE a (b int); INSERT INTO a VALUES (1), (1)")
    with pytest.raises(Exception, match="duplicate"):
        conn.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON a (b)")


@pytest.mark.parametrize("head", [NO_TX, ""])
def test_an_invalid_index_of_another_tool_is_not_taken_for_the_one_asked_for(
    make_target: Make, conn: SqlConnection, head: str
):
    """IF NOT EXISTS says that it is there; the catalog says that no query uses it."""
    leave_an_invalid_index(conn)
    how = "CONCURRENTLY " if head else ""
    target = make_target({"1_i.sql": up(f"CREATE UNIQUE INDEX {how}IF NOT EXISTS i ON a (b);", head=head)})
    found = refused(lambda: run.up(target, beside_tables=True))
    assert found.code.id == "DOD280"
    assert "`DROP INDEX CONCURRENTLY i` first" in found.message
    assert run.applied_ids(target) == ()
    conn.execute("DROP INDEX i; DELETE FROM a")
    run.up(target)
    assert run.applied_ids(target) == ("1",)


def test_status_names_invalid_indexes(make_target: Make, conn: SqlConnection):
    """They make it red: something is left to do."""
    target = make_target({"1_i.sql": up("SELECT 1;")})
    run.up(target)
    leave_an_invalid_index(conn)
    seen = run.status(target)
    assert (seen.ok, seen.invalid_indexes, seen.as_json()["invalidIndexes"]) == (False, ("public.i",), ["public.i"])


def test_names_in_read_folder_are_checked_before_their_contents(tmp_path: Path):
    """A file that is not read is a problem beside those that are."""
    write(tmp_path, {f"{M}1_a.sql": up("SELECT 1;"), f"{M}2_b.SQL": up("SELECT 1;")})
    folder = read_folder(tmp_path, "db/migrations")
    assert [m.id for m in folder.migrations] == ["1"]
    assert [(p.code.id, p.fix) for p in folder.problems] == [("DOD201", f"`git mv {M}2_b.SQL {M}2_b.sql`")]
