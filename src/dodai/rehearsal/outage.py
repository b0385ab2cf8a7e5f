"""What visitors meet while a dependency is away: those who need it, those who do not, and how soon it is over."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field, replace
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.observability.trace.find import find, line_folders
from dodai.observability.trace.tree import Tree
from dodai.operations.journey import Answer, Walk, walk
from dodai.operations.policy import Journey
from dodai.rehearsal.machine import Slowdown
from dodai.rehearsal.ports import Stage, Visit, Visitor

MARGIN_S = 0.5
RECOVERY_S = 5.0
AMPLIFICATION = 1.1
"""The plan's promises: an answer within deadline + 0.5 s, serving again within 5 s, at most 1.1 calls per request.

The half second and the five are of a machine that has nothing else to do: what a busy one takes longer is added
(`Slowdown`). The tenth of a call is what requests earn; the retries that a caller had saved before come on top, once.
"""

LINES_WITHIN_S = 20.0
UNRELATED_EVERY_S = 0.25
PAUSE_S = 0.1
CLIENT_LINES = ("rpc_client", "http_client", "sql")


@dataclass(frozen=True, slots=True)
class OutageRequest:
    """One request for what needs the dependency. `shown`: the request id stands in the page."""

    status: int
    seconds: float
    request_id: str
    shown: bool
    problem: str

    @property
    def refused_well(self) -> bool:
        return self.status in (503, 504) and bool(self.request_id) and self.shown


@dataclass(slots=True)
class _Last:
    """A visitor whose last answer is kept, to look into its page."""

    visitor: Visitor
    answer: Answer | None = None

    async def request(self, method: str, path: str, *, form: Mapping[str, str] | None = None) -> Answer:
        self.answer = None
        self.answer = await self.visitor.request(method, path, form=form)
        return self.answer


async def ask(journey: Journey, visitor: Visitor) -> OutageRequest:
    """The last request of a journey, or the one before it at which it broke off."""
    last = _Last(visitor)
    walked = await walk(journey, last)
    step = walked.steps[-1]
    shown = last.answer is not None and bool(step.request_id) and step.request_id in last.answer.text
    return OutageRequest(step.status, step.seconds, step.request_id, shown, walked.problem)


@dataclass(frozen=True, slots=True)
class Affected:
    """What breaks without the dependency (a journey up to that request), and what goes on all the same."""

    journey: Journey | None
    unrelated: tuple[Journey, ...] = ()
    paths: tuple[str, ...] = ()


async def look(stage: Stage, visit: Visit, journeys: Sequence[Journey], paths: Sequence[str]) -> Affected:
    """Which journey breaks now, and where; asked while the dependency refuses connections."""
    broken: Journey | None = None
    whole: list[Journey] = []
    walks = await asyncio.gather(*(_walk_alone(stage.url, visit, journey) for journey in journeys))
    for journey, walked in zip(journeys, walks, strict=True):
        if walked.ok:
            whole.append(journey)
        elif broken is None and walked.steps[-1].status >= 500:
            broken = replace(journey, steps=journey.steps[: len(walked.steps)])
    alive = [path for path in paths if (await stage.request("GET", path)).status_code == 200]
    return Affected(broken, tuple(whole), tuple(alive))


async def _walk_alone(url: str, visit: Visit, journey: Journey) -> Walk:
    visitor = visit(url)
    try:
        return await walk(journey, visitor)
    finally:
        await visitor.close()


async def unrelated_paths(stage: Stage, static: Sequence[str]) -> tuple[str, ...]:
    """The liveness path, and a static file that the front page names: neither needs anybody else."""
    front = (await stage.request("GET", "/")).text
    named = re.findall(r'(?:href|src)="(/[^"]+)"', front)
    prefixes = tuple(pattern.rstrip("*") for pattern in static)
    files = [path for path in named if prefixes and path.startswith(prefixes)]
    return ("/healthz", *files[:1])


@dataclass(slots=True)
class Unrelated:
    """What people met who needed nothing of the dependency."""

    asked: int = 0
    slowest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, seconds: float, problem: str) -> None:
        self.asked += 1
        self.slowest_s = max(self.slowest_s, seconds)
        if problem:
            self.problems.append(problem)


@asynccontextmanager
async def unrelated_visitors(stage: Stage, visitor: Visitor, affected: Affected) -> AsyncIterator[Unrelated]:
    """Somebody who keeps asking for what does not need the dependency, until the block ends."""
    met, over = Unrelated(), asyncio.Event()

    async def keep_asking() -> None:
        while not over.is_set():
            for path in affected.paths:
                began = time.perf_counter()
                status = (await stage.request("GET", path)).status_code
                met.add(time.perf_counter() - began, "" if status == 200 else f"GET {path}: status {status}")
            for journey in affected.unrelated:
                walked: Walk = await walk(journey, visitor)
                met.add(max(step.seconds for step in walked.steps), walked.problem)
            await asyncio.sleep(UNRELATED_EVERY_S)

    task = asyncio.create_task(keep_asking())
    try:
        yield met
    finally:
        over.set()
        await task


async def crowd(
    journey: Journey, visitor: Visitor, *, people: int, rounds: int, patience_s: float
) -> list[OutageRequest]:
    """What `people` met who asked `rounds` times each; after `patience_s` nobody asks again."""
    asked: list[OutageRequest] = []
    end = time.monotonic() + patience_s

    async def person() -> None:
        for _ in range(rounds):
            if time.monotonic() > end:
                return
            asked.append(await ask(journey, visitor))
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(people):
            group.create_task(person())
    return asked


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds until a journey was whole again, None when it was not in time: then what its last walk met."""

    back_s: float | None
    problem: str = ""
    request_id: str = ""


async def recovery(journey: Journey, visitor: Visitor, bound_s: float = RECOVERY_S) -> Recovery:
    """How soon the journey is whole again, if it is within `bound_s`, longer on a busy machine."""
    began, slowdown, walked = time.monotonic(), Slowdown(), Walk(journey.name, ())
    while (waited := time.monotonic() - began) <= stretched(bound_s, slowdown.factor()):
        walked = await walk(journey, visitor)
        if walked.ok:
            return Recovery(waited)
        await asyncio.sleep(0.05)
    return Recovery(None, walked.problem, walked.steps[-1].request_id if walked.steps else "")


def stretched(bound_s: float, slowdown: float) -> float:
    """The bound on a machine that is `slowdown` times slower: the margin is processor time, the rest is waiting."""
    return bound_s + MARGIN_S * (slowdown - 1.0)


async def calls_of(stage: Stage, dependency: str, asked: Sequence[OutageRequest]) -> int:
    """How many calls of the dependency failed for these requests, as their lines say."""
    lines = await _written(stage, [one.request_id for one in asked if one.request_id])
    return sum(1 for line in lines if _reached(line, dependency))


async def failure_of(stage: Stage, request_id: str) -> str:
    """Which tier the trace of that request names, who saw it, and what its line says; empty where it names nobody."""
    failure = Tree(await _written(stage, [request_id])).failure if request_id else None
    if failure is None:
        return ""
    return f"its trace names {failure['tier']}, seen by {failure['seenBy']}: {failure['error'] or failure['outcome']}"


async def _written(stage: Stage, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of these requests, once a service behind the edge has written its own of each."""
    folders = line_folders([stage.state])
    end = time.monotonic() + LINES_WITHIN_S
    while True:
        lines = await asyncio.to_thread(_lines, ids, folders)
        written = {line["requestId"] for line in lines if line.get("type") == "http" and line.get("service") != "edge"}
        if written >= set(ids) or time.monotonic() > end:
            return lines
        await asyncio.sleep(0.1)


async def blamed_of(stage: Stage, asked: Sequence[OutageRequest]) -> list[str]:
    """The tier that the trace of each refused request names, from the id in its page; empty for nobody."""
    folders = line_folders([stage.state])
    ids = [one.request_id for one in asked if one.status >= 500 and one.request_id]
    trees = await asyncio.to_thread(lambda: [Tree(find(request_id, folders).lines) for request_id in ids])
    return [str((tree.failure or {}).get("tier", "")) for tree in trees]


def _reached(line: Mapping[str, Any], dependency: str) -> bool:
    """True for a failed call of `dependency`; waiting for a connection of the pool (`CONNECT`) is no load for it.

    Calls that were answered, only slowly, have lines too.
    """
    called = line.get("type") in CLIENT_LINES and line.get("dependency") == dependency
    return called and line.get("outcome") != "ok" and line.get("operation") != "CONNECT"


def _lines(ids: Sequence[str], folders: list[str]) -> list[dict[str, Any]]:
    return [line for request_id in ids for line in find(request_id, folders).lines]
