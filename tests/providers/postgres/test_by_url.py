"""A PostgreSQL that others run: restore points are read back, and a restore changes everything or nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from dodai.core.errors import DodaiError
from dodai.migrations import fence
from dodai.providers.postgres import restore_beside as restoring
from dodai.providers.postgres.by_url import PostgresByUrl, with_password
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.dump import ARCHIVE, dump, dumps

CANARY = "c4n4ry-p@ss/w:rd"


def execute(url, *statements):
    with connect(url, autocommit=True) as session:
        return [cursor.fetchall() if cursor.description else [] for cursor in map(session.execute, statements)]


@pytest.fixture
def shop(postgres, database):
    """A role that owns its database and may make others, and the URL it comes with."""
    name = database.partition("?")[0].rpartition("/")[2]
    role = f"owner_{name}"
    execute(
        postgres.dsn(),
        f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD '{CANARY}'",
        f"ALTER DATABASE {name} OWNER TO {role}",
        f"ALTER DATABASE {name} SET statement_timeout = '90s'",
        f"ALTER DATABASE {name} SET search_path = shop, public",
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
    )
    url = f"postgresql://{role}@127.0.0.1:{postgres.port}/{name}"
    execute(
        with_password(url, CANARY),
        "CREATE SCHEMA shop",
        'CREATE TABLE shop."Odd ""name" (id int PRIMARY KEY, text text)',
        """INSERT INTO shop."Odd ""name" SELECT n, E'COPY x.y (z) FROM stdin;\\n\\\\.\\n' FROM generate_series(1, 50) n""",
        "CREATE TABLE public.note (id int PRIMARY KEY)",
        "INSERT INTO note SELECT generate_series(1, 7)",
        "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS $$\nSELECT 2 * n\n$$",
    )
    yield url
    for (left,) in execute(
        postgres.dsn(),
        f"SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = '{role}')",
    )[0]:
        execute(postgres.dsn(), f'DROP DATABASE "{left}" WITH (FORCE)')
    execute(postgres.dsn(), f"DROP ROLE {role}")


@pytest.fixture
def service(shop, tmp_path):
    return PostgresByUrl(shop, "", lambda: CANARY, tmp_path)


def notes(service):
    return execute(service.url(), "SELECT count(*) FROM note")[0][0][0]


def test_restore_point_counts_every_row_that_it_read_back(service):
    """Odd names, rows that look like the end of a copy, empty lines: the archive has what the snapshot had."""
    where = asyncio.run(service.restore_points.make("one"))
    assert where.endswith("57 rows in 2 tables, read back)")
    (found,) = dumps(service.folder / "restore-points")
    assert found.tables == {"public.note": 7, 'shop."Odd ""name"': 50}
    assert (found.archive.stat().st_mode & 0o777) == 0o600
    assert asyncio.run(service.restore_points.find("one")) == str(found.path)
    assert asyncio.run(service.restore_points.find("two")) == ""


def test_restored_data_takes_the_place_of_the_old_which_is_kept(service, postgres):
    """Rows, settings, grants and owner of then; the rows of now are in a database beside it."""
    points = service.restore_points
    asyncio.run(points.make("one"))
    execute(service.url(), "INSERT INTO note VALUES (100)")
    visitor = connect(service.url())  # a session that nobody closed
    kept = asyncio.run(points.put_back("one", "plan-7", 3)).split("`")[1]
    visitor.close()
    assert notes(service) == 7
    assert asyncio.run(points.is_back("plan-7"))
    assert not asyncio.run(points.is_back("plan-8"))
    (((timeout, path),),) = execute(
        service.url(), "SELECT current_setting('statement_timeout'), current_setting('search_path')"
    )
    assert (timeout, path) == ("90s", "shop, public")
    name = service.direct.rpartition("/")[2]
    acl = (
        "SELECT ARRAY(SELECT one::text FROM unnest(datacl) one ORDER BY 1), pg_get_userbyid(datdba)"
        f" FROM pg_database WHERE datname = '{name}'"
    )
    before = acl.replace(f"'{name}'", f"'{kept}'")
    assert execute(postgres.dsn(), acl) == execute(postgres.dsn(), before)
    assert execute(postgres.dsn(kept), "SELECT count(*) FROM note")[0] == [(8,)]
    assert execute(postgres.dsn(), "SELECT count(*) FROM pg_database WHERE datname LIKE '%restoring%'")[0] == [(0,)]


def test_archive_that_changed_is_not_restored(service):
    """The disk may lie after it was read back: what is there now is compared first, and the data is not touched."""
    asyncio.run(service.restore_points.make("one"))
    archive = service.folder / "restore-points" / "one" / ARCHIVE
    archive.write_bytes(archive.read_bytes()[:-20] + b"x" * 20)
    execute(service.url(), "INSERT INTO note VALUES (100)")
    with pytest.raises(DodaiError, match=r"DOD786.*is not what it was when it was made"):
        asyncio.run(service.restore_points.put_back("one", "plan", 1))
    archive.write_bytes(b"")
    assert asyncio.run(service.restore_points.find("one")) == ""
    assert notes(service) == 8


def test_dump_that_nobody_finished_is_no_restore_point(service):
    """Killed before its receipt, or missing rows: nothing is called made that was not seen."""
    asyncio.run(service.restore_points.make("one"))
    receipt = service.folder / "restore-points" / "one" / "receipt.json"
    known = receipt.read_text()
    receipt.unlink()
    assert asyncio.run(service.restore_points.find("one")) == ""
    assert service.restore_points.all() == ()
    assert asyncio.run(service.restore_points.make("one"))  # the same name again
    assert json.loads(receipt.read_text())["tables"] == json.loads(known)["tables"]


def test_role_that_may_not_read_a_table_gets_no_restore_point(service, postgres):
    """A dump without it would be missing it on the day it is needed; the password is in no message."""
    execute(postgres.dsn(service.direct.rpartition("/")[2]), "CREATE TABLE theirs ()")
    with pytest.raises(DodaiError) as caught:
        asyncio.run(service.restore_points.make("one"))
    assert caught.value.code.id == "DOD786"
    assert "GRANT pg_read_all_data" in caught.value.fix
    assert "theirs" in f"{caught.value.message} {caught.value.details}"
    assert CANARY not in f"{caught.value!r}"
    assert not (service.folder / "restore-points" / "one").exists()


def test_rows_that_the_archive_lacks_are_no_restore_point(service, monkeypatch):
    """What is read back is compared with the snapshot table by table."""
    monkeypatch.setattr(
        "dodai.providers.postgres.dump._counts", lambda lines: {"public.note": len([*lines][:6])}.items()
    )
    with pytest.raises(DodaiError, match="lacks rows of 2 tables") as caught:
        dump(service.url(), service.folder, "one")
    assert "public.note: 7 rows in the snapshot, 6 in the copy" in caught.value.details
    assert not dumps(service.folder)


@pytest.mark.parametrize("stopped_at", ["_fill", "_settle", "_exchange"])
def test_restore_that_stops_half_way_has_changed_nothing_and_is_repeated(service, monkeypatch, stopped_at):
    """A copy that was begun is dropped, or found and dropped by the next attempt."""
    asyncio.run(service.restore_points.make("one"))
    execute(service.url(), "INSERT INTO note VALUES (100)")
    with monkeypatch.context() as patched:

        def stop(*_):
            raise KeyboardInterrupt

        patched.setattr(restoring, stopped_at, stop)
        patched.setattr(restoring, "_drop", lambda *_: None)  # as after kill -9
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(service.restore_points.put_back("one", "plan", 1))
    assert notes(service) == 8
    assert not asyncio.run(service.restore_points.is_back("plan"))
    asyncio.run(service.restore_points.put_back("one", "plan", 1))
    assert notes(service) == 7
    assert asyncio.run(service.restore_points.is_back("plan"))


def test_holder_that_was_replaced_restores_nothing(service):
    """A paused operator wakes up after somebody else took over; the one who took over carries the token on."""
    asyncio.run(service.restore_points.make("one"))
    with connect(service.url(), autocommit=True) as session:
        fence.advance(session, "dodai", "public.goose_db_version", 9)
    with pytest.raises(DodaiError, match="token 8 is older than 9"):
        asyncio.run(service.restore_points.put_back("one", "plan", 8))
    asyncio.run(service.restore_points.put_back("one", "plan", 10))
    with connect(service.url(), autocommit=True) as session:
        assert fence.newest(session, "dodai", "public.goose_db_version") == 10


def test_role_that_may_not_make_databases_is_told_what_it_lacks(service, postgres):
    """Refused before anything is changed, with the statement that helps."""
    asyncio.run(service.restore_points.make("one"))
    execute(postgres.dsn(), f"ALTER ROLE owner_{service.direct.rpartition('/')[2]} NOCREATEDB")
    with pytest.raises(DodaiError) as caught:
        asyncio.run(service.restore_points.put_back("one", "plan", 1))
    assert "its data is what it was" in caught.value.message
    assert "CREATEDB" in caught.value.fix
    assert caught.value.reply == "rejected"
    assert notes(service) == 7


def test_journal_is_not_replaced_with_the_data(service):
    """Where `control_url` leads to the same database the plan that runs would lose its own record."""
    asyncio.run(service.restore_points.make("one"))
    both = PostgresByUrl(service.direct, "", service.password, service.folder, control_url=service.direct)
    with pytest.raises(DodaiError, match="keeps the journal too"):
        asyncio.run(both.restore_points.put_back("one", "plan", 1))


def test_pooler_and_unverified_host_are_refused_before_the_password_is_sent(tmp_path):
    """Restore points and locks go to the server itself; services may go through the pooler."""
    pooled = PostgresByUrl("postgresql://a@db-pooler.example/x", "", lambda: CANARY, tmp_path)
    with pytest.raises(DodaiError) as caught:
        asyncio.run(pooled.restore_points.make("one"))
    assert caught.value.code.id == "DOD067"
    plain = PostgresByUrl("postgresql://a@db.example/x", "", lambda: CANARY, tmp_path)
    with pytest.raises(DodaiError) as caught:
        asyncio.run(plain.running())
    assert caught.value.code.id == "DOD066"
    both = PostgresByUrl("postgresql://a@db.example/x", "postgresql://a@db.example:6432/x", lambda: "p/w", tmp_path)
    assert both.url(direct=False) == "postgresql://a:p%2Fw@db.example:6432/x"
    assert both.url() == "postgresql://a:p%2Fw@db.example/x"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///x?host=/run", "postgresql://:p%40@/x?host=/run"),
        ("postgresql://a@h:1,h2:2/x", "postgresql://a:p%40@h:1,h2:2/x"),
        ("user=a dbname=x host=h", "user=a dbname=x host=h password=p@"),
    ],
)
def test_password_is_put_into_the_form_that_the_address_has(url, expected):
    """A service in another language reads a URL; words stay words."""
    assert with_password(url, "p@") == expected
    assert with_password(url, "") == url


def test_what_dodai_keeps_in_another_schema_goes_through_a_restore(service):
    """The mark and the newest token are there afterwards; a table `restored` of the user's is not touched."""
    service = replace(service, log_schema="public")
    execute(service.url(), "CREATE TABLE restored (mark text)", "INSERT INTO restored VALUES ('theirs')")
    asyncio.run(service.restore_points.make("one"))
    with connect(service.url(), autocommit=True) as session:
        fence.advance(session, "public", "public.goose_db_version", 9)
    with pytest.raises(DodaiError, match="token 8 is older than 9"):
        asyncio.run(service.restore_points.put_back("one", "plan", 8))
    asyncio.run(service.restore_points.put_back("one", "plan", 10))
    assert asyncio.run(service.restore_points.is_back("plan"))
    assert execute(service.url(), "SELECT mark FROM restored", "SELECT to_regnamespace('dodai')") == [
        [("theirs",)], [(None,)],
    ]  # fmt: skip
    with connect(service.url(), autocommit=True) as session:
        assert fence.newest(session, "public", "public.goose_db_version") == 10


def test_a_restore_point_from_before_the_log_moved_keeps_the_newest_token(service):
    """The old schema comes back with it; a token that was granted since is not forgotten, whatever schema has it."""
    with connect(service.url(), autocommit=True) as session:
        fence.advance(session, "dodai", "public.goose_db_version", 3)
    asyncio.run(service.restore_points.make("one"))
    execute(service.url(), "CREATE SCHEMA ops", "ALTER TABLE dodai.migration_fence SET SCHEMA ops")
    with connect(service.url(), autocommit=True) as session:
        fence.advance(session, "ops", "public.goose_db_version", 9)
    moved = replace(service, log_schema="ops")
    with pytest.raises(DodaiError, match="token 8 is older than 9"):
        asyncio.run(moved.restore_points.put_back("one", "plan", 8))
    asyncio.run(moved.restore_points.put_back("one", "plan", 10))
    assert asyncio.run(moved.restore_points.is_back("plan"))
    with connect(service.url(), autocommit=True) as session:
        assert fence.newest(session, "ops", "public.goose_db_version") == 10
