"""What a configuration file says, read as code: nothing in a comment, in a string or in another object counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tree_sitter import Node

from dodai.providers.remix.program import Program, Value
from dodai.providers.remix.syntax import ScriptModule, arguments, bare, text, walk

ROUTER = ("react-router.config.ts", "react-router.config.js", "react-router.config.mjs")


def configuration(program: Program, names: tuple[str, ...]) -> ScriptModule | None:
    """The first of these files that is there."""
    found = next((program.folder / name for name in names if (program.folder / name).is_file()), None)
    return program.module(found) if found is not None else None


def set_anywhere(module: ScriptModule | None, key: str) -> Node | None:
    """The value of the first property `key` of any object in the file."""
    for pair in walk(module.root, lambda one: one.type == "pair") if module is not None else ():
        if text(pair.child_by_field_name("key")).strip("'\"") == key:
            return pair.child_by_field_name("value")
    return None


def exported(program: Program, module: ScriptModule | None, key: str) -> Node | None:
    """The value of property `key` of the object that the file exports, `module.exports` included."""
    for candidate in _exported_objects(program, module) if module is not None else ():
        for pair in candidate.named_children:
            if pair.type == "pair" and text(pair.child_by_field_name("key")).strip("'\"") == key:
                return pair.child_by_field_name("value")
    return None


def _exported_objects(program: Program, module: ScriptModule) -> Iterator[Node]:
    found = program.export(module, "default")
    values = [found.node] if isinstance(found, Value) else []
    for assignment in walk(module.root, lambda one: one.type == "assignment_expression", into_functions=False):
        if text(assignment.child_by_field_name("left")) == "module.exports":
            value = program.value(module, assignment.child_by_field_name("right") or assignment)
            values += [value.node] if isinstance(value, Value) else []
    for value_node in values:
        node = bare(value_node)
        if node is not None and node.type == "call_expression" and len(arguments(node)) == 1:  # defineConfig({…})
            node = bare(arguments(node)[0])
        if node is not None and node.type == "object":
            yield node


def shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
