"""What node says about a tier beside its source: the framework's own list of routes, and the answers of the build."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.fact import Unknown
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteRow, TierAudit
from dodai.csrf.route_verdict import RouteVerdict
from dodai.providers.remix.ask_build import BuildAnswers, ask_build
from dodai.providers.remix.conventions import RouteModule
from dodai.providers.remix.node_program import NodeProgram
from dodai.providers.remix.program import Program

_FIRST = "let the check be the first thing in the action: `await csrf.verify(request)`; then build it anew"
_NO_NODE = Unknown("there is no node", "`pip install 'dodai[node]'` brings one")


@dataclass(frozen=True, slots=True)
class NodeAnswers:
    """`Unknown` is what node could not be asked, and why."""

    listed: tuple[RouteModule, ...] | Unknown
    asked: tuple[BuildAnswers, ...] | Unknown


def ask_node(program: str, tier: Program, policy: CsrfPolicy, environ: Mapping[str, str]) -> NodeAnswers:
    """Both answers, asked for at once; `program` is empty where there is no node."""
    if not program:
        return NodeAnswers(_NO_NODE, _NO_NODE)
    node = NodeProgram(program, tier.folder, environ, policy.audit_timeout_s)
    keys, origin = environ["DODAI_CSRF_KEYS"], environ["DODAI_PUBLIC_ORIGINS"]
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(ask_build, node, tier.app, policy, keys=keys, origin=origin)
        return NodeAnswers(list_exactly(node, tier.app), asked.result())


def confirmed(row: RouteRow, asked: BuildAnswers | None) -> RouteRow:
    """`row` with what its action in the build answered: one that lets a hostile post in is not protected.

    What the source leaves open is protected where the build refuses; what the source shows to be open stays so, because
    the build was asked in one environment only.
    """
    if asked is None or not row.state_changing or row.verdict == "exempt":
        return row
    if asked.passed:
        verdict: RouteVerdict = "unprotected" if asked.reached or row.verdict == "unprotected" else "unknown"
        return replace(row, verdict=verdict, by="", evidence=f"{asked.passed}; {row.evidence}", fix=_FIRST)
    if not asked.refused:
        return row
    seen = f"the build refused {len(asked.served) - 1} hostile posts"
    if row.verdict == "unknown":
        return replace(row, verdict="protected", by="dodai", evidence=f"{seen} ({row.evidence})")
    said = seen if row.verdict == "protected" else f"{seen}, and the source does not show that it always does"
    return replace(row, evidence=f"{row.evidence}; {said}")


def unread(told: NodeAnswers, actions: Sequence[str]) -> Iterator[Unknown]:
    """Actions of the build that were not found in the source: nothing was judged about what they do."""
    for one in () if isinstance(told.asked, Unknown) else told.asked:
        if one.id not in actions:
            said = f"the build has an action at `{one.path}` (`{one.id}`) that was not found in the source"
            yield Unknown(said, "build it anew, or write the route where the framework's conventions look for it")


def audit(
    tier: str,
    told: NodeAnswers,
    read: Sequence[RouteModule],
    actions: Sequence[str],
    shown: Callable[[Path], str],
) -> TierAudit:
    """Both counts; `read` are the routes that reading found, `actions` the ids of those with an action."""
    files = {route.file for route in read}
    listed = None if isinstance(told.listed, Unknown) else {route.file for route in told.listed}
    differing = sorted(files ^ listed) if listed is not None else []
    found = [one for one in (() if isinstance(told.asked, Unknown) else told.asked) if one.id in actions]
    own = [one for one in found if one.served]
    return TierAudit(
        tier,
        actions=len(actions),
        routes=len(files),
        listed=told.listed if isinstance(told.listed, Unknown) else len(listed or ()),
        asked=told.asked if isinstance(told.asked, Unknown) else len(own),
        differing=tuple(
            f"`{shown(file)}` is {'read and not listed' if file in files else 'listed and was not found by reading'}"
            for file in differing
        ),
        exempt=len(found) - len(own),
        refused=sum(one.refused for one in own),
        alone=sum(one.asks_itself for one in own),
        unproven=tuple(f"POST {one.path}: {one.doubt}" for one in own if one.doubt),
    )


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
