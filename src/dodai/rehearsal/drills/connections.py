"""The drills of connection failure: each dependency of the public service goes away in each way it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.operations.policy import Dependency, OperationsPolicy
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.machine import Slowdown
from dodai.rehearsal.outage import (
    AMPLIFICATION,
    MARGIN_S,
    RECOVERY_S,
    Affected,
    OutageRequest,
    Recovery,
    Unrelated,
    blamed_of,
    calls_of,
    crowd,
    failure_of,
    look,
    recovery,
    stretched,
    unrelated_paths,
    unrelated_visitors,
)
from dodai.rehearsal.ports import Stage, StageDatabase, Visit
from dodai.runtime.limits import SAVED_RETRIES

DATABASE = "database"
"""What the Host calls the database's process and its forwarder, whatever the manifest calls the dependency."""
PEOPLE, ROUNDS = 6, 12
"""Enough requests for a share of retries: until the breaker opens, the handful that had been saved is spent at once."""
BREAKER_S = 1.0
"""People go on asking for so long after the first deadline: then calls should be refused at once."""
RESTART_S = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """A dependency, what happens to it, and whom that may concern."""

    policy: OperationsPolicy
    dependency: Dependency
    visit: Visit
    away: Callable[[Stage], AbstractAsyncContextManager[None]]
    people: int = PEOPLE
    rounds: int = ROUNDS
    must_fail: bool = True

    @property
    def bound_s(self) -> float:
        return self.deadline_s + MARGIN_S

    @property
    def deadline_s(self) -> float:
        """How long a page may wait: the longest deadline on the way there; a call that is tried again has all of it."""
        public = self.policy.public_service
        on_the_way = _on_the_way(self.policy, public.name, self.dependency) if public is not None else ()
        return max([self.dependency.deadline_s, *(one.deadline_s for one in on_the_way)])

    @property
    def expected(self) -> str:
        served = "" if self.must_fail else "the page as ever, or "
        calls = f"at most {AMPLIFICATION:g} calls per request beside {SAVED_RETRIES:g} saved retries"
        return (
            f"{served}503 or 504 with the request id in the page within {self.bound_s:g} s, "
            f"what does not need it serves on, {calls}, serving again within {RECOVERY_S:g} s, "
            f"traces of refused requests name {self.dependency.name}"
        )


@dataclass(frozen=True, slots=True)
class _Mode:
    """A way to fail that a proxy between caller and dependency can bring about."""

    id: str
    fault: str
    en: str
    ja: str


MODES = (
    _Mode("refused", "refuse", "refuses connections", "が接続を拒否する"),
    _Mode("blackholed", "blackhole", "swallows every packet", "へのパケットがすべて失われる"),
    _Mode("half-open", "half_open", "accepts connections and never answers", "が接続だけ受けて応答しない"),
    _Mode("slow", "latency", "answers later than its deadline", "の応答が期限より遅い"),
)


def drills(policy: OperationsPolicy, visit: Visit, database: StageDatabase | None) -> tuple[Drill, ...]:
    """The drills for every `[dependency.NAME]` that the public service reaches, itself or through others."""
    if policy.public_service is None or not policy.journeys:
        return ()
    found: list[Drill] = []
    for dependency in _reached(policy, with_database=database is not None):
        found += [_drill(mode, Case(policy, dependency, visit, _standing(mode, dependency))) for mode in MODES]
        if dependency.kind == "postgres" and database is not None:
            found += _database_drills(policy, dependency, visit, database)
    return tuple(found)


def _database_drills(
    policy: OperationsPolicy, dependency: Dependency, visit: Visit, database: StageDatabase
) -> list[Drill]:
    held = partial(_locked, database)
    crowded = Case(policy, dependency, visit, held, people=2 * dependency.pool_size, rounds=1)
    exhausted = _Mode("pool-exhausted", "", "has no free connection left", "の接続が使い切られている")
    ended = partial(_restarted, database)
    again = _Mode("restarted", "", "is restarted", "が再起動される")
    return [
        _drill(exhausted, crowded),
        _drill(again, Case(policy, dependency, visit, ended, must_fail=False)),
    ]


def _drill(mode: _Mode, case: Case) -> Drill:
    name = case.dependency.name
    title = Text(f"{name} {mode.en}", f"{name} {mode.ja}")
    return Drill(f"{name}-{mode.id}", "operations", title, case.expected, partial(_outage, case))


def _reached(policy: OperationsPolicy, *, with_database: bool) -> tuple[Dependency, ...]:
    """The dependencies behind the public service, nearest first."""
    assert policy.public_service is not None  # noqa: S101 - asked before
    names, waiting = [], [policy.public_service.name]
    while waiting:
        service = policy.services[waiting.pop(0)]
        names.append(service.name)
        waiting += [need for need in service.needs if need not in names + waiting]
    found = [policy.dependencies[name] for name in names[1:] if name in policy.dependencies]
    if with_database and set(policy.database.used_by) & set(names):
        found += [one for one in policy.dependencies.values() if one.kind == "postgres"]
    return tuple(found)


def _on_the_way(
    policy: OperationsPolicy, service: str, dependency: Dependency, met: tuple[str, ...] = ()
) -> tuple[Dependency, ...]:
    """The services called between this one and the dependency, as far as their calls have a deadline of their own.

    Services that need each other are a finding (DOD304), not a reason to go round for ever: `met` are not asked again.
    """
    found: list[Dependency] = []
    for need in (one for one in policy.services[service].needs if one not in met):
        behind = _on_the_way(policy, need, dependency, (*met, service))
        asks_itself = dependency.name in policy.services[need].needs
        if behind or asks_itself or (dependency.kind == "postgres" and need in policy.database.used_by):
            found += [policy.dependencies[need]] if need in policy.dependencies else []
            found += behind
    return tuple(found)


def _standing(mode: _Mode, dependency: Dependency) -> Callable[[Stage], AbstractAsyncContextManager[None]]:
    settings = {"latency_s": dependency.deadline_s + 1.0} if mode.fault == "latency" else {}
    return lambda stage: stage.fault(_place(dependency), mode.fault, **settings)


def _place(dependency: Dependency) -> str:
    """Where a fault in front of it stands."""
    return DATABASE if dependency.kind == "postgres" else dependency.name


@asynccontextmanager
async def _locked(database: StageDatabase, _: Stage) -> AsyncIterator[None]:
    """Nobody gets at a row, so that every connection of the pool is soon taken by somebody who waits."""
    async with database.locked():
        yield


@asynccontextmanager
async def _restarted(database: StageDatabase, stage: Stage) -> AsyncIterator[None]:
    """A fast shutdown, which ends every session; the Host starts it again."""
    await stage.host.signal(DATABASE, "INT")
    yield
    end = time.monotonic() + RESTART_S
    while not await database.answers():
        if time.monotonic() > end:
            raise TimeoutError(f"the database did not come back within {RESTART_S:g} s")
        await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class ConnectionsSeen:
    case: Case
    asked: list[OutageRequest]
    unrelated: Unrelated
    calls: int
    back: Recovery
    restarted: bool
    blamed: list[str]
    slowdown: float = 1.0

    @property
    def bound_s(self) -> float:
        """How late an answer may be on this machine."""
        return stretched(self.case.bound_s, self.slowdown)

    @property
    def calls_allowed(self) -> float:
        return AMPLIFICATION * len(self.asked) + SAVED_RETRIES

    def result(self) -> DrillResult:
        wrong = [one for one in self.asked if one.problem and not one.refused_well]
        served = [one for one in self.asked if not one.problem]
        slowest = max(one.seconds for one in self.asked)
        failing = not served or not self.case.must_fail
        ok = not wrong and failing and slowest <= self.bound_s and self.calls <= self.calls_allowed
        ok = ok and self.back.back_s is not None and self.unrelated.asked > 0 and not self.unrelated.problems
        ok = ok and self._traced
        statuses = {
            status: sum(one.status == status for one in self.asked) for status in sorted({a.status for a in self.asked})
        }
        back_s = self.back.back_s
        late = f"not back within {RECOVERY_S:g} s ({self.back.problem})"
        back = late if back_s is None else f"back after {back_s:.1f} s"
        answers = ", ".join(f"{n} × {status}" for status, n in statuses.items())
        named = ", ".join(sorted(set(self.blamed))) or "nobody"
        observed = (
            f"{answers}, slowest {slowest:.2f} of {self.bound_s:.2g} s, "
            f"{len(self.unrelated.problems)} of {self.unrelated.asked} others disturbed, "
            f"{self.calls} calls of at most {self.calls_allowed:.0f}, {back}, the trace names {named}"
        )
        details: dict[str, Any] = {
            "boundSeconds": round(self.bound_s, 2),
            "machineSlowdown": round(self.slowdown, 1),
            "wrong": [f"{one.status} after {one.seconds:.2f} s: {one.problem}" for one in wrong[:5]],
            "servedMeanwhile": len(served),
            "failedCalls": self.calls,
            "blamed": {tier: self.blamed.count(tier) for tier in sorted(set(self.blamed))},
            "slowestUnrelatedSeconds": round(self.unrelated.slowest_s, 3),
            "unrelatedProblems": self.unrelated.problems[:5],
            "publicServiceStartedAnew": self.restarted,
        }
        ids = tuple(one.request_id for one in (wrong or self.asked)[:3])
        return DrillResult(observed, ok, ids, details)

    @property
    def _traced(self) -> bool:
        """True when no trace of a refused request is silent or names somebody uninvolved, and some name the dependency.

        One refused by the breaker of a tier in between names the service behind that breaker: it never got further.
        """
        public = self.case.policy.public_service
        between = set(public.needs) if public is not None else set()
        name = self.case.dependency.name
        return not self.blamed or (name in self.blamed and set(self.blamed) <= {name, *between})


async def _outage(case: Case, stage: Stage) -> DrillResult:
    visitor = case.visit(stage.url)
    try:
        affected, restarted = await _find(case, stage)
        journey = affected.journey
        if journey is None:
            said = f"no journey needs {case.dependency.name}: nothing could be seen"
            return DrillResult(said, ok=False)
        if not restarted and (before := await recovery(journey, visitor, 2 * RECOVERY_S)).back_s is None:
            return await _never_whole(stage, before)
        slowdown = Slowdown()
        async with unrelated_visitors(stage, visitor, affected) as unrelated, case.away(stage):
            asked = await crowd(
                journey,
                visitor,
                people=case.people,
                rounds=case.rounds,
                patience_s=case.deadline_s + BREAKER_S,
            )
        slower = slowdown.factor()
        back = await recovery(journey, visitor)
        calls = await calls_of(stage, case.dependency.name, asked)
        blamed = await blamed_of(stage, asked)
        return ConnectionsSeen(case, asked, unrelated, calls, back, restarted, blamed, slower).result()
    finally:
        await visitor.close()


async def _never_whole(stage: Stage, before: Recovery) -> DrillResult:
    """What kept failing although nothing stood in the way any more."""
    trace = await failure_of(stage, before.request_id)
    said = f"the stage did not recover within {2 * RECOVERY_S:g} s before the drill began: {before.problem}"
    ids = (before.request_id,) if before.request_id else ()
    return DrillResult(f"{said}; {trace}" if trace else said, ok=False, request_ids=ids)


async def _find(case: Case, stage: Stage) -> tuple[Affected, bool]:
    """Whom the dependency concerns, found by refusing it; the second value: the public service was started anew.

    A process may know by heart what the dependency once said (an identity provider's addresses, say). Then it is killed
    and has to do without.
    """
    journeys = case.policy.journeys
    paths = await unrelated_paths(stage, case.policy.edge.static)
    async with stage.fault(_place(case.dependency), "refuse"):
        affected = await look(stage, case.visit, journeys, paths)
        if affected.journey is not None:
            return affected, False
        await _start_anew(case, stage)
        return await look(stage, case.visit, journeys, paths), True


async def _start_anew(case: Case, stage: Stage) -> None:
    public = case.policy.public_service
    assert public is not None  # noqa: S101 - there are no drills without one
    before = await _restarts(stage, public.name)
    await stage.host.signal(public.name, "KILL")
    end = time.monotonic() + RESTART_S
    while await _restarts(stage, public.name) == before or (await stage.request("GET", "/")).status_code >= 500:
        if time.monotonic() > end:
            raise TimeoutError(f"{public.name} did not come back within {RESTART_S:g} s")
        await asyncio.sleep(0.1)


async def _restarts(stage: Stage, service: str) -> int:
    status = (await stage.host.status()).service(service)
    return sum(instance.restarts for instance in status.instances) if status else 0


DRILLS = DrillFile("operations", lambda subject: drills(subject.policy, subject.visit, subject.database), position=30)
