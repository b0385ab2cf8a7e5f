"""The drills of first responses: a fault, the alert that tells, the one command of its runbook, and serving again.

They take a minute each and are carried out by `dodai rehearse --respond` or by their ids, never by `--all`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.observability.alert import Firing
from dodai.observability.alert.response import RESPONSES
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run import Watched, Watcher
from dodai.operations.policy import OperationsPolicy
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.ports import Stage, Subject

PREFIX = "respond-"
HEALTHY_S = 15.0
"""What the median from a fault until people are served again, detection included, is aimed at, on a machine that has
nothing else to do. It is reported and nothing fails by it: how fast a machine is says nothing about the response.
"""
NOTICED_WITHIN_S = 90.0
_CALM_S = 6.0
_TICK_S = 0.25
_ASK_EVERY_S = 0.1
_GOOD_ANSWERS = 3
KINDS = {proposal.RESTART(env="ENV"): "restart", proposal.ROLLBACK(env="ENV"): "rollback"}
"""The plans that the commands of first responses carry out: on a stage without the command line."""


def drills(policy: OperationsPolicy, observability: ObservabilityPolicy) -> tuple[Drill, ...]:
    """One for each service that serves people, directly or not: it freezes, and somebody follows the runbook."""
    public = policy.public_service
    if public is None:
        return ()
    probes = _watched_paths(policy)
    names = (public.name, *(need for need in public.needs if not policy.services[need].local_only))
    return tuple(
        Drill(
            f"{PREFIX}to-frozen-{name}",
            "observability",
            Text(
                f"`{name}` freezes: the alert's first response ends it",
                f"`{name}` が固まったとき、アラートの一次対応で復旧する",
            ),
            "an alert whose first response is a command; after it people are served, and the report says how soon",
            partial(_respond, public.name, probes, observability, partial(_freeze, name)),
            apart=True,
        )
        for name in names
    )


def _watched_paths(policy: OperationsPolicy) -> frozenset[str]:
    return frozenset({"/healthz", *(service.ready_path for service in policy.services.values() if service.ready_path)})


async def _freeze(name: str, stage: Stage) -> None:
    await stage.host.signal(name, "STOP")


@dataclass(slots=True)
class Crowd:
    """People who ask for the front page without waiting for each other. `good` counts answers in a row."""

    good: int = 0
    since_s: float = 0.0

    def answered(self, *, well: bool, began_s: float) -> None:
        """Only what was asked after `since_s` says something about now."""
        if began_s >= self.since_s:
            self.good = self.good + 1 if well else 0


@asynccontextmanager
async def crowd(stage: Stage) -> AsyncIterator[Crowd]:
    """They come until the block ends."""
    people, asking = Crowd(), set[asyncio.Task[None]]()

    async def ask() -> None:
        began, well = time.monotonic(), False
        with suppress(OSError):
            well = (await stage.request("GET", "/")).status_code < 500
        people.answered(well=well, began_s=began)

    async def come() -> None:
        while True:
            task = asyncio.create_task(ask())
            asking.add(task)
            task.add_done_callback(asking.discard)
            await asyncio.sleep(_ASK_EVERY_S)

    coming = asyncio.create_task(come())
    try:
        yield people
    finally:
        for task in (coming, *asking):
            task.cancel()
        await asyncio.gather(coming, *asking, return_exceptions=True)


async def _respond(
    public: str,
    probes: frozenset[str],
    policy: ObservabilityPolicy,
    fail: Callable[[Stage], Awaitable[None]],
    stage: Stage,
) -> DrillResult:
    watched = Watched("rehearsal", stage.env, Path(stage.state), policy, probes, public=public, fast=True)
    watcher = Watcher(watched, {})
    try:
        async with crowd(stage) as people:
            if not await _calm(watcher):
                return DrillResult("alerts fire already before the fault", ok=False)
            wall, began = time.time(), time.monotonic()
            await fail(stage)
            firing = await _noticed(watcher, wall)
            if firing is None:
                return DrillResult(f"no alert with a command within {NOTICED_WITHIN_S:g} s", ok=False)
            noticed_s = time.monotonic() - began
            command = RESPONSES[firing.name].responds
            release = await _live(stage, public)
            people.since_s, people.good = time.monotonic(), 0
            carrying_out = asyncio.create_task(stage.deploy(release, kind=KINDS[command]))
            healthy = await _until(lambda: people.good >= _GOOD_ANSWERS, NOTICED_WITHIN_S)
            healthy_s = time.monotonic() - began
            outcome = await carrying_out  # people are served before the old process is stopped and the plan ends
    finally:
        watcher.store.close()
    after = f"{healthy_s:.1f} s after the fault" if healthy else "people are not served again"
    said = (
        f"{firing.name} ({firing.about}) after {noticed_s:.1f} s, `{command}` exits with {outcome.exit_code}, {after}"
    )
    error = outcome.error()
    details = {
        "problem": error.message if error else "",
        "noticedSeconds": round(noticed_s, 2),
        "healthySeconds": round(healthy_s, 2) if healthy else None,
    }
    ok = healthy and outcome.exit_code == 0
    return DrillResult(said, ok, firing.samples[:3], {**details, "alert": firing.name})


async def _live(stage: Stage, public: str) -> str:
    service = (await stage.host.status()).service(public)
    return service.release if service else ""


async def _calm(watcher: Watcher) -> bool:
    """People come for a while, and nothing fires that a drill before this one left behind."""
    began = time.monotonic()

    def calm() -> bool:
        watcher.tick()
        quiet = not [one for one in watcher.history.open() if one.fired_s and RESPONSES[one.name].responds]
        return quiet and time.monotonic() - began > _CALM_S

    return await _until(calm, NOTICED_WITHIN_S)


async def _noticed(watcher: Watcher, since_s: float) -> Firing | None:
    """The first alert that began to fire since and whose first response is a command."""
    found: list[Firing] = []

    def look() -> bool:
        watcher.tick()
        found.extend(
            one for one in watcher.history.open() if one.fired_s >= since_s and RESPONSES[one.name].responds in KINDS
        )
        return bool(found)

    return found[0] if await _until(look, NOTICED_WITHIN_S) else None


async def _until(condition: Callable[[], bool], within_s: float) -> bool:
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_TICK_S)
    return True


def median_s(healthy_s: Iterable[float | None]) -> float | None:
    """The median from fault to healthy; None where one of them never was, or there is none."""
    known = list(healthy_s)
    found = [one for one in known if one is not None]
    return statistics.median(found) if found and len(found) == len(known) else None


def _of(subject: Subject) -> tuple[Drill, ...]:
    return drills(subject.policy, subject.observability)


DRILLS = DrillFile("observability", _of, position=60)
