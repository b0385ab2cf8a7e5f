"""Code in a release tree that nobody published: a file that takes the place of a module without changing one.

What a service leaves behind in its folder (logs, uploads, assets that it collects) is left alone. Python's caches are
removed: they are made anew from the files that were published, and would be run instead of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

CODE = (".py", ".pyc", ".pyd", ".so", ".pth")
"""What Python imports by its name alone, from the folder of the program, before its own library."""
CACHE, MODULES = "__pycache__", "node_modules"


def planted(root: Path, published: Collection[str]) -> Iterator[str]:
    """Paths below `root` that are not `published` and may be run in the place of what is."""
    for parent, folders, files in os.walk(root):
        if CACHE in folders and not _has_published(_name(root, parent, CACHE), published):
            folders.remove(CACHE)
            shutil.rmtree(Path(parent, CACHE), ignore_errors=True)
            if Path(parent, CACHE).exists():  # a link, or not ours to remove
                yield _name(root, parent, CACHE)
        yield from (name for one in files if (name := _name(root, parent, one)) not in published and _is_code(name))
        linked = [_name(root, parent, one) for one in folders if Path(parent, one).is_symlink()]
        yield from (name for name in linked if name not in published)


def _is_code(name: str) -> bool:
    """Files in hidden folders of `node_modules` (`.cache`, `.vite`) are found by nobody who looks for a module."""
    if name.endswith(CODE):
        return True
    _, there, below = f"/{name}".rpartition(f"/{MODULES}/")
    return bool(there) and not below.startswith(".")


def _has_published(folder: str, published: Collection[str]) -> bool:
    return any(name.startswith(f"{folder}/") for name in published)


def _name(root: Path, parent: str, one: str) -> str:
    return Path(parent, one).relative_to(root).as_posix()
