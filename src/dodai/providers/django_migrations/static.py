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
from dodai.migrations.python_file import assignments, checksum, constant, parsed, words

SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})


def is_migration(path: str) -> bool:
    """A module in a package called `migrations`; Django leaves those out that begin with `_` or `~`."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or parts[-2] != "migrations" or not parts[-1].endswith(".py") or parts[-1][0] in "_~":
        return False
    return not any(part in SKIPPED or part.startswith(".") for part in parts)


def is_configuration(path: str) -> bool:
    """`apps.py` may call an app by another label than its folder."""
    return PurePosixPath(path).name == "apps.py"


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
    kept = [
        replace(m, parents=tuple(dict.fromkeys(squashes.get(p, p) for p in m.parents if squashes.get(p, p) != m.id)))
        for m in found
        if m.id not in squashes
    ]
    ours = {migration.group for migration in kept}
    outside = [p for m in kept for p in m.parents if p.partition(".")[0] not in ours]
    return graph.folder(kept, wrong, outside)


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
    name = PurePosixPath(path).stem
    return Migration(
        id=f"{app}.{name}",
        order=0,
        name=name,
        path=path,
        up=(),
        down=(),
        transactional=not ("atomic" in values and constant(values["atomic"]) is False),
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=checksum(tree),
        text=text,
        irreversible=irreversible,
        accepted=accepted,
        parents=tuple(_dependencies(values.get("dependencies"))),
        line=next(n.lineno for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Migration"),
        group=app,
        undoable=not any(_only_forward(node) for node in ast.walk(tree)),
        touches=words(tree),
    )


def operation_lines(text: str) -> tuple[int, ...]:
    """The line of each operation of a file, in order; empty when they are not one plain list."""
    operations = _attributes(ast.parse(text)).get("operations")
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


def _only_forward(node: ast.AST) -> bool:
    """`RunPython` and `RunSQL` go back only when they were told how."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    way_back = {"RunPython": "reverse_code", "RunSQL": "reverse_sql"}.get(name)
    return way_back is not None and len(node.args) < 2 and way_back not in {k.arg for k in node.keywords}


def _labels(files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for path, data in files.items():
        if is_configuration(path) and (found := re.search(rb"^\s+label\s*=\s*['\"](\w+)['\"]", data, re.MULTILINE)):
            yield str(PurePosixPath(path).parent), found[1].decode()
