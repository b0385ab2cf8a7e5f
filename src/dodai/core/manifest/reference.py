"""The annotated reference: one example manifest whose comments are the documentation and the types.

Each area ships a fragment. Every table and key carries comment lines that say what it is, then one `#:` line with its
type; kamal's annotated configuration files are the model for this.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dodai.core.manifest.scan import Line, scan
from dodai.core.manifest.values import Kind, parse_kind

TableKind = Literal["plain", "named", "repeated"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its kind, whether it must be written, and what it is when it is not (the value as policies see it)."""

    name: str
    kind: Kind
    doc: str
    required: bool = False
    default: Any = None
    example: Any = None
    default_toml: str = ""


@dataclass(slots=True)
class Table:
    """A table: `plain` [x], `named` [x.NAME] or `repeated` [[x]]."""

    name: str
    doc: str = ""
    kind: TableKind = "plain"
    required: bool = False
    keys: dict[str, Key] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    area: str = ""

    @property
    def complete_without_words(self) -> bool:
        """True when every key has a default, so that an absent table still has a meaning."""
        return not any(key.required for key in self.keys.values())


@dataclass(frozen=True, slots=True)
class Reference:
    """The whole manifest as a model, and the text people read."""

    root: Table
    text: str

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of `dodai.toml`, for editors."""
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dodai.toml"}
        return {**head, **_table_schema(self.root)}

    def keys(self) -> list[tuple[str, Key]]:
        """Every key with its dotted path, `NAME` for named tables; documentation tests walk it."""
        return list(_walk(self.root, ""))


def assemble(fragments: Mapping[str, str]) -> Reference:
    """The reference from each area's fragment, in order; raises `ValueError` when a fragment is malformed."""
    root = Table("")
    for area, text in fragments.items():
        _add_fragment(root, area, text)
    return Reference(root, "\n".join(text.strip() + "\n" for text in fragments.values()))


def _add_fragment(root: Table, area: str, text: str) -> None:
    example = tomllib.loads(text)
    for line in scan(text):
        doc, spec = _annotation(area, line)
        names = _without_instances(root, [part for part in line.path if isinstance(part, str)])
        if line.header:
            _add_table(root, area, names, doc, spec)
        else:
            *above, name = names
            _descend(root, above, area).keys[name] = _key(area, name, doc, spec, _dig(example, line.path))


def _annotation(area: str, line: Line) -> tuple[str, str]:
    doc = " ".join(comment.lstrip("# ").strip() for comment in line.comments if not comment.startswith("#:"))
    specs = [comment.removeprefix("#:").strip() for comment in line.comments if comment.startswith("#:")]
    if not doc or len(specs) > 1 or (not line.header and not specs):
        raise ValueError(
            f"{area} fragment, line {line.number}: needs a sentence and one `#:` line: {line.text.strip()}"
        )
    return doc, specs[0] if specs else ""


def _without_instances(root: Table, names: list[str]) -> list[str]:
    """`env.production.url` is `env.url` in the model once `env` is known to be named."""
    path: list[str] = []
    table: Table | None = root
    rest = list(names)
    while rest:
        name = rest.pop(0)
        path.append(name)
        table = table.tables.get(name) if table else None
        if table is not None and table.kind == "named" and rest:
            rest.pop(0)
    return path


def _add_table(root: Table, area: str, names: list[str], doc: str, spec: str) -> None:
    words = spec.split()
    kind: TableKind = "named" if "named" in words else "repeated" if "repeated" in words else "plain"
    if unknown := set(words) - {"named", "repeated", "required"}:
        raise ValueError(f"{area} fragment: [{'.'.join(names)}] has unknown words {sorted(unknown)}")
    if kind == "named" and len(names) > 1:
        names = names[:-1]
    *above, name = names
    parent = _descend(root, above, area)
    if name in parent.tables:
        raise ValueError(f"{area} fragment: [{'.'.join(names)}] is declared twice")
    parent.tables[name] = Table(name, doc, kind, "required" in words, area=area)


def _descend(root: Table, names: list[str], area: str) -> Table:
    table = root
    for name in names:
        if name not in table.tables:
            raise ValueError(f"{area} fragment: [{'.'.join(names)}] is used before it is described")
        table = table.tables[name]
    return table


def _key(area: str, name: str, doc: str, spec: str, example: Any) -> Key:
    words, _, rest = spec.partition(";")
    kind = parse_kind(words)
    rest = rest.strip()
    required = rest == "required"
    default_toml = rest.removeprefix("default ").strip() if rest.startswith("default ") else ""
    if not required and not default_toml:
        raise ValueError(f"{area} fragment: `{name}` is neither required nor has a default")
    kind.read(example)
    default = kind.read(tomllib.loads(f"x = {default_toml}")["x"]) if default_toml and default_toml != '""' else ""
    return Key(name, kind, doc, required, None if required else default, example, default_toml)


def _dig(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def _walk(table: Table, prefix: str) -> list[tuple[str, Key]]:
    rows = [(prefix + name, key) for name, key in table.keys.items()]
    for name, inner in table.tables.items():
        suffix = ".NAME." if inner.kind == "named" else "."
        rows += _walk(inner, prefix + name + suffix)
    return rows


def _table_schema(table: Table) -> dict[str, Any]:
    properties: dict[str, Any] = {name: {**key.kind.schema, "description": key.doc} for name, key in table.keys.items()}
    for name, inner in table.tables.items():
        schema = _table_schema(inner)
        if inner.kind == "named":
            schema = {"type": "object", "additionalProperties": schema}
        elif inner.kind == "repeated":
            schema = {"type": "array", "items": schema}
        properties[name] = {**schema, "description": inner.doc}
    required = [name for name, key in table.keys.items() if key.required]
    required += [name for name, inner in table.tables.items() if inner.required]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
