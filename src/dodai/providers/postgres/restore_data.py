"""Put a restore point in the place of a local environment's data; what was there is kept beside it."""

from __future__ import annotations

import json
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.providers.postgres.backup import ServerBackup
from dodai.providers.postgres.codes import COPY_FAILED
from dodai.providers.postgres.durable import RESTORED, alone, data_major, finish_restore, home_directory, refuse_running
from dodai.providers.postgres.server_user import give_tree, server_identity
from dodai.providers.postgres.template import copy_tree

# Settings made with ALTER SYSTEM stay: this is the same environment, not a copy of another.
MARK = "dodai.restored"
REPLACED = "dodai.replaced"
"""Of data that was set aside: which restore point took its place, by which plan and when."""
NOT_RESTORED = (REPLACED, "standby.signal", "recovery.signal", "postmaster.pid", "postmaster.opts")


def restored_by(directory: Path) -> str:
    """The `mark` of the restore whose data the cluster in `directory` has; `""` when it was never restored."""
    try:
        return (home_directory(directory, server_identity()) / "data" / MARK).read_text("utf-8")
    except OSError:
        return ""


def restore(point: ServerBackup, directory: Path, mark: str = "") -> Path:
    """Where the replaced data is kept now; the cluster in `directory` (see `prepare`) has the data of `point`.

    `mark` comes with the data, so that a repeated attempt can see that it was done (`restored_by`).

    The exchange is two renames; killed between them, the next start or restore finishes it. Raises DOD783 (75) while a
    server works on it, DOD786 when `point` is of another major version, DOD782 when the disk is full: nothing has
    changed then.
    """
    identity = server_identity()
    home = home_directory(directory, identity)
    with alone(home):
        data, fresh = home / "data", home / RESTORED
        refuse_running(data)
        finish_restore(home)
        major = data_major(data)
        if major not in (0, point.major):
            raise DodaiError(
                COPY_FAILED,
                f"`{point.path}` was made by PostgreSQL {point.major}, `{data}` by {major}",
                "choose a restore point of the same major version",
            )
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            copy_tree(point.path, fresh)
        except DodaiError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        for name in NOT_RESTORED:
            (fresh / name).unlink(missing_ok=True)
        (fresh / MARK).write_text(mark, "utf-8")
        fresh.chmod(0o700)
        give_tree(fresh, identity)
        kept = home / f"data.before-{secrets.token_hex(4)}"
        if data.exists():
            at = datetime.now(UTC).isoformat(timespec="seconds")
            note = json.dumps({"point": point.path.name, "plan": mark, "at": at})
            (data / REPLACED).write_text(note, "utf-8")
            data.rename(kept)
        fresh.rename(data)
    return kept
