"""Databases that nobody managed, and records that have to be put right: nothing starts at the first file silently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, run_check, up, write
from tests.support.command import git

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection
from dodai.migrations.sql import checksum, checksums

Make = Callable[..., MigrationTarget]
M = "db/migrations/"
A = up("CREATE TABLE a (b int);", down=("DROP TABLE a;",))
DOWN_MENDED = up("CREATE TABLE a (b int);", down=("DROP TABLE IF EXISTS a;",))


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def test_up_on_tables_without_a_ledger_proposes_adopt(make_target: Make, conn: SqlConnection):
    """Nothing was changed, no ledger was made; whose tables they are can be said."""
    conn.execute("CREATE TABLE customer (id int); CREATE TABLE invoice (id int)")
    target = make_target({"1_a.sql": A})
    found = refused(lambda: run.up(target))
    assert (found.code.id, found.exit_code) == ("DOD265", 1)
    assert "`public.customer`, `public.invoice`" in found.message
    assert "dodai migrate adopt" in found.fix
    assert conn.execute("SELECT to_regclass('goose_db_version'), to_regclass('a')").fetchone() == (None, None)
    assert len(run.up(target, beside_tables=True).ran) == 1
    assert run.up(target).already == 1


def test_tables_of_an_extension_are_not_unmanaged(make_target: Make, conn: SqlConnection):
    """They come with it, as those of PostGIS do."""
    conn.execute("CREATE EXTENSION citext; CREATE TABLE of_it (id int); ALTER EXTENSION citext ADD TABLE of_it")
    assert len(run.up(make_target({"1_a.sql": A})).ran) == 1


def test_what_adopt_takes_over_goes_on_with_up(make_target: Make, conn: SqlConnection, shadow: Shadow):
    """The fix of the refusal works as it is told."""
    conn.execute("CREATE TABLE a (b int)")
    target = make_target({"1_a.sql": A, "2_c.sql": up("CREATE TABLE c (d int);")})
    assert refused(lambda: run.up(target)).code.id == "DOD265"
    assert run.adopt(target, shadow).baseline == ("1",)
    assert [ran.migration.id for ran in run.up(target).ran] == ["2"]


def test_a_mended_way_down_is_not_an_edit_of_what_was_applied(make_target: Make, conn: SqlConnection):
    """It is what the next `down` runs; the way up must stay."""
    target = make_target({"1_a.sql": A})
    run.up(target)
    make_target({"1_a.sql": DOWN_MENDED})
    assert run.status(target).ok
    assert run.up(target).ran == ()
    make_target({"1_a.sql": DOWN_MENDED.replace("b int", "b text")})
    assert refused(lambda: run.up(target)).code.id == "DOD253"
    make_target({"1_a.sql": DOWN_MENDED})
    run.down(target)
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] is None


def test_a_mended_way_down_of_a_pair_is_no_edit_either(make_target: Make, tmp_path: Path):
    """golang-migrate has it in a file of its own."""
    target = make_target(
        {"1_a.up.sql": "CREATE TABLE a ();", "1_a.down.sql": "DROP TABLE a;"}, replace(FAST, format="plain")
    )
    run.up(target)
    write(tmp_path, {f"{M}1_a.down.sql": "DROP TABLE IF EXISTS a;"})
    assert run.up(target).ran == ()


def test_logs_that_cover_the_way_down_are_still_understood(make_target: Make, conn: SqlConnection):
    """As they were written before."""
    target = make_target({"1_a.sql": A})
    run.up(target)
    conn.execute("UPDATE dodai.migration_log SET token_sha256 = %s", (checksum(A),))
    assert run.up(target).ran == ()
    assert run.status(target).ok


def test_check_calls_a_mended_way_down_a_notice_and_tries_it(tmp_path: Path, shadow: Shadow):
    """The fix of a Down that fails must not be refused as an edit."""
    git(tmp_path, "init", "-b", "main")
    write(tmp_path, {f"{M}1_a.sql": A})
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "checkout", "-b", "branch")
    write(tmp_path, {f"{M}1_a.sql": DOWN_MENDED})
    report = run_check(tmp_path, shadow)
    assert [(f.code.id, f.severity) for f in report.findings] == [("DOD206", "info")]
    assert "only the way down" in report.findings[0].message
    write(tmp_path, {f"{M}1_a.sql": DOWN_MENDED.replace("TABLE IF", "TABEL IF")})
    assert "DOD209" in [f.code.id for f in run_check(tmp_path, shadow).findings]


@pytest.mark.parametrize("text", ["SELECT 1; -- x\nDROP a;", "SELECT '1;' /* c */; DROP a", "a 'open DROP a"])
def test_the_checksum_of_the_first_part_is_that_of_its_text(text: str):
    """In one pass over both; a quote that spans the end belongs to the rest."""
    at = text.index("DROP")
    assert checksums(text, at)[0] == checksum(text)
    if "open" not in text:
        assert checksums(text, at)[1] == checksum(text[:at])


SQUASHED = up("CREATE TABLE a (b int);", "ALTER TABLE a ADD COLUMN c text;")


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_squash_takes_the_place_of_the_files_that_are_gone(
    version: str, make_target: Make, conn: SqlConnection, shadow: Shadow
):
    """Refused until its schema is proven to be what they built; then the same files fit a new and an old database."""
    target = make_target({"1_a.sql": A, "2_b.sql": up("ALTER TABLE a ADD COLUMN c text;")})
    run.up(target)
    for path in (target.root / target.policy.folder).iterdir():
        path.unlink()
    target = make_target({f"{version}_all.sql": SQUASHED, "4_d.sql": up("CREATE TABLE d (e int);")})
    with pytest.raises(DodaiError) as refused:
        run.up(target)
    assert refused.value.code.id == "DOD254"
    assert "adopt --baseline" in refused.value.fix
    done = run.adopt(target, shadow, baselines=[version])
    assert (done.baseline, done.pending) == ((version,), ("4",))
    assert [ran.migration.id for ran in run.up(target).ran] == ["4"]
    assert run.status(target).ok
    assert run.applied_ids(target) == (version, "4")
    assert run.adopt(target, shadow, baselines=[version]).already


@pytest.mark.parametrize(
    ("version", "text", "said"),
    [("3", A, "build another schema"), ("9", SQUASHED, "is the version of no file")],
)
def test_a_squash_that_builds_something_else_changes_nothing(
    version: str, text: str, said: str, make_target: Make, conn: SqlConnection, shadow: Shadow
):
    """Whoever forgot a column hears of it by name."""
    target = make_target({"1_a.sql": A, "2_b.sql": up("ALTER TABLE a ADD COLUMN c text;")})
    run.up(target)
    for path in (target.root / target.policy.folder).iterdir():
        path.unlink()
    target = make_target({"3_all.sql": text})
    with pytest.raises(DodaiError) as refused:
        run.adopt(target, shadow, baselines=[version])
    assert refused.value.code.id == "DOD260"
    assert said in refused.value.message
    assert run.applied_ids(target) == ("1", "2")


def test_a_new_file_under_an_old_version_is_not_taken_for_the_old_one(
    make_target: Make, conn: SqlConnection, shadow: Shadow
):
    """The row says 2, which was another file: the schema tells that the new one was not run."""
    target = make_target({"1_a.sql": A, "2_b.sql": up("ALTER TABLE a ADD COLUMN c text;")})
    run.up(target)
    for path in (target.root / target.policy.folder).iterdir():
        path.unlink()
    target = make_target({"1_all.sql": SQUASHED, "2_d.sql": up("CREATE TABLE d (e int);")})
    assert refused(lambda: run.up(target)).code.id == "DOD253"
    done = run.adopt(target, shadow, baselines=["1"])
    assert (done.baseline, done.pending) == (("1",), ("2",))
    assert [ran.migration.id for ran in run.up(target).ran] == ["2"]
    assert run.status(target).ok


def test_a_file_that_does_not_run_on_an_empty_server_is_named(make_target: Make, conn: SqlConnection, shadow: Shadow):
    """Without it nothing can be proven, and nothing is recorded."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);"), "2_b.sql": up("INSERT INTO nowhere VALUES (1);")})
    conn.execute("CREATE TABLE a (b int)")
    found = refused(lambda: run.adopt(target, shadow))
    assert (found.code.id, "2_b.sql:2 does not run on an empty server" in found.message) == ("DOD260", True)
    assert conn.execute("SELECT to_regclass('goose_db_version')").fetchone()[0] is None


def test_several_records_are_repaired_at_once_or_none(make_target: Make):
    """One reason for all of them; the refusal names them all."""
    target = make_target({f"{n}_a.sql": up(f"CREATE TABLE a{n} (b int);") for n in (1, 2, 3)})
    run.up(target)
    make_target({f"{n}_a.sql": up(f"CREATE TABLE a{n} (b int, c int);") for n in (1, 2)})
    assert "dodai migrate repair 1 2 " in refused(lambda: run.up(target)).fix
    assert refused(lambda: run.repair(target, "1", "2", "3", reason="by hand")).code.id == "DOD284"
    assert refused(lambda: run.up(target)).code.id == "DOD253"
    repaired = run.repair(target, "1", "2", reason="by hand")
    assert [row.id for row in repaired.rows] == ["1", "2"]
    assert run.up(target).ran == ()


SPLIT = {"3_a.sql": A, "4_c.sql": up("ALTER TABLE a ADD COLUMN c text;")}
"""A squash of two files."""


def squashed_to(make_target: Make, files: Mapping[str, str]):
    """A database with two applied files, which are gone, and `files` in their place."""
    target = make_target({"1_a.sql": A, "2_b.sql": up("ALTER TABLE a ADD COLUMN c text;")})
    run.up(target)
    for path in (target.root / target.policy.folder).iterdir():
        path.unlink()
    return make_target(files)


def test_a_squash_of_several_files_is_named_by_its_last(make_target: Make, conn: SqlConnection, shadow: Shadow):
    """Whoever names the first is told how far it reaches, by the schema; the file behind it is run."""
    target = squashed_to(make_target, {**SPLIT, "5_d.sql": up("CREATE TABLE d (e int);")})
    assert "`dodai migrate adopt --baseline 3`" in refused(lambda: run.up(target)).fix
    first = refused(lambda: run.adopt(target, shadow, baselines=["3"]))
    assert (first.code.id, first.fix) == ("DOD260", "the squash reaches to `4`: `dodai migrate adopt --baseline 4`")
    assert run.applied_ids(target) == ("1", "2")
    done = run.adopt(target, shadow, baselines=["4"])
    assert (done.baseline, done.pending) == (("3", "4"), ("5",))
    assert [ran.migration.id for ran in run.up(target).ran] == ["5"]
    assert run.status(target).ok


def test_whether_a_file_that_changes_data_is_of_the_squash_is_asked(
    make_target: Make, conn: SqlConnection, shadow: Shadow
):
    """The schema cannot tell, so a person looks."""
    target = squashed_to(make_target, {**SPLIT, "5_fill.sql": up("INSERT INTO a VALUES (1);")})
    fix = refused(lambda: run.adopt(target, shadow, baselines=["3"])).fix
    assert "one of `4`, `5`, which build the same schema: look at the data, then " in fix
    assert run.adopt(target, shadow, baselines=["4"]).pending == ("5",)


@pytest.mark.parametrize("behind", ["CREATE TABLE d (e int);", "INSERT INTO nowhere VALUES (1);"])
def test_files_that_do_not_complete_the_schema_are_not_proposed(
    behind: str, make_target: Make, conn: SqlConnection, shadow: Shadow
):
    """The difference is what is left to look at, whether they run or not."""
    target = squashed_to(make_target, {"3_a.sql": A, "4_c.sql": up(behind)})
    found = refused(lambda: run.adopt(target, shadow, baselines=["3"]))
    assert found.details == ("+ column public.a.c text",)
    assert "--baseline" not in found.fix
