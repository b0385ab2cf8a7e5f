"""The annotated reference: one example manifest whose comments are the documentation and the types.

Each area ships a fragment. Every table and key carries comment lines that say what it is, then one `#:` line with the
kind of value; kamal's annotated configuration files are the model for this. Defaults are those of the dataclasses.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, field
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.manifest.scan import Line, scan
from dodai.core.manifest.value_kinds import Kind, parse_kind
from dodai.core.section import Shape, Written, written

_Names = tuple[str, ...]
_Declared = tuple[Field[Any], Written]


@dataclass(frozen=True, slots=True)
class ManifestKey:
    """One key: its kind, whether it must be written, and what it is when it is not (the value as policies see it)."""

    name: str
    kind: Kind
    doc: str
    required: bool = False
    default: Any = None
    default_toml: str = ""


@dataclass(slots=True)
class ManifestTable:
    """A table: `plain` [x], `named` [x.NAME] or `repeated` [[x]]."""

    name: str
    doc: str = ""
    kind: Shape = "plain"
    required: bool = False
    keys: dict[str, ManifestKey] = field(default_factory=dict)
    tables: dict[str, ManifestTable] = field(default_factory=dict)
    area: str = ""

    @property
    def complete_without_words(self) -> bool:
        """True when every key has a default, so that an absent table still has a meaning."""
        return not any(key.required for key in self.keys.values())


@dataclass(frozen=True, slots=True)
class ManifestReference:
    """The whole manifest as a model, and the text people read."""

    root: ManifestTable
    text: str

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of `dodai.toml`, for editors."""
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dodai.toml"}
        return {**head, **_table_schema(self.root)}

    def text_with(self, sentences: Mapping[str, str]) -> str:
        """The text with the sentence of each table and key replaced by that of its path (`env.neon.branch`).

        Raises `KeyError` for a path without one.
        """
        lines = self.text.splitlines()
        kept: list[list[str]] = [[line] for line in lines]
        for found in scan(self.text):
            path = ".".join(_without_instances(self.root, [part for part in found.path if isinstance(part, str)]))
            first = found.number - 1 - len(found.comments)
            for number, comment in enumerate(found.comments, first):
                kept[number] = [] if not comment.startswith("#:") else [lines[number]]
            kept[first] = [f"# {sentence}" for sentence in re.findall(r"[^。]+", sentences[path])] + kept[first]
        return "\n".join(line for group in kept for line in group) + "\n"

    def keys(self) -> list[tuple[str, ManifestKey]]:
        """Every key with its dotted path, `NAME` for named tables; documentation tests walk it."""
        return list(_walk(self.root, ""))


def assemble(fragments: Mapping[str, str], sections: Mapping[str, type], *, proven: bool = False) -> ManifestReference:
    """The reference from each area's fragment, in order, and the dataclass of each section (of the root under "").

    The fragment has the words, the kind and an example of a key; the field of the dataclass whether it is required, and
    its default. Raises `ValueError` when a fragment is malformed, or when a key is in only one of the two. That each
    example and default is of its kind is a fact about the package, which a test looks at once; `proven` leaves it out,
    since every command would begin with it.
    """
    root, declared, shapes = ManifestTable(""), dict[_Names, _Declared](), dict[_Names, Shape]()
    for name, section in sections.items():
        _declare(section, (name,) if name else (), declared, shapes)
    texts = [_add_fragment(root, area, text, declared, shapes, proven=proven) for area, text in fragments.items()]
    if declared:
        keys = ", ".join(f"`{'.'.join(names)}`" for names in declared)
        raise ValueError(
            f"no `manifest.toml` has lines for {keys}; docs/contributing/adding-a-manifest-key.md says how"
        )
    return ManifestReference(root, "\n".join(text.strip() + "\n" for text in texts))


def _declare(section: type, at: _Names, declared: dict[_Names, _Declared], shapes: dict[_Names, Shape]) -> None:
    for field_, how in written(section):
        names = (*at, how.name)
        if how.section is None:
            declared[names] = (field_, how)
        else:
            shapes[names] = how.shape
            _declare(how.section, names, declared, shapes)


def _add_fragment(
    root: ManifestTable,
    area: str,
    text: str,
    declared: dict[_Names, _Declared],
    shapes: Mapping[_Names, Shape],
    *,
    proven: bool,
) -> str:
    """The fragment with what the fields declare written behind each kind; its tables and keys are added to `root`."""
    example, lines = {} if proven else tomllib.loads(text), text.splitlines()
    for line in scan(text):
        doc, spec = _annotation(area, line)
        names = _without_instances(root, [part for part in line.path if isinstance(part, str)])
        if line.header:
            _add_table(root, area, names, doc, spec, shapes)
            continue
        *above, name = names
        if tuple(names) not in declared:
            raise ValueError(f"{area}/manifest.toml, line {line.number}: no field declares `{'.'.join(names)}`")
        key = _key(area, name, doc, spec, declared.pop(tuple(names)))
        if not proven:
            _prove(area, key, _dig(example, line.path))
        _descend(root, above, area).keys[name] = key
        at = next(n for n in range(line.number - 2, -1, -1) if lines[n].startswith("#:"))
        lines[at] += "; required" if key.required else f"; default {key.default_toml}"
    return "\n".join(lines)


def _annotation(area: str, line: Line) -> tuple[str, str]:
    doc = " ".join(comment.lstrip("# ").strip() for comment in line.comments if not comment.startswith("#:"))
    specs = [comment.removeprefix("#:").strip() for comment in line.comments if comment.startswith("#:")]
    if not doc or len(specs) > 1 or (not line.header and not specs):
        raise ValueError(
            f"{area}/manifest.toml, line {line.number}: needs a sentence and one `#:` line: {line.text.strip()}"
        )
    return doc, specs[0] if specs else ""


def _without_instances(root: ManifestTable, names: list[str]) -> list[str]:
    """`env.production.url` is `env.url` in the model once `env` is known to be named."""
    path: list[str] = []
    table: ManifestTable | None = root
    rest = list(names)
    while rest:
        name = rest.pop(0)
        path.append(name)
        table = table.tables.get(name) if table else None
        if table is not None and table.kind == "named" and rest:
            rest.pop(0)
    return path


def _add_table(
    root: ManifestTable, area: str, names: list[str], doc: str, spec: str, shapes: Mapping[_Names, Shape]
) -> None:
    words = spec.split()
    kind: Shape = "named" if "named" in words else "repeated" if "repeated" in words else "plain"
    if unknown := set(words) - {"named", "repeated", "required"}:
        raise ValueError(f"{area} fragment: [{'.'.join(names)}] has unknown words {sorted(unknown)}")
    if kind == "named" and len(names) > 1:
        names = names[:-1]
    *above, name = names
    parent = _descend(root, above, area)
    if name in parent.tables:
        raise ValueError(f"{area} fragment: [{'.'.join(names)}] is declared twice")
    if kind != shapes.get(tuple(names), "plain"):
        raise ValueError(f"{area} fragment: [{'.'.join(names)}] is {kind}, its field says {shapes.get(tuple(names))}")
    parent.tables[name] = ManifestTable(name, doc, kind, "required" in words, area=area)


def _descend(root: ManifestTable, names: list[str], area: str) -> ManifestTable:
    table = root
    for name in names:
        if name not in table.tables:
            raise ValueError(f"{area} fragment: [{'.'.join(names)}] is used before it is described")
        table = table.tables[name]
    return table


def _key(area: str, name: str, doc: str, spec: str, declared: _Declared) -> ManifestKey:
    if ";" in spec:
        raise ValueError(f"{area} fragment: `{name}` says what its field declares: `{spec}`")
    kind = parse_kind(spec)
    field_, how = declared
    default = field_.default if field_.default_factory is MISSING else field_.default_factory()
    if default is MISSING:
        return ManifestKey(name, kind, doc, required=True)
    default_toml = f'"{how.text}"' if how.text else _toml(default)
    return ManifestKey(name, kind, doc, default=default, default_toml=default_toml)


def _prove(area: str, key: ManifestKey, example: Any) -> None:
    """Example and default are of the kind; the default as it is shown is the one that counts."""
    key.kind.read(example)
    if key.required or key.default == "":
        return
    if key.kind.read(tomllib.loads(f"x = {key.default_toml}")["x"]) != key.default:
        raise ValueError(f"{area} fragment: the default of `{key.name}` is not {key.kind.name}")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} = {_toml(item)}' for name, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and booleans are written alike


def _dig(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def _walk(table: ManifestTable, prefix: str) -> list[tuple[str, ManifestKey]]:
    rows = [(prefix + name, key) for name, key in table.keys.items()]
    for name, inner in table.tables.items():
        suffix = ".NAME." if inner.kind == "named" else "."
        rows += _walk(inner, prefix + name + suffix)
    return rows


def _key_schema(key: ManifestKey) -> dict[str, Any]:
    default = {} if key.required else {"default": tomllib.loads(f"x = {key.default_toml}")["x"]}
    return {**key.kind.schema, "description": key.doc, **default}


def _table_schema(table: ManifestTable) -> dict[str, Any]:
    properties: dict[str, Any] = {name: _key_schema(key) for name, key in table.keys.items()}
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
