"""Which files are routes, and at which paths: Remix's flat files, `routes.ts`, and the auto-routes of packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from tree_sitter import Node

from dodai.core.dataclass import dataclass
from dodai.core.fact import Unknown
from dodai.providers.remix.program import Program, Value
from dodai.providers.remix.syntax import ScriptModule, arguments, bare, line, literal, text

_ROUTE_FILE = re.compile(r"\.(?:tsx?|jsx?|mjs|mts)$")
_TYPES = re.compile(r"\.d\.ts$")
_FIX = "write it as `route(…)`, `index(…)`, `layout(…)`, `prefix(…)` or `flatRoutes()`"
_AUTO = frozenset({"autoRoutes", "createRoutesFromFolders"})


@dataclass(frozen=True, slots=True)
class RouteModule:
    """A module at a path such as `/users/:id`; a layout without a path of its own has its parent's.

    `id` is the framework's own, empty where it is the file's place below the application.
    """

    path: str
    file: Path
    id: str = ""


@dataclass(slots=True)
class Routes:
    """`gaps` are the places whose routes are not known."""

    found: list[RouteModule] = field(default_factory=list)
    gaps: list[Unknown] = field(default_factory=list)


def list_routes(program: Program, root: Path) -> Routes:
    """Every route of the application, its root module included."""
    routes = Routes()
    top = next(
        (
            program.app / f"root{ending}"
            for ending in (".tsx", ".jsx", ".ts", ".js")
            if (program.app / f"root{ending}").is_file()
        ),
        None,
    )
    if top is not None:
        routes.found.append(RouteModule("/", top))
    configured = next(
        (
            program.app / name
            for name in ("routes.ts", "routes.tsx", "routes.js", "routes.mts")
            if (program.app / name).is_file()
        ),
        None,
    )
    if configured is not None:
        _from_config(program, configured, routes, root)
    elif (program.app / "routes").is_dir():
        _flat(program.app / "routes", routes, "")
    else:
        where = program.app.relative_to(root).as_posix() if program.app.is_relative_to(root) else str(program.app)
        routes.gaps.append(Unknown(f"`{where}` has neither `routes.ts` nor a folder `routes`", _FIX))
    _custom_config(program, routes, root)
    return routes


def flat_path(name: str) -> str:
    """The path of a flat file's name without its ending: `users.$id_.edit` is `/users/:id/edit`."""
    parts: list[str] = []
    for segment in _segments(name):
        shown = _segment(segment)
        if shown:
            parts.append(shown)
    return "/" + "/".join(parts)


def _segments(name: str) -> Iterator[str]:
    current, escaped = "", False
    for char in name:
        if char == "." and not escaped:
            yield current
            current = ""
            continue
        escaped = (escaped or char == "[") and char != "]"
        current += char
    yield current


def _segment(segment: str) -> str:
    """One part of a path; empty for `_index` and for folders that only group."""
    if segment.startswith("_") or segment == "":
        return ""
    if segment == "$":
        return "*"
    optional = segment.startswith("(") and segment.rstrip("_").endswith(")")
    bare_name = re.sub(r"[\[\]]", "", segment.removesuffix("_").strip("()") if optional else segment.removesuffix("_"))
    if segment.startswith(("$", "($")):
        bare_name = ":" + bare_name.removeprefix("$")
    return bare_name + ("?" if optional else "")


def _flat(folder: Path, routes: Routes, prefix: str) -> None:
    """`routes/*.tsx`, and of each folder its `route` or `index`: what else is in there is only colocated."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.name.endswith("+"):
                _flat(entry, routes, f"{prefix}{entry.name[:-1]}.")
                continue
            module = next(
                (
                    each
                    for each in sorted(entry.iterdir())
                    if re.fullmatch(r"(?:route|index)\.(?:tsx?|jsx?)", each.name)
                ),
                None,
            )
            if module is not None:
                routes.found.append(RouteModule(flat_path(prefix + entry.name), module))
        elif _ROUTE_FILE.search(entry.name) and not _TYPES.search(entry.name):
            routes.found.append(RouteModule(flat_path(prefix + _ROUTE_FILE.sub("", entry.name)), entry))


def _auto(folder: Path, routes: Routes, parts: tuple[str, ...] = ()) -> None:
    """Folders are segments, `+name` is colocated, `_name` groups, `_layout` and `index` are their folder's own."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "+")):
            continue
        if entry.is_dir():
            _auto(entry, routes, (*parts, entry.name))
        elif _ROUTE_FILE.search(entry.name) and not _TYPES.search(entry.name):
            stem = _ROUTE_FILE.sub("", entry.name)
            own = () if stem in ("index", "_index", "route", "layout", "_layout") else (stem,)
            routes.found.append(RouteModule(flat_path(".".join((*parts, *own))), entry))


def _from_config(program: Program, file: Path, routes: Routes, root: Path) -> None:
    module = program.module(file)
    value = module.exports.get("default") if module is not None else None
    if module is None or not isinstance(value, Node):
        target = program.export(module, "default") if module is not None else None
        if not isinstance(target, Value):
            routes.gaps.append(Unknown(f"`{_shown(file, root)}` has no default export that can be read", _FIX))
            return
        module, value = target.module, target.node
    _entries(_Config(program, routes, root), module, value, "")


@dataclass(frozen=True, slots=True)
class _Config:
    program: Program
    routes: Routes
    root: Path

    def unknown(self, module: ScriptModule, node: Node) -> None:
        shown = " ".join(text(node).split())[:60]
        place = f"{_shown(module.path, self.root)}:{line(node)}"
        self.routes.gaps.append(Unknown(f"`{place}`: the routes of `{shown}` are not known", _FIX))


def _entries(config: _Config, module: ScriptModule, given: Node, prefix: str) -> None:
    """The routes that an expression of `routes.ts` comes to."""
    node = bare(given)
    if node is not None and node.type == "await_expression":
        node = bare(node.named_children[0])
    if node is not None and node.type == "identifier":
        found = config.program.value(module, node)
        if not isinstance(found, Value):
            config.unknown(module, node)
            return
        module, node = found.module, found.node
        if node.type == "await_expression":
            node = bare(node.named_children[0])
    if node is None:
        return
    if node.type == "array":
        for child in node.named_children:
            if child.type == "spread_element":
                _entries(config, module, child.named_children[0], prefix)
            elif child.type != "comment":
                _entries(config, module, child, prefix)
    elif node.type == "call_expression":
        _call(config, module, node, prefix)
    else:
        config.unknown(module, node)


def _call(config: _Config, module: ScriptModule, node: Node, prefix: str) -> None:
    name = text(node.child_by_field_name("function")).rpartition(".")[2]
    given = arguments(node)
    if name == "flatRoutes" or name in _AUTO:
        folder = config.program.app / (_option(given, "rootDirectory") or "routes")
        if not folder.is_dir():
            config.unknown(module, node)
        elif name == "flatRoutes":
            _flat(folder, config.routes, prefix.strip("/").replace("/", ".") + "." if prefix else "")
        else:
            _auto(folder, config.routes)
        return
    at = {"route": 0, "prefix": 0, "index": -1, "layout": -1}.get(name)
    words = [literal(one) for one in given]
    if at is None or not words or words[0] is None:
        config.unknown(module, node)
        return
    path = _join(prefix, words[0]) if at == 0 else prefix
    if name != "prefix":
        file = words[1] if name == "route" and len(words) > 1 else words[0] if name != "route" else None
        if file is None:
            config.unknown(module, node)
            return
        config.routes.found.append(RouteModule(path or "/", (module.path.parent / file).resolve()))
    for child in given:
        inner = bare(child)
        if inner is not None and inner.type in ("array", "identifier", "await_expression"):
            _entries(config, module, inner, path)


def _option(given: list[Node], name: str) -> str | None:
    for argument in given:
        for pair in argument.named_children if argument.type == "object" else ():
            if pair.type == "pair" and text(pair.child_by_field_name("key")).strip("'\"") == name:
                return literal(pair.child_by_field_name("value"))
    return None


def _custom_config(program: Program, routes: Routes, root: Path) -> None:
    """A `routes` function of Remix's configuration adds routes by code, which is not executed."""
    for name in ("remix.config.js", "remix.config.mjs", "vite.config.ts", "vite.config.js"):
        module = program.module(program.folder / name) if (program.folder / name).is_file() else None
        if module is None:
            continue
        match = re.search(rb"(?m)^\s*(?:async\s+)?routes\s*(?:\(|:)", module.root.text or b"")
        if match is not None:
            at = (module.root.text or b"")[: match.end()].count(b"\n") + 1
            place = f"{_shown(module.path, root)}:{at}"
            routes.gaps.append(Unknown(f"`{place}`: `routes` adds routes by code, which is not executed", _FIX))


def _join(prefix: str, part: str) -> str:
    return "/" + "/".join(one for one in (prefix.strip("/"), part.strip("/")) if one)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
