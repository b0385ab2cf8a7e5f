"""One server process: its command as a value, started bound to the life of this process, ready by its own word."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

import dodai.agent
from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.postgres.codes import DATA_DIRECTORY, NOT_STARTED
from dodai.providers.postgres.server_user import Identity
from dodai.providers.postgres.temp_directories import server_pid, server_status

STOP_SIGNALS = ("INT", "QUIT")
START_TIMEOUT_S = 30.0
STOP_GRACE_S = 5.0
LOG_TAIL_LINES = 12
POLL_S = 0.003
LOOPBACK = "127.0.0.1"

BASE_SETTINGS: Mapping[str, str] = {
    "archive_mode": "off",
    # /dev/shm is 64 MB in most containers, and a killed server leaves its segments there; files go with the directory.
    "dynamic_shared_memory_type": "mmap",
    "lc_messages": "C",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "ssl": "off",
    "unix_socket_permissions": "0700",
}
# Nothing here outlives the process, so nothing has to reach the disk.
THROW_AWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How to run the server, for whoever runs it: this module, or a Host through its own supervisor.

    `uid` and `gid` are None when nobody has to be dropped. `socket` exists once the server listens; stop with `stop`,
    one after the other, `grace_s` apart, then SIGKILL: SIGTERM would wait for the clients to leave.
    """

    argv: tuple[str, ...]
    cwd: Path
    socket: Path
    log: Path
    data_dir: Path
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int | None = None
    gid: int | None = None
    stop: tuple[str, ...] = STOP_SIGNALS
    grace_s: float = STOP_GRACE_S


@dataclass(slots=True)
class RunningServer:
    """A server that dies with this process: its supervisor holds the read end of `lifeline`."""

    command: ServerCommand
    process: subprocess.Popen[bytes]
    lifeline: int
    reports: int
    heard: bytes = b""

    @property
    def pid(self) -> int:
        """The process id of the server itself, 0 before the supervisor has said it."""
        return next((int(line[4:]) for line in self.heard.decode().splitlines() if line.startswith("pid ")), 0)

    @property
    def exited(self) -> bool:
        return b"exit " in self.heard or self.process.poll() is not None

    def listen(self, timeout_s: float) -> None:
        """Take in what the supervisor reports within `timeout_s`."""
        if self.reports >= 0 and select.select([self.reports], [], [], timeout_s)[0]:
            said = os.read(self.reports, 256)
            self.heard += said
            if not said:
                os.close(self.reports)
                self.reports = -1
        elif self.reports < 0:
            time.sleep(timeout_s)


def settings_text(settings: Mapping[str, str]) -> str:
    return "".join(f"{name} = '{quoted(value)}'\n" for name, value in sorted(settings.items()))


def quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


OWNER_MAP = "dodai"


def hba_text(superuser: str = "") -> str:
    """Who may connect: on loopback whoever has the password; on the socket whoever may enter its directory (0700).

    With `superuser`, only who runs dodai is that one on the socket, by the word of the kernel: the server's own account
    may be anybody's (root hands it to `nobody`). Everybody else needs a password there too.
    """
    socket = [f"all {superuser} peer map={OWNER_MAP}", "all all scram-sha-256"] if superuser else ["all all trust"]
    rows = [f"local {row}" for row in socket]
    rows += [f"host all all {address} scram-sha-256" for address in (f"{LOOPBACK}/32", "::1/128")]
    return "".join(f"{row}\n" for row in (*rows, *(row.replace(" all ", " replication ", 1) for row in rows)))


def ident_text(superuser: str, account: str) -> str:
    """`account` of this machine is the `superuser` of the server."""
    return f"{OWNER_MAP} {account} {superuser}\n"


def lifeline_argv(fd: int, stop: Sequence[str], grace_s: float) -> list[str]:
    """The supervisor that ends what it runs when the write end of the pipe `fd` is gone."""
    shim = Path(dodai.agent.__file__).with_name("lifeline.py")
    argv = [sys.executable, "-I", "-S", str(shim), "--fd", str(fd), "--stop", stop[0], "--grace", f"{grace_s:g}"]
    return argv + [word for name in stop[1:] for word in ("--then", name)]


def launch(command: ServerCommand) -> RunningServer:
    """The started server, not yet ready; its supervisor ends it when this process is gone, whatever the reason.

    The log of the run before is kept as `log.1`, so that the log is about this one only.
    """
    life_read, life_write = os.pipe()
    report_read, report_write = os.pipe()
    argv = [*lifeline_argv(life_read, command.stop, command.grace_s), "--report", str(report_write)]
    if command.uid is not None and command.gid is not None:
        argv += ["--uid", str(command.uid), "--gid", str(command.gid)]
    with contextlib.suppress(FileNotFoundError):
        command.log.replace(command.log.with_name("log.1"))
    with command.log.open("wb") as log:
        try:
            process = subprocess.Popen(
                [*argv, "--", *command.argv],
                cwd=command.cwd,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(life_read, report_write),
                start_new_session=True,  # Ctrl-C belongs to us; we stop the server in our own time
            )
        except OSError:
            os.close(life_write)
            os.close(report_read)
            raise
        finally:
            os.close(life_read)
            os.close(report_write)
    return RunningServer(command, process, life_write, report_read)


def wait_ready(running: RunningServer, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once the server says `ready` in its own pid file; raises DOD782 with the end of its log otherwise.

    The server is gone when this raises.
    """
    end = time.monotonic() + timeout_s
    while not says_ready(running):
        if running.exited or time.monotonic() > end:
            why = "ended at once" if running.exited else f"was not ready within {timeout_s:g} s"
            stop(running)
            raise not_started(running.command, why)
        running.listen(POLL_S)


def says_ready(running: RunningServer) -> bool:
    if not running.pid:
        return False
    data_dir = running.command.data_dir
    return server_pid(data_dir) == running.pid and server_status(data_dir) == "ready"


def stop(running: RunningServer) -> None:
    """Return when the server and all its children are gone: asked to close its clients, then told, then killed."""
    if running.lifeline >= 0:
        os.close(running.lifeline)
        running.lifeline = -1
    grace = running.command.grace_s
    try:
        running.process.wait(timeout=grace * (len(running.command.stop) + 1) + 5)
    except subprocess.TimeoutExpired:
        running.process.kill()  # the server dies with its supervisor
        running.process.wait()
    if running.reports >= 0:
        os.close(running.reports)
        running.reports = -1


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a server's log, with what only repeats taken out."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-lines:]


def not_started(command: ServerCommand, why: str) -> DodaiError:
    tail = log_tail(command.log)
    text = "\n".join(tail)
    message, fix = f"PostgreSQL in `{command.data_dir}` {why}", "read the end of its log, fix that and try again"
    if "No space left on device" in text:
        message, fix = f"the disk below `{command.data_dir}` is full", "free about 100 MB there and try again"
    elif 'lock file "postmaster.pid" already exists' in text:
        return DodaiError(
            DATA_DIRECTORY,
            f"another process runs PostgreSQL in `{command.data_dir}` already",
            f"stop it (`{proposal.DOWN(env='ENV')}`), or use the environment it serves",
            exit_code=75,
            details=tail,
        )
    elif "could not bind" in text or "Is another postmaster already running" in text:
        message, fix = f"{message}: its address is in use", "choose another port, or stop what listens there"
    elif "could not create shared memory segment" in text or "could not map anonymous shared memory" in text:
        message, fix = f"{message}: no shared memory", "allow this container more shared memory"
    return DodaiError(NOT_STARTED, message, fix, details=tail)


def is_port_taken(error: DodaiError) -> bool:
    return error.code is NOT_STARTED and any("could not bind" in line for line in error.details)


def require_free(port: int) -> None:
    """Raises DOD782 naming `port` when something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise DodaiError(
                NOT_STARTED,
                f"port `{port}` cannot be used for PostgreSQL: {error.strerror}",
                "stop what listens there, or choose another port (0 picks a free one)",
            ) from error


def droppable(identity: Identity) -> tuple[int | None, int | None]:
    return (identity.uid, identity.gid) if identity.drops else (None, None)


@contextlib.contextmanager
def running(command: ServerCommand, timeout_s: float = START_TIMEOUT_S) -> Iterator[RunningServer]:
    """A ready server for the length of the block; gone after it."""
    server = launch(command)
    try:
        wait_ready(server, timeout_s)
        yield server
    finally:
        stop(server)
