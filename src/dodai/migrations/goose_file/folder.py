"""A folder of migrations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dodai.migrations import codes
from dodai.migrations.goose_file.parse import parse, version_of
from dodai.migrations.goose_file.plain import DOWN_SUFFIX, down_of, parse_plain, parse_repeatable
from dodai.migrations.goose_file.problem import FileError, Problem
from dodai.migrations.migration import Migration, in_order
from dodai.migrations.policy import Format
from dodai.migrations.ports import Target


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder of migrations holds: those that can be read, in order, and what is wrong with the others."""

    migrations: tuple[Migration, ...]
    problems: tuple[Problem, ...] = ()

    def sound(self) -> tuple[Migration, ...]:
        """The migrations; raises the first problem as `DodaiError`, because nothing is run when one file is bad."""
        for problem in self.problems:
            raise problem.error()
        return self.migrations


def read_folder(
    root: Path, folder: str, environment: Mapping[str, str] | None = None, layout: Format = "goose"
) -> Folder:
    """Every `*.sql` of `folder` below `root`; `repeatable/*.sql` in it are repeatable. Never raises for a bad file."""
    if layout in ("alembic", "django"):
        message = f"the format `{layout}` is Python, which needs the reader of its provider"
        return Folder((), (Problem(codes.EXTERNAL, message, folder),))
    base = root / folder
    if not base.is_dir():
        message = f"the folder `{folder}` does not exist"
        return Folder((), (Problem(codes.FILE_NAME, message, folder, fix="create it, or set `[migrations].folder`"),))
    names, prefix = sorted(path.name for path in base.iterdir()), str(base.relative_to(root))
    files = {f"{prefix}/{name}": (base / name).read_bytes() for name in names if name.endswith(".sql")}
    repeatable = {str(path.relative_to(root)): path.read_bytes() for path in sorted(base.glob("repeatable/*.sql"))}
    go = [name for name in names if name.endswith(".go") and "_" in name and not name.endswith("_test.go")]
    return read_files(files, repeatable, [f"{prefix}/{name}" for name in go], environment, layout)


def files_of(target: Target) -> Folder:
    """The migrations of the target's tree, and what is wrong with the others."""
    return read_folder(target.root, target.policy.folder, target.environment, target.policy.format)


def read_files(
    files: Mapping[str, bytes],
    repeatable: Mapping[str, bytes] | None = None,
    external: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    layout: Format = "goose",
) -> Folder:
    """As `read_folder`, over files already read: path to bytes."""
    migrations: list[Migration] = []
    problems = [Problem(codes.EXTERNAL, f"`{path}` is a Go migration", path) for path in external if _numbered(path)]
    for path, data in files.items():
        if path.endswith(DOWN_SUFFIX) and layout == "plain":
            continue
        try:
            if layout == "plain":
                migrations.append(parse_plain(path, data, files.get(down_of(path), b"")))
            else:
                migrations.append(parse(path, data, environment))
        except FileError as error:
            problems.append(error.problem)
    problems += _duplicates(migrations)
    for path, data in (repeatable or {}).items():
        try:
            migrations.append(parse_repeatable(path, data))
        except FileError as error:
            problems.append(error.problem)
    return Folder(in_order(migrations), tuple(problems))


def _numbered(path: str) -> bool:
    try:
        version_of(path)
    except FileError:
        return False
    return True


def _duplicates(migrations: list[Migration]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for migration in sorted(migrations, key=lambda m: m.path):
        if other := seen.get(migration.id):
            message = f"version `{migration.id}` is already that of `{other}`"
            yield Problem(codes.DUPLICATE, message, migration.path)
        seen.setdefault(migration.id, migration.path)
