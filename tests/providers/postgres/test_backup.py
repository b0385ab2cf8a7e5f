"""A copy is complete, verified, harmless to the original, and refused with a reason when it cannot be had."""

from __future__ import annotations

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres.backup import base_backup, copy_of, opened_restore_point, restore_point
from dodai.providers.postgres.binaries import find_binaries
from dodai.providers.postgres.cluster import throw_away
from dodai.providers.postgres.codes import DATA_DIRECTORY
from dodai.providers.postgres.connection import address, connect


@pytest.fixture
def filled(database) -> str:
    with connect(database) as connection:
        connection.execute("CREATE TABLE question AS SELECT n FROM generate_series(1, 5000) n")
    return database


def count(dsn: str) -> int:
    with connect(dsn) as connection:
        return connection.execute("SELECT count(*) FROM question").fetchone()[0]


def test_copy_has_the_same_rows_and_the_original_is_not_touched(postgres, filled):
    """What is done to the copy stays in the copy."""
    name = address(filled).database
    with copy_of(filled) as copy:
        assert count(copy.dsn(name)) == 5000
        with connect(copy.dsn(name)) as connection:
            connection.execute("DELETE FROM question")
        assert count(copy.dsn(name)) == 0
        assert copy.data_dir != postgres.data_dir
    assert count(filled) == 5000


def test_copy_can_be_made_while_writers_hold_transactions_open(filled):
    """CREATE DATABASE … TEMPLATE fails on a database in use; this does not, and leaves out what was not committed."""
    name = address(filled).database
    with connect(filled) as writer:
        writer.execute("INSERT INTO question SELECT 1 FROM generate_series(1, 10)")
        with copy_of(filled) as copy:
            assert count(copy.dsn(name)) == 5000
        writer.rollback()


def test_copy_over_loopback_takes_the_password_along_unseen(postgres, filled):
    """The password reaches pg_basebackup through its environment."""
    name = address(filled).database
    with copy_of(postgres.dsn(name, tcp=True)) as copy:
        assert count(copy.dsn(name)) == 5000


@pytest.mark.optional_part("debian-postgres")
def test_copy_uses_the_programs_of_the_servers_own_major_version():
    """pg_basebackup of 17 is not asked to open a 15 data directory, whatever is preferred on this machine."""
    with throw_away(find_binaries(major=15)) as old, copy_of(old.dsn(), find_binaries(major=17)) as copy:
        assert copy.binaries.major == 15
        connect(copy.dsn()).close()


def test_settings_that_would_make_the_copy_act_are_left_behind():
    """A copy that archives, or follows its original as a standby, would damage what it was copied from."""
    with throw_away() as original:
        with connect(original.dsn(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET archive_command = 'touch /tmp/never'")
            connection.execute("ALTER SYSTEM SET primary_conninfo = 'host=elsewhere'")
        with copy_of(original.dsn()) as copy, connect(copy.dsn()) as connection:
            assert connection.execute("SHOW archive_mode").fetchone() == ("off",)
            assert connection.execute("SHOW primary_conninfo").fetchone() == ("",)
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def test_restore_point_opens_with_the_rows_of_then(filled, tmp_path):
    """What is kept before a change can be looked into after it, more than once."""
    name = address(filled).database
    point = base_backup(filled, tmp_path / "before")
    assert point.size_bytes > 1_000_000
    with connect(filled) as connection:
        connection.execute("DROP TABLE question")
    for _ in range(2):
        with opened_restore_point(restore_point(tmp_path / "before")) as copy:
            assert count(copy.dsn(name)) == 5000


def test_restore_point_that_was_changed_does_not_verify(filled, tmp_path):
    """pg_verifybackup finds a single changed byte."""
    from dodai.providers.postgres.backup import verify

    point = base_backup(filled, tmp_path / "before", sync=False)
    (point.path / "PG_VERSION").write_text("16\n")
    with pytest.raises(DodaiError) as caught:
        verify(point.path, find_binaries(), 60)
    assert caught.value.code.id == "DOD786"
    assert any("PG_VERSION" in line for line in caught.value.details)


def test_role_without_replication_gets_the_statement_that_grants_it(filled, tmp_path):
    """The fix names the role, and no half copy is left."""
    with connect(filled, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN")
    with pytest.raises(DodaiError) as caught:
        base_backup(filled.replace("//postgres@", "//plain@"), tmp_path / "before", sync=False)
    assert caught.value.code.id == "DOD786"
    assert "`ALTER ROLE plain REPLICATION`" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_existing_target_is_not_overwritten(filled, tmp_path):
    """An older restore point is never lost to a newer one."""
    (tmp_path / "before").mkdir()
    with pytest.raises(DodaiError, match="DOD786"):
        base_backup(filled, tmp_path / "before", sync=False)


def test_folder_that_is_no_copy_is_refused(tmp_path):
    """A path mistyped at 3 a.m. is named."""
    with pytest.raises(DodaiError) as caught:
        restore_point(tmp_path)
    assert caught.value.code is DATA_DIRECTORY
