"""The project of a manifest file, found from the current folder upwards."""

from __future__ import annotations

from pathlib import Path

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.core.manifest import read
from dodai.operations.project import Project
from dodai.runtime.manifest_location import nearest_manifest
from dodai.wiring.registry import reference


def find_project(path: Path | None = None) -> Project:
    """The project of `path`, or of the nearest `dodai.toml` in the repository; DOD050 when there is none."""
    file = path if path is not None else nearest_manifest(Path.cwd())
    if file is None or not file.is_file():
        shown = f"`{file}` is not a file" if file else f"no `dodai.toml` in `{Path.cwd()}` or above it"
        raise DodaiError(codes.MANIFEST_NOT_FOUND, shown, codes.MANIFEST_NOT_FOUND.fix.en, exit_code=2)
    return load_project(file.read_bytes(), file.resolve().parent, file.name)


def load_project(text: bytes, root: Path, name: str = "dodai.toml") -> Project:
    """The project in the folder `root` whose manifest is `text`."""
    return Project(root, read(text, reference(), path=name), reference())
