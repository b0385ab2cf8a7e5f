"""Copies of a whole server: a restore point to keep, and a throw-away one to rehearse on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from psycopg import conninfo

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.state_folder import make_folder
from dodai.providers.postgres.binaries import Binaries, find_binaries, reason
from dodai.providers.postgres.cluster import Cluster, assemble, socket_directory, started, workspace
from dodai.providers.postgres.codes import COPY_FAILED, DATA_DIRECTORY, NOT_FOUND
from dodai.providers.postgres.connection import address, connect, parameters, without_secrets
from dodai.providers.postgres.server_process import THROW_AWAY_SETTINGS, lifeline_argv
from dodai.providers.postgres.server_user import Identity, clean_environment, give_tree
from dodai.providers.postgres.template import SUPERUSER, copy_tree

BACKUP_TIMEOUT_S = 3600.0
TOOL_GRACE_S = 5.0
# What would make a copy act as the original: its own settings, archiving, or following the primary.
LEFT_BEHIND = ("postgresql.auto.conf", "standby.signal", "recovery.signal", "postmaster.pid", "postmaster.opts")


@dataclass(frozen=True, slots=True)
class ServerBackup:
    """A verified copy of a whole server. `size_bytes` of its files, `major` the version that can open it."""

    path: Path
    major: int
    size_bytes: int


def base_backup(
    dsn: str,
    target: Path,
    binaries: Binaries | None = None,
    *,
    sync: bool = True,
    timeout_s: float = BACKUP_TIMEOUT_S,
) -> ServerBackup:
    """A restore point of the server behind `dsn` in the new directory `target`, verified, and forced to the disk.

    `sync=False` leaves out the last, for a rehearsal: a thousand small files take seconds. Uses the `pg_basebackup` of
    the server's own major version. Raises DOD786 when the role may not, the disk is full or the copy does not verify;
    `target` does not exist then.
    """
    if target.exists():
        raise DodaiError(COPY_FAILED, f"`{target}` exists already", "name a directory that does not exist")
    found = binaries_for(dsn, binaries)
    work = target.with_name(f"{target.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        make_folder(target.parent)
        stream(dsn, work, found, timeout_s, sync=sync)
        verify(work, found, timeout_s)
        work.rename(target)
    except OSError as error:
        raise failed(dsn, f"`{target}` cannot be written: {error.strerror}", "") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return ServerBackup(target, found.major, size_of(target))


def restore_point(path: Path) -> ServerBackup:
    """The restore point in `path`; raises DOD783 when there is none."""
    try:
        return ServerBackup(path, int((path / "PG_VERSION").read_text()), size_of(path))
    except (OSError, ValueError) as error:
        raise DodaiError(
            DATA_DIRECTORY, f"`{path}` is not a copy of a PostgreSQL server", "name one that `base_backup` made"
        ) from error


@contextlib.contextmanager
def copy_of(
    dsn: str,
    binaries: Binaries | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    base: Path | None = None,
    timeout_s: float = BACKUP_TIMEOUT_S,
) -> Iterator[Cluster]:
    """A throw-away server with everything that is behind `dsn` now; the original is only read.

    `cluster.dsn(NAME)` leads to the copy of database NAME as the same role, without a password. Raises DOD786 when the
    role may not copy, DOD780 when no binaries of the server's major version are here.
    """
    wanted = binaries_for(dsn, binaries)
    with workspace(wanted, base) as (_, directory, found, identity):
        data_dir = directory / "data"
        stream(dsn, data_dir, wanted, timeout_s, sync=False, manifest=False)
        with started(opened(data_dir, directory, found, identity, address(dsn).user, settings)) as cluster:
            yield cluster


@contextlib.contextmanager
def opened_restore_point(
    point: ServerBackup, *, user: str = "postgres", settings: Mapping[str, str] | None = None, base: Path | None = None
) -> Iterator[Cluster]:
    """A throw-away server on a copy of `point`, which stays as it is: to look into it, or to prove that it opens."""
    with workspace(exact(point.major), base) as (_, directory, found, identity):
        data_dir = directory / "data"
        copy_tree(point.path, data_dir)
        with started(opened(data_dir, directory, found, identity, user, settings)) as cluster:
            yield cluster


def opened(
    data_dir: Path,
    directory: Path,
    binaries: Binaries,
    identity: Identity,
    user: str,
    settings: Mapping[str, str] | None,
) -> Callable[[int], Cluster]:
    """How to make a cluster of copied files that listens only on its own socket and archives nothing."""
    for name in LEFT_BEHIND:
        (data_dir / name).unlink(missing_ok=True)
    data_dir.chmod(0o700)
    give_tree(data_dir, identity)
    sockets = socket_directory(directory / "s", identity)
    wanted = {**THROW_AWAY_SETTINGS, **(settings or {})}
    return lambda port: assemble(
        binaries, identity, directory, data_dir, sockets,
        port=port, tcp=False, password="", settings=wanted, user=user or SUPERUSER,
    )  # fmt: skip


def stream(dsn: str, target: Path, binaries: Binaries, timeout_s: float, *, sync: bool, manifest: bool = True) -> None:
    """Fill the new `target` from the running server; the password travels in the environment, not in argv."""
    words = dict(parameters(dsn))
    password = str(words.pop("password", "") or "")
    words.pop("dbname", None)
    argv = [str(binaries.tool("pg_basebackup")), f"--pgdata={target}", "--wal-method=stream", "--checkpoint=fast"]
    argv += ["--no-password", "--label=dodai", f"--dbname={conninfo.make_conninfo('', **words)}"]
    argv += [] if sync else ["--no-sync"]
    argv += [] if manifest else ["--no-manifest"]
    finished = run_tool(argv, {"PGPASSWORD": password} if password else {}, timeout_s)
    if finished:
        raise failed(dsn, f"`{address(dsn)}` could not be copied", without_secrets(finished, dsn))


def verify(copy: Path, binaries: Binaries, timeout_s: float) -> None:
    """Raises DOD786 when a file of `copy` is not what the server sent, or its WAL has a gap."""
    finished = run_tool([str(binaries.tool("pg_verifybackup")), "--quiet", str(copy)], {}, timeout_s)
    if finished:
        raise DodaiError(
            COPY_FAILED,
            f"the copy in `{copy}` does not verify",
            "make it again; check the disk when it fails twice",
            details=last_lines(finished),
        )


def run_tool(argv: list[str], env: Mapping[str, str], timeout_s: float) -> str:
    """What the program complained about, empty when it succeeded; it does not outlive this process."""
    home = {"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}  # ~/.postgresql/root.crt
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            [*lifeline_argv(read, ("TERM",), TOOL_GRACE_S), "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**clean_environment(), **home, **env},
            pass_fds=(read,),
            start_new_session=True,
        )
    finally:
        os.close(read)
    try:
        said = process.communicate(timeout=timeout_s)[0].decode(errors="replace")
        return (said.strip() or f"exit code {process.returncode}") if process.returncode else ""
    except subprocess.TimeoutExpired as error:
        return f"{argv[0]}: {reason(error)}"
    finally:
        os.close(write)
        process.communicate()


def binaries_for(dsn: str, binaries: Binaries | None) -> Binaries:
    """The installation whose major version is the server's; pg_basebackup refuses a newer server."""
    with connect(dsn) as connection:
        major = connection.info.server_version // 10000
    if binaries is not None and binaries.major == major:
        return binaries
    return exact(major)


def exact(major: int) -> Binaries:
    found = find_binaries(major=major)
    if found.major != major:
        raise DodaiError(
            NOT_FOUND,
            f"the server is PostgreSQL {major}, the newest binaries here are {found.version}",
            f"install the server and client programs of PostgreSQL {major}",
        )
    return found


def failed(dsn: str, message: str, said: str) -> DodaiError:
    fix = "read what the server says below"
    if re.search(r"permission denied to start WAL sender|must be superuser or replication role", said):
        fix = f"`ALTER ROLE {address(dsn).user or 'NAME'} REPLICATION`, or `rehearse --dump`"
    elif "no pg_hba.conf entry for replication" in said:
        fix = "add a `replication` line for this role to the server's pg_hba.conf (`rehearse --dump` needs none)"
    elif "No space left on device" in said:
        fix = "free room on this disk: a copy takes as much as the whole server"
    return DodaiError(COPY_FAILED, message, fix, fault="provider", details=last_lines(said))


def last_lines(said: str) -> tuple[str, ...]:
    return tuple(line for line in said.splitlines() if line.strip())[-8:]


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
