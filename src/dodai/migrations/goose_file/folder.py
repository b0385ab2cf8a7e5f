"""A folder of migrations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dodai.core import proposal
from dodai.core.suggestion import nearest
from dodai.migrations import codes
from dodai.migrations.goose_file.layouts import NESTED, SUFFIXES, SqlSource, sources
from dodai.migrations.goose_file.parse import parse, version_of
from dodai.migrations.goose_file.plain import again, parse_repeatable, parse_source
from dodai.migrations.migration import FileError, FileProblem, Migration, MigrationFolder, in_order
from dodai.migrations.policy import Format
from dodai.migrations.ports import MigrationTarget, Shadow, Worker


def read_folder(
    root: Path, folder: str, environment: Mapping[str, str] | None = None, layout: Format = "goose"
) -> MigrationFolder:
    """Every `*.sql` of `folder` below `root`; `repeatable/*.sql` in it are repeatable. Never raises for a bad file."""
    if layout in ("alembic", "django"):
        message = f"the format `{layout}` is Python, which needs the reader of its provider"
        return MigrationFolder((), (FileProblem(codes.EXTERNAL, message, folder),))
    base = root / folder
    if not base.is_dir():
        message = f"the folder `{folder}` does not exist"
        return MigrationFolder(
            (), (FileProblem(codes.FILE_NAME, message, folder, fix="create it, or set `[migrations].folder`"),)
        )
    names, prefix = _names(base, layout), str(base.relative_to(root))
    wrong: list[FileProblem] = []
    files = dict(_contents(base, prefix, names, wrong))
    beside = () if layout in NESTED else sorted(base.glob("repeatable/*.sql"))
    repeatable = {str(path.relative_to(root)): path.read_bytes() for path in beside}
    go = [name for name in names if name.endswith(".go") and "_" in name and not name.endswith("_test.go")]
    found = read_files(files, repeatable, [f"{prefix}/{name}" for name in go], environment, layout, prefix)
    return replace(found, problems=(*wrong, *found.problems))


def uncut(root: Path, folder: str, layout: Format) -> tuple[SqlSource, ...]:
    """The migrations of a format without annotations of goose's, before their SQL is cut.

    Empty where that is not all there is: a file cannot be read, or some are repeatable.
    """
    base = root / folder
    names, prefix = _names(base, layout), str(base.relative_to(root))
    wrong: list[FileProblem] = []
    found = list(sources(layout, dict(_contents(base, prefix, names, wrong)), prefix))
    sound = [each for each in found if isinstance(each, SqlSource) and each.version]
    beside = layout not in NESTED and "repeatable" in names
    return () if wrong or beside or len(sound) < len(found) else tuple(sound)


def _names(base: Path, layout: Format) -> list[str]:
    """The entries of the folder, and of those below where the format has any."""
    paths = base.rglob("*") if layout in NESTED else base.iterdir()
    wanted = SUFFIXES.get(layout, (".sql",))
    names = (str(path.relative_to(base)) for path in paths)
    return sorted(name for name in names if layout not in NESTED or name.lower().endswith(wanted))


def _contents(base: Path, prefix: str, names: Iterable[str], wrong: list[FileProblem]) -> Iterator[tuple[str, bytes]]:
    """The files that are read, and in `wrong` the entries that look like one and are none."""
    for name in names:
        path = f"{prefix}/{name}"
        if not name.lower().endswith((".sql", "/metadata.toml")):
            continue
        if (base / name).is_dir():
            wrong.append(FileProblem(codes.FILE_NAME, f"`{path}` is a folder", path, fix="rename it or move it away"))
        elif name.lower().endswith(".sql") and not name.endswith(".sql"):
            fix = f"`git mv {path} {path[:-4]}.sql`"
            wrong.append(
                FileProblem(codes.FILE_NAME, f"`{path}` is not read: it does not end in `.sql`", path, fix=fix)
            )
        else:
            try:
                yield path, (base / name).read_bytes()
            except OSError as error:
                said = f"`{path}` cannot be read: {error.strerror}"
                wrong.append(FileProblem(codes.FILE_NAME, said, path, fix="restore what the link leads to"))


_LOOKS_LIKE = (
    ("*/up.sql", "diesel"),
    ("*/migration.sql", "Prisma"),
    ("V[0-9]*__*.sql", "Flyway"),
    ("[0-9]*_*.py", "Django or Alembic"),
    ("versions/*.py", "Alembic"),
    ("*/*.sql", "SQL files in folders below"),
    ("*.SQL", "files that end in `.SQL`"),
    ("*.go", "Go migrations"),
)


def nothing_found(root: Path, folder: str) -> FileProblem:
    """DOD201 for a folder without one migration: what was seen there instead."""
    base = root / folder
    if not base.is_dir():
        beside = [str(path.relative_to(root)) for path in base.parent.glob("*/")] if base.parent.is_dir() else []
        meant = nearest(folder, beside)
        fix = f"did you mean `{meant}`?" if meant else ""
        return FileProblem(codes.FILE_NAME, f"the folder `{folder}` does not exist", folder, fix=fix)
    entries = sorted(path.name for path in base.iterdir())
    tool, like = next(((name, f"{name} (`{found.relative_to(base)}`)") for pattern, name in _LOOKS_LIKE
                       for found in sorted(base.glob(pattern))), ("", ""))  # fmt: skip
    seen = f"; it holds {like}" if like else f"; it holds {', '.join(f'`{n}`' for n in entries[:3])}" if entries else ""
    made = proposal.MIGRATE_NEW()
    fix = f"set `[migrations].folder` and `format` to what the repository has, or make one with `{made}`"
    if tool.lower() in NESTED:
        fix = f'set `[migrations] format = "{tool.lower()}"`'
    return FileProblem(
        codes.FILE_NAME, f"`{folder}` has no migration{'' if entries else ': it is empty'}{seen}", folder, fix=fix
    )


def files_of(target: MigrationTarget) -> MigrationFolder:
    """The migrations of the target's tree as its files tell them, and what is wrong with the others.

    Nothing of the user's code is executed for it; of a history in Python the statements are not known.
    """
    if target.tool:
        return target.tool.read()
    return read_folder(target.root, target.policy.folder, target.environment, target.policy.format)


def history_of(target: MigrationTarget, worker: Worker | None = None) -> MigrationFolder:
    """All that a run must know of: also what a tool finds outside of the repository, in packages that it uses.

    `worker` is the tool where it is at work already.
    """
    tool = worker or target.tool
    found = tool.listed() if tool else files_of(target)
    if found.migrations or found.problems:
        return found
    return replace(found, problems=(nothing_found(target.root, target.policy.folder),))


def statements_of(target: MigrationTarget, shadow: Shadow, wanted: Collection[str] = ()) -> MigrationFolder:
    """The same with every statement: what another tool would send is found out on an empty server where need be.

    With `wanted` only for these and what they follow.
    """
    return target.tool.rendered(shadow, (), wanted) if target.tool else files_of(target)


def read_files(
    files: Mapping[str, bytes],
    repeatable: Mapping[str, bytes] | None = None,
    external: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    layout: Format = "goose",
    folder: str = "",
) -> MigrationFolder:
    """As `read_folder`, over files of `folder` that were already read: path to bytes."""
    migrations: list[Migration] = []
    problems = [
        FileProblem(codes.EXTERNAL, f"`{path}` is a Go migration", path) for path in external if _numbered(path)
    ]
    found = sources(layout, files, folder) if layout != "goose" else files.items()
    for each in found:
        if isinstance(each, FileProblem):
            problems.append(each)
            continue
        try:
            if isinstance(each, tuple):
                migrations.append(parse(*each, environment))
            else:
                migrations.append((parse_source if each.version else again)(each, layout))
        except FileError as error:
            problems.append(error.problem)
    problems += _duplicates(migrations)
    for path, data in (repeatable or {}).items():
        try:
            migrations.append(parse_repeatable(path, data))
        except FileError as error:
            problems.append(error.problem)
    return MigrationFolder(in_order(migrations), tuple(problems))


def _numbered(path: str) -> bool:
    try:
        version_of(path)
    except FileError:
        return False
    return True


def _duplicates(migrations: list[Migration]) -> Iterator[FileProblem]:
    seen: dict[str, str] = {}
    for migration in sorted(migrations, key=lambda m: m.path):
        if migration.repeatable:
            continue
        if other := seen.get(migration.id):
            message = f"version `{migration.id}` is already that of `{other}`"
            yield FileProblem(codes.DUPLICATE, message, migration.path)
        seen.setdefault(migration.id, migration.path)
