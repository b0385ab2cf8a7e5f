"""The folder of one local environment: who holds it, where its socket is, what outlives a host, what it left behind."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import signal
import stat
import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.moment import utc
from dodai.engine.private_file import create_private, damaged
from dodai.engine.state_folder import make_folder
from dodai.providers.local.codes import HOST_HELD

MARK = "DODAI_HOST"  # in the environment of everything a host starts, so that a later host can recognise it
HOST_MODULE = b"dodai.providers.local.host"
LEFT_BEHIND_S = 5.0
DYING_S = 2.0


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths of one environment on this machine."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "host.lock"

    @property
    def launcher_lock(self) -> Path:
        return self.path / "launcher.lock"

    @property
    def known(self) -> Path:
        return self.path / "host.json"

    @property
    def edge_key(self) -> Path:
        return self.path / "edge.key"

    @property
    def output(self) -> Path:
        return self.path / "host.log"

    @property
    def mark(self) -> str:
        return hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:24]

    @property
    def socket(self) -> Path:
        """Short whatever the folder is: a unix socket's path may have 104 bytes at most. Its host's user owns it."""
        return runtime_folder(self.owner) / f"{self.mark}.sock"

    @property
    def owner(self) -> int:
        """The id of the user whose host holds or held it, of this one when there was none."""
        return self.lock.stat().st_uid if self.lock.exists() else os.getuid()


@dataclass(frozen=True, slots=True)
class Known:
    """What a later host, or `status` without one, needs to know. No secret is ever in it."""

    env: str = ""
    pid: int = 0
    started: str = ""
    since: float = 0.0
    bound: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, str] = field(default_factory=dict)
    fencing_token: int = 0


def runtime_folder(uid: int) -> Path:
    """A folder of that user alone, below /tmp whatever TMPDIR says; ours is made if need be, refused if it is not."""
    folder = Path("/tmp") / f"dodai-{uid}"  # noqa: S108 - owner and mode are checked below
    if uid == os.getuid():
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    elif not folder.exists():
        return folder
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise DodaiError(
            HOST_HELD,
            f"`{folder}` is not a folder that only user id {uid} can enter",
            f"remove `{folder}`, or give it to that user with mode 0700",
            exit_code=2,
        )
    return folder


def take(folder: StateFolder) -> int:
    """A descriptor whose life is the right to be this environment's host; DOD397 (exit 75) with the holder.

    The kernel takes a moment to let go of what a killed holder had, so a dead one is waited for. One that lives while
    its lock file was removed holds the folder all the same.
    """
    make_folder(folder.path)
    fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + DYING_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end or living_pid(folder):
                os.close(fd)
                raise held(folder) from None
            time.sleep(0.02)
        else:
            if living_pid(folder):
                os.close(fd)
                raise held(folder)
            return fd


def held(folder: StateFolder) -> DodaiError:
    known = read_known(folder)
    since = utc(known.since) if known.since else "a moment ago"
    return DodaiError(
        HOST_HELD,
        f"`{folder.path}` is run by pid `{known.pid or 'unknown'}` since {since}",
        f"stop it with `{proposal.DOWN(env=known.env or 'ENV')}`, or use what runs there",
        exit_code=75,
        data={"pid": known.pid, "since": known.since, "env": known.env},
    )


def is_held(folder: StateFolder) -> bool:
    """Whether a host lives, asked without disturbing it."""
    return _is_locked(folder.lock)


def is_watched(folder: StateFolder) -> bool:
    """Whether a launcher waits to bring a host back."""
    return _is_locked(folder.launcher_lock)


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def read_known(folder: StateFolder) -> Known:
    try:
        data: dict[str, Any] = json.loads(folder.known.read_text())
        return Known(**{name: data[name] for name in Known.__dataclass_fields__ if name in data})
    except (OSError, ValueError, TypeError):
        return Known()


def write_known(folder: StateFolder, known: Known) -> None:
    """Replace the file whole; a reader sees the old or the new."""
    beside = folder.known.with_name(f"host.json.{os.getpid()}")
    values = {name: getattr(known, name) for name in Known.__dataclass_fields__}
    beside.write_text(json.dumps(values, default=dict) + "\n")
    beside.replace(folder.known)


def start_ticks(pid: int) -> str:
    """When the process was started, in the kernel's own count: with the id it names one process for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def living_pid(folder: StateFolder) -> int:
    """The id of the process that is certainly the host of this folder, whatever became of its files; 0 for none."""
    known = read_known(folder)
    if not known.pid or known.pid == os.getpid() or start_ticks(known.pid) != known.started:
        return 0
    with contextlib.suppress(OSError):
        return known.pid if _runs(folder, Path(f"/proc/{known.pid}/cmdline")) else 0
    return known.pid if is_held(folder) else 0  # a system that does not say what it runs


def any_host(folder: StateFolder) -> int:
    """The same when its files may be gone as well: found by what it was started with."""
    if found := living_pid(folder):
        return found
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if _runs(folder, entry):
                return int(entry.parent.name)
    return 0


def _runs(folder: StateFolder, command: Path) -> bool:
    words = command.read_bytes().split(b"\0")
    return HOST_MODULE in words and os.fsencode(folder.path) in words


def edge_key(folder: StateFolder) -> str:
    """The key by which a service knows its edge, in a file only this user can read; made when there is none.

    While it is rotated the file has two lines: the first key is the one that the edge sends. DOD385 for no key.
    """
    keys = create_private(folder.edge_key, secrets.token_urlsafe(32).encode() + b"\n").split()
    if not keys or not re.fullmatch(rb"[!-~]+", keys[0]):
        raise damaged(folder.edge_key, "it has no key", "move it away and start the services anew: a new one is made")
    return keys[0].decode()


def edge_key_version(key: str) -> str:
    """12 hex digits that say which key it is and, of a random one of that length, nothing else."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def base_environment(folder: StateFolder) -> dict[str, str]:
    """What every process gets: the paths and language of this machine, and the mark of this host."""
    passed = ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "VIRTUAL_ENV")
    kept = {
        name: value for name, value in os.environ.items() if name in passed or name.startswith(("LC_", "SSL_CERT_"))
    }
    return {**kept, MARK: folder.mark, "PYTHONUNBUFFERED": "1"}


def service_environment(folder: StateFolder, env: str, service: str, release: str) -> dict[str, str]:
    """What a service gets besides: its own names, and where the key of its edge is."""
    edge_key(folder)
    return {
        **base_environment(folder),
        "DODAI_SERVICE": service,
        "DODAI_RELEASE": release,
        "DODAI_ENV": env,
        "DODAI_STATE": str(folder.path),
        "DODAI_EDGE_KEY_FILE": str(folder.edge_key),
    }


def end_leftovers(folder: StateFolder, bound_s: float = LEFT_BEHIND_S) -> int:
    """How many processes of a dead host had to be killed.

    Their lifelines end them by themselves (a database wants to shut down in order), so that is waited for first.
    Recognised by a mark in their environment, never by a process id alone, which may be somebody else's by now.
    """
    end = time.monotonic() + bound_s
    while (left := marked(folder.mark)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + DYING_S
    while left and marked(folder.mark) and time.monotonic() < end:
        time.sleep(0.01)
    return len(left)


def marked(mark: str) -> list[int]:
    """Processes with the mark; none where there is no /proc."""
    wanted = f"{MARK}={mark}".encode()
    spared = {os.getpid(), os.getppid()}
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.parent.name)
            if pid not in spared and wanted in entry.read_bytes().split(b"\0"):
                found.append(pid)
    return found
