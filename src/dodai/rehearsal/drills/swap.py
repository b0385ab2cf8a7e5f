"""The drill of the plan's promise that a release loses nothing: load all the while, every row accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.operations.policy import OperationsPolicy
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.load import Met, Person, difference, load, people, repeatable
from dodai.rehearsal.ports import Stage, Subject, Visit
from dodai.rehearsal.service_fault import NOTE

QUICK, SLOW, UPLOAD_S, PAUSE_S = 4, 2, 2.0, 0.05
POST_SHARE = 0.3
CountRows = Callable[[], Awaitable[Mapping[str, int]]]
"""The rows of every table of the application by its name."""


def drills(policy: OperationsPolicy, visit: Visit, count_rows: CountRows | None) -> tuple[Drill, ...]:
    """The drill, for a public service with journeys; without `count_rows` only the answers are judged."""
    persons = people(policy.journeys)
    if policy.public_service is None or not persons:
        return ()
    return (
        Drill(
            "swap-under-load",
            "operations",
            Text(
                "Releases change both ways under load, nothing is lost", "負荷の中でリリースを往復させても何も失わない"
            ),
            _expected(persons, count_rows),
            partial(_swap, _Swap(persons, visit, count_rows)),
        ),
    )


def _expected(persons: Sequence[Person], count_rows: CountRows | None) -> str:
    words = "0 failed requests while two releases change places and back"
    if any(step.method != "GET" for person in persons for journey in person.journeys for step in journey.steps):
        words += f", at least {POST_SHARE:.0%} of them POSTs, some taking {UPLOAD_S:g} s"
    return f"{words}; rows inserted = writes answered" if count_rows else words


@dataclass(frozen=True, slots=True)
class _Swap:
    persons: tuple[Person, ...]
    visit: Visit
    count_rows: CountRows | None

    async def rows(self) -> Counter[str]:
        return Counter(await self.count_rows() if self.count_rows else {})


async def _swap(swap: _Swap, stage: Stage) -> DrillResult:
    """Journeys and a deploy are each measured alone first: what they add under load must be a multiple of that."""
    first = await _live(stage)
    second = await stage.derive(first, {NOTE: b"The same release, under another name.\n"})
    persons, per_walk = await repeatable(stage.url, swap.visit, swap.persons, swap.rows)
    quiet = await swap.rows()
    await _deploy(stage, second)
    per_deploy = difference(await swap.rows(), quiet)
    before = await swap.rows()
    async with load(stage.url, swap.visit, persons, quick=QUICK, slow=SLOW, upload_s=UPLOAD_S, pause_s=PAUSE_S) as met:
        changes = [await _deploy(stage, release) for release in (first, second, first)]
    inserted = difference(await swap.rows(), before)
    owed = Counter({table: rows * len(changes) for table, rows in per_deploy.items()})
    for journey, walks in met.walks.items():
        owed += Counter({table: rows * walks for table, rows in per_walk[journey].items()})
    users = any(person.sign_in for person in persons)
    return _judge(met, users, inserted, owed, await _live(stage) == first, changes)


def _judge(
    met: Met, users: bool, inserted: Counter[str], owed: Counter[str], back: bool, changes: list[float]
) -> DrillResult:
    ok = met.failed == 0 and met.requests > 0 and inserted == owed and back
    ok = ok and (met.posts == 0 or met.post_share >= POST_SHARE)
    ok = ok and (met.signed_in > 0 or not users)
    rows = sum(inserted.values())
    observed = (
        f"{met.failed} of {met.requests} requests failed in {len(changes)} releases, "
        f"{met.post_share:.0%} POSTs, {met.slow} of {UPLOAD_S:g} s, {met.signed_in} by somebody signed in, "
        f"{rows} rows of {sum(owed.values())} owed"
    )
    details: dict[str, Any] = {
        "requests": met.requests,
        "failed": met.failed,
        "posts": met.posts,
        "slowRequests": met.slow,
        "signedInRequests": met.signed_in,
        "writesAnswered": sum(met.written.values()),
        "p50Ms": met.milliseconds(0.5),
        "p99Ms": met.milliseconds(0.99),
        "rowsInserted": dict(inserted),
        "rowsOwed": dict(owed),
        "deploySeconds": [round(seconds, 1) for seconds in changes],
        "problems": met.problems[:5],
    }
    return DrillResult(observed, ok, tuple(met.request_ids[-3:]), details)


async def _live(stage: Stage) -> str:
    """The release that serves."""
    services = (await stage.host.status()).services
    return next((service.release for service in services if service.release), "")


async def _deploy(stage: Stage, release: str) -> float:
    """The seconds it took; raises when the release did not get into service."""
    outcome = await stage.deploy(release)
    error = outcome.error()
    if error is not None:
        raise error
    return outcome.seconds


def _of(subject: Subject) -> tuple[Drill, ...]:
    return drills(subject.policy, subject.visit, subject.database.rows if subject.database else None)


DRILLS = DrillFile("operations", _of, position=20)
