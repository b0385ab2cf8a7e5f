"""A migration that is a Python module, read with `ast`: nothing of the user's code is executed."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import cast

from dodai.core.dataclass import dataclass
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


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk over a module finds.

    `sha256` is over its meaning: comments, white space and the version of Python that reads it do not count.
    `rest_sha256` is the same without one of its statements. `words` are all words in its strings, in lower case: names
    of tables are among them.
    """

    sha256: str
    rest_sha256: str
    words: frozenset[str]
    attributes: frozenset[str]
    calls: tuple[ast.Call, ...]


def survey(tree: ast.Module, apart: ast.stmt | None = None) -> Survey:
    """The one walk, which is most of what reading a long history takes; `apart` is not in the hash of the rest.

    `ast.dump` would not do for the hashes: what it prints of an empty field differs between Python 3.12 and 3.13. The
    log keeps them of every migration that was applied, so they must stay what they are.
    """
    seen = _Seen([], set(), [])
    body = [(node, _canonical(node, seen)) for node in tree.body]
    words = set(_WORD.findall("\n".join(seen.texts)))  # no word goes over the end of a line
    return Survey(
        _module_hash(text for _, text in body),
        _module_hash(text for node, text in body if node is not apart),
        frozenset(word.lower() for word in words),
        frozenset(seen.attributes),
        tuple(seen.calls),
    )


_WORD = re.compile(r"[^\W\d]\w*")
_LEFT_OUT = ("ctx", "kind")


@dataclass(frozen=True, slots=True)
class _Seen:
    texts: list[str]
    attributes: set[str]
    calls: list[ast.Call]


def _module_hash(body: Iterable[str]) -> str:
    shown = _tuple([*body])
    return hashlib.sha256((f"('Module', ('body', {shown}))" if shown != "()" else "('Module',)").encode()).hexdigest()


def _canonical(node: object, seen: _Seen) -> str:
    """As `repr` shows a tuple of the node's class and of those of its fields that are not empty."""
    kind = type(node)
    if kind is list:
        return _tuple([_canonical(each, seen) for each in cast("list[object]", node)])
    if not isinstance(node, ast.AST):
        return "None" if node is None else f"('{kind.__name__}', {repr(node)!r})"
    if kind is ast.Constant:
        value = cast("ast.Constant", node).value
        if type(value) is str:
            seen.texts.append(value)
    elif kind is ast.Attribute:
        seen.attributes.add(cast("ast.Attribute", node).attr)
    elif kind is ast.Call:
        seen.calls.append(cast("ast.Call", node))
    fields = [
        f"('{name}', {_canonical(value, seen)})"
        for name in node._fields
        if (value := getattr(node, name, None)) is not None and value != [] and name not in _LEFT_OUT
    ]
    return _tuple([f"'{kind.__name__}'", *fields])


def _tuple(shown: list[str]) -> str:
    return f"({shown[0]},)" if len(shown) == 1 else f"({', '.join(shown)})"
