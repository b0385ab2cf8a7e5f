"""Who the server runs as: PostgreSQL refuses root, so root hands it to an unprivileged user that exists already."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.providers.postgres.codes import NOT_USABLE

# No user is ever created. `nobody` first: the account of the same name as a system cluster may own real data.
PREFERRED_USERS = ("nobody", "daemon", "postgres")
KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "ICU_DATA")


@dataclass(frozen=True, slots=True)
class Identity:
    """The operating system user of a server; `drops` says whether this process is root and has to become it."""

    uid: int
    gid: int
    name: str
    drops: bool


def server_identity() -> Identity:
    """The user a server started by this process runs as; raises DOD781 when root finds no unprivileged one.

    Without an entry in the user database `initdb` refuses, so a bare number is no choice.
    """
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid(), user_name(os.geteuid()), drops=False)
    for entry in (*filter(None, map(entry_of, PREFERRED_USERS)), *pwd.getpwall()):
        if entry.pw_uid != 0:
            return Identity(entry.pw_uid, entry.pw_gid, entry.pw_name, drops=True)
    raise DodaiError(
        NOT_USABLE,
        "PostgreSQL refuses to run as `root`, and this system has no other user",
        "run dodai as an ordinary user",
    )


def entry_of(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def run_as(
    identity: Identity, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The finished program, run as `identity` from `/` in a clean environment; raises OSError and TimeoutExpired."""
    extra_groups: list[int] | None = [] if identity.drops else None
    return subprocess.run(  # noqa: PLW1510 - callers look at the code
        list(argv),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        cwd="/",
        env={**clean_environment(), **(env or {})},
        user=identity.uid if identity.drops else None,
        group=identity.gid if identity.drops else None,
        extra_groups=extra_groups,
    )


def clean_environment() -> dict[str, str]:
    """What a PostgreSQL program gets: no `PG*` variable of the caller, English messages, UTC."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", "TZ": "UTC"}


def can_traverse(path: Path, identity: Identity) -> bool:
    """Whether `identity` may enter every directory from `/` to `path`, judged by owner, group and mode."""
    try:
        return all(may_enter(part.stat(), identity) for part in (path, *path.parents))
    except OSError:
        return False


def may_enter(status: os.stat_result, identity: Identity) -> bool:
    if status.st_uid == identity.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == identity.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def give(path: Path, identity: Identity) -> None:
    """Make `identity` the owner of `path` itself; nothing to do when this process is that user already."""
    if identity.drops:
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


def give_tree(path: Path, identity: Identity) -> None:
    if not identity.drops:
        return
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(os.path.join(folder, name), identity.uid, identity.gid, follow_symlinks=False)  # noqa: PTH118
    give(path, identity)
