"""Both local copies satisfy the port that a vendor's branches will: direct URL, same database, gone afterwards."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Copies, MigrationTarget
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.copies import DumpCopies, ServerCopies

LOCAL = (ServerCopies, DumpCopies)


@pytest.fixture
def filled(database) -> str:
    """A table with rows, an owner, a grant and a policy that names a role."""
    with connect(database, autocommit=True) as conn:
        conn.execute("""DO $$BEGIN CREATE ROLE copy_reader; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
            DO $$BEGIN CREATE ROLE copy_owner LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$""")
        conn.execute("""CREATE TABLE question AS SELECT n, 'text' AS said FROM generate_series(1, 5000) n;
            ALTER TABLE question OWNER TO copy_owner; GRANT SELECT ON question TO copy_reader;
            ALTER TABLE question ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON question FOR SELECT TO copy_reader USING (n > 1)""")
    return database


@pytest.mark.parametrize("local", LOCAL)
def test_a_copy_is_the_same_schema_and_rows_while_the_original_is_in_use(local, filled):
    """Owners, grants and policies come along; what is done to the copy stays there; its URL ends with it."""
    copies: Copies = local(filled, False)
    with connect(filled) as user:
        user.execute("INSERT INTO question VALUES (9999, 'not committed')")
        with copies.copied("r1") as copy:
            assert not copy.production_data
            with connect(copy.url, autocommit=True) as conn, connect(filled) as original:
                assert snapshot(conn) == snapshot(original)
                assert conn.execute("SELECT count(*) FROM question").fetchone() == (5000,)
                assert conn.info.backend_pid == conn.execute("SELECT pg_backend_pid()").fetchone()[0]
                conn.execute("DROP TABLE question")
        user.rollback()
    with pytest.raises(DodaiError):
        connect(copy.url)
    with connect(filled) as conn:
        assert conn.execute("SELECT count(*) FROM question").fetchone() == (5000,)


@pytest.mark.parametrize("local", LOCAL)
def test_a_rehearsal_runs_on_either(local, filled, tmp_path: Path):
    """The same files, measured on a copy of each kind, and nothing is left on the original."""
    (tmp_path / "db/migrations").mkdir(parents=True)
    (tmp_path / "db/migrations/1_a.sql").write_text("-- +goose Up\nALTER TABLE question ADD COLUMN more int;\n")
    target = MigrationTarget(tmp_path, MigrationsPolicy(), lambda: connect(filled))
    seen = run.rehearse(target, local(filled, False), connect)
    assert seen.ok
    assert seen.statements[0].effects[0].lock == "AccessExclusiveLock"
    assert "not production data: a " in seen.caveat
    with connect(filled) as conn:
        assert conn.execute("SELECT to_regclass('dodai.migration_log')").fetchone() == (None,)


def test_a_role_without_replication_is_told_of_the_dump_and_can_use_it(filled, postgres):
    """A managed server rarely gives REPLICATION away."""
    as_owner = conninfo.make_conninfo(filled, user="copy_owner")
    with pytest.raises(DodaiError) as caught, ServerCopies(as_owner, True).copied("r1"):
        pass
    assert caught.value.code.id == "DOD786"
    assert "`rehearse --dump`" in caught.value.fix
    with DumpCopies(as_owner, True).copied("r1") as copy, connect(copy.url) as conn:
        assert conn.execute("SELECT count(*) FROM question").fetchone() == (5000,)


def test_a_dump_that_may_not_read_is_a_coded_error_without_the_password(filled, postgres):
    """pg_dump's own words are below the message."""
    with psycopg.connect(filled, autocommit=True) as conn:
        conn.execute("DO $$BEGIN CREATE ROLE copy_stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$")
    stranger = conninfo.make_conninfo(filled, user="copy_stranger", password="hunter2")
    with pytest.raises(DodaiError) as caught, DumpCopies(stranger, True).copied("r1"):
        pass
    assert caught.value.code.id == "DOD786"
    assert "permission denied" in " ".join(caught.value.details)
    assert "hunter2" not in str(caught.value.as_json())
