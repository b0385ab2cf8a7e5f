"""A migration that is a Python module, read with `ast`: nothing of the user's code is executed."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator

from dodai.migrations import codes
from dodai.migrations.migration import FileError, FileProblem


def parsed(path: str, data: bytes) -> tuple[str, ast.Module]:
    """Text and tree of a module; raises `FileError` (DOD200) when it cannot be read."""
    try:
        text = data.decode()
        return text, ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", 0) or 0
        raise FileError(FileProblem(codes.FILE_SYNTAX, f"not Python: {error}", path, line)) from error


def assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign, ast.expr]]:
    """Name, statement and value of each plain assignment in a body."""
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                yield target.id, node, node.value


def constant(value: ast.expr) -> object:
    """The value of a literal expression, None for anything that would have to be executed."""
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return None


def checksum(tree: ast.AST) -> str:
    """sha256 over the meaning of a module: comments, white space and the version of Python that reads it do not count.

    `ast.dump` would not do: what it prints of an empty field differs between Python 3.12 and 3.13.
    """
    return hashlib.sha256(repr(_canonical(tree)).encode()).hexdigest()


def _canonical(node: object) -> object:
    if isinstance(node, ast.AST):
        fields = ((name, _canonical(value)) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind"))
        return (type(node).__name__, *((name, value) for name, value in fields if value not in (None, ())))
    if isinstance(node, list):
        return tuple(_canonical(each) for each in node)
    return None if node is None else (type(node).__name__, repr(node))


def words(tree: ast.AST) -> frozenset[str]:
    """Every word in its strings, in lower case: names of tables are among them."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return frozenset(w.lower() for text in constants if isinstance(text, str) for w in re.findall(r"[^\W\d]\w*", text))
