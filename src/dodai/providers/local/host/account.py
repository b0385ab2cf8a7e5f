"""The account of the operating system that a service runs as, where the manifest names one."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Mapping
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.local.codes import NO_ACCOUNT
from dodai.providers.local.host.child import ChildCommand

LIFELINE_GRACE_S = 5.0  # the host died: in-flight requests get this long

SHARED = "nobody"
"""Whom root hands the servers of databases to, and who runs what nobody else should."""


def find(user: str) -> pwd.struct_passwd:
    """DOD386 (exit 1) for an account that is not there, that this process may not become, or that is no restriction."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        said = f"this machine has no account `{user}`"
        raise DodaiError(NO_ACCOUNT, said, f"`useradd --system {user}`, or another `user`", exit_code=1) from None
    if os.geteuid() not in (0, found.pw_uid):
        said = f"only root can start a service as `{user}`"
        raise DodaiError(NO_ACCOUNT, said, f"run dodai as root or as `{user}`, or leave `user` out", exit_code=1)
    if found.pw_uid == 0:
        raise _unfit(f"`{user}` has every right of root")
    return found


def refuse_others(user: str, taken: Collection[int | None]) -> None:
    """DOD386 (exit 1) for an account that a server of this environment, or of another one, runs as."""
    found = other(user)
    if found is not None and (found.pw_uid in taken or found.pw_name == SHARED):
        raise _unfit(f"`{user}` is the account that servers of databases run as, whose data it could read")


def _unfit(said: str) -> DodaiError:
    return DodaiError(NO_ACCOUNT, said, "an account of the service's own, made with `useradd --system`", exit_code=1)


def other(user: str) -> pwd.struct_passwd | None:
    """The account to become; None where this process is that one, or none is named."""
    found = find(user) if user else None
    return None if found is None or found.pw_uid == os.geteuid() else found


def variables(user: str) -> dict[str, str]:
    """What names the account to its processes."""
    found = other(user)
    return {"HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name} if found else {}


def open_to(user: str, edge_key: Path, lines: Path) -> None:
    """Let the account read the key of its edge and write its lines, and nobody else.

    DOD386 (exit 1) where the key is open to another group already: services with accounts share one.
    """
    found = other(user)
    if found is None:
        return
    gid = found.pw_gid
    if edge_key.stat().st_gid not in (gid, os.getegid()):
        said = f"the group of `{user}` is not that of another service's account, and both read `{edge_key}`"
        raise DodaiError(NO_ACCOUNT, said, "give the accounts of the services one primary group", exit_code=1)
    os.chown(edge_key, -1, gid)
    edge_key.chmod(0o640)
    lines.mkdir(exist_ok=True)
    os.chown(lines, -1, gid)
    lines.chmod(0o1770)  # what one account wrote no other one removes


def bounded(spec: ServiceSpec, argv: tuple[str, ...], cwd: str, env: Mapping[str, str]) -> ChildCommand:
    """`argv` as the account of the service and within its limits, as whatever runs in its place."""
    limits, user = spec.limits, other(spec.user)
    known = {"data": limits.memory_bytes, "nofile": limits.open_files}
    return ChildCommand(
        argv=argv, cwd=cwd, env=env, grace_s=min(spec.drain_s, LIFELINE_GRACE_S), cpus=limits.cpus,
        limits={name: number for name, number in known.items() if number},
        uid=user.pw_uid if user else None, gid=user.pw_gid if user else None,
    )  # fmt: skip
