"""Django's migration files read with `ast`: nothing of the user's code is executed."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from dodai.migrations import graph
from dodai.migrations.goose_file import directives
from dodai.migrations.migration import FileError, FileProblem, Migration, MigrationFolder
from dodai.migrations.python_file import assignments, constant, parsed, survey

SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})


def is_migration(path: str) -> bool:
    """A module in a package called `migrations`; Django leaves those out that begin with `_` or `~`."""
    parts = path.split("/")
    if len(parts) < 2 or parts[-2] != "migrations" or not parts[-1].endswith(".py") or parts[-1][0] in "_~":
        return False
    return not any(part in SKIPPED or part.startswith(".") for part in parts)


def is_configuration(path: str) -> bool:
    """`apps.py` may call an app by another label than its folder."""
    return path.rpartition("/")[2] == "apps.py"


def read_tree(files: Mapping[str, bytes]) -> MigrationFolder:
    """The migrations among the modules, without their statements, and what is wrong with the others."""
    labels = dict(_labels(files))
    found: list[Migration] = []
    wrong: list[FileProblem] = []
    for path, data in sorted(files.items()):
        if is_migration(path):
            folder = str(PurePosixPath(path).parent.parent)
            try:
                migration = read_migration(path, data, labels.get(folder) or PurePosixPath(folder).name)
            except FileError as error:
                wrong.append(error.problem)
            else:
                found += [migration] if migration else []
    return assembled(found, wrong)


def assembled(found: list[Migration], wrong: list[FileProblem]) -> MigrationFolder:
    """The history of the repository; what its apps take from others' packages is not known here."""
    squashes = {part: squash for squash, parts in replacements(found).items() for part in parts}
    kept = [_past(squashes, m) for m in found if m.id not in squashes]
    ours = {migration.group for migration in kept}
    outside = [p for m in kept for p in m.parents if p.partition(".")[0] not in ours]
    return graph.folder(kept, wrong, outside)


def _past(squashes: Mapping[str, str], migration: Migration) -> Migration:
    """The migration, which follows a squash where it followed a part of it."""
    followed = (squashes.get(parent, parent) for parent in migration.parents)
    parents = tuple(dict.fromkeys(parent for parent in followed if parent != migration.id))
    return migration if parents == migration.parents else replace(migration, parents=parents)


def replacements(migrations: Iterable[Migration]) -> dict[str, tuple[str, ...]]:
    """What each squash among them replaces."""
    found: dict[str, tuple[str, ...]] = {}
    for migration in migrations:
        if "replaces" in migration.text:
            pairs = constant(_attributes(ast.parse(migration.text)).get("replaces", ast.Constant(None)))
            if isinstance(pairs, list):
                found[migration.id] = tuple(f"{app}.{part}" for app, part in pairs)
    return found


def read_migration(path: str, data: bytes, app: str) -> Migration | None:
    """The migration in a file, None for a module without one; raises `FileError` (DOD200) when it cannot be read."""
    text, tree = parsed(path, data)
    values = _attributes(tree)
    if not values:
        return None
    irreversible, accepted = directives(text, path)
    name = path.rpartition("/")[2].removesuffix(".py")
    seen = survey(tree)
    return Migration(
        id=f"{app}.{name}",
        order=0,
        name=name,
        path=path,
        up=(),
        down=(),
        transactional=not ("atomic" in values and constant(values["atomic"]) is False),
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=seen.sha256,
        text=text,
        irreversible=irreversible,
        accepted=accepted,
        parents=tuple(_dependencies(values.get("dependencies"))),
        line=next(n.lineno for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Migration"),
        group=app,
        undoable=not any(_only_forward(call) for call in seen.calls),
        touches=seen.words,
        steps=_operation_lines(values.get("operations")),
        layout="django",
    )


def _operation_lines(operations: ast.expr | None) -> tuple[int, ...]:
    """The line of each operation, in order; empty when they are not one plain list."""
    return tuple(each.lineno for each in operations.elts) if isinstance(operations, ast.List) else ()


def _attributes(tree: ast.Module) -> dict[str, ast.expr]:
    """What the class `Migration` says, by name; empty when there is none."""
    body = next((n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Migration"), [])
    return {name: value for name, _, value in assignments(body)}


def _dependencies(value: ast.expr | None) -> Iterator[str]:
    """Those that are written down; a swappable model is found out by Django only."""
    for each in value.elts if isinstance(value, ast.List | ast.Tuple) else ():
        pair = constant(each)
        if isinstance(pair, tuple) and len(pair) == 2 and not str(pair[1]).startswith("__"):
            yield f"{pair[0]}.{pair[1]}"


def _only_forward(call: ast.Call) -> bool:
    """`RunPython` and `RunSQL` go back only when they were told how."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    way_back = {"RunPython": "reverse_code", "RunSQL": "reverse_sql"}.get(name)
    return way_back is not None and len(call.args) < 2 and way_back not in {k.arg for k in call.keywords}


def _labels(files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for path, data in files.items():
        if is_configuration(path) and (found := re.search(rb"^\s+label\s*=\s*['\"](\w+)['\"]", data, re.MULTILINE)):
            yield str(PurePosixPath(path).parent), found[1].decode()
