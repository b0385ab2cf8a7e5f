"""The walk over an empty server: every file is judged or named, and each effect is told of the statement that had it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, NO_TX, POLICY, run_check, up, write
from tests.support.command import git

from dodai.core.errors import DodaiError
from dodai.core.rule import Report
from dodai.migrations import run
from dodai.migrations.check import assumed_by, without
from dodai.migrations.migration import Migration, Statement
from dodai.migrations.ports import MigrationTarget, Shadow
from dodai.wiring.shadow_server import shadow_server

Make = Callable[..., MigrationTarget]
M = "db/migrations/"
PLAIN = replace(POLICY, format="plain")
OLD = {f"{M}1_b.sql": up("CREATE TABLE b (id int PRIMARY KEY, d text);", down=("DROP TABLE b;",))}


@pytest.fixture
def branch(tmp_path: Path) -> Path:
    """A branch from a base that has one table."""
    git(tmp_path, "init", "-b", "main")
    write(tmp_path, OLD)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "checkout", "-b", "branch")
    return tmp_path


def found(report: Report) -> list[tuple[str, str, int]]:
    """Code, file and line, by file."""
    places = [(f.code.id, f.place.path.rpartition("/")[2], f.place.line) for f in report.findings if f.place]
    return sorted(places, key=lambda place: place[1:])


INDEX = up("CREATE INDEX late ON b (d);", down=("DROP INDEX late;",))


def test_files_behind_one_that_fails_are_judged_without_it(branch: Path, shadow: Shadow):
    """The failure is a finding; what needs the file is named as not judged, the rest is judged."""
    write(branch, {
        f"{M}2_bad.sql": up("CREATE TABLE c (d int);", "SELECT 1/0;", down=("DROP TABLE c;",)),
        f"{M}3_needs.sql": up("ALTER TABLE c ADD COLUMN e int;", down=("ALTER TABLE c DROP COLUMN e;",)),
        f"{M}4_late.sql": INDEX,
    })  # fmt: skip
    report = run_check(branch, shadow)
    assert found(report) == [("DOD208", "2_bad.sql", 3), ("DOD214", "4_late.sql", 2)]
    reason = next(row.reason for row in report.unknown if row.rule.code.id == "DOD214")
    assert reason.startswith("2 of 4 files were left out: `db/migrations/2_bad.sql` does not apply; ")
    assert "`db/migrations/3_needs.sql` does not apply without `db/migrations/2_bad.sql`: relation" in reason


def test_what_a_failed_file_without_transaction_left_is_gone_for_the_next(branch: Path, shadow: Shadow):
    """Its first half would be in the way of a file that makes the same table."""
    write(branch, {
        f"{M}2_bad.sql": up("CREATE TABLE c (d int);", "SELECT 1/0;", down=("DROP TABLE c;",), head=NO_TX),
        f"{M}3_c.sql": up("CREATE TABLE c (d int);", down=("DROP TABLE c;",)),
    })  # fmt: skip
    assert found(run_check(branch, shadow)) == [("DOD208", "2_bad.sql", 4)]


def test_files_beside_one_that_cannot_be_read_are_judged(branch: Path, shadow: Shadow):
    """That one is named as not judged."""
    write(branch, {f"{M}2_bad.sql": "SELECT 1;\n", f"{M}4_late.sql": INDEX})
    report = run_check(branch, shadow)
    assert found(report) == [("DOD200", "2_bad.sql", 1), ("DOD214", "4_late.sql", 2)]
    assert "`db/migrations/2_bad.sql` cannot be read" in report.unknown[0].reason


def test_roles_of_the_first_pass_are_not_in_the_way_of_the_second(branch: Path):
    """A bad way down starts the walk anew, and roles belong to the whole server: it is another one."""
    role = f"-- dodai: accept DOD224 the team agreed\n{up('CREATE ROLE reader;', down=('DROP ROLE reader;',))}"
    write(branch, {
        f"{M}2_role.sql": role,
        f"{M}3_bad_down.sql": up("CREATE TABLE c (d int);", down=("SELECT 1;",), head=NO_TX),
        f"{M}4_late.sql": INDEX,
    })  # fmt: skip
    report = run_check(branch, lambda: shadow_server(0))
    assert found(report) == [("DOD210", "3_bad_down.sql", 0), ("DOD214", "4_late.sql", 2)]
    assert report.unknown == ()


def test_an_extension_that_this_server_lacks_is_not_a_fault_of_the_file(branch: Path, shadow: Shadow):
    """It is named as not judged, with what helps; the other files are judged."""
    write(branch, {f"{M}2_gis.sql": up("CREATE EXTENSION no_such_thing;", down=("DROP EXTENSION no_such_thing;",)),
                   f"{M}4_late.sql": INDEX})  # fmt: skip
    report = run_check(branch, shadow)
    assert found(report) == [("DOD214", "4_late.sql", 2)]
    row = next(row for row in report.unknown if row.rule.code.id == "DOD208")
    assert "needs the extension `no_such_thing`, which PostgreSQL" in row.reason
    assert "[database] major" in row.fix


def test_an_extension_that_is_assumed_is_passed_over_and_what_lacks_it_is_not_judged(branch: Path, shadow: Shadow):
    """Its statements are not sent, the report names it; a failure of another kind is a finding as ever."""
    own = ("CREATE EXTENSION IF NOT EXISTS no_such_thing;", "CREATE TABLE c (d int);")
    write(branch, {
        f"{M}2_gis.sql": up(*own, down=("DROP TABLE c;", "DROP EXTENSION no_such_thing;")),
        f"{M}3_wrong.sql": up("SELECT 1 / 0;", down=("SELECT 1;",)),
        f"{M}4_needs.sql": up("ALTER TABLE c ADD COLUMN e a_type_of_it;", down=("ALTER TABLE c DROP COLUMN e;",)),
        f"{M}5_late.sql": INDEX,
    })  # fmt: skip
    report = run_check(branch, shadow, assume_extensions=("no_such_thing", "of_another_application"))
    assert found(report) == [("DOD208", "3_wrong.sql", 2), ("DOD214", "5_late.sql", 2)]
    reason = next(row.reason for row in report.unknown if row.rule.code.id == "DOD208")
    assert "`db/migrations/4_needs.sql` may need the extension `no_such_thing`, which is assumed" in reason
    assert "2_gis.sql" not in reason


def test_only_what_a_file_says_about_an_assumed_extension_is_left_out():
    """In a block too, and the lines behind it keep their numbers."""
    block = Statement("CREATE EXTENSION IF NOT EXISTS\n  \"postgis\";\nCREATE TABLE a (b text DEFAULT 'extension');", 3)
    others = (Statement("CREATE EXTENSION citext;", 6), Statement("COMMENT ON EXTENSION postgis IS 'x';", 7))
    way_down = (Statement("DROP EXTENSION postgis;", 9),)
    file = Migration(
        "1", 1, "a", "1_a.sql", (block, *others), way_down, transactional=True, raw_sha256="", token_sha256=""
    )
    (kept,) = without((file,), ("postgis",))
    assert [(each.sql.strip(), each.line + each.sql.count("\n", 0, each.sql.index("C"))) for each in kept.up] == [
        ("CREATE TABLE a (b text DEFAULT 'extension');", 5),
        ("CREATE EXTENSION citext;", 6),
    ]
    assert kept.down == ()
    assert assumed_by((file,), ("citext", "hstore")) == ("citext",)


def test_the_way_that_the_fix_recommends_is_not_flagged_in_one_block(branch: Path, shadow: Shadow):
    """Add, fill, SET NOT NULL: no column fails on rows, and what remains stands at its own statement."""
    block = (
        "-- +goose StatementBegin\nALTER TABLE b ADD COLUMN e text;\nUPDATE b SET e = '' WHERE e IS NULL;\n"
        "ALTER TABLE b ALTER COLUMN e SET NOT NULL;\n-- +goose StatementEnd"
    )
    write(branch, {f"{M}2_e.sql": up(block, down=("ALTER TABLE b DROP COLUMN e;",))})
    codes = found(run_check(branch, shadow))
    assert "DOD203" not in [code for code, _, _ in codes]
    assert ("DOD213", "2_e.sql", 5) in codes
    assert {line for _, _, line in codes} <= {4, 5}


def test_a_label_that_no_way_down_can_take_back_is_no_difference(branch: Path, shadow: Shadow):
    """PostgreSQL has no command for it; with IF NOT EXISTS the way up can be repeated."""
    write(branch, {
        f"{M}2_t.sql": up("CREATE TYPE t AS ENUM ('a');", down=("DROP TYPE t;",)),
        f"{M}3_t.sql": up("ALTER TYPE t ADD VALUE IF NOT EXISTS 'b' BEFORE 'a';", down=("SELECT 1;",)),
    })  # fmt: skip
    assert run_check(branch, shadow).findings == ()


def test_a_view_that_is_made_again_is_not_dropped(branch: Path, shadow: Shadow):
    """In one transaction nobody sees it missing."""
    write(branch, {f"{M}1_b.sql": up("CREATE TABLE b (id int);", "CREATE VIEW v AS SELECT id FROM b;", down=("DROP VIEW v;", "DROP TABLE b;"))})  # fmt: skip
    git(branch, "commit", "-qam", "a view")
    git(branch, "branch", "-f", "main")
    again = up("DROP VIEW v;", "CREATE VIEW v AS SELECT id, 1 AS one FROM b;",
               down=("DROP VIEW v;", "CREATE VIEW v AS SELECT id FROM b;"))  # fmt: skip
    write(branch, {f"{M}2_v.sql": again})
    assert run_check(branch, shadow).findings == ()


def test_an_error_of_the_way_down_names_the_file_of_the_way_down(make_target: Make, branch: Path, shadow: Shadow):
    """In `check` and in `down`, with the line of that file."""
    files = {
        "1_b.sql": "CREATE TABLE b (id int);",
        "2_c.up.sql": "CREATE TABLE c (d int);",
        "2_c.down.sql": "\nDROP TABLE e;\n",
    }
    target = make_target(files, replace(FAST, format="plain"))
    report = run_check(branch, shadow, policy=PLAIN)
    assert ("DOD209", "2_c.down.sql", 2) in found(report)
    assert next(f.quote for f in report.findings if f.code.id == "DOD209") == "DROP TABLE e;"
    run.up(target)
    with pytest.raises(DodaiError, match=r"db/migrations/2_c\.down\.sql:2, statement 1"):
        run.down(target)


def test_a_statement_that_only_stands_in_the_wrong_transaction_is_told_so(
    make_target: Make, branch: Path, shadow: Shadow
):
    """The statement is right: NO TRANSACTION is what helps."""
    target = make_target({"2_i.sql": up("CREATE INDEX CONCURRENTLY i ON b (d);", down=("DROP INDEX i;",))})
    finding = next(f for f in run_check(branch, shadow).findings if f.code.id == "DOD208")
    assert "NO TRANSACTION" in finding.advice
    with pytest.raises(DodaiError) as caught:
        run.up(target)
    assert "NO TRANSACTION" in caught.value.fix


def test_queries_that_could_not_be_tried_are_not_judged(branch: Path, shadow: Shadow):
    """An old file that needs a new one before it: without the new ones there is no schema to try them on."""
    git(branch, "checkout", "main")
    write(branch, {f"{M}5_e.sql": up("CREATE TABLE IF NOT EXISTS e AS SELECT * FROM t;", down=("DROP TABLE e;",))})
    write(branch, {f"{M}4_t.sql": up("CREATE TABLE t (u int);", down=("DROP TABLE t;",)), "queries/a.sql": "SELECT 1;"})
    git(branch, "add", ".")
    git(branch, "commit", "-m", "more")
    git(branch, "checkout", "-b", "later")
    git(branch, "mv", f"{M}4_t.sql", f"{M}3_t.sql")
    git(branch, "commit", "-m", "renamed")
    report = run_check(branch, shadow)
    unknown = {row.rule.code.id: row.reason for row in report.unknown}
    assert set(unknown) == {"DOD218", "DOD219", "DOD299"}
    assert "`db/migrations/5_e.sql` does not apply without the new files" in unknown["DOD218"]


def test_a_file_that_leaves_its_own_transaction_open_is_found_and_refused(
    make_target: Make, branch: Path, shadow: Shadow
):
    """`BEGIN` without `COMMIT`: what the file did would be gone with the connection, or run on into the next file."""
    text = up("BEGIN;", "CREATE TABLE open_end (i int);", head=NO_TX)
    write(branch, {f"{M}2_open.sql": text})
    report = run_check(branch, shadow)
    assert ("DOD208", "2_open.sql", 4) in found(report)
    assert any("transaction open: COMMIT is missing" in each.message for each in report.errors)
    target = make_target({})
    with pytest.raises(DodaiError) as caught:
        run.up(target)
    assert caught.value.code.id == "DOD223"
    assert "2_open.sql:3: `BEGIN;` begins a transaction that the file does not end" in caught.value.message
    assert [entry.standing for entry in run.status(target).entries] == ["pending", "pending"]
