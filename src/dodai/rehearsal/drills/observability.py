"""The drills of observability: from an id that a user sees to the tier that failed."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dodai.core.line import REQUEST_TYPES
from dodai.core.page import Text
from dodai.observability.line_format import line_problems, traffic_problems
from dodai.observability.trace.find import find, line_folders
from dodai.observability.trace.tree import Tree
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.machine import Slowdown
from dodai.rehearsal.outage import RECOVERY_S, stretched
from dodai.rehearsal.ports import Stage, Subject

LINES_WITHIN_S = 20.0


def drills(public: str, needs: tuple[str, ...]) -> tuple[Drill, ...]:
    """The drills: the public service alone, each service it needs failing in turn, and last all lines of the stage.

    The last one judges what every drill before it has left behind, so nothing may run after it.
    """
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
    found.append(
        Drill(
            "every-line-is-whole",
            "observability",
            Text("Every line of this rehearsal is whole", "このリハーサルのすべての行が欠けていない"),
            f"all lines have request id, route or RPC, status and latency; edge and {public} agree one to one, "
            "hops agree about the user; no orphan, no duplicate",
            partial(_every_line, public, needs),
        )
    )
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


async def _every_line(public: str, needs: tuple[str, ...], stage: Stage) -> DrillResult:
    """All lines of the stage, read again until they are whole, because lines are written after the answer."""
    end = time.monotonic() + LINES_WITHIN_S
    while True:
        lines, torn = await asyncio.to_thread(_read_all, stage.state)
        problems, details = evaluate_lines(lines, public, needs)
        problems += [f"not-json: {torn} lines"] if torn else []
        if not problems or time.monotonic() > end:
            break
        await asyncio.sleep(0.2)
    details["problems"] = problems[:20]
    users = details["signedIn"]
    tiers = ", ".join(f"{count} of {name}" for name, count in sorted(details["lines"].items()))
    said = f"{tiers or 'no lines'}; {len(problems)} problems; {users} signed-in requests agree about their user"
    said += f"; {details['answeredByEdge']} answered by the edge alone" if details["answeredByEdge"] else ""
    return DrillResult(said, not problems and {"edge", public} <= set(details["lines"]), (), details)


def evaluate_lines(
    lines: list[dict[str, Any]], public: str, needs: tuple[str, ...]
) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with the lines of a stage, and what was counted.

    Each line by itself, all of them together, and tier against tier: a request that the edge passed on has one line in
    `public`, and an answered RPC has one in the service that answered. What the edge answered itself (its line has a
    code) and what its client gave up never has to reach the next tier: that is also what is left of requests in flight
    in a process that a drill killed, so they are counted and listed.
    """
    problems = [f"{problem} in a line of `{line.get('service')}`" for line in lines for problem in line_problems(line)]
    problems += traffic_problems(lines)
    requests: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    served = Counter(str(line.get("service")) for line in lines if line.get("type") in REQUEST_TYPES)
    for line in lines:
        requests[str(line.get("requestId"))].append(line)
    cut: list[str] = []
    signed_in = 0
    for request_id, found in requests.items():
        tiers = Counter(line["service"] for line in found if line.get("type") in REQUEST_TYPES)
        for edge in (line for line in found if line.get("service") == "edge"):
            if tiers[public] == 0 and (edge.get("code") or edge.get("outcome") == "client_gone"):
                cut.append(request_id)
            elif tiers[public] != 1:
                problems.append(f"tier: `{request_id}` has {tiers[public]} lines of `{public}`, expected 1")
        if needs:
            problems += _rpc_problems(request_id, found, public, needs)
        signed_in += any(line.get("userId") for line in found)
        problems += _user_problems(request_id, found, public)
    return problems, {
        "lines": dict(served),
        "signedIn": signed_in,
        "answeredByEdge": len(cut),
        "requestsCut": cut[:50],
    }


def _rpc_problems(request_id: str, found: list[Mapping[str, Any]], public: str, needs: tuple[str, ...]) -> list[str]:
    """A call that failed may or may not have reached its service; every other one has a line there."""
    hops = [line for line in found if line.get("service") == public]
    called = sum(line.get("rpcCount", 0) for line in hops if line.get("type") in REQUEST_TYPES)
    failed = sum(line.get("type") == "rpc_client" and line.get("outcome") != "ok" for line in hops)
    answered = sum(line.get("type") == "rpc" and line.get("service") in needs for line in found)
    if not any(line.get("type") in REQUEST_TYPES for line in hops) or called - failed <= answered <= called:
        return []
    return [f"tier: `{request_id}` made {called} RPCs, {failed} failed, and {answered} were answered"]


def _user_problems(request_id: str, found: list[Mapping[str, Any]], public: str) -> list[str]:
    """Whoever is signed in at the public service is so in every service behind it."""
    user = next((line["userId"] for line in found if line.get("service") == public and line.get("userId")), None)
    lost = [
        line.get("service")
        for line in found
        if user is not None and line.get("type") == "rpc" and line.get("userId") != user
    ]
    return [f"user: `{request_id}` lost its user in `{name}`" for name in lost]


def _read_all(state: str) -> tuple[list[dict[str, Any]], int]:
    """Every line below `state`, and how many could not be read."""
    lines: list[dict[str, Any]] = []
    torn = 0
    for folder in line_folders([state]):
        for path in sorted(Path(folder).glob("*.jsonl")):
            for raw in path.read_bytes().splitlines():
                try:
                    lines.append(dict(json.loads(raw)))
                except (ValueError, TypeError):
                    torn += 1
    return lines, torn


async def _recovery(stage: Stage) -> float | None:
    """Seconds until the front page answers again; None when it does not within the bound promised to users."""
    began, slowdown = time.monotonic(), Slowdown()
    while (waited := time.monotonic() - began) <= stretched(RECOVERY_S, slowdown.factor()):
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


def _of(subject: Subject) -> tuple[Drill, ...]:
    public = subject.policy.public_service
    if public is None or not (public.app or public.client):
        return ()
    needs = tuple(need for need in public.needs if not subject.policy.services[need].local_only)
    return drills(public.name, needs)


DRILLS = DrillFile("observability", _of, position=99)
