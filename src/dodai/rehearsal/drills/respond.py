"""The drills of first responses: a fault, the alert that tells, the one command of its runbook, and serving again.

They take a minute each and are carried out by `dodai rehearse --respond` or by their ids, never by `--all`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable
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
from dodai.rehearsal.crowd import Crowd, crowd
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.ports import Stage, Subject
from dodai.rehearsal.service_fault import Fault, crashing, freezing, hanging, live

PREFIX = "respond-"
HEALTHY_S = 15.0
"""What the median from a fault until people are served again, detection included, is aimed at, on a machine that has
nothing else to do. It is reported and nothing fails by it: how fast a machine is says nothing about the response.
"""
NOTICED_WITHIN_S = 90.0
_CALM_S = 6.0
_TICK_S = 0.25
_GOOD_ANSWERS = 3
KINDS = {proposal.RESTART(env="ENV"): "restart", proposal.ROLLBACK(env="ENV"): "rollback"}
"""The plans that the commands of first responses carry out: on a stage without the command line."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """A fault of `service`, and the alert whose first response has to end it."""

    id: str
    title: Text
    service: str
    alert: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class _Watch:
    """What the drills look through: the fast profile, over what the manifest says."""

    public: str
    probes: frozenset[str]
    policy: ObservabilityPolicy

    def over(self, stage: Stage) -> Watcher:
        state = Path(stage.state)
        return Watcher(
            Watched("rehearsal", stage.env, state, self.policy, self.probes, public=self.public, fast=True), {}
        )


def responses(policy: OperationsPolicy) -> tuple[Exercise, ...]:
    """One for each alert with a command, in a service that serves people: the public one, and each that it needs."""
    public = policy.public_service
    if public is None:
        return ()
    needs = [need for need in public.needs if not policy.services[need].local_only]
    found = [_frozen(public.name, "process-silent"), *(_frozen(need, "dependency-down") for need in needs)]
    if public.app:
        title = Text(
            f"The event loop of `{public.name}` hangs: the alert's first response ends it",
            f"`{public.name}` のイベントループが止まったとき、アラートの一次対応で復旧する",
        )
        hung = partial(hanging, public.name, public.cwd, public.app)
        found.append(Exercise(f"{PREFIX}to-hung-{public.name}", title, public.name, "process-hung", hung))
    title = Text(
        f"A release of `{public.name}` crashes again and again: the alert's first response ends it",
        f"`{public.name}` のリリースが繰り返し落ちるとき、アラートの一次対応で復旧する",
    )
    crash = partial(crashing, public.name)
    return (*found, Exercise(f"{PREFIX}to-crashing-{public.name}", title, public.name, "crash-loop", crash))


def _frozen(name: str, alert: str) -> Exercise:
    title = Text(
        f"`{name}` freezes: the alert's first response ends it",
        f"`{name}` が固まったとき、アラートの一次対応で復旧する",
    )
    return Exercise(f"{PREFIX}to-frozen-{name}", title, name, alert, partial(freezing, name))


def drills(policy: OperationsPolicy, observability: ObservabilityPolicy) -> tuple[Drill, ...]:
    """Each response, as somebody follows it."""
    public = policy.public_service
    watch = _Watch(public.name if public else "", _watched_paths(policy), observability)
    return tuple(
        Drill(
            one.id,
            "observability",
            one.title,
            f"{one.alert}, and after `{RESPONSES[one.alert].responds}` people are served; the report says how soon",
            partial(_respond, one, watch),
            apart=True,
        )
        for one in responses(policy)
    )


def _watched_paths(policy: OperationsPolicy) -> frozenset[str]:
    return frozenset({"/healthz", *(service.ready_path for service in policy.services.values() if service.ready_path)})


async def _respond(response: Exercise, watch: _Watch, stage: Stage) -> DrillResult:
    async with crowd(stage) as people, response.fault(stage, people) as ready:
        if ready.problem:
            return DrillResult(ready.problem, ok=False)
        watcher = watch.over(stage)
        try:
            if not await _calm(watcher):
                return DrillResult("alerts fire already before the fault", ok=False)
            wall, began = time.time(), time.monotonic()
            await ready.begin()
            firing = await _noticed(watcher, response.alert, wall)
        finally:
            watcher.store.close()
        if firing is None:
            return DrillResult(f"`{response.alert}` did not fire within {NOTICED_WITHIN_S:g} s", ok=False)
        noticed_s = time.monotonic() - began
        command = RESPONSES[firing.name].responds
        people.ask_anew()
        carrying_out = asyncio.create_task(stage.deploy(ready.release, kind=KINDS[command]))
        # people are served before the old process is stopped and the plan ends
        healthy = await _served(stage, people, response.service, ready.release)
        healthy_s = time.monotonic() - began
        outcome = await carrying_out
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


async def _served(stage: Stage, people: Crowd, service: str, release: str) -> bool:
    """Whether `release` serves, and after that people, several in a row."""
    end = time.monotonic() + NOTICED_WITHIN_S
    while await live(stage, service) != release:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_TICK_S)
        people.ask_anew()
    return await _until(lambda: people.good >= _GOOD_ANSWERS, NOTICED_WITHIN_S)


async def _calm(watcher: Watcher) -> bool:
    """People come for a while, and nothing fires that a drill before this one left behind."""
    began = time.monotonic()

    def calm() -> bool:
        watcher.tick()
        quiet = not [one for one in watcher.history.open() if one.fired_s and RESPONSES[one.name].responds]
        return quiet and time.monotonic() - began > _CALM_S

    return await _until(calm, NOTICED_WITHIN_S)


async def _noticed(watcher: Watcher, alert: str, since_s: float) -> Firing | None:
    """The alert, once it fires."""
    found: list[Firing] = []

    def look() -> bool:
        watcher.tick()
        found.extend(one for one in watcher.history.open() if one.name == alert and one.fired_s >= since_s)
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
