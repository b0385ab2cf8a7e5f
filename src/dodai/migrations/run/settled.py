"""Nothing to do, told from the bytes of the files: what was applied as it stands is not parsed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from dodai.migrations import apply, ledger
from dodai.migrations.apply import Applied
from dodai.migrations.ports import MigrationTarget, SqlConnection


def settled(conn: SqlConnection, target: MigrationTarget, run: str, note: Callable[[str], None]) -> Applied | None:
    """What `up` says when every file was applied byte for byte, and nothing else was; None when it has to look closer.

    Refuses the connections that `up` refuses (DOD067, DOD066, DOD259).
    """
    files = _hashes(target)
    if not files:
        return None
    conn.autocommit = True
    apply.check_connection(conn, target.policy, target.connect, note)
    state = apply.readable(lambda: ledger.read(conn, target.policy))
    if not all(id_ in state.recorded for id_ in state.ids):
        return None
    # What is recorded and not in effect was undone, or is a repeatable file.
    in_effect = [state.recorded[id_] for id_ in state.ids]
    same = len(in_effect) == len(files) and {known.path: known.raw_sha256 for known in in_effect} == files
    return Applied(run, already=len(in_effect)) if same else None


def _hashes(target: MigrationTarget) -> dict[str, str]:
    """Path to sha256 of each file of a folder that holds goose's SQL files and nothing else; empty for all others."""
    base = target.root / target.policy.folder
    if target.tool or target.policy.format != "goose" or not base.is_dir():
        return {}
    names, prefix = sorted(path.name for path in base.iterdir()), base.relative_to(target.root)
    if "repeatable" in names or any(name.endswith(".go") for name in names):
        return {}
    sql = [name for name in names if name.lower().endswith(".sql")]
    try:
        return {f"{prefix}/{name}": hashlib.sha256((base / name).read_bytes()).hexdigest() for name in sql}
    except OSError:
        return {}
