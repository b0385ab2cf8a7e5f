"""Nothing to do, told from the bytes of the files: what was applied as it stands is not parsed again."""

from __future__ import annotations

import os
from collections.abc import Callable

from dodai.core.sha256 import sha256
from dodai.migrations import ledger
from dodai.migrations.apply.applied import Applied
from dodai.migrations.apply.preconditions import check_connection, readable
from dodai.migrations.ports import MigrationTarget, SqlConnection

_PIECE_BYTES = 1 << 14


def settled(
    conn: SqlConnection, target: MigrationTarget, run: str, note: Callable[[str], None], to: str = ""
) -> Applied | None:
    """What `up` says when every file was applied byte for byte, and nothing else was; None when it has to look closer.

    A version `to` that is not among them is one that nobody knows. Refuses the connections that `up` refuses (DOD067,
    DOD066, DOD259).
    """
    if target.tool or not (target.root / target.policy.folder).is_dir():
        return None
    conn.autocommit = True
    check_connection(conn, target.policy, target.connect, note)
    state = readable(lambda: ledger.read(conn, target.policy))
    if not state.ids or (to and to not in state.ids) or not all(id_ in state.recorded for id_ in state.ids):
        return None
    # What is recorded and not in effect was undone, or is a repeatable file.
    in_effect = [state.recorded[id_] for id_ in state.ids]
    files = _hashes(target)
    same = len(in_effect) == len(files) and {known.path: known.raw_sha256 for known in in_effect} == files
    return Applied(run, already=len(in_effect)) if same else None


def _hashes(target: MigrationTarget) -> dict[str, str]:
    """Path to sha256 of each migration of a folder that holds versioned SQL files and nothing else; else empty."""
    policy = target.policy
    if policy.format != "goose":
        from dodai.migrations.goose_file.folder import uncut

        return {each.path: _sha256(each.raw) for each in uncut(target.root, policy.folder, policy.format)}
    base = target.root / policy.folder
    names, prefix = sorted(os.listdir(base)), base.relative_to(target.root)  # noqa: PTH208 - no `Path` for each
    if "repeatable" in names or any(name.endswith(".go") for name in names):
        return {}
    sql = [name for name in names if name.lower().endswith(".sql")]
    try:
        return {f"{prefix}/{name}": _sha256(_bytes(f"{base}/{name}")) for name in sql}
    except OSError:
        return {}


def _bytes(path: str) -> bytes:
    """By system calls alone: a file object takes longer than the file itself."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(file, _PIECE_BYTES), b""))
    finally:
        os.close(file)


def _sha256(data: bytes) -> str:
    return sha256(data).hexdigest()
