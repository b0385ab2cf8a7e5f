"""A folder of migrations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dodai.migrations import codes
from dodai.migrations.goose_file.parse import parse, version_of
from dodai.migrations.goose_file.plain import DOWN_SUFFIX, down_of, parse_plain, parse_repeatable
from dodai.migrations.migration import FileError, Folder, Migration, Problem, in_order
from dodai.migrations.policy import Format
from dodai.migrations.ports import Shadow, Target


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
    """The migrations of the target's tree as its files tell them, and what is wrong with the others.

    Nothing of the user's code is executed for it; of a history in Python the statements are not known.
    """
    if target.tool:
        return target.tool.read()
    return read_folder(target.root, target.policy.folder, target.environment, target.policy.format)


def history_of(target: Target) -> Folder:
    """All that a run must know of: also what a tool finds outside of the repository, in packages that it uses."""
    return target.tool.listed() if target.tool else files_of(target)


def statements_of(target: Target, shadow: Shadow) -> Folder:
    """The same with every statement: what another tool would send is found out on an empty server where need be."""
    return target.tool.rendered(shadow, ()) if target.tool else files_of(target)


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
