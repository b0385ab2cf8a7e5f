"""new, down, repair, adopt, rehearse and readiness, on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, NO_TX, up

from dodai.core.errors import DodaiError
from dodai.migrations import enforce, run
from dodai.migrations.apply import status
from dodai.migrations.ports import Connect, Copy, MigrationTarget, Shadow, SqlConnection
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import address, connect

Make = Callable[..., MigrationTarget]
A = up("CREATE TABLE a (b int);", down=("DROP TABLE a;",))
B = up("ALTER TABLE a ADD COLUMN c text;", down=("ALTER TABLE a DROP COLUMN c;",))


@dataclass(frozen=True)
class TemplateCopies:
    """A copy on the same server, which only a database that nobody uses can have."""

    postgres: Cluster
    dsn: str

    @contextmanager
    def copied(self, run: str) -> Iterator[Copy]:
        with self.postgres.fresh_database("copy", template=address(self.dsn).database) as dsn:
            yield Copy(dsn, f"a copy for the test of {run}", production_data=False)


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


@pytest.fixture
def shadow(postgres: Cluster) -> Shadow:
    @contextmanager
    def start() -> Iterator[Callable[[], Connect]]:
        with postgres.fresh_database("shadow") as dsn:
            yield lambda: lambda: connect(dsn)

    return start


def test_new_goes_on_as_the_folder_counts(make_target: Make):
    """A sequence stays a sequence, timestamps stay timestamps and sort after the last one."""
    target = make_target({"00007_a.sql": A})
    assert run.new(target, "Add e-mail!") == "db/migrations/00008_add_e_mail.sql"
    stamped = make_target({"29990101000000_a.sql": A})
    assert run.new(stamped, "b", now=datetime(2026, 1, 1, tzinfo=UTC)) == "db/migrations/29990101000001_b.sql"
    assert refused(lambda: run.new(target, "!!")).code.id == "DOD201"


def test_a_new_file_in_an_empty_folder_has_a_utc_timestamp(tmp_path: Path):
    """The file is valid goose as it stands."""
    target = MigrationTarget(tmp_path, FAST, lambda: pytest.fail("nothing to connect to"))
    path = run.new(target, "first", now=datetime(2026, 2, 14, 9, 30, tzinfo=UTC), no_transaction=True)
    assert path == "db/migrations/20260214093000_first.sql"
    assert not run.required_ids.__doc__ or run.required_ids(target) == ("20260214093000",)


def test_down_undoes_the_newest_first_and_keeps_the_log(make_target: Make, conn: SqlConnection):
    """The ledger forgets as goose does, the log does not."""
    target = make_target({"1_a.sql": A, "2_b.sql": B})
    run.up(target)
    before = snapshot(conn)
    assert [ran.migration.id for ran in run.down(target).ran] == ["2"]
    assert run.applied_ids(target) == ("1",)
    run.up(target)
    assert snapshot(conn) == before
    assert [ran.migration.id for ran in run.down(target, to="0").ran] == ["2", "1"]
    events = conn.execute("SELECT migration, event FROM dodai.migration_log ORDER BY id").fetchall()
    assert events == [
        ("1", "applied"),
        ("2", "applied"),
        ("2", "reverted"),
        ("2", "applied"),
        ("2", "reverted"),
        ("1", "reverted"),
    ]


def test_down_is_refused_on_protected_environments_and_without_a_way_down(make_target: Make, conn: SqlConnection):
    """A reason breaks the glass and goes into the log; a file without Down cannot be undone at all."""
    target = make_target({"1_a.sql": A, "2_b.sql": B})
    run.up(target)
    assert refused(lambda: run.down(target, protected=True)).code.id == "DOD256"
    assert run.down(target, protected=True, break_glass="ticket 12").changed
    assert conn.execute("SELECT approval FROM dodai.migration_run WHERE command = 'down'").fetchall() == [
        ("ticket 12",)
    ]
    one_way = make_target({"3_c.sql": up("SELECT 1;", head="-- dodai: irreversible sends letters\n")})
    run.up(one_way)
    error = refused(lambda: run.down(one_way))
    assert error.code.id == "DOD256"
    assert "sends letters" in error.message


def test_a_failing_down_is_rolled_back_and_coded(make_target: Make):
    """The migration is still applied."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;", "DROP TABLE nothing;"))})
    run.up(target)
    error = refused(lambda: run.down(target))
    assert (error.code.id, error.exit_code) == ("DOD285", 3)
    assert run.status(target).ok


def test_repair_accepts_an_edited_file_with_a_reason(make_target: Make):
    """Afterwards `up` runs again, and a further edit is refused again."""
    run.up(make_target({"1_a.sql": A}))
    target = make_target({"1_a.sql": A.replace("b int", "b integer")})
    assert refused(lambda: run.up(target)).code.id == "DOD253"
    assert refused(lambda: run.repair(target, "1", reason=" ")).exit_code == 2
    assert "counts as applied" in run.repair(target, "1", reason="same type").rows[0].did
    assert not run.up(target).changed
    assert refused(lambda: run.repair(target, "1", reason="again")).code.id == "DOD284"


def test_repair_forgets_a_version_whose_file_is_gone(make_target: Make):
    """The ledger then agrees with the tree."""
    target = make_target({"1_a.sql": A, "2_b.sql": B})
    run.up(target)
    (target.root / "db/migrations/1_a.sql").unlink()
    run.repair(target, "1", reason="moved to another repository")
    assert run.applied_ids(target) == ("2",)


@pytest.mark.parametrize(("was", "rows"), [("done", 0), ("undone", 1)])
def test_an_unclear_statement_is_settled_by_a_person(make_target: Make, conn: SqlConnection, was: str, rows: int):
    """A statement that was announced and never recorded is run again only when somebody says it did not happen."""
    make_target({"1_a.sql": A})
    body = "DO $$ BEGIN INSERT INTO a VALUES (1); COMMIT; END $$;"
    text = f"{NO_TX}-- +goose Up\n-- +goose StatementBegin\n{body}\n-- +goose StatementEnd\n"
    target = make_target({"2_b.sql": text})

    class DiesBeforeTheRecord:
        """A connection that is cut just after a statement was announced."""

        def __init__(self, inner: SqlConnection) -> None:
            self.inner = inner
            inner.autocommit = True

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def execute(self, query: str, *args: object, **options: object) -> object:
            if query == body and not self.inner.info.transaction_status:
                self.inner.close()
            return self.inner.execute(query, *args, **options)  # type: ignore[arg-type]

    cut = replace(target, connect=lambda: DiesBeforeTheRecord(target.connect()))  # type: ignore[arg-type, return-value]
    assert refused(lambda: run.up(cut)).code.id == "DOD282"
    error = refused(lambda: run.up(target))
    assert (error.code.id, error.exit_code) == ("DOD262", 4)
    run.repair(target, "2", statement=1, was=was, reason="looked")  # type: ignore[arg-type]
    run.up(target)
    assert conn.execute("SELECT count(*) FROM a").fetchone()[0] == rows


def test_adopt_proves_the_baseline_of_a_database_nobody_managed(make_target: Make, conn: SqlConnection, shadow: Shadow):
    """The prefix whose schema is equal is recorded; the rest is pending and applies."""
    conn.execute("CREATE TABLE a (b int); CREATE TABLE alembic_version (version_num text)")
    target = make_target({"1_a.sql": A, "2_b.sql": B})
    adopted = run.adopt(target, shadow)
    assert (adopted.baseline, adopted.pending, adopted.foreign) == (("1",), ("2",), "alembic_version")
    assert [ran.migration.id for ran in run.up(target).ran] == ["2"]
    assert run.adopt(target, shadow).already


def test_adopt_refuses_what_it_cannot_prove_and_names_the_differences(
    make_target: Make, conn: SqlConnection, shadow: Shadow
):
    """The nearest prefix and every line that differs."""
    conn.execute("CREATE TABLE a (b int, byhand text)")
    error = refused(lambda: run.adopt(make_target({"1_a.sql": A, "2_b.sql": B}), shadow))
    assert error.code.id == "DOD260"
    assert any("byhand" in line for line in error.details)
    assert conn.execute("SELECT to_regclass('goose_db_version')").fetchone()[0] is None


def test_adopt_asks_when_files_change_only_data(make_target: Make, conn: SqlConnection, shadow: Shadow):
    """Whether rows were written cannot be seen in a schema."""
    conn.execute("CREATE TABLE a (b int)")
    target = make_target({"1_a.sql": A, "2_rows.sql": up("INSERT INTO a VALUES (1);")})
    assert "--at 2" in refused(lambda: run.adopt(target, shadow)).fix
    assert run.adopt(target, shadow, at="1").pending == ("2",)


def test_rehearse_measures_on_a_copy_and_leaves_the_original(
    make_target: Make, conn: SqlConnection, database: str, postgres: Cluster
):
    """Lock mode, rewritten bytes and the worst innocent wait, with row counts and the caveat."""
    run.up(make_target({"1_a.sql": up("CREATE TABLE a (b int);", "INSERT INTO a SELECT generate_series(1, 20000);")}))
    conn.execute("ANALYZE a")
    target = make_target(
        {"2_b.sql": up("ALTER TABLE a ALTER COLUMN b TYPE bigint;"), "3_c.sql": up("CREATE TABLE c (d int);")}
    )
    before = snapshot(conn)

    conn.close()
    seen = run.rehearse(target, TemplateCopies(postgres, database), connect)
    assert seen.ok
    assert [(s.path, s.line) for s in seen.statements] == [("db/migrations/2_b.sql", 2), ("db/migrations/3_c.sql", 2)]
    effect = seen.statements[0].effects[0]
    assert (effect.table, effect.lock, effect.rewritten) == ("public.a", "AccessExclusiveLock", True)
    assert seen.statements[0].rewritten_bytes > 500_000
    assert {(wait.table, wait.kind) for wait in seen.waits} == {("public.a", "read"), ("public.a", "write")}
    assert seen.worst_ms > 0
    assert all(wait.asked > 0 and not wait.failed for wait in seen.waits)
    assert seen.rows == {"public.a": 20000}
    assert "not production data" in seen.as_json()["caveat"]
    again = connect(database, autocommit=True)
    assert snapshot(again) == before
    again.close()


def test_a_file_that_fails_on_the_copy_is_a_result(
    make_target: Make, conn: SqlConnection, database: str, postgres: Cluster
):
    """The rehearsal says what production would have said."""
    run.up(make_target({"1_a.sql": up("CREATE TABLE a (b int);", "INSERT INTO a VALUES (1);")}))
    conn.close()

    files = {"2_b.sql": up("ALTER TABLE a ADD COLUMN c int NOT NULL;")}
    seen = run.rehearse(make_target(files), TemplateCopies(postgres, database), connect)
    assert not seen.ok
    assert seen.failure is not None
    assert seen.failure.code.id == "DOD286"
    assert "2_b.sql:2" in seen.failure.message


def test_stats_saves_row_counts_beside_the_files(make_target: Make, conn: SqlConnection):
    """`check` weighs its findings with them."""
    target = make_target({"1_a.sql": A})
    run.up(target)
    conn.execute("INSERT INTO a SELECT generate_series(1, 50); ANALYZE a")
    assert run.save_rows(target)["public.a"] == 50


@pytest.mark.parametrize("look", [status, run.applied_ids], ids=["status", "applied_ids"])
def test_a_look_at_a_locked_ledger_ends_and_says_why(
    make_target: Make, conn: SqlConnection, look: Callable[..., object]
):
    """Somebody rewrites the ledger (VACUUM FULL, say): DOD281 within `lock_timeout`, not a wait for ever."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    run.up(target)
    conn.execute("BEGIN; LOCK TABLE goose_db_version")
    error = refused(lambda: look(target))
    assert (error.code.id, error.exit_code) == ("DOD281", 3)
    assert "ledger locked" in error.message
    conn.execute("ROLLBACK")
    assert look(target)


def test_readiness_names_what_is_missing_and_ignores_what_is_newer(make_target: Make, conn: SqlConnection):
    """A required set of ids, all applied; a newer schema does no harm."""
    target = make_target({"1_a.sql": A, "2_b.sql": B})
    run.up(target)
    required = enforce.required_of("1, 2\n3")
    rows = conn.execute(enforce.question(FAST)).fetchall()
    seen = enforce.answer(required, rows)
    assert (seen.ready, seen.missing) == (False, ("3",))
    assert enforce.answer(enforce.required_of("1"), rows).ready
    run.down(target)
    assert enforce.answer({"2"}, conn.execute(enforce.question(FAST)).fetchall()).missing == ("2",)
    assert enforce.no_ledger({"1"}).missing == ("1",)
    assert enforce.no_ledger(()).ready


def test_a_qualified_ledger_is_used_and_kept_out_of_the_schema(make_target: Make, conn: SqlConnection):
    """A real goose history renames its table and puts it into a schema."""
    conn.execute("CREATE SCHEMA ops")
    empty = snapshot(conn, "ops.versions")
    target = make_target({"1_a.sql": up("SELECT 1;")}, replace(FAST, ledger="ops.versions"))
    run.up(target)
    assert conn.execute("SELECT count(*) FROM ops.versions").fetchone()[0] == 2
    assert snapshot(conn, "ops.versions") == empty
    assert enforce.answer({"1"}, conn.execute(enforce.question(target.policy)).fetchall()).ready


def test_mend_annotates_only_the_files_that_would_be_cut(make_target: Make):
    """`--fix` of DOD221."""
    body = "-- +goose Up\nDO $$\nBEGIN\n  NULL;\nEND $$;\n-- +goose Down\nSELECT 1;\n"
    target = make_target({"1_a.sql": A, "2_b.sql": body})
    assert run.fix(target) == ("db/migrations/2_b.sql",)
    assert run.fix(target) == ()
    assert [ran.migration.id for ran in run.up(target).ran] == ["1", "2"]
