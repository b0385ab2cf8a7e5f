"""A server that keeps its data: the database of a local environment, run by a block or by a Host."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import loopback_port
from dodai.engine.state_folder import make_folder
from dodai.operations.ports import ProcessSpec
from dodai.providers.postgres.binaries import Binaries, find_binaries
from dodai.providers.postgres.cluster import Cluster, assemble, socket_directory
from dodai.providers.postgres.codes import DATA_DIRECTORY
from dodai.providers.postgres.server_process import STOP_GRACE_S, ServerCommand, require_free, running
from dodai.providers.postgres.server_user import Identity, can_traverse, server_identity, user_name
from dodai.providers.postgres.temp_directories import (
    SOCKET_NAME,
    SOCKET_PATH_BYTES,
    open_place,
    remove,
    server_pid,
    server_status,
    sweep,
    wait_until,
)
from dodai.providers.postgres.template import init, runnable

PERSISTENT_BASE = Path("/var/tmp")  # noqa: S108 - survives a restart; own subdirectory, owner checked
DEAD_OWNER_NOTICE_S = 0.3  # until the supervisor of a server has seen that its owner is dead
ORIGIN = "origin"
RESTORED = "data.restored"
STOPPING_WAIT_S = 2 * STOP_GRACE_S + 2.0


def prepare(
    directory: Path,
    binaries: Binaries | None = None,
    *,
    port: int = 0,
    major: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Cluster:
    """The cluster kept in `directory`, ready to be run; made when absent, and nothing is running yet.

    `port` 0 keeps the port of last time when it is free, else picks one; `major` is what production runs. When the
    server's user may not enter `directory`, the data lives below `/var/tmp` and `directory/elsewhere` says where.
    Raises DOD780 to DOD783; DOD783 with exit code 75 when a server works on it already.
    """
    identity = server_identity()
    place = open_place(identity)
    sweep(place)
    home = home_directory(directory, identity)
    with alone(home):
        return prepared(home, place, identity, binaries, port, major, settings or {})


def prepared(
    home: Path,
    place: Path,
    identity: Identity,
    binaries: Binaries | None,
    port: int,
    major: int,
    settings: Mapping[str, str],
) -> Cluster:
    data_dir = home / "data"
    refuse_running(data_dir)
    finish_restore(home)
    found = choose_binaries(place, binaries, identity, data_dir, major)
    if data_dir.exists():
        require_fitting(data_dir, found, identity)
    else:
        initialise(home, found, identity)
    chosen = choose_port(home, port)
    sockets = sockets_path(home, place)
    return assemble(
        found, identity, home, data_dir, socket_directory(sockets, identity),
        port=chosen, tcp=True, password=kept_password(home), settings=settings, trusting=False,
    )  # fmt: skip


@contextlib.contextmanager
def durable(
    directory: Path,
    binaries: Binaries | None = None,
    *,
    port: int = 0,
    major: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """The cluster kept in `directory`, running for the length of the block; see `prepare` for the arguments."""
    cluster = prepare(directory, binaries, port=port, major=major, settings=settings)
    with running(cluster.command):
        yield cluster


def process_spec(cluster: Cluster, name: str = "database", *, forward: bool = False, port: int = 0) -> ProcessSpec:
    """The same server as a process for a Host; its socket appears when it listens."""
    command: ServerCommand = cluster.command
    return ProcessSpec(
        name=name,
        command=command.argv,
        cwd=str(command.cwd),
        env=command.env,
        uid=command.uid,
        gid=command.gid,
        stop=command.stop,
        grace_s=command.grace_s,
        listens=f"127.0.0.1:{cluster.port}" if forward else str(command.socket),
        forward=forward,
        port=port,
    )


def home_directory(directory: Path, identity: Identity) -> Path:
    """Where the data really is: `directory`, or its substitute that `identity` may enter."""
    mode = 0o711 if identity.drops else 0o700
    try:
        make_folder(directory.parent)
        directory.mkdir(mode=mode, exist_ok=True)
        resolved = directory.resolve()
        if can_traverse(resolved, identity):
            return resolved
        key = hashlib.sha256(str(resolved).encode()).hexdigest()[:12]
        persistent = open_place(identity, PERSISTENT_BASE)
        sweep_orphans(persistent)
        home = persistent / f"d-{key}"
        home.mkdir(mode=mode, exist_ok=True)
        home.chmod(mode)
        (home / ORIGIN).write_text(str(resolved))
        (resolved / "elsewhere").write_text(f"{home}\n")
    except OSError as error:
        raise DodaiError(
            DATA_DIRECTORY,
            f"`{directory}` cannot be used for PostgreSQL: {error.strerror}",
            "name a directory that this user may write",
        ) from error
    return home


def sweep_orphans(persistent: Path) -> None:
    """Remove data whose environment lay in the temporary directory and is gone; of any other, a disk may be absent."""
    temporary = Path(tempfile.gettempdir()).resolve()
    for home in persistent.glob("d-*"):
        try:
            origin = Path((home / ORIGIN).read_text())
        except OSError:
            continue
        if origin.is_relative_to(temporary) and not origin.exists() and not server_pid(home / "data"):
            remove(home)


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Nobody else prepares `home` meanwhile; raises DOD783 (75) at once when somebody does."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DodaiError(
                DATA_DIRECTORY,
                f"another dodai is preparing `{home}` right now",
                "wait until it is done, then repeat the command",
                exit_code=75,
            ) from None
        yield


def sockets_path(home: Path, place: Path) -> Path:
    """Beside the data when the path is short enough for a socket, else in `place` under a name made from it."""
    beside = home / "s"
    if len(os.fsencode(f"{beside}{SOCKET_NAME}")) < SOCKET_PATH_BYTES:
        return beside
    return place / f"s-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def choose_binaries(place: Path, binaries: Binaries | None, identity: Identity, data_dir: Path, major: int) -> Binaries:
    """The installation of the data's own major version when it exists, else of the one production runs."""
    return runnable(place, binaries or find_binaries(major=data_major(data_dir) or major), identity)


def data_major(data_dir: Path) -> int:
    try:
        return int((data_dir / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return 0


def require_fitting(data_dir: Path, binaries: Binaries, identity: Identity) -> None:
    """Raises DOD783 when `data_dir` belongs to somebody else, is no data directory, or has another major version."""
    try:
        owner = data_dir.stat().st_uid
        readable = (data_dir / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise unfit(
            f"`{data_dir}` is not a PostgreSQL data directory", "move it away, or name another directory"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise unfit(f"`{data_dir}` cannot be read: {error}", "run dodai as the user who made it") from error
    if owner != identity.uid:
        raise unfit(
            f"`{data_dir}` belongs to user `{user_name(owner)}`, the server would run as `{identity.name}`",
            "run dodai as the user who made it, or move the directory away",
        )
    if readable != str(binaries.major):
        raise unfit(
            f"`{data_dir}` was made by PostgreSQL {readable}, `{binaries.bin_dir}` is {binaries.version}",
            f"use the binaries of PostgreSQL {readable}, or move the directory away to start empty",
        )


def refuse_running(data_dir: Path) -> None:
    """Raises DOD783 (75) when a server works on `data_dir`; one that is just ending with its owner is waited for."""
    pid = server_pid(data_dir)
    if not pid or wait_until(lambda: not server_pid(data_dir), DEAD_OWNER_NOTICE_S):
        return
    if "stopping" in server_status(data_dir) and wait_until(lambda: not server_pid(data_dir), STOPPING_WAIT_S):
        return
    raise DodaiError(
        DATA_DIRECTORY,
        f"process `{pid}` runs PostgreSQL in `{data_dir}` already",
        f"stop it (`{proposal.DOWN(env='ENV')}`), or use the environment it serves",
        exit_code=75,
    )


def finish_restore(home: Path) -> None:
    """Complete a `restore` that was killed between its renames: only a whole copy ever stands without `data`."""
    if (home / RESTORED).exists() and not (home / "data").exists():
        (home / RESTORED).rename(home / "data")


def initialise(home: Path, binaries: Binaries, identity: Identity) -> None:
    """Make the data directory beside and rename it, so that a killed run leaves no half of one.

    Not forced to the disk: that would cost seconds, and an empty database of half a minute's age can be made again.
    """
    work = home / "data.new"
    if work.exists():
        shutil.rmtree(work)
    password = init(work, binaries, identity)
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.chmod(0o600)
    secret.write_text(password)
    work.rename(home / "data")


def kept_password(home: Path) -> str:
    try:
        return (home / "password").read_text()
    except OSError as error:
        raise unfit(
            f"`{home / 'password'}` cannot be read: {error.strerror}",
            f"put the file back, or move `{home}` away to start empty",
        ) from error


def choose_port(home: Path, port: int) -> int:
    """`port`, required free; for 0 the one of last time when it is free, else a new one, which is kept."""
    if port:
        require_free(port)
        return port
    kept = home / "port"
    try:
        last = int(kept.read_text())
        require_free(last)
    except (OSError, ValueError, DodaiError):
        last = loopback_port()
        kept.write_text(f"{last}\n")
    return last


def unfit(message: str, fix: str) -> DodaiError:
    return DodaiError(DATA_DIRECTORY, message, fix)
