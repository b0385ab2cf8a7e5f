"""What a refused or failed migration proposes is carried out on the database that refused it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.migrations.conftest import up
from tests.support.command import dodai, start_dodai
from tests.support.proposed import carry_out
from tests.support.wait import until

from dodai.core import proposal
from dodai.migrations.ports import SqlConnection

MANIFEST = '[project]\nname = "shop"\n\n[migrations]\n'
A = up("CREATE TABLE a (b int);", down=("DROP TABLE a;",))


class Shop:
    """A repository and its database."""

    def __init__(self, folder: Path, url: str):
        self.folder, self.environment = folder, {"DATABASE_URL": url}
        (folder / "dodai.toml").write_text(MANIFEST)

    def write(self, **files: str):
        for name, text in files.items():
            path = self.folder / "db" / "migrations" / f"{name[1:]}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def refused(self, *words: str) -> str:
        done = dodai("migrate", *words, cwd=self.folder, **self.environment)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def shop(tmp_path: Path, database: str) -> Shop:
    return Shop(tmp_path, database)


def test_tables_that_nobody_recorded(shop: Shop, conn: SqlConnection):
    """Adopted where the files made them, at a version where several would fit, or left alone."""
    conn.execute("CREATE TABLE a (b int)")
    shop.write(m1_a=A, m2_b=up("INSERT INTO a VALUES (1);"))
    said = shop.refused("up")
    assert proposal.MIGRATE_BESIDE() in said
    assert proposal.MIGRATE_ADOPT() in said
    several = shop.refused("adopt", "--yes")
    here = {"cwd": shop.folder, "environment": shop.environment, "more": ["--yes"]}
    carry_out(several, proposal.MIGRATE_ADOPT_AT, version="2", **here)
    conn.execute("DROP TABLE a, goose_db_version; DROP SCHEMA dodai CASCADE")
    conn.execute("CREATE TABLE a (b int)")
    (shop.folder / "db/migrations/2_b.sql").unlink()
    carry_out(shop.refused("up"), proposal.MIGRATE_ADOPT, **here)
    conn.execute("DROP TABLE a, goose_db_version; DROP SCHEMA dodai CASCADE")
    conn.execute("CREATE TABLE z (b int)")
    carry_out(shop.refused("up"), proposal.MIGRATE_BESIDE, cwd=shop.folder, environment=shop.environment)


def test_a_squash(shop: Shop):
    """The file that stands for those that are gone is named, with its version."""
    shop.write(m1_a=A, m2_b=up("ALTER TABLE a ADD COLUMN c text;"))
    here = {"cwd": shop.folder, "environment": shop.environment}
    dodai("migrate", "up", cwd=shop.folder, **shop.environment).check_returncode()
    for path in (shop.folder / "db" / "migrations").iterdir():
        path.unlink()
    shop.write(m3_all=up("CREATE TABLE a (b int, c text);"))
    said = shop.refused("up")
    assert said.partition("after a squash ")[2].startswith("`dodai migrate adopt --baseline 3`")
    carry_out(said, proposal.MIGRATE_ADOPT_BASELINE, version="3", more=["--yes"], **here)
    dodai("migrate", "up", cwd=shop.folder, **shop.environment).check_returncode()


def test_a_squash_of_two_files(shop: Shop):
    """`up` cannot know how far it reaches; the proof that refuses the first file does."""
    shop.write(m1_a=A, m2_b=up("ALTER TABLE a ADD COLUMN c text;"))
    here = {"cwd": shop.folder, "environment": shop.environment, "more": ["--yes"]}
    dodai("migrate", "up", cwd=shop.folder, **shop.environment).check_returncode()
    for path in (shop.folder / "db" / "migrations").iterdir():
        path.unlink()
    shop.write(m3_all=A, m4_c=up("ALTER TABLE a ADD COLUMN c text;"), m5_d=up("CREATE TABLE d (e int);"))
    said = shop.refused("adopt", "--baseline", "3", "--yes")
    carry_out(said, proposal.MIGRATE_ADOPT_BASELINE, version="4", **here)
    dodai("migrate", "up", cwd=shop.folder, **shop.environment).check_returncode()


def test_files_that_fail_are_edited_or_are_missing(shop: Shop):
    """Made, corrected, looked at, tried and repaired with the commands that the failures name."""
    (shop.folder / "db" / "migrations").mkdir(parents=True)
    here = {"cwd": shop.folder, "environment": shop.environment}
    carry_out(shop.refused("up"), proposal.MIGRATE_NEW, known={"NAME": "first"}, **here)
    (made,) = (shop.folder / "db" / "migrations").iterdir()
    made.write_text(A.replace("int", "itn"))
    said = shop.refused("up")
    made.write_text(A)
    carry_out(said, proposal.MIGRATE_UP, **here)
    carry_out(shop.refused("down", "--to", "77", "--yes"), proposal.MIGRATE_STATUS, **here)
    carry_out(dodai("migrate", "validate", cwd=shop.folder).stderr, proposal.MIGRATE_CHECK, **here)
    made.write_text(A.replace("int", "bigint"))
    version = made.name.partition("_")[0]
    known = {"TEXT": "by-hand"}
    carry_out(shop.refused("up"), proposal.MIGRATE_REPAIR, version=version, known=known, more=["--yes"], **here)
    dodai("migrate", "up", cwd=shop.folder, **shop.environment).check_returncode()


def test_a_statement_that_was_cut_short(shop: Shop, conn: SqlConnection):
    """Killed within it: nobody can tell, a person looks, says so, and it goes on."""
    body = "DO $$ BEGIN INSERT INTO a VALUES (1); PERFORM pg_sleep(2); COMMIT; END $$;"
    begun = f"-- +goose StatementBegin\n{body}\n-- +goose StatementEnd\n"
    shop.write(m1_a=f"-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE a (b int);\n{begun}")
    with (shop.folder / "log").open("w") as log:
        process = start_dodai("migrate", "up", cwd=shop.folder, output=log, **shop.environment)
    until(lambda: conn.execute("SELECT to_regclass('dodai.migration_log')").fetchone()[0], process=process)
    announced = "SELECT count(*) FROM dodai.migration_log WHERE statement = 2 AND event = 'started'"
    until(lambda: conn.execute(announced).fetchone()[0], process=process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    running = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dodai' AND pid <> pg_backend_pid()"
    until(lambda: not conn.execute(running).fetchone()[0])
    said = shop.refused("up")
    known = {"done|undone": "done", "TEXT": "looked"}
    here = {"cwd": shop.folder, "environment": shop.environment, "more": ["--yes"]}
    carry_out(said, proposal.MIGRATE_SETTLE, version="1", number="2", known=known, **here)
    dodai("migrate", "up", cwd=shop.folder, **shop.environment).check_returncode()
