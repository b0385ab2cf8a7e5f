"""What else is wrong with a tier: versions with a known hole, the framework's own check, loaders, secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dodai.csrf.route_table import RouteFlaw
from dodai.providers.remix.changes import changes
from dodai.providers.remix.configuration import ROUTER, configuration, set_anywhere, shown
from dodai.providers.remix.program import Program, Value
from dodai.providers.remix.syntax import FUNCTIONS, ScriptModule, line, literal, text, walk

_FIRST_FIXED: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "@remix-run/server-runtime": ((2, 0, 0), (2, 17, 3)),
    "react-router": ((7, 0, 0), (7, 12, 0)),
}
"""CVE-2026-22030: the range of versions without an origin check for actions, from the first to the first fixed one."""
_STOCK = ("react-router-serve", "@react-router/serve")
_FIRST_STRICT = (7, 18, 0)
_SECRET = re.compile(r"SECRET|_KEY|PASSWORD|TOKEN")
_LOCKS = ("package-lock.json", "pnpm-lock.yaml", "yarn.lock")
_LOOKED_UP = 2


def dependencies(folder: Path) -> Mapping[str, str]:
    """Names and ranges of `package.json`; empty when it cannot be read."""
    data = _json(folder / "package.json")
    found: dict[str, str] = {}
    for kind in ("dependencies", "devDependencies"):
        rows = data.get(kind)
        if isinstance(rows, dict):
            found.update({str(name): str(version) for name, version in rows.items()})
    return found


def is_react_router(folder: Path) -> bool:
    return any(name.startswith("@react-router/") for name in dependencies(folder))


def runs_middleware(program: Program) -> bool:
    """React Router 8, or 7 with `v8_middleware`: without it `export const middleware` is never called."""
    folder = program.folder
    if not is_react_router(folder):
        return False
    version = _installed(folder).get("react-router") or _numbers(dependencies(folder).get("react-router", ""))
    if version and version[0] >= 8:
        return True
    config = configuration(program, ROUTER)
    return any(text(set_anywhere(config, flag)) == "true" for flag in ("v8_middleware", "unstable_middleware"))


def of_tier(program: Program, root: Path, *, behind_check: bool) -> Iterator[RouteFlaw]:
    yield from _versions(program.folder, root)
    yield from _own_check(program, root, behind_check=behind_check)
    for module in program.modules:
        yield from _secrets(module, root)


def of_loader(found: Value) -> Iterator[tuple[Path, int, str]]:
    """(file, line, call) of what looks like a change of state in a loader."""
    if found.node.type not in FUNCTIONS:
        return
    body = found.node.child_by_field_name("body")
    for call in changes(body) if body is not None else ():
        said = " ".join(text(call).split())
        if not re.search(r"csrf|session\b|Session\(|cookie|headers", said, re.IGNORECASE):
            yield found.module.path, line(call), said[:60]


def _versions(folder: Path, root: Path) -> Iterator[RouteFlaw]:
    for name, version in _installed(folder).items():
        first, fixed = _FIRST_FIXED.get(name, ((), ()))
        if first and first <= version < fixed:
            is_now, needed = (".".join(map(str, one)) for one in (version, fixed))
            said = f"`{name}` {is_now} has no origin check for actions (CVE-2026-22030); {needed} has one"
            yield RouteFlaw("vulnerable-version", shown(_lock(folder) or folder / "package.json", root), 1, said)


def _own_check(program: Program, root: Path, *, behind_check: bool) -> Iterator[RouteFlaw]:
    folder = program.folder
    if not is_react_router(folder):
        return
    config = configuration(program, ROUTER)
    allowed = set_anywhere(config, "allowedActionOrigins")
    everything = allowed is not None and any(literal(one) == "**" for one in allowed.named_children)
    at = line(allowed) if allowed is not None else 1
    place = shown(config.path if config is not None else folder / "package.json", root)
    if everything and not behind_check:
        said = "`allowedActionOrigins` switches the framework's own check off, and no root middleware stands in for it"
        yield RouteFlaw("own-check-off", place, at, said)
    version = _installed(folder).get("react-router", ())
    stock = any(word in _text(folder / "package.json") for word in _STOCK)
    if allowed is None and stock and (not version or version >= _FIRST_STRICT):
        said = (
            "`react-router-serve` compares `Origin` with its own http address: behind a TLS proxy every form is refused"
        )
        yield RouteFlaw("own-check-behind-proxy", place, at, said)


def _secrets(module: ScriptModule, root: Path) -> Iterator[RouteFlaw]:
    """`process.env.SESSION_SECRET ?? "s3cret"`: whoever reads the source can sign."""
    for node in walk(module.root, lambda one: one.type == "binary_expression"):
        operator = node.child_by_field_name("operator")
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if operator is None or text(operator) not in ("??", "||") or left is None:
            continue
        match = re.fullmatch(r"process\.env(?:\.([A-Z_0-9]+)|\[[\"']([A-Z_0-9]+)[\"']\])", text(left))
        name = (match[1] or match[2]) if match is not None else ""
        if name and _SECRET.search(name) and literal(right):
            yield RouteFlaw(
                "secret-fallback", shown(module.path, root), line(node), f"`{name}` has a value in the source"
            )


def _installed(folder: Path) -> dict[str, tuple[int, ...]]:
    """The versions of the framework in the lock file, here or in a folder above (workspaces)."""
    lock = _lock(folder)
    if lock is None:
        return {}
    found: dict[str, tuple[int, ...]] = {}
    raw = _text(lock)
    for name in ("react-router", "@remix-run/server-runtime"):
        quoted = re.escape(name)
        patterns = (
            rf'"node_modules/{quoted}": \{{\s*"version": "([0-9.]+)',
            rf"(?m)^  ['/]*{quoted}[@/]([0-9.]+)['(:]",
            rf'(?m)^"?{quoted}@[^\n]*:\n  version:? "?([0-9.]+)',
        )
        version = next((match[1] for one in patterns if (match := re.search(one, raw))), "")
        if version:
            found[name] = _numbers(version)
    return found


def _lock(folder: Path) -> Path | None:
    for place in (folder, *list(folder.parents)[:_LOOKED_UP]):
        for name in _LOCKS:
            if (place / name).is_file():
                return place / name
    return None


def _numbers(version: str) -> tuple[int, ...]:
    match = re.search(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in match.groups()) if match is not None else ()


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
