"""A throw-away server starts fast, is private, and is gone whatever happens to its owner."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres.binaries import find_binaries
from dodai.providers.postgres.cluster import throw_away
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.server_user import Identity, server_identity
from dodai.providers.postgres.temp_directories import open_place, owned_directory, process_started, sweep, wait_until
from dodai.providers.postgres.template import runnable

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another identity")
REPOSITORY = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from dodai.providers.postgres.cluster import throw_away
with throw_away(base=Path(sys.argv[1])) as cluster:
    pid = (cluster.data_dir / "postmaster.pid").read_text().split()[0]
    print(pid, cluster.directory, cluster.dsn(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def base():
    """A short, traversable directory of this test's own: its template cache is empty."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def holder(base: Path) -> tuple[subprocess.Popen[str], int, Path, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid, directory, dsn = process.stdout.readline().split()
    return process, int(pid), Path(directory), dsn


def children_of(directory: Path) -> list[int]:
    """Every process whose command names `directory`, and its children: all parts of a server."""
    named = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(directory) in (entry / "cmdline").read_bytes():
                    named.append(int(entry.name))
            except OSError:
                continue
    return named


def test_server_answers_over_its_socket_and_is_gone_after_the_block():
    """Nothing is left: no process, no directory."""
    with throw_away() as cluster:
        with connect(cluster.dsn()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        directory = cluster.directory
        assert children_of(directory)
    assert not directory.exists()
    assert not children_of(directory)


@pytest.mark.parametrize("major", [17, pytest.param(15, marks=pytest.mark.optional_part("debian-postgres"))])
def test_same_database_on_every_installation(major):
    """Encoding, collation and extensions are alike, whichever binaries run."""
    binaries = find_binaries(major=major)
    with throw_away(binaries) as cluster, connect(cluster.create_database("app")) as connection:
        assert connection.info.server_version // 10000 == binaries.major
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SELECT upper('é'), 'B' < 'a'").fetchone() == ("É", True)
        connection.execute("CREATE EXTENSION pgcrypto")


def test_socket_path_is_short_and_private():
    """The kernel allows about 100 bytes, and the directory's mode is what stands for a password."""
    with throw_away() as cluster:
        assert len(os.fsencode(cluster.command.socket)) < 100
        status = cluster.socket_dir.stat()
        assert stat.S_IMODE(status.st_mode) == 0o700
        assert status.st_uid == server_identity().uid


def test_loopback_is_closed_unless_asked_for_and_wants_the_password():
    """Trust never extends to TCP."""
    with throw_away() as cluster:
        with connect(cluster.dsn()) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert cluster.dsn(tcp=True) == cluster.dsn()
    with throw_away(tcp=True) as cluster:
        with connect(cluster.dsn(tcp=True)) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{cluster.port}/postgres?sslmode=disable")
        assert cluster.password not in repr(cluster)


def test_database_can_be_copied_from_a_template(postgres):
    """CREATE DATABASE … TEMPLATE gives a second database with the first one's tables."""
    with postgres.fresh_database("base") as first:
        with connect(first) as connection:
            connection.execute("CREATE TABLE t AS SELECT 7 AS n")
        name = first.partition("@/")[2].partition("?")[0]
        with postgres.fresh_database("copy", template=name) as second, connect(second) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (7,)


def test_setting_the_server_refuses_is_reported_with_the_log():
    """The end of the log is in the error, and nothing is left behind."""
    with pytest.raises(DodaiError) as caught, throw_away(settings={"shared_buffers": "a lot"}):
        pass
    assert caught.value.code.id == "DOD782"
    assert any("shared_buffers" in line for line in caught.value.details)


def test_stop_does_not_wait_for_clients():
    """An idle transaction holds nobody up; its client learns that the server went."""
    with throw_away() as cluster:
        connection = connect(cluster.dsn())
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()


def test_frozen_server_is_killed_at_last():
    """A server that no signal but SIGKILL reaches is gone after the block too."""
    with throw_away(grace_s=0.2) as cluster:
        pid = int((cluster.data_dir / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGSTOP)
    assert not process_started(pid)


def test_killed_owner_leaves_no_server_and_the_next_start_sweeps(base):
    """kill -9 of the process that owns the cluster."""
    process, pid, directory, _ = holder(base)
    with process:
        process.kill()
    assert wait_until(lambda: not process_started(pid), 10)
    assert wait_until(lambda: not children_of(directory), 10)
    assert directory.exists()
    with throw_away(base=base):
        assert not directory.exists()


def test_killed_owner_and_killed_supervisor_leave_no_server(base):
    """kill -9 of the owner and of the supervisor at once: the kernel ends the server."""
    process, pid, directory, _ = holder(base)
    status = Path(f"/proc/{pid}/status").read_text()
    supervisor = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
    with process:
        os.kill(supervisor, signal.SIGKILL)
        process.kill()
    assert wait_until(lambda: not children_of(directory), 10)


def test_sweep_leaves_a_living_owners_directory_alone(base):
    """Another dodai at work is not disturbed."""
    process, _, directory, dsn = holder(base)
    with process:
        with throw_away(base=base):
            assert directory.exists()
            connect(dsn).close()
        process.stdin.close()
    assert not directory.exists()


def test_recycled_process_number_does_not_protect_a_dead_owner(base):
    """The number of a dead owner may belong to somebody else by now: its start time tells."""
    place = open_place(server_identity(), base)
    directory = owned_directory(place, "c", server_identity())
    assert sweep(place) == []
    owner = (directory / "owner.json").read_text()
    (directory / "owner.json").write_text(owner.replace(process_started(os.getpid()), "1"))
    assert sweep(place) == [directory]


def test_owner_in_another_pid_namespace_is_not_judged(base):
    """Containers that share /tmp cannot see each other's processes."""
    place = open_place(server_identity(), base)
    directory = owned_directory(place, "c", server_identity())
    owner = (
        (directory / "owner.json").read_text().replace("pid:[", "pid:[9").replace(f'"pid": {os.getpid()}', '"pid": 1')
    )
    (directory / "owner.json").write_text(owner)
    assert sweep(place) == []


def test_many_starts_at_once_share_one_template(base):
    """Threads and processes that all find no template make one between them, and all get a server."""

    def in_thread(_: int) -> int:
        with throw_away(base=base) as cluster, connect(cluster.dsn()) as connection:
            return connection.execute("SELECT 1").fetchone()[0]

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(in_thread, n) for n in range(2)]
        holders = [pool.submit(holder, base) for _ in range(2)]
        assert [answer.result() for answer in answers] == [1, 1]
        for held in holders:
            process, _, _, dsn = held.result()
            with process:
                connect(dsn).close()
                process.stdin.close()
    (place,) = base.iterdir()
    assert [path.name.partition("-")[0] for path in place.iterdir()] == ["template"]


def test_failure_inside_the_block_still_ends_the_server():
    """The error of the block arrives, the server does not stay."""
    with pytest.raises(ZeroDivisionError), throw_away() as cluster:
        _ = 1 // 0
    assert not children_of(cluster.directory)


@ROOT_ONLY
def test_programs_that_the_servers_user_may_not_execute_are_copied(base, tmp_path):
    """A virtual environment below /root is closed to everybody else; the server still starts."""
    original = find_binaries().bin_dir.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    shutil.copytree(original, closed / "pginstall", symlinks=True)
    hidden = find_binaries(closed / "pginstall" / "bin")
    with throw_away(hidden, base=base) as cluster:
        assert str(cluster.binaries.bin_dir).startswith(str(base))
        connect(cluster.dsn()).close()
    assert runnable(open_place(server_identity(), base), hidden, server_identity()).version == hidden.version


@ROOT_ONLY
def test_root_hands_the_server_to_an_unprivileged_user():
    """PostgreSQL refuses root; the process runs as somebody who exists and is not root."""
    with throw_away() as cluster:
        pid = (cluster.data_dir / "postmaster.pid").read_text().split()[0]
        assert Path(f"/proc/{pid}").stat().st_uid == cluster.identity.uid != 0
        groups = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Groups")
        )
        assert groups.split()[1:] == []


@ROOT_ONLY
@pytest.mark.parametrize("size", ["size=8m", "size=8m,nr_inodes=3"])
def test_full_disk_is_named(base, size):
    """A disk that fills while the cluster is made: the error says so and how much is needed."""
    small = base / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{size},mode=0755", "none", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(DodaiError) as caught, throw_away(base=small):
            pass
        (place,) = small.iterdir()
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert caught.value.code.id == "DOD782"
    assert "is full" in caught.value.message
    assert "free about" in caught.value.fix


def test_directory_that_is_too_deep_for_a_socket_is_refused(tmp_path):
    """No half-started server with an unusable socket."""
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    with pytest.raises(DodaiError) as caught, throw_away(base=deep):
        pass
    assert caught.value.code.id == "DOD782"
    assert any("too long" in line for line in caught.value.details)


@ROOT_ONLY
def test_place_made_by_somebody_else_is_not_used(base):
    """In /tmp anybody can be first; their directory is not trusted."""
    stranger = base / f"dodai-pg-{os.geteuid()}"
    stranger.mkdir()
    os.chown(stranger, 12345, 12345)
    with pytest.raises(DodaiError) as caught:
        open_place(server_identity(), base)
    assert any("somebody else" in line for line in caught.value.details)


def test_identity_of_an_ordinary_user_is_itself():
    """Only root has to become somebody else."""
    identity = server_identity()
    assert isinstance(identity, Identity)
    assert identity.drops == (os.geteuid() == 0)
    assert identity.uid != 0


SYSTEM_PYTHON = Path("/usr/bin/python3")


@ROOT_ONLY
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs an interpreter that every user may execute")
def test_ordinary_user_gets_a_server_of_its_own(base):
    """The same block works without any privilege, and does not meddle with root's files."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    version = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    if tuple(map(int, version.stdout.split())) != sys.version_info[:2]:
        pytest.skip("the system's Python is another version than the environment's")
    identity = server_identity()
    base.chmod(0o777)
    process = subprocess.Popen(
        [str(SYSTEM_PYTHON), "-c", HOLD, str(base)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        env={"PYTHONPATH": f"{REPOSITORY / 'src'}:{packages}", "PATH": os.defpath, "HOME": "/nonexistent"},
        user=identity.uid, group=identity.gid, extra_groups=[],
    )  # fmt: skip
    with process:
        pid, directory, _ = process.stdout.readline().split()
        assert f"dodai-pg-{identity.uid}" in directory
        assert Path(f"/proc/{pid}").stat().st_uid == identity.uid
        process.kill()
    assert wait_until(lambda: not process_started(int(pid)), 10)


def test_threads_share_a_server_without_disturbing_each_other(postgres):
    """Fresh databases of concurrent tests do not collide."""
    names = []
    lock = threading.Lock()

    def one(_: int) -> None:
        with postgres.fresh_database() as dsn:
            with lock:
                names.append(dsn)
            connect(dsn).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(8)))
    assert len(set(names)) == 8
