"""Files and folders that the system refuses: which failures those are, and what a person does about each."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

FILE_ERRORS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
    | {errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.EIO}
)


def give_back(error: OSError) -> str:
    """What a person does about it; the nearest existing folder tells whose it is."""
    path = Path.cwd() / os.fsdecode(error.filename)
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"free space on the disk of `{there}`, then run the command again"
        case errno.EROFS:
            return f"`{there}` is on a read-only disk: work in a copy that can be written"
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST:
            return f"something else stands at `{there}`: move it away, then run the command again"
        case errno.EMFILE | errno.ENFILE:
            return "too many files are open: raise the limit with `ulimit -n 4096`, then run the command again"
        case errno.EACCES | errno.EPERM:
            return permit(there)
    return f"look at `{there}`, then run the command again"


def permit(there: Path) -> str:
    """State of another account is given back whole; of anything else, only its owner knows whether to share it."""
    if there.stat().st_uid == os.getuid():
        return f"let this account write there: `chmod u+rwX {shlex.quote(str(there))}`"
    state = next((folder for folder in (there, *there.parents) if folder.name == ".dodai"), None)
    if state is not None:
        return f"it belongs to another account: `sudo chown -R {os.getuid()} {shlex.quote(str(state))}`"
    return f"`{there}` belongs to another account: run dodai as that account, or in a copy of your own"
