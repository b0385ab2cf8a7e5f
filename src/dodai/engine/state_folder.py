"""The state folder `.dodai`: whoever makes a folder in it makes git ignore it first."""

from __future__ import annotations

import contextlib
from pathlib import Path

STATE = ".dodai"
_IGNORE = "# What dodai keeps on this machine, secrets included: never for git.\n*\n"


def make_folder(folder: Path) -> None:
    """Make `folder` with its parents. A `.dodai` it is in ignores itself before anything else is there.

    Raises `OSError` when the folder cannot be made.
    """
    state = next((path for path in (folder, *folder.parents) if path.name == STATE), None)
    if state is not None and not (ignore := state / ".gitignore").exists():
        state.mkdir(parents=True, exist_ok=True)
        # Of several who make it at once one wins; in a folder of somebody else the next line says what is wrong.
        with contextlib.suppress(OSError), ignore.open("x", encoding="utf-8") as file:
            file.write(_IGNORE)
    folder.mkdir(parents=True, exist_ok=True)
