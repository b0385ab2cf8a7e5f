"""The routes as the framework itself lists them: `react-router routes --json`, `remix routes --json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dodai.core.fact import Unknown
from dodai.providers.remix.conventions import RouteModule
from dodai.providers.remix.node_program import NodeProgram

_TOOLS = (("@react-router/dev", "react-router"), ("@remix-run/dev", "remix"))
_INSTALL = "install the packages of the tier (`npm ci`)"


def list_exactly(node: NodeProgram, app: Path) -> tuple[RouteModule, ...] | Unknown:
    """Every route module of the application in `app`; `Unknown` where the framework cannot be asked."""
    found = next(((tool, name) for package, name in _TOOLS if (tool := node.tool(package, name)) is not None), None)
    if found is None or not found[0].is_file():
        return Unknown("`@react-router/dev` or `@remix-run/dev` is not installed in the folder", _INSTALL)
    tool, name = found
    printed = node.run([str(tool), "routes", "--json"])
    if isinstance(printed, Unknown):
        return Unknown(f"`{name} routes` failed: {printed.reason}", printed.fix or f"make `npx {name} routes` work")
    try:
        listed = json.loads(printed[printed.index("[\n") if "[\n" in printed else printed.index("[") :])
        return tuple(_modules(listed, app, ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unknown(
            f"`{name} routes --json` printed no list of routes", f"see what `npx {name} routes --json` prints"
        )


def _modules(listed: list[dict[str, Any]], app: Path, above: str) -> Iterator[RouteModule]:
    for one in listed:
        parts = (above.strip("/"), str(one.get("path") or "").strip("/"))
        path = "/" + "/".join(part for part in parts if part)
        yield RouteModule(path, (app / str(one["file"])).resolve(), str(one["id"]))
        yield from _modules(one.get("children") or [], app, path)
