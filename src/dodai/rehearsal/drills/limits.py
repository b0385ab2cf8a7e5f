"""The drill of rate limits: one client too often, everybody else as always, and a relief that ends by itself."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from functools import partial

from dodai.core.page import Text
from dodai.core.text import counted
from dodai.operations.journey import walk
from dodai.operations.policy import EdgeLimit, Journey, OperationsPolicy
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.ports import Stage, Subject, VisitFrom

TRIED, SHORTEST_S = 60, 10.0
"""Limits of more requests, or of a shorter window, say more about the machine than about the limit."""
RELIEF_S = 5.0
NOBODY = "written-by-a-rehearsal"
PEOPLE, OFTEN, LATER = "127.0.0.65", "127.0.0.66", "127.0.0.67"
"""Addresses of this machine that nobody comes from by chance: a client is an address."""


def drills(policy: OperationsPolicy, visit_from: VisitFrom | None) -> tuple[Drill, ...]:
    """The drill, where a limit is declared that can be met here; no system but Linux has the addresses for it."""
    limits = [one for one in policy.edge.limits.values() if one.requests <= TRIED and one.window_s >= SHORTEST_S]
    if not limits or visit_from is None or policy.public_service is None or not _have(PEOPLE, OFTEN, LATER):
        return ()
    most = ", ".join(f"{one.requests + 1} of `{one.name}`" for one in limits)
    return (
        Drill(
            "one-client-too-often",
            "operations",
            Text("Who sends too much is held back, and nobody else", "送りすぎるクライアントだけが止められる"),
            f"429 with its id and `Retry-After` for the last of {most}, never in a journey; none during a relief, "
            "and again when its time is over",
            partial(_held_back, policy, limits, visit_from),
        ),
    )


async def _held_back(
    policy: OperationsPolicy, limits: Sequence[EdgeLimit], visit_from: VisitFrom, stage: Stage
) -> DrillResult:
    wrong, ids = list[str](), list[str]()
    for limit in limits:
        first = await _send(limit, visit_from, stage.url, OFTEN)
        wrong += [f"`{limit.name}`: {problem}" for problem in first.problems]
        ids.append(first.request_id)
    walked = [await _walks(visit_from, stage.url, journey) for journey in policy.journeys]
    wrong += [problem for problem in walked if problem]
    limit, until_s = limits[0], time.time() + RELIEF_S
    outcome = await stage.relieve(limit.name, RELIEF_S)
    during = await _send(limit, visit_from, stage.url, OFTEN, times=1)
    if outcome.error() is None and during.statuses == [429] and time.time() < until_s:
        wrong.append(f"`{limit.name}`: 429 during the relief")
    await asyncio.sleep(max(0.0, until_s + 1.5 - time.time()))  # its moment is a whole second
    after = await _send(limit, visit_from, stage.url, LATER)
    wrong += [f"`{limit.name}` after the relief: {problem}" for problem in after.problems]
    observed = (
        f"{counted(len(limits), 'limit')} met at the request after the last, {len(walked)} journeys walked with "
        f"{sum(bool(one) for one in walked)} problems, relief exit {outcome.exit_code}, in force again afterwards"
    )
    ok = not wrong and outcome.exit_code == 0
    return DrillResult(observed if ok else "; ".join(wrong) or observed, ok, tuple(ids), {"wrong": wrong})


class _Sent:
    """What one client got for one request more than a limit lets in."""

    def __init__(self, limit: EdgeLimit) -> None:
        self.limit = limit
        self.statuses: list[int] = []
        self.request_id = ""
        self.retry_after = ""
        self.seconds = 0.0

    @property
    def problems(self) -> list[str]:
        """Why it is not as it must be; nothing is held against a window that was over before the last came."""
        if self.seconds >= self.limit.window_s:
            return [f"not judged: {len(self.statuses)} requests took {self.seconds:.0f} s"]
        early = [status for status in self.statuses[:-1] if status == 429]
        found = [f"429 for {len(early)} requests within the limit"] if early else []
        if self.statuses[-1] != 429:
            return [*found, f"request {len(self.statuses)} got {self.statuses[-1]}"]
        if not self.request_id or not self.retry_after.isdigit():
            found.append(f"429 with the id `{self.request_id}` and `Retry-After: {self.retry_after}`")
        return found


async def _send(limit: EdgeLimit, visit_from: VisitFrom, url: str, address: str, times: int = 0) -> _Sent:
    """Requests that no handler gets: they carry no token, and lead nowhere that exists."""
    sent, began = _Sent(limit), time.monotonic()
    path = f"{limit.path.rstrip('*')}{NOBODY}" if limit.path.endswith("*") else limit.path
    visitor = visit_from(url, address)
    try:
        for _ in range(times or limit.requests + 1):
            answer = await visitor.send(limit.methods[0], path)
            sent.statuses.append(answer.status_code)
            sent.request_id = answer.headers.get("x-request-id", "")
            sent.retry_after = answer.headers.get("retry-after", "")
    finally:
        await visitor.close()
    sent.seconds = time.monotonic() - began
    return sent


async def _walks(visit_from: VisitFrom, url: str, journey: Journey) -> str:
    """What went wrong for somebody who walks the journey; `""` for nothing."""
    visitor = visit_from(url, PEOPLE)
    try:
        return (await walk(journey, visitor)).problem
    finally:
        await visitor.close()


def _have(*addresses: str) -> bool:
    """Whether a client can come from these addresses of this machine."""
    try:
        for address in addresses:
            with socket.socket() as sock:
                sock.bind((address, 0))
    except OSError:
        return False
    return True


def _of(subject: Subject) -> tuple[Drill, ...]:
    return drills(subject.policy, subject.visit_from)


DRILLS = DrillFile("operations", _of, position=70)
