"""One revision file, read with `ast`: nothing of the user's code is executed."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dodai.migrations import codes
from dodai.migrations.goose_file import FileError, Problem
from dodai.migrations.migration import Migration, Statement


@dataclass(frozen=True, slots=True)
class Revision:
    """`parents` are those it follows (two or more in a merge), `reversible` whether downgrade() does anything."""

    id: str
    parents: tuple[str, ...]
    path: str
    line: int
    upgrade_line: int
    reversible: bool
    raw_sha256: str
    token_sha256: str
    text: str


def read_revision(path: str, data: bytes) -> Revision | None:
    """The revision in a file, None for a module that is none; raises `FileError` (DOD200) when it cannot be read."""
    try:
        text = data.decode()
        tree = ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", 0) or 0
        raise FileError(Problem(codes.FILE_SYNTAX, f"not Python: {error}", path, line)) from error
    values = dict(_assignments(tree))
    if "revision" not in values:
        return None
    node, id_ = values["revision"]
    if not isinstance(id_, str) or not id_:
        raise FileError(Problem(codes.FILE_SYNTAX, "`revision` is not a string", path, node.lineno))
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    down = functions.get("downgrade")
    return Revision(
        id_,
        (*_names(values.get("down_revision"), path), *_names(values.get("depends_on"), path)),
        path,
        node.lineno,
        functions["upgrade"].lineno if "upgrade" in functions else 0,
        down is not None and not _does_nothing(down),
        hashlib.sha256(data).hexdigest(),
        hashlib.sha256(ast.dump(tree).encode()).hexdigest(),
        text,
    )


def _assignments(tree: ast.Module) -> Iterable[tuple[str, tuple[ast.stmt, object]]]:
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                try:
                    yield target.id, (node, ast.literal_eval(node.value))
                except ValueError:
                    yield target.id, (node, None)


def _names(found: tuple[ast.stmt, object] | None, path: str) -> tuple[str, ...]:
    if found is None or found[1] is None:
        return ()
    node, value = found
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise FileError(Problem(codes.FILE_SYNTAX, "a parent revision is not a string", path, node.lineno))
    return tuple(str(name) for name in names)


def _does_nothing(function: ast.FunctionDef) -> bool:
    """Only a docstring, `pass`, `...` or a `raise`."""
    return all(
        isinstance(node, ast.Pass | ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body
    )


def heads(revisions: Iterable[Revision]) -> tuple[str, ...]:
    """The revisions that no other follows, sorted; a sound history has one."""
    found = tuple(revisions)
    followed = {parent for revision in found for parent in revision.parents}
    return tuple(sorted(revision.id for revision in found if revision.id not in followed))


def in_order(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Parents first; those of a cycle, or with a parent that is not there, come last."""
    waiting = sorted(revisions, key=lambda revision: revision.path)
    placed: dict[str, Revision] = {}
    while ready := [r for r in waiting if all(parent in placed for parent in r.parents)]:
        placed |= {revision.id: revision for revision in ready}
        waiting = [revision for revision in waiting if revision.id not in placed]
    return (*placed.values(), *waiting)


def problems(revisions: Iterable[Revision]) -> tuple[Problem, ...]:
    """Revisions that exist twice (DOD202) and parents that are not there (DOD207)."""
    found: list[Problem] = []
    seen: dict[str, Revision] = {}
    revisions = tuple(revisions)
    for revision in sorted(revisions, key=lambda r: r.path):
        if other := seen.get(revision.id):
            message = f"revision `{revision.id}` is already that of `{other.path}`"
            found.append(Problem(codes.DUPLICATE, message, revision.path, revision.line))
        seen.setdefault(revision.id, revision)
    for revision in revisions:
        for parent in revision.parents:
            if parent not in seen:
                message = f"`{revision.path}` follows `{parent}`, which is not there"
                found.append(Problem(codes.MISSING, message, revision.path, revision.line))
    return tuple(found)


def as_migrations(
    revisions: Iterable[Revision], rendered: Mapping[str, Migration] | None = None
) -> tuple[Migration, ...]:
    """The revisions in order; statements come from `rendered`, without it one placeholder marks a way down."""
    found = []
    for number, revision in enumerate(in_order(revisions), start=1):
        sql = (rendered or {}).get(revision.id)
        marker = (Statement("", revision.line),) if revision.reversible else ()
        found.append(
            Migration(
                id=revision.id,
                order=number,
                name=revision.path.rsplit("/", 1)[-1].removesuffix(".py"),
                path=revision.path,
                up=sql.up if sql else (),
                down=sql.down if sql else marker,
                transactional=sql.transactional if sql else True,
                raw_sha256=revision.raw_sha256,
                token_sha256=revision.token_sha256,
                text=revision.text,
            )
        )
    return tuple(found)
