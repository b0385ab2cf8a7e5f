"""The files of a release: which a source tree gives it, and those that stand in its tree and nobody published.

A file can take the place of a module without changing one. What a service leaves behind in its folder (logs, uploads,
assets that it collects) is left alone. Python's caches are removed: they are made anew from the files that were
published, and would be run instead of them.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from dodai.core.errors import DodaiError
from dodai.providers.local.codes import UNSAFE_TREE

NEVER = frozenset({".dodai", ".git"})
ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta/history")
"""What stands in the root of an environment that was installed for one machine: venv, virtualenv and uv; conda."""
INSTALLED = frozenset({"node_modules", "__pycache__"})
GIT_S = 30.0
CODE = (".py", ".pyc", ".pyd", ".so", ".pth")
"""What Python imports by its name alone, from the folder of the program, before its own library."""
CACHE, MODULES = "__pycache__", "node_modules"


def files_of(root: Path, include: Sequence[str] = ()) -> Iterator[str]:
    """Relative paths of the files of a release, sorted: git's view of `root`, or what is there without git."""
    listed = set(_outside_environments(_git_files(root)) if _in_git(root) else _all_files(root, root, own=True))
    for name in include:
        chosen = root / safe_name(name)
        listed.update(_all_files(chosen, root) if chosen.is_dir() else [name] if chosen.exists() else [])
    for name in sorted(listed):
        if not NEVER.intersection(PurePosixPath(name).parts) and _is_kept(root / name):
            yield name


def _is_kept(path: Path) -> bool:
    """Files and links; what is deleted in the working tree, a folder, or a socket is not."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _git_files(root: Path) -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=GIT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise DodaiError(
            UNSAFE_TREE,
            f"git cannot list the files of `{root}`: {said.decode(errors='replace').strip()[:300]}",
            "make `git status` work there first; without git's list, ignored files and secrets would be copied",
            exit_code=2,
        ) from error
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    folders = [name for name in names if (root / name).is_dir() and not (root / name).is_symlink()]  # submodules
    return [*names, *(file for folder in folders for file in _all_files(root / folder, root))]


def _outside_environments(names: list[str]) -> Iterator[str]:
    """`names` without those of environments that somebody forgot to let git ignore."""
    roots = {name.removesuffix(mark) for name in names for mark in ENVIRONMENT_MARKS if name.endswith(f"/{mark}")}
    return (name for name in names if not any(name.startswith(root) for root in roots))


def _all_files(folder: Path, root: Path, *, own: bool = False) -> Iterator[str]:
    """Every file below `folder`; with `own`, without what was installed there."""
    for parent, folders, files in os.walk(folder):
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in NEVER and name not in linked]
        if own:
            folders[:] = [name for name in folders if name not in INSTALLED and not _is_environment(parent, name)]
        for name in (*files, *linked):
            yield (Path(parent) / name).relative_to(root).as_posix()


def _is_environment(parent: str, name: str) -> bool:
    return any(Path(parent, name, mark).is_file() for mark in ENVIRONMENT_MARKS)


def safe_name(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or NEVER.intersection(path.parts):
        raise DodaiError(
            UNSAFE_TREE, f"`{name}` is not a path inside a release", "give a path relative to the project", exit_code=2
        )
    return path.as_posix()


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
