"""The drill of an outage in production: the database goes away, an alert fires from the platform's own log, and the
trace of one failed request, read from there, names what is at fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.observability.alert import Firing
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.ports import PlatformLines
from dodai.observability.run import Watched, Watcher
from dodai.observability.run.collect import Collection
from dodai.observability.trace.find import find, line_folders
from dodai.observability.trace.tree import Tree
from dodai.operations.policy import Service
from dodai.rehearsal.crowd import Crowd, crowd
from dodai.rehearsal.drill import Drill, DrillResult
from dodai.rehearsal.ports import Stage, Subject

WITHIN_S, TICK_S = 60.0, 0.25
GOOD_ANSWERS = 5


class WatchedStage(Stage, Protocol):
    """A stage whose platform keeps the lines of services, and whose database can go away."""

    @property
    def lines(self) -> PlatformLines | None: ...

    @property
    def has_rays(self) -> bool:
        """Whether the edge gives each request a number of its own that services note."""
        ...

    def database_away(self) -> AbstractAsyncContextManager[None]:
        """The vendor's server of the database runs no more for the length of the block."""
        ...


@dataclass(frozen=True, slots=True)
class _Outage:
    public: Service
    using: str
    probes: frozenset[str]
    policy: ObservabilityPolicy

    def watched(self, stage: Stage) -> Watched:
        return Watched(
            "rehearsal",
            stage.env,
            Path(stage.state),
            self.policy,
            self.probes,
            public=self.public.name,
            fast=True,
        )


def alert_drill(subject: Subject, public: Service) -> Drill | None:
    """None where no service that the public one needs uses the database."""
    needed = [public.name, *public.needs]
    using = next((name for name in needed if name in subject.policy.database.used_by), "")
    if not (using and subject.database):
        return None
    ready = {service.ready_path for service in subject.policy.services.values() if service.ready_path}
    outage = _Outage(public, using, frozenset({"/healthz", *ready}), subject.observability)
    return Drill(
        "production-fault-is-traced",
        "observability",
        Text(
            "The database goes away: an alert fires, and a trace leads to it",
            "データベースが停止すると、アラートが発火し、トレースで原因をたどれる",
        ),
        f"an alert from the platform's log; the trace of its example has edge, {public.name} and {using} and blames"
        " the database; people are served again when it is back",
        partial(_traced, outage),
    )


async def _traced(outage: _Outage, stage: Any) -> DrillResult:
    if stage.lines is None:
        return DrillResult("the platform keeps no lines", ok=False)
    watched = outage.watched(stage)
    collection, watcher = Collection(watched, stage.lines), Watcher(watched, {})
    try:
        async with crowd(stage) as people:
            # what earlier drills left is read, and does not count
            quiet = await _until(partial(_calm, collection, watcher, people))
            began, wall_s = time.monotonic(), time.time()
            async with stage.database_away():
                firing = await _first(collection, watcher, wall_s)
                noticed_s = time.monotonic() - began
            people.ask_anew()
            back = await _until(partial(_served, people))
            back_s = time.monotonic() - began - noticed_s
        tree, found = await _tree(stage, collection, firing.samples if firing else (), outage)
    finally:
        collection.close()
        watcher.store.close()
    if firing is None:
        said = f"no alert with an example within {WITHIN_S:g} s"
        said += "" if quiet else "; alerts fired already before the fault"
        return DrillResult(said, ok=False, details={"problem": _problem(collection)})
    seen = dict.fromkeys(node.service for node in tree.nodes)
    tiers = sorted(seen, key=lambda one: one != outage.public.name)
    ray = next((str(node.line["cfRay"]) for node in tree.nodes if node.line.get("cfRay")), "")
    blamed = (tree.failure or {}).get("tier", "nobody")
    said = f"{firing.name} ({firing.about}) after {noticed_s:.1f} s; trace of {found or 'no example'}: "
    said += f"{f'edge {ray}, ' if ray else ''}{', '.join(tiers) or 'no line'}, blames {blamed}; "
    said += f"served again {back_s:.1f} s after the database" if back else "not served again"
    ok = back and {outage.public.name, outage.using} <= set(tiers) and blamed == "database"
    ok = ok and bool(ray or not stage.has_rays)
    return DrillResult(said, ok, (found,) if found else (), {"alert": firing.name, "quietBefore": quiet})


def _problem(collection: Collection) -> str:
    return collection.problem.en if collection.problem else ""


async def _calm(collection: Collection, watcher: Watcher, people: Crowd) -> bool:
    return await _look(collection, watcher, 0.0) is None and await _served(people)


async def _served(people: Crowd) -> bool:
    return people.good >= GOOD_ANSWERS


async def _look(collection: Collection, watcher: Watcher, since_s: float) -> Firing | None:
    """An alert that began to fire after `since_s` and has an example, after one more look."""
    await asyncio.to_thread(collection.once)
    watcher.tick()
    fired = (one for one in watcher.history.open() if one.fired_s > since_s and one.samples)
    return next(fired, None)


async def _first(collection: Collection, watcher: Watcher, since_s: float) -> Firing | None:
    found: list[Firing] = []

    async def look() -> bool:
        found.extend(filter(None, [await _look(collection, watcher, since_s)]))
        return bool(found)

    return found[0] if await _until(look) else None


async def _tree(stage: Any, collection: Collection, samples: tuple[str, ...], outage: _Outage) -> tuple[Tree, str]:
    """The trace of the example that tells most, as `dodai trace ID` reads it from what was collected."""
    best, chosen, end = Tree([]), "", time.monotonic() + WITHIN_S
    while samples and time.monotonic() < end:
        await asyncio.to_thread(collection.once)
        for sample in samples:
            tree = Tree((await asyncio.to_thread(find, sample, line_folders([stage.state]))).lines)
            if len(tree.nodes) > len(best.nodes):
                best, chosen = tree, sample
        if {outage.public.name, outage.using} <= {node.service for node in best.nodes}:
            break
        await asyncio.sleep(TICK_S)
    return best, chosen


async def _until(condition: Callable[[], Awaitable[bool]]) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + WITHIN_S
    while not await condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(TICK_S)
    return True
