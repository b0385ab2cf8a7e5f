"""One revision file, read with `ast`: nothing of the user's code is executed."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dodai.migrations import codes
from dodai.migrations.goose_file import directives
from dodai.migrations.migration import FileError, FileProblem, Migration
from dodai.migrations.python_file import assignments, constant, parsed, survey


def read_revisions(files: Mapping[str, bytes]) -> tuple[tuple[Migration, ...], tuple[FileProblem, ...]]:
    """The revisions among the modules, without their statements, and what is wrong with the others."""
    found: list[Migration] = []
    wrong: list[FileProblem] = []
    for path, data in files.items():
        try:
            revision = read_revision(path, data)
        except FileError as error:
            wrong.append(error.problem)
        else:
            found += [revision] if revision else []
    known = {label: revision.id for revision in found for label in revision.labels}
    return tuple(_resolved(revision, known) for revision in found), tuple(wrong)


def _resolved(revision: Migration, labels: Mapping[str, str]) -> Migration:
    """Parents may be named by the label of the revision, as Alembic has it."""
    if not any(parent in labels for parent in revision.parents):
        return revision
    parents = tuple(labels.get(parent, parent) for parent in revision.parents)
    depends_on = frozenset(labels.get(parent, parent) for parent in revision.depends_on)
    return replace(revision, parents=parents, depends_on=depends_on)


def read_revision(path: str, data: bytes) -> Migration | None:
    """The revision in a file, None for a module that is none; raises `FileError` (DOD200) when it cannot be read.

    `parents` are those it follows, two or more in a merge. It is undoable when downgrade() does anything, and runs as
    one transaction unless it leaves it (`autocommit_block`).
    """
    text, tree = parsed(path, data)
    values = {name: (node, constant(value)) for name, node, value in assignments(tree.body)}
    if "revision" not in values:
        return None
    node, id_ = values["revision"]
    if not isinstance(id_, str) or not id_:
        raise FileError(FileProblem(codes.FILE_SYNTAX, "`revision` is not a string", path, node.lineno))
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    down = functions.get("downgrade")
    irreversible, accepted = directives(text, path)
    seen = survey(tree, apart=down)
    follows, needs = _names(values.get("down_revision"), path), _names(values.get("depends_on"), path)
    return Migration(
        id=id_,
        order=0,
        name=path.rsplit("/", 1)[-1].removesuffix(".py"),
        path=path,
        up=(),
        down=(),
        transactional="autocommit_block" not in seen.attributes,
        raw_sha256=hashlib.sha256(data).hexdigest(),
        token_sha256=seen.sha256,
        up_sha256=seen.rest_sha256,
        text=text,
        irreversible=irreversible,
        accepted=accepted,
        parents=(*follows, *(name for name in needs if name not in follows)),
        depends_on=frozenset(needs) - frozenset(follows),
        labels=_names(values.get("branch_labels"), path),
        line=node.lineno,
        undoable=down is not None and not _does_nothing(down),
        touches=seen.words,
        layout="alembic",
    )


def upgrade_line(migration: Migration) -> int:
    """Where its upgrade() begins, else where the file says who it is."""
    lines = (n for n, line in enumerate(migration.text.splitlines(), start=1) if line.startswith("def upgrade("))
    return next(lines, migration.line)


def _names(found: tuple[ast.stmt, object] | None, path: str) -> tuple[str, ...]:
    if found is None or found[1] is None:
        return ()
    node, value = found
    names: Iterable[object] = (
        (value,) if isinstance(value, str) else value if isinstance(value, tuple | list | set) else (0,)
    )
    if not all(isinstance(name, str) for name in names):
        raise FileError(FileProblem(codes.FILE_SYNTAX, "a parent revision or label is not a string", path, node.lineno))
    return tuple(str(name) for name in names)


def _does_nothing(function: ast.FunctionDef) -> bool:
    """Only a docstring, `pass`, `...` or a `raise`."""
    return all(
        isinstance(node, ast.Pass | ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body
    )
