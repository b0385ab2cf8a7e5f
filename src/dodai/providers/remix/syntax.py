"""One TypeScript module: what it imports, exports and declares, from a tree-sitter parse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import cache
from pathlib import Path

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from dodai.core.dataclass import dataclass

FILE_BYTES = 1_000_000
FUNCTIONS = frozenset(
    {
        "arrow_function",
        "function_declaration",
        "function_expression",
        "generator_function",
        "generator_function_declaration",
        "method_definition",
    }
)
_WRAPPERS = frozenset({"parenthesized_expression", "satisfies_expression", "as_expression", "non_null_expression"})


@dataclass(frozen=True, slots=True)
class ImportedName:
    """A name of another module: `default`, `*` for the whole of it, or an export."""

    source: str
    name: str


@dataclass(slots=True)
class ScriptModule:
    """`exports` maps a name to the node that is its value, to a local name, or to a name of another module."""

    path: Path
    root: Node
    imports: dict[str, ImportedName] = field(default_factory=dict)
    exports: dict[str, Node | str | ImportedName] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    locals: dict[str, Node] = field(default_factory=dict)

    @property
    def broken(self) -> Node | None:
        """The first place that cannot be parsed."""
        return (
            next(walk(self.root, lambda node: node.type == "ERROR" or node.is_missing), None)
            if (self.root.has_error)
            else None
        )


@cache
def _parser(kind: str) -> Parser:
    tsx = kind == "tsx"
    return Parser(
        Language(tree_sitter_typescript.language_tsx() if tsx else tree_sitter_typescript.language_typescript())
    )


def parse(path: Path) -> ScriptModule | None:
    """The module at `path`; None when it cannot be read or is larger than any that people write."""
    try:
        data = path.read_bytes() if path.stat().st_size <= FILE_BYTES else None
    except OSError:
        return None
    if data is None:
        return None
    kind = "ts" if path.suffix in (".ts", ".mts", ".cts") else "tsx"
    module = ScriptModule(path, _parser(kind).parse(data).root_node)
    for statement in module.root.named_children:
        _read(module, statement)
    return module


def text(node: Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""


def line(node: Node) -> int:
    """Counts from 1."""
    return node.start_point[0] + 1


def literal(node: Node | None) -> str | None:
    """The value of a string without substitutions."""
    node = bare(node)
    if node is None or node.type not in ("string", "template_string"):
        return None
    if any(child.type == "template_substitution" for child in node.named_children):
        return None
    return text(node)[1:-1]


def bare(node: Node | None) -> Node | None:
    """`node` without parentheses, `as`, `satisfies` and `!`."""
    while node is not None and node.type in _WRAPPERS and node.named_children:
        node = node.named_children[0]
    return node


def walk(node: Node, wanted: object, *, into_functions: bool = True) -> Iterator[Node]:
    """Nodes below `node`, itself included, for which `wanted(node)` holds; in the order of the text."""
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if wanted(at):  # type: ignore[operator]
            yield at
        if into_functions or at is node or at.type not in FUNCTIONS:
            waiting.extend(reversed(at.named_children))


def arguments(call: Node) -> list[Node]:
    found = call.child_by_field_name("arguments")
    return [one for one in found.named_children if one.type != "comment"] if found is not None else []


def names_of(pattern: Node | None) -> Iterator[str]:
    """Every name that a parameter or the left side of a declaration binds."""
    waiting = [pattern] if pattern is not None else []
    while waiting:
        node = waiting.pop()
        if node.type in ("identifier", "shorthand_property_identifier_pattern"):
            yield text(node)
        # What a name is when nothing is given, its type, and a computed key bind nothing.
        besides = {one.id for name in ("value", "right", "type") if (one := node.child_by_field_name(name)) is not None}
        if node.type == "pair_pattern":
            besides = {one.id for one in (node.child_by_field_name("key"),) if one is not None}
        waiting.extend(child for child in node.named_children if child.id not in besides)


def _read(module: ScriptModule, statement: Node) -> None:
    if statement.type == "import_statement":
        _read_import(module, statement)
    elif statement.type == "export_statement":
        _read_export(module, statement)
    else:
        module.locals.update(_declared(statement))


def _read_import(module: ScriptModule, statement: Node) -> None:
    source = literal(statement.child_by_field_name("source")) or ""
    clause = next((child for child in statement.named_children if child.type == "import_clause"), None)
    for child in clause.named_children if clause is not None else ():
        if child.type == "identifier":
            module.imports[text(child)] = ImportedName(source, "default")
        elif child.type == "namespace_import":
            module.imports[text(child.named_children[0])] = ImportedName(source, "*")
        elif child.type == "named_imports":
            for one in child.named_children:
                if one.type == "import_specifier":
                    name = text(one.child_by_field_name("name")).strip("'\"")
                    alias = text(one.child_by_field_name("alias")) or name
                    module.imports[alias] = ImportedName(source, name)


def _read_export(module: ScriptModule, statement: Node) -> None:
    source = literal(statement.child_by_field_name("source"))
    declaration = statement.child_by_field_name("declaration")
    value = statement.child_by_field_name("value")
    if any(child.type == "type" for child in statement.children):
        return
    if any(child.type == "default" for child in statement.children):
        module.exports["default"] = value if value is not None else declaration  # type: ignore[assignment]
        return
    if declaration is not None:
        for name, node in _declared(declaration).items():
            module.locals[name] = node
            module.exports[name] = node
        return
    namespace = next((child for child in statement.named_children if child.type == "namespace_export"), None)
    clause = next((child for child in statement.named_children if child.type == "export_clause"), None)
    if namespace is not None and source is not None:
        module.exports[text(namespace.named_children[0])] = ImportedName(source, "*")
    elif clause is not None:
        for one in clause.named_children:
            if one.type == "export_specifier":
                name = text(one.child_by_field_name("name")).strip("'\"")
                alias = text(one.child_by_field_name("alias")).strip("'\"") or name
                module.exports[alias] = ImportedName(source, name) if source is not None else name
    elif source is not None:
        module.stars.append(source)


def _declared(statement: Node) -> dict[str, Node]:
    """What a statement declares: a function by its name, a variable by its value."""
    if statement.type in ("function_declaration", "generator_function_declaration", "class_declaration"):
        return {text(statement.child_by_field_name("name")): statement}
    if statement.type not in ("lexical_declaration", "variable_declaration"):
        return {}
    found: dict[str, Node] = {}
    for one in statement.named_children:
        if one.type == "variable_declarator":
            name, value = one.child_by_field_name("name"), one.child_by_field_name("value")
            if name is not None and name.type == "identifier":
                found[text(name)] = value if value is not None else one
            else:
                found.update(dict.fromkeys(names_of(name), one))
    return found
