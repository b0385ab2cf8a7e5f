"""Reads of Python: `os.environ` and `os.getenv`, also through the functions and classes that are handed them.

Names are followed across files by the plain name of a function: whoever calls `Settings.of(os.environ)` makes the first
parameter of every `of` a mapping of variables. What such a mapping is asked for counts when it looks like a variable.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.operations.check.variable_reads.use import Read

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_ROUNDS = 8
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_READERS = frozenset({"Env", "FileAwareEnv", "Config", "AutoConfig"})
"""Classes of django-environ, environs, Starlette and python-decouple whose instances are called with a name."""


@dataclass(slots=True)
class _Known:
    """What is known of functions by their plain name: which parameters are a mapping of variables, which name one."""

    mappings: set[tuple[str, str]] = field(default_factory=set)
    names: set[tuple[str, str]] = field(default_factory=set)


def python_reads(files: Mapping[str, str]) -> Iterator[Read]:
    """The reads in `files`; one that is no Python is left out, as the interpreter would."""
    trees = {path: tree for path, text in files.items() if (tree := _parsed(text)) is not None}
    known, modules = _Known(), list[_Module]()
    for _ in range(_ROUNDS):
        size = len(known.mappings) + len(known.names)
        modules = [_Module(path, known) for path in trees]
        for module, tree in zip(modules, trees.values(), strict=True):
            module.visit(tree)
        if size == len(known.mappings) + len(known.names):
            break
    for module in modules:
        yield from module.found


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


class _Module(ast.NodeVisitor):
    """One file, with what is known of functions so far; adds to it."""

    def __init__(self, path: str, known: _Known) -> None:
        self.path, self.known = path, known
        self.found: list[Read] = []
        self.mappings, self.getters, self.readers = set[str](), set[str](), set[str]()
        self.functions: list[_Function] = []
        self.otherwise: dict[ast.expr, ast.expr] = {}
        self.classes: list[str] = []

    # What names mean here

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name
            if node.module == "os" and alias.name == "environ":
                self.mappings.add(name)
            elif node.module == "os" and alias.name == "getenv":
                self.getters.add(name)
            elif node.module == "decouple" and alias.name == "config":
                self.readers.add(name)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name) and self._is_mapping(node.value):
                self.mappings.add(target.id)
            elif (
                isinstance(target, ast.Name)
                and isinstance(node.value, ast.Call)
                and _plain(node.value.func) in _READERS
            ):
                self.readers.add(target.id)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: _Function) -> None:
        handed = {word for function, word in self.known.mappings if function == self._called(node)}
        added = {name for word, name in _parameters(node).items() if word in handed} - self.mappings
        self.mappings |= added
        self.functions.append(node)
        self.generic_visit(node)
        self.functions.pop()
        self.mappings -= added

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the name that ast.NodeVisitor calls

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if any(_plain(base) == "BaseSettings" for base in node.bases):
            self._settings_class(node)
        self.classes.append(node.name)
        self.generic_visit(node)
        self.classes.pop()

    def _called(self, node: _Function) -> str:
        """What a caller writes: the class for `__init__`."""
        return self.classes[-1] if node.name == "__init__" and self.classes else node.name

    def _is_mapping(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.mappings
        return isinstance(node, ast.Attribute) and node.attr == "environ" and _plain(node.value) == "os"

    # What is read

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_mapping(node.value) and isinstance(node.ctx, ast.Load):
            self._read(node.slice, required=True, anything=not isinstance(node.value, ast.Name))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if any(isinstance(op, ast.In | ast.NotIn) for op in node.ops) and self._is_mapping(node.comparators[0]):
            self._read(node.left)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        first = node.args[0] if node.args else None
        if isinstance(function, ast.Attribute) and first is not None:
            asked = function.attr in ("get", "pop") and self._is_mapping(function.value)
            if asked or (function.attr == "getenv" and _plain(function.value) == "os"):
                self._read(first, has_value=self._has_value(node))
            elif isinstance(function.value, ast.Name) and function.value.id in self.readers:
                self._read(first, required=not _has_default(node), has_value=self._has_value(node))
        elif isinstance(function, ast.Name) and first is not None:
            if function.id in self.getters:
                self._read(first, has_value=self._has_value(node))
            elif function.id in self.readers:
                self._read(first, required=not _has_default(node), has_value=self._has_value(node))
        self._followed(node)
        self.generic_visit(node)

    def _has_value(self, call: ast.Call) -> bool:
        """Whether a value that is no empty one stands in the call, or beside it: `get(NAME) or "value"`."""
        beside = call.args[1:2] + [word.value for word in call.keywords if word.arg == "default"]
        return _is_text(beside[-1] if beside else self.otherwise.get(call))

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        if isinstance(node.op, ast.Or):
            self.otherwise |= dict.fromkeys(node.values[:-1], node.values[-1])
        self.generic_visit(node)

    def _read(self, name: ast.expr, *, required: bool = False, anything: bool = True, has_value: bool = False) -> None:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            if anything or _VARIABLE.fullmatch(name.value):
                self.found.append(Read(self.path, name.lineno, name.value, required, has_value))
        elif isinstance(name, ast.Name):
            for function in self.functions:
                words = [word for word, meant in _parameters(function).items() if meant == name.id]
                self.known.names |= {(self._called(function), word) for word in words}

    def _followed(self, node: ast.Call) -> None:
        """Mappings and names that are handed to a function of the project."""
        called = _plain(node.func)
        handed = [(f"#{position}", argument) for position, argument in enumerate(node.args)]
        handed += [(word.arg, word.value) for word in node.keywords if word.arg]
        for word, argument in handed:
            if self._is_mapping(argument):
                self.known.mappings.add((called, word))
            elif isinstance(argument, ast.Constant) and (called, word) in self.known.names:
                self._read(argument, required=True, anything=False)

    def _settings_class(self, node: ast.ClassDef) -> None:
        """The fields of pydantic's `BaseSettings`, whose names stand for variables in capitals."""
        prefix = next(
            (
                str(word.value.value)
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and _plain(call.func) == "SettingsConfigDict"
                for word in call.keywords
                if word.arg == "env_prefix" and isinstance(word.value, ast.Constant)
            ),
            "",
        )
        for line in node.body:
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Name)
                and line.target.id != "model_config"
            ):
                self.found.append(Read(self.path, line.lineno, f"{prefix}{line.target.id}".upper(), line.value is None))


def _plain(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _parameters(node: _Function) -> dict[str, str]:
    """The names of its parameters, by name and by position (`#0`) as a caller counts; `self` and `cls` are left out."""
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    by_name = {name: name for name in (*names, *(one.arg for one in node.args.kwonlyargs))}
    return by_name | {f"#{number}": name for number, name in enumerate(names)}


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and bool(node.value)


def _has_default(node: ast.Call) -> bool:
    return any(word.arg == "default" for word in node.keywords) or len(node.args) > 1
