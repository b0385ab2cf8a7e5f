"""People who keep walking the journeys of the manifest while something happens, and what they met."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field, replace
from itertools import cycle, islice
from urllib.parse import urlencode

from dodai.core.dataclass import dataclass
from dodai.operations.journey import Answer, Walk, walk
from dodai.operations.policy import Journey
from dodai.rehearsal.ports import Visit, Visitor

PIECES = 8


@dataclass(frozen=True, slots=True)
class SlowHand:
    """A visitor whose forms take `upload_s` to arrive, as over a bad line."""

    visitor: Visitor
    upload_s: float

    async def request(self, method: str, path: str, *, form: Mapping[str, str] | None = None) -> Answer:
        if form is None:
            return await self.visitor.request(method, path)
        body = urlencode(form).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        began = time.perf_counter()
        response = await self.visitor.send(method, path, headers=headers, content=_slowly(body, self.upload_s))
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, found, response.text, time.perf_counter() - began)


async def _slowly(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    step = max(1, math.ceil(len(body) / PIECES))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / PIECES)
        yield body[start : start + step]


@dataclass(slots=True)
class Met:
    """What the visitors of a load met. `walks` counts whole walks by journey, `seconds` are of quick answers."""

    requests: int = 0
    posts: int = 0
    failed: int = 0
    slow: int = 0
    signed_in: int = 0
    walks: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)

    def add(self, journey: Journey, walked: Walk, *, slow: bool) -> None:
        """Count a walk, whole or broken off."""
        self.walks[journey.name] += walked.ok
        for step, result in zip(journey.steps, walked.steps, strict=False):
            self.requests += 1
            self.signed_in += journey.user != "anonymous"
            self.posts += step.method != "GET"
            self.failed += bool(result.problem)
            self.written[journey.name] += step.effect == "write" and not result.problem
            late = slow and step.method != "GET"
            self.slow += late
            if not late:
                self.seconds.append(result.seconds)
            self.request_ids.append(result.request_id)
        if not walked.ok:
            self.problems.append(walked.problem)

    @property
    def post_share(self) -> float:
        """How much of all requests changed something or tried to."""
        return self.posts / self.requests if self.requests else 0.0

    def milliseconds(self, share: float) -> float:
        """The quantile of quick answers; 0 without any."""
        ordered = sorted(self.seconds)
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 1) if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who takes part in a load: walks `journeys` over and over, after `sign_in` once if that is needed."""

    journeys: tuple[Journey, ...]
    sign_in: Journey | None = None

    async def enter(self, visitor: Visitor) -> None:
        """Sign `visitor` in; raises `ConnectionError` when that does not go as the manifest says."""
        walked = await walk(self.sign_in, visitor) if self.sign_in else None
        if walked is not None and not walked.ok:
            raise ConnectionError(walked.problem)


def people(journeys: Sequence[Journey]) -> tuple[Person, ...]:
    """A stranger, and somebody for each user of the journeys; all walk up to the last POST, for posts are what counts.

    Strangers also only read when no journey of theirs posts. A journey of a user is cut where the identity provider has
    sent them back: provider and sign-in are not part of the load, because a provider that is started anew forgets whom
    it has just sent away.
    """
    strangers = [journey for journey in journeys if journey.user == "anonymous"]
    posting = tuple(cut for journey in strangers if (cut := _up_to_last_post(journey)) is not None)
    found = [Person(posting or tuple(strangers))] if strangers else []
    for user in dict.fromkeys(journey.user for journey in journeys if journey.user != "anonymous"):
        parts = [part for journey in journeys if journey.user == user and (part := _signed_in(journey)) is not None]
        if parts:
            found.append(Person(tuple(after for _, after in parts), parts[0][0]))
    return tuple(found)


def _signed_in(journey: Journey) -> tuple[Journey, Journey] | None:
    """(signing in, what is posted after that); None without one of the two."""
    back = max((n for n, step in enumerate(journey.steps) if step.path.startswith("{")), default=-1) + 1
    rest = _up_to_last_post(replace(journey, steps=journey.steps[back:]))
    return (replace(journey, steps=journey.steps[:back]), rest) if back and rest is not None else None


def _up_to_last_post(journey: Journey) -> Journey | None:
    posts = [n for n, step in enumerate(journey.steps) if step.method != "GET"]
    return replace(journey, steps=journey.steps[: posts[-1] + 1]) if posts else None


async def second_walk(
    url: str, visit: Visit, person: Person, journey: Journey, rows: Callable[[], Awaitable[Counter[str]]]
) -> Counter[str] | None:
    """The rows that a second walk adds; None for a journey of a user that cannot be walked twice (it signs out).

    Raises `ConnectionError` for one that fails.
    """
    visitor = visit(url)
    try:
        await person.enter(visitor)
        first = await walk(journey, visitor)
        before = await rows()
        second = await walk(journey, visitor)
        if not first.ok or not (second.ok or person.sign_in):
            raise ConnectionError(first.problem or second.problem)
        return difference(await rows(), before) if second.ok else None
    finally:
        await visitor.close()


async def no_rows() -> Counter[str]:
    """For those who do not count."""
    return Counter()


async def repeatable(
    url: str, visit: Visit, persons: Sequence[Person], rows: Callable[[], Awaitable[Counter[str]]] = no_rows
) -> tuple[tuple[Person, ...], dict[str, Counter[str]]]:
    """The persons with what they can walk over and over, and the rows that one walk of each journey adds.

    Measured while nobody else does anything, in the second walk: the first may write what is there from then on. A
    journey of a user that cannot be walked a second time (it signs out) is left out.
    """
    added: dict[str, Counter[str]] = {}
    found = []
    for person in persons:
        walks = [(one, await second_walk(url, visit, person, one, rows)) for one in person.journeys]
        added |= {one.name: counts for one, counts in walks if counts is not None}
        found.append(replace(person, journeys=tuple(one for one, counts in walks if counts is not None)))
    return tuple(person for person in found if person.journeys), added


def difference(after: Counter[str], before: Counter[str]) -> Counter[str]:
    """What changed, without the tables where nothing did; fewer rows count negative."""
    return Counter(
        {table: after[table] - before[table] for table in {*after, *before} if after[table] != before[table]}
    )


@asynccontextmanager
async def load(
    url: str, visit: Visit, persons: Sequence[Person], *, quick: int, slow: int, upload_s: float, pause_s: float
) -> AsyncIterator[Met]:
    """`quick` visitors and `slow` ones, whose forms take `upload_s`, until the block ends; walks begun are finished.

    Slow visitors post only. The persons take turns, and each begins with another journey, so that all are under way all
    the time. Everybody is signed in before the block begins.
    """
    met, over = Met(), asyncio.Event()
    slowly = [replace(person, journeys=cut) for person in persons if (cut := _posting(person))]
    tasks = [(person, 0.0, turn) for person, turn in _turns(persons, quick)]
    tasks += [(person, upload_s, turn) for person, turn in _turns(slowly, slow)]
    visitors = [visit(url) for _ in tasks]
    try:
        await asyncio.gather(*(task[0].enter(visitor) for task, visitor in zip(tasks, visitors, strict=True)))
        async with asyncio.TaskGroup() as group:
            for (person, slowness, turn), visitor in zip(tasks, visitors, strict=True):
                plan = islice(cycle(person.journeys), turn, None)
                group.create_task(_keep_walking(visitor, plan, slowness, pause_s, met, over))
            try:
                yield met
            finally:
                over.set()
    finally:
        await asyncio.gather(*(visitor.close() for visitor in visitors))


def _turns(persons: Sequence[Person], count: int) -> Iterator[tuple[Person, int]]:
    """`count` persons in turn, and how often each was there before."""
    for number in range(count if persons else 0):
        yield persons[number % len(persons)], number // len(persons)


def _posting(person: Person) -> tuple[Journey, ...]:
    return tuple(journey for journey in person.journeys if _up_to_last_post(journey) is not None)


async def _keep_walking(
    visitor: Visitor, plan: Iterator[Journey], upload_s: float, pause_s: float, met: Met, over: asyncio.Event
) -> None:
    browser = SlowHand(visitor, upload_s) if upload_s else visitor
    while not over.is_set():
        journey = next(plan)
        met.add(journey, await walk(journey, browser), slow=bool(upload_s))
        await asyncio.sleep(pause_s)
