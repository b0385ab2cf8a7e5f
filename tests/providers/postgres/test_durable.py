"""The database of a local environment keeps its data, its port and its password, and says why when it cannot start."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import dodai.agent
from dodai.core.errors import DodaiError
from dodai.providers.postgres.binaries import find_binaries
from dodai.providers.postgres.cluster import discard, prepare_throw_away
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.durable import durable, prepare, process_spec
from dodai.providers.postgres.server_user import run_as, server_identity
from dodai.providers.postgres.temp_directories import process_started, wait_until

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another identity")
HOLD = """
import sys
from pathlib import Path
from dodai.providers.postgres.durable import durable
with durable(Path(sys.argv[1])) as cluster:
    print((cluster.data_dir / "postmaster.pid").read_text().split()[0], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder():
    """A directory the server's user may enter."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "postgres"


def refused(folder: Path, **options) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        prepare(folder, **options)
    return caught.value


def test_data_port_and_password_survive_a_restart(folder):
    """The URL that a developer pasted into a tool yesterday works today."""
    with durable(folder) as cluster:
        first = cluster.dsn("app", tcp=True)
        cluster.ensure_database("app")
        with connect(first) as connection:
            connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    with durable(folder) as cluster:
        assert cluster.dsn("app", tcp=True) == first
        assert cluster.ensure_database("app") == cluster.dsn("app")
        with connect(first) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (7,)


def test_durable_server_writes_to_the_disk(folder):
    """What a developer keeps survives a power cut: fsync is on here, off only where nothing is kept."""
    with durable(folder) as cluster, connect(cluster.dsn()) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW full_page_writes").fetchone() == ("on",)
        assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600


def test_second_start_in_one_folder_says_who_holds_it(folder):
    """75 and the process id; the first one is not disturbed."""
    with durable(folder) as cluster:
        pid = (cluster.data_dir / "postmaster.pid").read_text().split()[0]
        error = refused(folder)
        connect(cluster.dsn()).close()
    assert (error.code.id, error.exit_code) == ("DOD783", 75)
    assert f"`{pid}`" in error.message


def test_start_right_after_kill_of_the_owner_waits_and_recovers(folder):
    """kill -9 of `up`, then `up`: no complaint about the old server, no lost row."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        pid = int(process.stdout.readline())
        process.kill()
    with durable(folder) as cluster:
        assert not process_started(pid)
        connect(cluster.dsn()).close()


def test_port_in_use_is_named(folder):
    """The port the manifest asks for belongs to somebody else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(folder, port=port)
    assert error.code.id == "DOD782"
    assert f"`{port}`" in error.message


def test_port_taken_since_last_time_is_replaced(folder):
    """Nobody asked for that number, so another one will do."""
    first = prepare(folder).port
    with socket.create_server(("127.0.0.1", first)):
        assert prepare(folder).port != first


@pytest.mark.optional_part("debian-postgres")
def test_data_of_another_major_version_is_opened_by_its_own_server_or_refused(folder):
    """The matching binaries are chosen when they are here; others are refused with both versions."""
    old = find_binaries(major=15)
    assert prepare(folder, old).binaries.major == 15
    assert prepare(folder).binaries.major == 15
    error = refused(folder, binaries=find_binaries(major=17))
    assert error.code.id == "DOD783"
    assert "PostgreSQL 15" in error.message
    assert "17." in error.message


def test_directory_with_something_else_in_it_is_refused(folder):
    """A folder named data that is no data directory is never touched."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "thesis.txt").write_text("years of work")
    error = refused(folder)
    assert error.code.id == "DOD783"
    assert (folder / "data" / "thesis.txt").read_text() == "years of work"


@ROOT_ONLY
def test_data_directory_of_another_user_is_refused(folder):
    """Started once with sudo and once without: the message names both users."""
    cluster = prepare(folder)
    os.chown(cluster.data_dir, 1, 1)
    error = refused(folder)
    assert error.code.id == "DOD783"
    assert "`daemon`" in error.message


def test_lost_password_is_named(folder):
    """The file beside the data was deleted: no traceback, and no new password that the data does not know."""
    prepare(folder)
    (folder / "password").unlink()
    error = refused(folder)
    assert error.code.id == "DOD783"
    assert "password" in error.message


def test_killed_initialisation_leaves_nothing_half_done(folder):
    """Only a finished data directory gets its name."""
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("17\n")
    with durable(folder) as cluster:
        connect(cluster.dsn()).close()
    assert not (folder / "data.new").exists()


def test_damaged_data_is_reported_with_the_servers_own_words(folder):
    """A server that cannot start on its data says why within its own log."""
    cluster = prepare(folder)
    shutil.rmtree(cluster.data_dir / "global")
    with pytest.raises(DodaiError) as caught, durable(folder):
        pass
    assert caught.value.code.id == "DOD782"
    assert any("global" in line for line in caught.value.details)


@ROOT_ONLY
def test_state_below_a_closed_home_is_kept_elsewhere(tmp_path):
    """The project of root lies in a directory nobody else may enter: data goes where the server's user may."""
    tmp_path.chmod(0o700)
    folder = tmp_path / "postgres"
    home = None
    try:
        with durable(folder) as cluster:
            home = cluster.directory
            assert home == Path((folder / "elsewhere").read_text().strip())
            assert not home.is_relative_to(tmp_path)
            cluster.ensure_database("app")
        with durable(folder) as cluster:
            connect(cluster.dsn("app")).close()
    finally:
        if home:
            shutil.rmtree(home)


@ROOT_ONLY
def test_data_kept_elsewhere_goes_when_its_temporary_environment_is_gone(tmp_path):
    """Environments made below the temporary directory do not pile up; one that still exists keeps its data."""
    tmp_path.chmod(0o700)
    gone, kept = tmp_path / "gone" / "postgres", tmp_path / "kept" / "postgres"
    homes = [prepare(folder).directory for folder in (gone, kept)]
    try:
        shutil.rmtree(gone)
        prepare(kept)
        assert [home.exists() for home in homes] == [False, True]
    finally:
        shutil.rmtree(homes[1])


@pytest.mark.parametrize("kept", [True, False])
def test_host_can_run_it_through_its_own_lifeline(folder, kept):
    """The process specification is complete: command, user, environment, signals, what to wait for."""
    cluster = prepare(folder) if kept else prepare_throw_away()
    spec = process_spec(cluster)
    lifeline = Path(dodai.agent.__file__).with_name("lifeline.py")
    read, write = os.pipe()
    argv = [
        sys.executable,
        "-I",
        "-S",
        str(lifeline),
        "--fd",
        str(read),
        "--stop",
        spec.stop[0],
        "--then",
        spec.stop[1],
    ]
    if spec.uid is not None:
        argv += ["--uid", str(spec.uid), "--gid", str(spec.gid)]
    assert (spec.uid is None) == (not server_identity().drops)
    with cluster.command.log.open("ab") as log:
        process = subprocess.Popen(
            [*argv, "--", *spec.command], pass_fds=(read,), env=dict(spec.env), cwd=spec.cwd, stdout=log, stderr=log
        )
    os.close(read)

    with process:
        try:
            assert wait_until(lambda: Path(spec.listens).exists(), 10)
            cluster.wait_ready()
            connect(cluster.dsn(tcp=True)).close()
        finally:
            os.close(write)
    assert process.returncode == 0
    assert not (cluster.data_dir / "postmaster.pid").exists()
    if not kept:
        discard(cluster)
        assert not cluster.directory.exists()


@ROOT_ONLY
def test_account_of_the_server_is_not_its_superuser(folder):
    """Root hands the server to `nobody`, and what else runs as that is not who runs dodai."""
    with durable(folder) as cluster:
        where = ["-h", str(cluster.socket_dir), "-p", str(cluster.port), "-d", "postgres"]
        for user in (cluster.user, "nobody"):
            argv = [str(cluster.binaries.tool("psql")), *where, "-U", user, "--no-password", "-c", "SELECT 1"]
            asked = run_as(server_identity(), argv, timeout_s=60)
            assert asked.returncode, asked.stdout
        with connect(cluster.dsn(), autocommit=True) as session:
            assert session.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (True,)
