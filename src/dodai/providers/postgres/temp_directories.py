"""Where throw-away things live, who owns them, and what is swept away when the owner is dead."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.postgres.codes import NOT_STARTED
from dodai.providers.postgres.server_user import Identity, can_traverse

# sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included; PostgreSQL adds `.s.PGSQL.65535.lock`.
SOCKET_PATH_BYTES = 100
SOCKET_NAME = "/.s.PGSQL.65535"
LONGEST_OWNED = "/c-4194304-12345678/s"
OWNER_FILE = "owner.json"
ABANDONED_SERVER_WAIT_S = 5.0
NAMELESS_AGE_S = 60.0
PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Owner:
    """One process, told apart from a later one with the same number."""

    pid: int
    started: str
    boot: str
    namespace: str


def open_place(identity: Identity, base: Path | None = None) -> Path:
    """A directory of this user that `identity` may enter, short enough for sockets; made when absent.

    Raises DOD782 when no temporary directory will do.
    """
    refused: list[str] = []
    bases = [base] if base else [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - own subdirectory, owner checked
    for parent in bases:
        place = parent.resolve() / f"dodai-pg-{os.geteuid()}"
        problem = place_problem(place, identity)
        if not problem:
            return place
        refused.append(f"{place}: {problem}")
    raise DodaiError(
        NOT_STARTED,
        "no directory for a temporary PostgreSQL server",
        "set TMPDIR to a short path that every user may enter, like `/tmp`",
        details=tuple(refused),
    )


def place_problem(place: Path, identity: Identity) -> str:
    """Why `place` will not do; empty when it will. Somebody else's directory of that name is never used."""
    if len(os.fsencode(f"{place}{LONGEST_OWNED}{SOCKET_NAME}")) >= SOCKET_PATH_BYTES:
        return "the path is too long for a socket"
    if not can_traverse(place.parent, identity):
        return f"user `{identity.name}` may not enter the directory above it"
    mode = 0o711 if identity.drops else 0o700
    try:
        place.mkdir(mode=mode, exist_ok=True)
        status = place.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return "belongs to somebody else"
        if stat.S_IMODE(status.st_mode) != mode:
            place.chmod(mode)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def owned_directory(place: Path, kind: str, identity: Identity) -> Path:
    """A new directory that is swept away once this process is dead; `kind` is its first letter."""
    directory = place / f"{kind}-{os.getpid()}-{secrets.token_hex(4)}"
    mine = myself()
    try:
        with writing(directory):
            directory.mkdir(mode=0o711 if identity.drops else 0o700)
            if identity.drops:
                directory.chmod(0o711)
            (directory / OWNER_FILE).write_text(
                json.dumps({"pid": mine.pid, "started": mine.started, "boot": mine.boot, "namespace": mine.namespace})
            )
    except DodaiError:
        remove(directory)
        raise
    return directory


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses inside the block becomes a DOD782 about `path`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DodaiError(
            NOT_STARTED,
            f"the disk below `{path}` is full" if full else f"`{path}` cannot be written: {error.strerror}",
            "free about 100 MB there, or set TMPDIR to another disk" if full else "name a directory dodai may write",
        ) from error


def sweep(place: Path) -> list[Path]:
    """What was removed: directories below `place` whose owner is dead, and the server one of them still had."""
    removed = []
    for directory in sorted(place.glob("[ct]-*-*")):
        if not is_abandoned(directory):
            continue
        if end_abandoned_server(directory / "data"):
            remove(directory)
            removed.append(directory)
    return removed


def is_abandoned(directory: Path) -> bool:
    owner = read_owner(directory / OWNER_FILE)
    if owner is not None:
        return is_dead(owner)
    try:  # killed before it could write its name, or about to write it
        return time.time() - directory.stat().st_mtime > NAMELESS_AGE_S
    except OSError:
        return False


def is_dead(owner: Owner) -> bool:
    """Whether `owner` is certainly gone; a process of another pid namespace is never judged."""
    if owner.boot != boot_id():
        return True
    if owner.namespace != pid_namespace():
        return False
    return process_started(owner.pid) != owner.started


def read_owner(path: Path) -> Owner | None:
    try:
        found = json.loads(path.read_text())
        return Owner(int(found["pid"]), str(found["started"]), str(found["boot"]), str(found["namespace"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def myself() -> Owner:
    return Owner(os.getpid(), process_started(os.getpid()), boot_id(), pid_namespace())


def process_started(pid: int) -> str:
    """When process `pid` started, in whatever unit this system counts; empty when there is none (a zombie is none)."""
    if PROC.is_dir():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    result = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return result.stdout.strip()


def boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    result = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False)
    return result.stdout.strip()


def pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
    except OSError:
        return ""


def end_abandoned_server(data_dir: Path) -> bool:
    """Whether no server works on `data_dir` any more; one whose owner is dead is told to stop, then killed."""
    pid = server_pid(data_dir)
    if not pid:
        return True
    for number in (signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
        if wait_until(lambda: not server_pid(data_dir), ABANDONED_SERVER_WAIT_S):
            return True
    return False


def server_pid(data_dir: Path) -> int:
    """The process that works on `data_dir` now, 0 for none; the number alone is not believed, its command is asked."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return 0
    if not process_started(pid):
        return 0
    if PROC.is_dir():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return pid if os.fsencode(data_dir) in command else 0
    result = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return pid if str(data_dir) in result.stdout else 0


def server_status(data_dir: Path) -> str:
    """The word a server keeps about itself: `starting`, `ready`, `stopping`; empty when it says nothing."""
    try:
        return (data_dir / "postmaster.pid").read_text().splitlines()[7].strip()
    except (OSError, IndexError):
        return ""


def wait_until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.01) -> bool:
    """Whether `condition` became true within `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every_s)
    return True


def remove(directory: Path) -> None:
    """Take `directory` away under another name first, so that nobody meets a half of it."""
    gone = directory.with_name(f"t-{os.getpid()}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        directory.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
