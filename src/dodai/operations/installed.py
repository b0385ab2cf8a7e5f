"""An environment of installed packages as files: what was installed, written down, and whether it still is that."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.engine.private_file import write_private
from dodai.operations import codes

PACKAGES = "python"
"""The folder of these environments in that of an environment's state."""
CACHE = "__pycache__"


def write_down(home: Path) -> None:
    """From now on what is in `home` is what was installed."""
    note = {"digest": _digest(home)}
    write_private(home.with_suffix(".json"), json.dumps(note).encode())


def is_whole(home: Path) -> bool:
    """Whether the installation came to its end."""
    return _noted(home) is not None


def refuse_changed(home: Path) -> None:
    """DOD317 (exit 1) unless the environment is there, as it was installed."""
    noted = _noted(home)
    if noted is None:
        raise _unfit(f"the packages of the release are not installed in `{home}`")
    if noted != _digest(home):
        raise _unfit(f"the packages in `{home}` are not what was installed")


def content_of(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_below(root: Path) -> Iterator[Path]:
    """Files and links, sorted. What Python compiled is removed: it would be run instead of what is looked at."""
    for parent, folders, files in os.walk(root):
        if CACHE in folders:
            folders.remove(CACHE)
            shutil.rmtree(Path(parent, CACHE), ignore_errors=True)
        folders.sort()
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        yield from sorted(Path(parent, name) for name in (*files, *linked))


def _noted(home: Path) -> str | None:
    """The digest of what was installed; None where there is no whole environment."""
    try:
        digest = json.loads(home.with_suffix(".json").read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(digest) if (home / "bin" / "python").exists() else None


def _digest(home: Path) -> str:
    digest = hashlib.sha256()
    for path in files_below(home):
        mode = "x" if os.access(path, os.X_OK) else "-"
        line = f"{mode} {path.relative_to(home).as_posix()} {content_of(path)}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _unfit(said: str) -> DodaiError:
    return DodaiError(codes.DEPENDENCIES_UNFIT, said, codes.DEPENDENCIES_UNFIT.fix.en, exit_code=1)
