"""`[database] shadow_url`: migrations are tried on a server that is lent, and nothing of anybody's is touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.command import dodai

from dodai.core.errors import DodaiError
from dodai.migrations.check import MigrationHistory
from dodai.migrations.check.shadow import shadow_run
from dodai.migrations.goose_file import read_folder
from dodai.migrations.ports import Connect, SqlConnection
from dodai.providers.postgres.borrowed_server import PREFIX, BorrowedServer
from dodai.providers.postgres.cluster import Cluster, throw_away
from dodai.providers.postgres.connection import connect
from dodai.wiring.shadow_server import shadow_server

ROLE = (
    "-- +goose Up\nCREATE ROLE reader;\nCREATE TABLE kept (id int);\nGRANT SELECT ON kept TO reader;\n"
    "-- +goose Down\nDROP TABLE kept;\n"
)
WAY_DOWN_FAILS = "-- +goose Up\nCREATE TABLE other (id int);\n-- +goose Down\nDROP TABLE nowhere;\n"


@pytest.fixture(scope="module")
def lent() -> Iterator[Cluster]:
    with throw_away() as cluster:
        yield cluster


def everything(cluster: Cluster) -> tuple[list[str], list[str]]:
    """Its databases and its roles."""
    with connect(cluster.dsn(), autocommit=True) as conn:
        databases = conn.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
        roles = conn.execute("SELECT rolname FROM pg_roles ORDER BY 1").fetchall()
    return [row[0] for row in databases], [row[0] for row in roles]


@contextmanager
def connect_once(database: Callable[[], Connect]) -> Iterator[SqlConnection]:
    conn = database()()
    conn.autocommit = True
    yield conn
    conn.close()


def history(root: Path, **files: str) -> MigrationHistory:
    for name, text in files.items():
        (root / f"{name}.sql").write_text(text)
    found = read_folder(root.parent, root.name).migrations
    return MigrationHistory(found, (), frozenset(m.id for m in found), frozenset(m.id for m in found))


def test_a_walk_leaves_nothing_behind_and_finds_what_it_finds_on_our_own_server(lent: Cluster, tmp_path: Path) -> None:
    """A bad way back starts it anew, and a role of the first pass is not in the way of the second."""
    third = "-- +goose Up\nCREATE TABLE third (id int);\n"
    files = history(tmp_path, **{"1_role": ROLE, "2_bad": WAY_DOWN_FAILS, "3_last": third})
    before = everything(lent)
    there = shadow_run(files, BorrowedServer(lent.dsn()), everything=True)
    assert everything(lent) == before
    here = shadow_run(files, partial(shadow_server, 0), everything=True)
    assert [(t.trip, t.failure, t.line) for t in there.trials] == [(t.trip, t.failure, t.line) for t in here.trials]
    assert [t.trip for t in there.trials][1] == "down fails"
    assert (there.lines, there.server) == (here.lines, here.server)
    assert any("kept" in line for line in there.lines)


def test_opened_inside_itself_it_has_the_names_of_roles_free_again(lent: Cluster) -> None:
    """Roles are the whole server's: they are put aside, and go with the databases."""
    before = everything(lent)
    server = BorrowedServer(lent.dsn())
    with server() as database, connect_once(database) as first:
        first.execute("CREATE ROLE reader")
        with server() as another, connect_once(another) as second:
            second.execute("CREATE ROLE reader")
    assert everything(lent) == before


@pytest.mark.parametrize("kept", ["CREATE TABLE theirs (id int)", "CREATE FUNCTION theirs() RETURNS int RETURN 1"])
def test_a_server_on_which_somebody_keeps_something_is_refused_untouched(lent: Cluster, kept: str) -> None:
    """Also in another database than the one that the URL names."""
    with lent.fresh_database("app") as theirs:
        with connect(theirs, autocommit=True) as conn:
            conn.execute(kept)
        before = everything(lent)
        with (
            pytest.raises(DodaiError, match=r"`app_.*` holds `public\.theirs`") as refused,
            BorrowedServer(lent.dsn())(),
        ):
            pytest.fail("it was opened")
        assert refused.value.code.id == "DOD268"
        assert everything(lent) == before


def test_a_database_that_nobody_may_look_into_is_a_reason_to_refuse(lent: Cluster) -> None:
    """What it holds is not known, so it is not known to be nothing."""
    with lent.fresh_database("closed"), connect(lent.dsn(), autocommit=True) as conn:
        name = next(each for each in everything(lent)[0] if each.startswith("closed"))
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        with pytest.raises(DodaiError, match="what it holds is not known"), BorrowedServer(lent.dsn())():
            pytest.fail("it was opened")
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_what_a_killed_check_left_is_gone_with_the_next(lent: Cluster) -> None:
    """Its databases by their name and mark, its roles by what those say was there before."""
    before = everything(lent)
    script = (
        "import os, sys; from dodai.providers.postgres.borrowed_server import BorrowedServer\n"
        "with BorrowedServer(sys.argv[1])() as database:\n"
        "    conn = database()(); conn.execute('CREATE ROLE reader; CREATE TABLE t (id int)'); conn.commit()\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, lent.dsn()], check=False).returncode == -9
    assert everything(lent) != before
    with BorrowedServer(lent.dsn())() as database, connect_once(database) as conn:
        conn.execute("CREATE ROLE reader")
    assert everything(lent) == before


def test_a_database_with_our_name_that_is_not_ours_is_not_dropped(lent: Cluster) -> None:
    """The name alone proves nothing."""
    with connect(lent.dsn(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {PREFIX}theirs")
        with BorrowedServer(lent.dsn())():
            pass
        assert f"{PREFIX}theirs" in everything(lent)[0]
        conn.execute(f"DROP DATABASE {PREFIX}theirs")


def test_check_tries_the_migrations_on_the_server_that_the_manifest_names(lent: Cluster, tmp_path: Path) -> None:
    """An extension that it lacks is told with the way to another; a server that may not be used is not a pass."""
    folder = tmp_path / "db" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / "dodai.toml").write_text(
        '[project]\nname = "quiz"\n[migrations]\nfolder = "db/migrations"\nbase = "none"\n'
        f'[database]\nshadow_url = "{lent.dsn()}"\n'
    )
    (folder / "1_first.sql").write_text("-- +goose Up\nCREATE TABLE a (id int);\n-- +goose Down\nDROP TABLE a;\n")
    before = everything(lent)
    clean = dodai("migrate", "check", "--all", cwd=tmp_path)
    assert (clean.returncode, everything(lent)) == (0, before), clean.stdout
    (folder / "2_second.sql").write_text("-- +goose Up\nCREATE EXTENSION no_such_thing;\n")
    lacking = dodai("migrate", "check", "--all", cwd=tmp_path)
    assert lacking.returncode == 1
    assert "`[database] shadow_url`" in lacking.stdout
    (folder / "2_second.sql").unlink()
    with connect(lent.dsn(), autocommit=True) as conn:
        conn.execute("CREATE TABLE theirs (id int)")
        refused = dodai("migrate", "check", "--all", cwd=tmp_path)
        conn.execute("DROP TABLE theirs")
    assert refused.returncode == 1
    assert "holds `public.theirs`" in refused.stdout
