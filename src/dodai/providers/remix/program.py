"""The modules of one web tier, and what a name in one of them stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from tree_sitter import Node

from dodai.core.dataclass import dataclass
from dodai.providers.remix.syntax import FUNCTIONS, ImportedName, ScriptModule, bare, line, names_of, parse, text, walk

_ENDINGS = (".ts", ".tsx", ".js", ".jsx", ".mts", ".mjs")
_DEPTH = 24


@dataclass(frozen=True, slots=True)
class Value:
    """A node and the module it stands in."""

    module: ScriptModule
    node: Node


@dataclass(frozen=True, slots=True)
class External:
    """A name of a package: nothing of it is read."""

    package: str
    name: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A name whose value was not found, and where."""

    why: str
    path: Path
    line: int


Found = Value | External | Unresolved


@dataclass(slots=True)
class Program:
    """`folder` holds `package.json`, `app` the application. Every file is read once."""

    folder: Path
    app: Path
    _modules: dict[Path, ScriptModule | None] = field(default_factory=dict)
    _aliases: list[tuple[str, Path]] | None = None
    _rewritten: dict[Path, frozenset[str]] = field(default_factory=dict)

    def module(self, path: Path) -> ScriptModule | None:
        if path not in self._modules:
            self._modules[path] = parse(path)
        return self._modules[path]

    @property
    def modules(self) -> tuple[ScriptModule, ...]:
        """What was read so far."""
        return tuple(module for module in self._modules.values() if module is not None)

    def file(self, source: str, beside: Path) -> Path | None:
        """The file that `import … from "source"` means; None for a package or a file that is not there."""
        if source.startswith("."):
            return _with_ending((beside.parent / source).resolve())
        for prefix, target in self.aliases:
            if source.startswith(prefix):
                return _with_ending((target / source[len(prefix) :]).resolve())
        return None

    @property
    def aliases(self) -> list[tuple[str, Path]]:
        """`compilerOptions.paths` of tsconfig.json, and `~/` for the application as the templates have it."""
        if self._aliases is None:
            self._aliases = [*_paths(self.folder), ("~/", self.app)]
        return self._aliases

    def export(self, module: ScriptModule, name: str, depth: int = 0) -> Found | None:
        """What `module` exports under `name`; None when it does not."""
        if depth > _DEPTH:
            return Unresolved("it is exported in a circle", module.path, 1)
        found = module.exports.get(name)
        if isinstance(found, ImportedName):
            return self.follow(module, found, depth + 1)
        if isinstance(found, str):
            return self.name(module, found, None, depth + 1)
        if found is not None:
            return self.value(module, found, depth + 1)
        for source in module.stars if name != "default" else ():
            path = self.file(source, module.path)
            target = self.module(path) if path is not None else None
            if target is None:
                return Unresolved(f'`export * from "{source}"` leads to what cannot be read', module.path, 1)
            through = self.export(target, name, depth + 1)
            if through is not None:
                return through
        return None

    def follow(self, module: ScriptModule, reference: ImportedName, depth: int = 0) -> Found:
        path = self.file(reference.source, module.path)
        if path is None:
            local = reference.source.startswith(".") or any(reference.source.startswith(p) for p, _ in self.aliases)
            if local:
                return Unresolved(f"`{reference.source}` is not there", module.path, 1)
            return External(reference.source, reference.name)
        target = self.module(path)
        if target is None:
            return Unresolved(f"`{reference.source}` cannot be read", module.path, 1)
        if reference.name == "*":
            return Value(target, target.root)
        found = self.export(target, reference.name, depth + 1)
        return (
            found
            if found is not None
            else Unresolved(f"`{reference.source}` does not export `{reference.name}`", module.path, 1)
        )

    def name(self, module: ScriptModule, name: str, at: Node | None, depth: int = 0) -> Found:
        """What `name` stands for where `at` stands; a name that a function around it binds is that function's own."""
        if depth > _DEPTH:
            return Unresolved(f"`{name}` is defined in a circle", module.path, 1)
        inner = _inner(name, at)
        if inner is not None:
            value = _local_value(inner, name)
            if value is None:
                return Unresolved(f"`{name}` is bound inside the function itself", module.path, line(inner))
            return self.value(module, value, depth + 1)
        if name in self._assigned(module):
            return Unresolved(f"`{name}` is assigned again", module.path, 1)
        if name in module.locals:
            return self.value(module, module.locals[name], depth + 1)
        if name in module.imports:
            return self.follow(module, module.imports[name], depth + 1)
        return Unresolved(f"`{name}` is not defined here", module.path, line(at) if at is not None else 1)

    def _assigned(self, module: ScriptModule) -> frozenset[str]:
        """The names of the module itself that are given another value somewhere."""
        if module.path not in self._rewritten:
            lefts = (one.child_by_field_name("left") for one in walk(module.root, _is_assignment))
            names = {(name, left) for left in lefts if left is not None for name in names_of(left)}
            own = (name for name, left in names if left.type != "member_expression" and _inner(name, left) is None)
            self._rewritten[module.path] = frozenset(own)
        return self._rewritten[module.path]

    def replaced(self, module: ScriptModule, method: str) -> Iterator[Node]:
        """The objects in `module` whose method of that name is given another value: `csrf.verify = …`."""
        for one in walk(module.root, _is_assignment):
            left = one.child_by_field_name("left")
            if left is not None and left.type == "member_expression":
                owner = left.child_by_field_name("object")
                if owner is not None and text(left.child_by_field_name("property")) == method:
                    yield owner

    def value(self, module: ScriptModule, node: Node, depth: int = 0) -> Found:
        """`node`, or what it stands for when it is a name or a member of a module."""
        found = bare(node)
        if found is None or depth > _DEPTH:
            return Unresolved("it is too deep", module.path, 1)
        if found.type in ("identifier", "shorthand_property_identifier"):
            return self.name(module, text(found), found, depth + 1)
        if found.type == "member_expression":
            owner = found.child_by_field_name("object")
            member = text(found.child_by_field_name("property"))
            if owner is not None and owner.type == "identifier":
                target = self.name(module, text(owner), owner, depth + 1)
                if isinstance(target, Value) and target.node.type == "program":
                    exported = self.export(target.module, member, depth + 1)
                    if exported is not None:
                        return exported
                if isinstance(target, External) and target.name == "*":
                    return External(target.package, member)
        return Value(module, found)


def _is_assignment(node: Node) -> bool:
    return node.type in ("assignment_expression", "augmented_assignment_expression")


def enclosing_function(node: Node | None) -> Node | None:
    while node is not None and node.type not in FUNCTIONS:
        node = node.parent
    return node


def _inner(name: str, at: Node | None) -> Node | None:
    """The node inside a function around `at` that binds `name`: a parameter, a declaration, a nested function."""
    around = enclosing_function(at)
    while around is not None:
        parameters = around.child_by_field_name("parameters") or around.child_by_field_name("parameter")
        if name in names_of(parameters):
            return parameters
        body = around.child_by_field_name("body")
        waiting = list(body.named_children) if body is not None else []
        while waiting:
            node = waiting.pop()
            if node.type in FUNCTIONS:
                if node.type.endswith("_declaration") and text(node.child_by_field_name("name")) == name:
                    return node
                continue
            if node.type == "variable_declarator" and name in names_of(node.child_by_field_name("name")):
                value = bare(node.child_by_field_name("value"))
                if value is None or not _contains(value, at):
                    return node
            waiting.extend(node.named_children)
        around = enclosing_function(around.parent)
    return None


def _contains(outer: Node, inner: Node | None) -> bool:
    return inner is not None and outer.start_byte <= inner.start_byte and inner.end_byte <= outer.end_byte


def _local_value(binding: Node, name: str) -> Node | None:
    """The value of a declaration inside a function when it is a plain alias or a function; None for everything else."""
    if binding.type in FUNCTIONS:
        return binding
    if binding.type != "variable_declarator" or text(binding.child_by_field_name("name")) != name:
        return None
    return bare(binding.child_by_field_name("value"))


def _with_ending(path: Path) -> Path | None:
    if path.is_file():
        return path
    stem = path.with_suffix("") if path.suffix in (".js", ".jsx", ".mjs") else path  # ESM imports of .ts say .js
    for ending in _ENDINGS:
        for base in (path, stem):
            candidate = base.with_name(base.name + ending)
            if candidate.is_file():
                return candidate
    return next((path / f"index{ending}" for ending in _ENDINGS if (path / f"index{ending}").is_file()), None)


def _paths(folder: Path) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    try:
        raw = (folder / "tsconfig.json").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return found
    plain = re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', lambda match: match[1] or "", raw, flags=re.DOTALL)
    try:
        options = json.loads(re.sub(r",(\s*[}\]])", r"\1", plain)).get("compilerOptions") or {}
        base = folder / str(options.get("baseUrl") or ".")
        for alias, targets in (options.get("paths") or {}).items():
            if alias.endswith("*") and targets and str(targets[0]).endswith("*"):
                found.append((alias[:-1], base / str(targets[0])[:-1]))
    except (ValueError, AttributeError, TypeError):
        return found
    return found
