"""Private files: written by one rule, readable by their owner alone, whole and durable or not there."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
from pathlib import Path
from typing import TypeVar

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.codes import STATE_FILE_DAMAGED
from dodai.engine.state_folder import make_folder

T = TypeVar("T")
ALLOWED = {
    **dict.fromkeys(("secrets.json", "digest.key", "database.json", "serving.json"), 0o600),
    "edge.key": 0o640,
}
"""Files of an environment that hold secrets. The group of the edge's key is that of the accounts of services."""


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path` with mode 0600: whoever reads sees the old bytes or the new ones, also after a crash.

    The folder is made when it is missing. Raises `OSError`; the old file is untouched then.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


def create_private(path: Path, content: bytes) -> bytes:
    """What is at `path`: `content`, unless something was there before; of several who make it at once one wins."""
    if path.exists():
        return path.read_bytes()
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    write_private(partial, content)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
    sync_folder(path.parent)
    return path.read_bytes()


def read_json(path: Path, shape: type[T], instead: str) -> T | None:
    """The JSON at `path`, an object or a list as `shape` says; None when nothing is there.

    Anything else is DOD385 (exit 4), never taken for empty; `instead` says what to do where there is no backup.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError) as error:
        raise damaged(path, str(error), instead) from None
    if not isinstance(found, shape):
        raise damaged(path, f"it is not a JSON {'object' if shape is dict else 'array'}", instead)
    return found


@dataclass(frozen=True, slots=True)
class Exposed:
    """A file with secrets whose `mode` lets somebody read it that must not."""

    path: Path
    mode: int

    @property
    def message(self) -> str:
        who = "every account of this machine" if self.mode & 0o007 else "its group"
        return f"`{self.path}` has the mode `{self.mode:04o}`: {who} may read it"

    @property
    def fix(self) -> str:
        return (
            f"`chmod {ALLOWED[self.path.name]:o} {shlex.quote(str(self.path))}`, then change the secrets that are in it"
        )


def exposed(folder: Path) -> tuple[Exposed, ...]:
    """The files with secrets in `folder` that others may read than those for whom they were written."""
    found = []
    for path in (*(folder / name for name in ALLOWED), *(folder / "edge-keys" / name for name in ALLOWED)):
        with contextlib.suppress(OSError):
            mode = path.stat().st_mode & 0o777
            found += [Exposed(path, mode)] if mode & ~ALLOWED[path.name] & 0o077 else []
    return tuple(found)


def damaged(path: Path, why: str, instead: str) -> DodaiError:
    """DOD385 (exit 4): what is at `path` is not what was written there."""
    fix = f"restore it from a backup; without one, {instead}"
    return DodaiError(STATE_FILE_DAMAGED, f"`{path}` cannot be read: {why}", fix, exit_code=4)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; a file system that cannot is left alone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
