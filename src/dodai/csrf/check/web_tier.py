"""Web tiers that no `[service.NAME] app` names: what the repository's files say about them, read and never executed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from dodai.core.fact import NotApplicable, Unknown
from dodai.csrf.form_table import FormTable
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable

SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})
"""Folders that hold nothing of the repository's own; hidden ones are left out, too."""

_DEPTH = 4
_FILE_BYTES = 1_000_000
_PYTHON = re.compile(r"^(?:from|import)[ ]+(fastapi|starlette|litestar|flask|django)\b", re.MULTILINE)
_NODE: Mapping[str, str] = {
    "@remix-run/node": "Remix",
    "@remix-run/react": "Remix",
    "@remix-run/serve": "Remix",
    "@react-router/node": "React Router",
    "@react-router/serve": "React Router",
    "@react-router/dev": "React Router",
    "next": "Next.js",
    "@sveltejs/kit": "SvelteKit",
    "nuxt": "Nuxt",
    "astro": "Astro",
    "@nestjs/core": "Nest",
    "express": "Express",
    "fastify": "Fastify",
    "koa": "Koa",
    "hono": "Hono",
}
_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(\))?")
_READ = "install `dodai[remix]`, which reads it"
_ALLOW = 'audit it another way, then record that: `--allow-unjudged csrf="how it is audited"`'
_NAME_APP = 'name the object that the server runs: `[service.web] app = "web.app:app"`'


class RouteSource(Protocol):
    """Reads the routes and forms of a web tier from its files, and asks its programs where they can be started."""

    def claims(self, folder: Path) -> bool:
        """Whether the tier in `folder` is of the kind that this one reads."""

    def routes(
        self, folder: Path, *, root: Path, service: str, policy: CsrfPolicy, today: str, environ: Mapping[str, str]
    ) -> RouteTable | Unknown:
        """Every route; what cannot be told is a row that is `unknown`, or a gap, with file and line.

        `environ` is what the programs of the tier are told, with keys and an origin that are made for the audit.
        """

    def forms(self, folder: Path, *, root: Path, policy: CsrfPolicy) -> FormTable:
        """Every form that changes state."""


def readable(manifest: Mapping[str, Any], root: Path, source: RouteSource | None) -> tuple[tuple[str, Path], ...]:
    """(name, folder) of every tier of the manifest that `source` reads: services without `app`, and `[client.NAME]`."""
    if source is None:
        return ()
    named = [(name, root / str(row.get("cwd") or ".")) for name, row in _public(manifest).items() if not row.get("app")]
    named += [(name, root / str(row["folder"])) for name, row in (manifest.get("client") or {}).items()]
    return tuple((name, folder) for name, folder in named if source.claims(folder))


def unaudited(manifest: Mapping[str, Any], root: Path, source: RouteSource | None = None) -> tuple[Unknown, ...]:
    """The services of `manifest` that people's browsers reach and whose routes nobody lists.

    They have no `app`, and are not of the kind that `source` reads; nor is the folder of a `[client.NAME]`.
    """
    gaps = [
        _without_app(name, row, root)
        for name, row in _public(manifest).items()
        if not (row.get("app") or (source is not None and source.claims(root / str(row.get("cwd") or "."))))
    ]
    for name, row in (manifest.get("client") or {}).items():
        if source is None or not source.claims(root / str(row["folder"])):
            fix = _READ if source is None else "correct `folder`"
            gaps.append(
                Unknown(f"TypeScript web tier: the actions of client `{name}` (`{row['folder']}`) are not listed", fix)
            )
    return tuple(gaps)


def served_otherwise(manifest: Mapping[str, Any]) -> Iterator[Unknown]:
    """Services whose command names another object for its server than the one that `app` has audited."""
    for name, row in (manifest.get("service") or {}).items():
        for word in (row.get("command") or ()) if row.get("app") else ():
            if _OBJECT.fullmatch(str(word)) and not _is_same(str(word), str(row["app"])):
                said = f"service `{name}` runs `{word}`, and `app` names `{row['app']}`: what is served is not audited"
                yield Unknown(
                    said, f'`[service.{name}] app = "{word}"`, the object that the server runs', by_manifest=True
                )


def _is_same(served: str, audited: str) -> bool:
    """Whether a server's word names the audited object; a factory is named with `()`, or by an option of the server."""
    return served.removesuffix("()") == audited.removesuffix("()")


def _public(manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The public services, or every one that speaks HTTP while none is called public."""
    services: Mapping[str, Mapping[str, Any]] = manifest.get("service") or {}
    spoken = {
        name: row
        for name, row in services.items()
        if row.get("protocol", "http") == "http" and not row.get("local_only", False)
    }
    return {name: row for name, row in spoken.items() if row.get("public")} or spoken


def web_tier(root: Path, source: RouteSource | None = None) -> Path | Unknown | NotApplicable:
    """What web tier the files below `root` show when the manifest names no service; the first one that is found.

    A folder is one that `source` reads.
    """
    python = ""
    for path in _files(root):
        shown = path.relative_to(root).as_posix()
        if path.name == "package.json":
            if source is not None and source.claims(path.parent):
                return path.parent
            if framework := _node_framework(path):
                return Unknown(
                    f"TypeScript web tier: `{shown}` uses {framework}, whose actions are not listed", _fix_of(framework)
                )
        elif not python and (found := _PYTHON.search(_text(path))):
            python = f"`{shown}` imports {found[1]}, and no `[service.NAME]` has an `app`"
    if python:
        return Unknown(python, _NAME_APP, by_manifest=True)
    return NotApplicable("no service has an `app`, and no file here uses a web framework")


def _without_app(name: str, row: Mapping[str, Any], root: Path) -> Unknown:
    folder = root / str(row.get("cwd") or ".")
    framework = _node_framework(folder / "package.json")
    if framework:
        shown = (folder / "package.json").relative_to(root).as_posix()
        return Unknown(
            f"TypeScript web tier: service `{name}` is {framework} (`{shown}`), whose actions are not listed",
            _fix_of(framework),
        )
    program = " ".join(str(word) for word in row.get("command") or ())
    if program.partition(" ")[0] in ("node", "npm", "npx", "pnpm", "yarn", "bun", "deno"):
        return Unknown(f"TypeScript web tier: service `{name}` runs `{program}`, whose routes are not listed", _ALLOW)
    return Unknown(f"service `{name}` has no `app`, so its routes are not listed", _NAME_APP, by_manifest=True)


def _fix_of(framework: str) -> str:
    return f"{_READ}; or {_ALLOW}" if framework in ("Remix", "React Router") else _ALLOW


def _files(root: Path) -> Iterator[Path]:
    """Every `package.json` down to a few folders, and every Python file that is not a test."""
    for folder, folders, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(
            name for name in folders if name not in SKIPPED and name != "tests" and not name.startswith(".")
        )
        for name in sorted(files):
            if (name == "package.json" and depth <= _DEPTH) or (name.endswith(".py") and not name.startswith("test_")):
                yield Path(folder, name)


def _node_framework(path: Path) -> str:
    """The server framework that a `package.json` depends on; empty when it has none or cannot be read."""
    try:
        data = json.loads(_text(path) or "null")
    except ValueError:
        return ""
    kinds = ("dependencies", "devDependencies") if isinstance(data, dict) else ()
    names = {name for kind in kinds if isinstance(data.get(kind), dict) for name in data[kind]}
    return next((shown for name, shown in _NODE.items() if name in names), "")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace") if path.stat().st_size <= _FILE_BYTES else ""
    except OSError:
        return ""
