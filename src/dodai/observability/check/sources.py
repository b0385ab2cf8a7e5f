"""The Python files of a repository, as the rules read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, NotApplicable

_SKIPPED = frozenset(
    {"node_modules", "site-packages", "venv", "env", "build", "dist", "tests", "test", "__pycache__", "vendor"}
)
_MAX_FILES = 5000
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PythonSources:
    """Text by path relative to the repository, `/` between folders. Tests and installed packages are left out."""

    cost: ClassVar[Cost] = "static"
    files: tuple[tuple[str, str], ...]


def gather_sources(root: Path) -> PythonSources | NotApplicable:
    """The application's own Python files below `root`; not applicable when there are none."""
    files = [(name, text) for name in _python_files(root) if (text := _text(root / name)) is not None]
    return PythonSources(tuple(files)) if files else NotApplicable("there are no Python files")


def _python_files(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        relative = Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in sorted(names) if _is_application(name)]
        if len(found) >= _MAX_FILES:
            return found[:_MAX_FILES]
    return found


def _is_application(name: str) -> bool:
    is_test = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return name.endswith(".py") and not name.endswith(("_pb2.py", "_pb2_grpc.py")) and not is_test


def _text(path: Path) -> str | None:
    """None for what cannot be read as a source file: too large, not UTF-8, gone."""
    try:
        return path.read_text("utf-8") if path.stat().st_size <= _MAX_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
