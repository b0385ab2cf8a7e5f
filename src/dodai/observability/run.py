"""The drills of observability: from an id that a user sees to the tier that failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from dodai.core.page import Text
from dodai.engine.drill import Drill, DrillResult, Stage
from dodai.observability.trace.find import find, line_folders
from dodai.observability.trace.tree import Tree

LINES_WITHIN_S = 5.0
RECOVERY_S = 5.0
"""The plan's bound: a dependency that is back serves again within five seconds."""


def drills(public: str, needs: tuple[str, ...]) -> tuple[Drill, ...]:
    """The drills: the public service alone, and each service it needs failing in turn."""
    found = [
        Drill(
            "request-id-through-every-tier",
            "observability",
            Text("One request id leads through every tier", "1 つの requestId ですべての層をたどれる"),
            f"the id of a page leads to the lines of edge and {public}, one each",
            partial(_every_tier, public),
        )
    ]
    found += [
        Drill(
            f"{need}-down-is-traced",
            "observability",
            Text(f"{need} refuses connections: the trace names it", f"{need} が接続を拒否すると、トレースが名指しする"),
            f"an error page with a request id, whose trace names {need}; serving again within {RECOVERY_S:g} s",
            partial(_dependency_down, need),
        )
        for need in needs
    ]
    return tuple(found)


async def _every_tier(public: str, stage: Stage) -> DrillResult:
    answer = await stage.request("GET", "/")
    request_id = answer.headers.get("x-request-id", "")
    tree = await _trace(stage, request_id, lambda tree: {"edge", public} <= _services(tree))
    served = [node.service for node in tree.nodes if node.kind in ("http", "rpc")]
    doubled = sorted({name for name in ("edge", public) if served.count(name) != 1})
    ok = {"edge", public} <= set(served) and not doubled and len(tree.roots) == 1
    observed = f"id {request_id or 'missing'}: lines of {', '.join(dict.fromkeys(served)) or 'nobody'}"
    return DrillResult(observed, ok, (request_id,), {"notOnce": doubled, "roots": len(tree.roots)})


async def _dependency_down(need: str, stage: Stage) -> DrillResult:
    async with stage.fault(need, "refuse"):
        answer = await stage.request("GET", "/")
        request_id = answer.headers.get("x-request-id", "")
        shown = bool(request_id) and request_id in answer.text
        tree = await _trace(stage, request_id, lambda tree: tree.failure is not None)
    recovered_s = await _recovery(stage)
    failure = tree.failure or {}
    blamed = failure.get("tier")
    back = f"back after {recovered_s:.1f} s" if recovered_s is not None else f"not back within {RECOVERY_S:g} s"
    said = f"status {answer.status_code}, id {'shown' if shown else 'not shown'}, trace blames {blamed}, {back}"
    ok = answer.status_code in (502, 503, 504) and shown and blamed == need and recovered_s is not None
    return DrillResult(said, ok, (request_id,), {"failure": failure})


async def _recovery(stage: Stage) -> float | None:
    """Seconds until the front page answers again; None when it does not within the bound promised to users."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) <= RECOVERY_S:
        if (await stage.request("GET", "/")).status_code < 500:
            return waited
        await asyncio.sleep(0.05)
    return None


async def _trace(stage: Stage, request_id: str, enough: Callable[[Tree], bool]) -> Tree:
    """The request as `dodai trace` sees it; asked again until `enough`, because lines are written after the answer."""
    end = time.monotonic() + LINES_WITHIN_S
    while True:
        found = await asyncio.to_thread(lambda: find(request_id, line_folders([stage.state])))
        tree = Tree(found.lines)
        if enough(tree) or time.monotonic() > end:
            return tree
        await asyncio.sleep(0.05)


def _services(tree: Tree) -> set[str]:
    return {node.service for node in tree.nodes}
