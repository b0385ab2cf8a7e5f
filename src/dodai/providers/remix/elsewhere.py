"""What may change state beside the actions: routes of a server of one's own, server functions, routes in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dodai.core.fact import Unknown
from dodai.providers.remix.configuration import shown
from dodai.providers.remix.program import Program
from dodai.providers.remix.syntax import arguments, bare, line, literal, text, walk

_SCRIPT = re.compile(r"\.(?:tsx?|jsx?|mjs|mts|cjs|cts)$")
_SERVERS = re.compile(r"(?:^|[a-z])(?:app|router|server|api|fastify|hono)$", re.IGNORECASE)
_METHODS = frozenset({"post", "put", "patch", "delete", "all"})
_USE_SERVER = re.compile(rb"""(?m)^\s*["']use server["'];?\s*$""")
_ALLOW = 'audit it another way, then record that: `--allow-unjudged csrf="how it is audited"`'
_MOVE = "write it as a route module with an `action`, or " + _ALLOW


def of_tier(program: Program, root: Path) -> Iterator[Unknown]:
    yield from _server_routes(program, root)
    for path in sorted(program.app.rglob("*")) if program.app.is_dir() else ():
        if path.suffix in (".md", ".mdx") and "routes" in path.parts:
            if re.search(rb"(?m)^export\b[^\n]*\baction\b", _read(path)):
                yield Unknown(f"`{shown(path, root)}` exports an action from Markdown, which is not read", _MOVE)
        elif _SCRIPT.search(path.name) and (found := _USE_SERVER.search(_read(path))) is not None:
            at = _read(path)[: found.end()].count(b"\n", 0, found.end()) or 1
            place = f"{shown(path, root)}:{at}"
            yield Unknown(f"`{place}`: server functions (`use server`) can be called by any page", _ALLOW)


def _server_routes(program: Program, root: Path) -> Iterator[Unknown]:
    """`app.post("/hook", …)` in `server.ts` or below `server/`: the framework never sees such a request."""
    folder = program.folder / "server"
    files = [path for path in program.folder.iterdir() if path.is_file() and path.name.startswith("server.")]
    files += folder.rglob("*") if folder.is_dir() else []
    for path in sorted(files):
        module = program.module(path) if _SCRIPT.search(path.name) and "node_modules" not in path.parts else None
        for call in walk(module.root, lambda one: one.type == "call_expression") if module is not None else ():
            called, given = bare(call.child_by_field_name("function")), arguments(call)
            if called is None or called.type != "member_expression" or len(given) < 2:
                continue
            owner, method = text(called.child_by_field_name("object")), text(called.child_by_field_name("property"))
            where = literal(given[0]) or ""
            framework = "RequestHandler" in text(call) or (method == "all" and "*" in where)
            if method in _METHODS and _SERVERS.search(owner) and where.startswith("/") and not framework:
                place = f"{shown(path, root)}:{line(call)}"
                yield Unknown(f'`{place}`: `{owner}.{method}("{where}")` is no action, and is not audited', _MOVE)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
