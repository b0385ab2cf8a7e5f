"""The drill of the plan's promise that a release loses nothing: load all the while, every row accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dodai.core.page import Text
from dodai.engine.drill import Drill, DrillResult, Stage
from dodai.operations.journey import walk
from dodai.operations.policy import Journey, OperationsPolicy
from dodai.operations.run.load import Met, Visit, for_load, load

NOTE = "written-by-a-rehearsal.txt"
QUICK, SLOW, UPLOAD_S, PAUSE_S = 4, 2, 2.0, 0.05
POST_SHARE = 0.3
CountRows = Callable[[], Awaitable[Mapping[str, int]]]
"""The rows of every table of the application by its name."""


def drills(policy: OperationsPolicy, visit: Visit, count_rows: CountRows | None) -> tuple[Drill, ...]:
    """The drill, for a public service with journeys; without `count_rows` only the answers are judged."""
    journeys = for_load(policy.journeys)
    if policy.public_service is None or not journeys:
        return ()
    return (
        Drill(
            "swap-under-load",
            "operations",
            Text(
                "Releases change both ways under load, nothing is lost", "負荷の中でリリースを往復させても何も失わない"
            ),
            _expected(journeys, count_rows),
            partial(_swap, _Swap(journeys, visit, count_rows)),
        ),
    )


def _expected(journeys: Sequence[Journey], count_rows: CountRows | None) -> str:
    words = "0 failed requests while two releases change places and back"
    if any(step.method != "GET" for journey in journeys for step in journey.steps):
        words += f", at least {POST_SHARE:.0%} of them POSTs, some taking {UPLOAD_S:g} s"
    return f"{words}; rows inserted = writes answered" if count_rows else words


@dataclass(frozen=True, slots=True)
class _Swap:
    journeys: tuple[Journey, ...]
    visit: Visit
    count_rows: CountRows | None

    async def rows(self) -> Counter[str]:
        return Counter(await self.count_rows() if self.count_rows else {})

    async def one_walk_each(self, url: str) -> dict[str, Counter[str]]:
        """The rows that one walk of each journey adds, table by table, while nobody else does anything."""
        visitor = self.visit(url)
        added: dict[str, Counter[str]] = {}
        try:
            for journey in self.journeys:
                before = await self.rows()
                walked = await walk(journey, visitor)
                if not walked.ok:
                    raise ConnectionError(walked.problem)
                added[journey.name] = _difference(await self.rows(), before)
        finally:
            await visitor.close()
        return added


async def _swap(swap: _Swap, stage: Stage) -> DrillResult:
    """Journeys and a deploy are each measured alone first: what they add under load must be a multiple of that."""
    first = await _live(stage)
    second = await stage.derive(first, {NOTE: b"The same release, under another name.\n"})
    per_walk = await swap.one_walk_each(stage.url)
    quiet = await swap.rows()
    await _deploy(stage, second)
    per_deploy = _difference(await swap.rows(), quiet)
    before = await swap.rows()
    async with load(
        stage.url, swap.visit, swap.journeys, quick=QUICK, slow=SLOW, upload_s=UPLOAD_S, pause_s=PAUSE_S
    ) as met:
        changes = [await _deploy(stage, release) for release in (first, second, first)]
    inserted = _difference(await swap.rows(), before)
    owed = Counter({table: rows * len(changes) for table, rows in per_deploy.items()})
    for journey, walks in met.walks.items():
        owed += Counter({table: rows * walks for table, rows in per_walk[journey].items()})
    return _judge(met, inserted, owed, await _live(stage) == first, changes)


def _judge(met: Met, inserted: Counter[str], owed: Counter[str], back: bool, changes: list[float]) -> DrillResult:
    ok = met.failed == 0 and met.requests > 0 and inserted == owed and back
    ok = ok and (met.posts == 0 or met.post_share >= POST_SHARE)
    rows = sum(inserted.values())
    observed = (
        f"{met.failed} of {met.requests} requests failed in {len(changes)} releases, "
        f"{met.post_share:.0%} POSTs, {met.slow} of {UPLOAD_S:g} s, {rows} rows of {sum(owed.values())} owed"
    )
    details: dict[str, Any] = {
        "requests": met.requests,
        "failed": met.failed,
        "posts": met.posts,
        "slowRequests": met.slow,
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


def _difference(after: Counter[str], before: Counter[str]) -> Counter[str]:
    """What changed, without the tables where nothing did; fewer rows count negative."""
    return Counter(
        {table: after[table] - before[table] for table in {*after, *before} if after[table] != before[table]}
    )
