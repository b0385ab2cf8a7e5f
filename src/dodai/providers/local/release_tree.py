"""Local releases: content-addressed copies of the source tree, published whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.state_folder import make_folder
from dodai.operations.ports import ReleaseFile
from dodai.providers.local.codes import IMAGES_NOT_RUN, NO_TREE, UNSAFE_TREE
from dodai.providers.local.release_files import files_of, planted, safe_name

STALE_STAGING_S = 3600.0
CHANGING_TRIES = 5
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class ReleaseTrees:
    """`dodai.operations.ports.Artifacts` in a folder: `FOLDER/<id>/tree` and `FOLDER/<id>/entries.json`.

    The id is the SHA-256 of the sorted entries: paths, executable bits, contents, links. Nothing else (owner, times,
    other mode bits, the machine) has a part in it.
    """

    folder: Path

    def publish(self, source: str, include: Sequence[str] = ()) -> str:
        """The id of what is in `source` now: what git tracks or would track; where there is no git everything but
        `node_modules` and `__pycache__`. Python environments never belong to it.

        `include` names ignored files or folders that belong to a release all the same (a build). `.dodai` and `.git`
        never do. A link that leads out of the tree is DOD366.
        """
        for _ in range(CHANGING_TRIES):
            with contextlib.suppress(FileNotFoundError):  # an editor replaced a file between listing and reading
                return self._publish(Path(source).resolve(), include)
        raise _vanishing(source)

    def _publish(self, root: Path, include: Sequence[str]) -> str:
        names = list(files_of(root, include))
        known = tree_id(entry_of(root, name) for name in names)
        if self._adopt(known):
            return known
        with self._staging() as staged:
            entries = [_copy(root, staged / "tree", name) for name in names]
            return self._settle(staged, entries)

    def identify(self, source: str, without: Sequence[str] = ()) -> str:
        """The id that `source` has now, with nothing copied; what is below a path of `without` has no part in it."""
        root = Path(source).resolve()
        left_out = tuple(f"{name}/" for name in without)
        names = [name for name in files_of(root) if not f"{name}/".startswith(left_out)]
        for _ in range(CHANGING_TRIES):
            with contextlib.suppress(FileNotFoundError):
                return tree_id(entry_of(root, name) for name in names)
        raise _vanishing(source)

    def derive(self, tree_id: str, changes: Mapping[str, bytes | None]) -> str:
        """The id of `tree_id` with files replaced or added (new ones not executable) or, for None, removed."""
        base = Path(self.path(tree_id))
        changed = {safe_name(name): content for name, content in changes.items()}
        with self._staging() as staged:
            kept = [entry for entry in self.entries(tree_id) if entry.path not in changed]
            entries = [_copy(base, staged / "tree", entry.path) for entry in kept]
            modes = {entry.path: entry.executable for entry in self.entries(tree_id)}
            for name, content in changed.items():
                if content is not None:
                    entries.append(_write(staged / "tree", name, content, executable=modes.get(name, False)))
            return self._settle(staged, entries)

    def with_images(self, release: str, images: Mapping[str, str], /) -> str:
        """The same release: processes of this machine start from its files."""
        if images:
            said = f"an image for `{next(iter(images))}` was given, and this environment runs the files of a release"
            raise DodaiError(IMAGES_NOT_RUN, said, "leave `--image` out", exit_code=2)
        return release

    def path(self, tree_id: str) -> str:
        tree = self.folder / tree_id / "tree"
        if not tree_id or "/" in tree_id or not tree.is_dir():
            raise DodaiError(
                NO_TREE,
                f"there are no files of the release `{tree_id[:16]}` in `{self.folder}`",
                "deploy from its commit again",
                exit_code=1,
            )
        return str(tree)

    def reference(self, release: str, service: str, /) -> str:
        del service  # every service starts in the whole tree
        return self.path(release)

    def entries(self, tree_id: str) -> tuple[ReleaseFile, ...]:
        """What the release consists of, sorted by path; files that running it left behind are not among them."""
        self.path(tree_id)
        try:
            rows = json.loads((self.folder / tree_id / "entries.json").read_text())
            return tuple(ReleaseFile(**row) for row in rows)
        except (OSError, ValueError, TypeError):
            raise _not_published(tree_id, "its list of files cannot be read") from None

    def changed(self, tree_id: str) -> tuple[str, ...]:
        """Paths whose content is not what was published: somebody wrote into a release."""
        root = Path(self.path(tree_id))
        return tuple(entry.path for entry in self.entries(tree_id) if _differs(root, entry))

    def digest(self, tree_id: str) -> str:
        """64 hex digits over what was published, where the 16 of the id would be too few to prove anything."""
        return _digest(self.entries(tree_id))

    def proven(self, tree_id: str) -> str:
        """`digest` of the files as they are now; DOD366 when they are not what was published under this id.

        Nor when code stands beside them that could be run in their place.
        """
        entries = self.entries(tree_id)
        wrong = self.changed(tree_id)
        if wrong or _digest(entries)[:16] != tree_id:
            raise _not_published(tree_id, f"`{wrong[0]}` was changed" if wrong else "its list of files is another one")
        root = Path(self.path(tree_id))
        if added := next(planted(root, frozenset(entry.path for entry in entries)), ""):
            raise _not_published(tree_id, f"`{added}` was added")
        return _digest(entries)

    def published(self) -> tuple[str, ...]:
        """Every id, newest first."""
        if not self.folder.is_dir():
            return ()
        found = [entry for entry in self.folder.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
        return tuple(entry.name for entry in sorted(found, key=lambda entry: entry.stat().st_mtime_ns, reverse=True))

    def prune(self, keep: int, in_use: Sequence[str]) -> tuple[str, ...]:
        with self._locked():
            gone = [name for name in self.published()[max(0, keep) :] if name not in in_use]
            trash = [self._put_away(name) for name in gone]
        for path in [*trash, *self._stale()]:
            shutil.rmtree(path, ignore_errors=True)
        self._forget_logs(in_use)
        return tuple(gone)

    def _forget_logs(self, in_use: Sequence[str]) -> None:
        """Remove what releases wrote whose files are gone."""
        known = {*self.published(), *in_use}
        for log in (self.folder.parent / "logs").glob("*.log*"):
            release = log.name.partition(".")[0].rpartition("-")[2]
            if _ID.fullmatch(release) and release not in known:
                log.unlink(missing_ok=True)

    def _put_away(self, name: str) -> Path:
        trash = self.folder / f".trash-{secrets.token_hex(6)}"
        (self.folder / name).rename(trash)
        return trash

    def _stale(self) -> list[Path]:
        """What publishers that died in the middle left behind."""
        before = time.time() - STALE_STAGING_S
        return [path for path in self.folder.glob(".[st]*-*") if path.is_dir() and path.stat().st_mtime < before]

    def _adopt(self, name: str) -> bool:
        """Whether the tree is there already, untouched; it counts as new from now on.

        One that somebody wrote into is put away: what is published under its id is what the id says.
        """
        with self._locked():
            if not (self.folder / name / "tree").is_dir():
                return False
            try:
                self.proven(name)
            except DodaiError:
                self._put_away(name)
                return False
            os.utime(self.folder / name)
            return True

    def _settle(self, staged: Path, entries: Iterable[ReleaseFile]) -> str:
        """Publish what was staged under the id of what it really contains."""
        entries = sorted(entries)
        rows = [{name: getattr(entry, name) for name in ReleaseFile.__slots__} for entry in entries]
        (staged / "entries.json").write_text(json.dumps(rows))
        name = tree_id(entries)
        if not self._adopt(name):
            with self._locked():
                if not (self.folder / name).exists():  # somebody else may have published the same just now
                    staged.rename(self.folder / name)
        return name

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        make_folder(self.folder)
        staged = self.folder / f".staging-{secrets.token_hex(6)}"
        (staged / "tree").mkdir(parents=True)
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self.folder)
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _not_published(release: str, said: str) -> DodaiError:
    """DOD366 (exit 1): the files are not those that the release is named after."""
    message = f"the release `{release}` is not what was published: {said}"
    return DodaiError(UNSAFE_TREE, message, "deploy from its commit again", exit_code=1)


def _vanishing(source: str) -> DodaiError:
    return DodaiError(UNSAFE_TREE, f"files of `{source}` vanish while they are read", "try again when it is quiet")


def tree_id(entries: Iterable[ReleaseFile]) -> str:
    """16 hex digits that name exactly these entries; no two lists of entries share their bytes.

    64 bits keep an id short enough for lines and commands. They do not guard against somebody who plants a collision:
    whoever can publish a tree can run it anyway.
    """
    return _digest(entries)[:16]


def _digest(entries: Iterable[ReleaseFile]) -> str:
    digest = hashlib.sha256(b"dodai tree 1\n")
    for entry in sorted(entries):
        mode = "x" if entry.executable else "-"
        for part in (entry.kind, mode, entry.path, entry.content):
            data = os.fsencode(part)
            digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


def entry_of(root: Path, name: str) -> ReleaseFile:
    """The entry of one file as it is now."""
    path = root / name
    if path.is_symlink():
        return ReleaseFile(name, "link", False, _safe_link(root, name))
    with path.open("rb") as file:
        executable = bool(os.fstat(file.fileno()).st_mode & stat.S_IXUSR)
        return ReleaseFile(name, "file", executable, hashlib.file_digest(file, "sha256").hexdigest())


def _safe_link(root: Path, name: str) -> str:
    """Where the link leads, if that is inside the tree and written relative to it."""
    to = str((root / name).readlink())
    inside = Path(os.path.normpath(root / PurePosixPath(name).parent / to))
    if Path(to).is_absolute() or not inside.is_relative_to(root):
        raise DodaiError(
            UNSAFE_TREE,
            f"the link `{name}` leads to `{to}`, which is not part of the release",
            "make it relative and keep it inside the project, or let git ignore it",
            exit_code=2,
        )
    return to


def _copy(root: Path, target: Path, name: str) -> ReleaseFile:
    """Copy one file and describe the copy: what is published is what was hashed, whoever writes meanwhile."""
    source, copy = root / name, target / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        copy.symlink_to(_safe_link(root, name))
    else:
        shutil.copyfile(source, copy)
        shutil.copymode(source, copy)
    return entry_of(target, name)


def _write(target: Path, name: str, content: bytes, *, executable: bool) -> ReleaseFile:
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)
    return entry_of(target, name)


def _differs(root: Path, entry: ReleaseFile) -> bool:
    try:
        return entry_of(root, entry.path) != entry
    except (OSError, DodaiError):
        return True
