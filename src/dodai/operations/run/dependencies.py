"""The Python packages of a release: an environment for each set of them, so that a rollback brings both back.

It is named after what it was made of (interpreter, `[project] install`, lock files), made before anything is started,
and compared with what was made before any process runs in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.state_folder import make_folder
from dodai.operations import codes
from dodai.operations.environment import Environment
from dodai.operations.installed import PACKAGES, content_of, files_below, is_whole, refuse_changed, write_down
from dodai.operations.project import Project
from dodai.operations.service_limits import install_problems

OUTPUT_LINES = 40
LOCKS = frozenset(
    (
        *("package.json", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"),
        *("yarn.lock", "bun.lock", "bun.lockb", ".npmrc", "pyproject.toml", "uv.lock", "poetry.lock"),
        *("requirements.txt", "go.mod", "go.sum", "Cargo.toml", "Cargo.lock", "Gemfile", "Gemfile.lock"),
    )
)
"""Files that say what is to be installed."""
WHOLE = (".", "./")
"""What names the project itself: then everything of it has a part in what is installed."""
KEPT_S = 3600.0
LISTS = frozenset(("", ".txt", ".in", ".sh", ".py"))
"""Files in which others are named that have a part in it too."""
ATTACHED = frozenset(("-r", "-c", "-f"))
"""Options of pip whose value may follow without a space."""


@dataclass(frozen=True, slots=True)
class Packages:
    """The packages of the releases of an environment whose services are processes of this machine.

    Each set is an environment in the folder `python` of the state: `KEY/`, and `KEY.json`, which says what is in it.
    """

    here: Environment

    def python(self, release: str) -> str:
        """The interpreter of a release: `[project] python` of its manifest where nothing is installed."""
        project = self.here.released(release)
        return str(self._home(project) / "bin" / "python") if project.install else self._base(project)

    def provide(self, release: str, note: Callable[[str], None] = lambda _: None) -> None:
        """Make the environment of a release unless it is there; DOD378 with the end of the output when that fails."""
        project = self.here.released(release)
        if not project.install:
            return
        refuse_unfit_install(project)
        home, base = self._home(project), self._base(project)
        make_folder(home.parent)
        with _alone(home.with_suffix(".lock")):
            if is_whole(home):
                return
            shutil.rmtree(home, ignore_errors=True)
            with tempfile.TemporaryDirectory() as work:
                sources = Path(work, "sources")
                shutil.copytree(project.root, sources, symlinks=True)  # what an installer leaves is not in the release
                _run(("{python}", "-m", "venv", str(home)), base, sources, home, note)
                for line in project.install:
                    _run(tuple(shlex.split(line)), str(home / "bin" / "python"), sources, home, note)
            write_down(home)

    def proven(self, release: str) -> None:
        """DOD317 (exit 1) unless the environment of a release is there, as it was made."""
        project = self.here.released(release)
        if project.install:
            refuse_changed(self._home(project))

    def prune(self) -> None:
        """Remove the environments that no published release has, but for those of the last hour."""
        folder = self.here.folder / PACKAGES
        notes = list(folder.glob("*.json")) if folder.is_dir() else []
        projects = (self.here.released(name) for name in self.here.artifacts.published()) if notes else ()
        keep = {self._home(project).name for project in projects if project.install}
        for note in notes:
            if note.stem not in keep and note.stat().st_mtime < time.time() - KEPT_S:
                note.unlink(missing_ok=True)
                shutil.rmtree(note.with_suffix(""), ignore_errors=True)
                note.with_suffix(".lock").unlink(missing_ok=True)

    def _home(self, project: Project) -> Path:
        return self.here.folder / PACKAGES / _key(project, self._base(project))

    def _base(self, project: Project) -> str:
        """What the release names, in the repository: its files have no interpreter in them."""
        return project.at_root(self.here.project.root).python


def packages_of(here: Environment) -> Packages | None:
    """None where services do not run on this machine: there an image has its packages in it."""
    return Packages(here) if here.host is not None else None


def refuse_unfit_install(project: Project) -> None:
    """DOD317 (exit 2) for a line that installs a link to the files instead of what they are."""
    for said, fix in install_problems(project.install):
        raise DodaiError(codes.DEPENDENCIES_UNFIT, said, fix, exit_code=2)


def _key(project: Project, python: str) -> str:
    """16 hex digits: another interpreter, another line, another lock file is another environment."""
    digest = hashlib.sha256(b"dodai dependencies 1\n")
    base = Path(python).resolve()
    words = [word for line in project.install for word in shlex.split(line)]
    parts = [str(base), f"{base.stat().st_mtime_ns if base.exists() else 0}", *project.install]
    names = sorted(_named(project.root, words))
    parts += [part for name in names for part in (name, content_of(project.root / name))]
    if any(word in WHOLE or word.startswith((".[", "./")) for word in words):
        every = ((path.relative_to(project.root).as_posix(), path) for path in files_below(project.root))
        parts += [part for name, path in every for part in (name, content_of(path))]
    for part in parts:
        digest.update(b"%d:" % len(part.encode()) + part.encode())
    return digest.hexdigest()[:16]


def _named(root: Path, words: Iterable[str]) -> set[str]:
    """The files of a release that have a part in what is installed: locks, and what install lines name.

    So do the files in a folder that is named, and what a list of requirements or a script names in its turn
    (`-r base.txt`, `-c constraints.txt`, `./vendor/one.whl`).
    """
    found = set[str]()
    pending = [(root, name) for name in (*LOCKS, *(name for word in words for name in _names_in(word)))]
    while pending:
        folder, name = pending.pop()
        path = Path(os.path.normpath(folder / name))
        if not path.is_relative_to(root) or path == root:
            continue
        below = files_below(path) if path.is_dir() else (path,) if path.is_file() else ()
        fresh = {file.relative_to(root).as_posix() for file in below} - found
        found |= fresh
        if fresh and path.suffix in LISTS and path.is_file():
            told = [one for word in path.read_text("utf-8", "replace").split() for one in _names_in(word)]
            pending += [(place, one) for one in told for place in (path.parent, root)]
    return found


def _names_in(word: str) -> Iterator[str]:
    """What may be the name of a file in a word of a command line, also in one that a shell would take apart."""
    for part in word.split():
        bare = part.strip("'\"").rpartition("=")[2].partition("[")[0].removeprefix("file:")
        attached = bare[2:] if bare[:2] in ATTACHED else ""
        yield from (name for name in (bare, attached) if name and name not in (".", "..") and not name.startswith("/"))


def _run(words: tuple[str, ...], python: str, sources: Path, home: Path, note: Callable[[str], None]) -> None:
    argv = [word.replace("{python}", python) for word in words]
    line = shlex.join(words)
    note(f"packages: {line}")
    path = os.pathsep.join((str(home / "bin"), os.environ.get("PATH", os.defpath)))
    environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(home), "UV_PROJECT_ENVIRONMENT": str(home)}
    began = time.monotonic()
    try:
        done = subprocess.run(
            argv, cwd=sources, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise _failed(f"`{line}` cannot be started: `{argv[0]}`: {error.strerror}", "") from error
    if done.returncode:
        raise _failed(f"`{line}` ended with {done.returncode}", done.stdout + done.stderr)
    note(f"packages: {line}  {time.monotonic() - began:.1f} s")


def _failed(said: str, output: str) -> DodaiError:
    tail = tuple(f"install | {line}" for line in output.splitlines()[-OUTPUT_LINES:])
    fix = "correct `install` in `[project]`, or what it names"
    return DodaiError(codes.BUILD_FAILED, f"{said}; nothing was started", fix, details=tail)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
