"""The verdict over a dependency that is away: what a busy machine explains, and what nothing does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dodai.providers.local.browser import HttpBrowser
from dodai.rehearsal.drills.connections import Case, ConnectionsSeen
from dodai.rehearsal.machine import ENOUGH_NS, MOST, Slowdown, scheduled
from dodai.rehearsal.outage import OutageRequest, Recovery, Unrelated, recovery
from dodai.wiring.find_project import find_project

QUIZ = Path(__file__).resolve().parents[2] / "examples" / "quiz" / "dodai.toml"
IDS = "0123456789abcdef"


def seen(
    *,
    calls: int,
    slowest_s: float = 1.0,
    slowdown: float = 1.0,
    requests: int = 20,
    back: Recovery = Recovery(0.1),  # noqa: B008 - a frozen value
) -> ConnectionsSeen:
    """What twenty people met of the database of the quiz, whose every connection is taken."""
    policy = find_project(QUIZ).policy
    case = Case(policy, policy.dependencies["database"], HttpBrowser, lambda _: contextlib.nullcontext())
    assert case.bound_s == 5.5
    asked = [
        OutageRequest(503, slowest_s if n == 0 else 1.0, IDS, shown=True, problem="status 503") for n in range(requests)
    ]
    return ConnectionsSeen(case, asked, Unrelated(asked=9), calls, back, restarted=False, blamed=[], slowdown=slowdown)


@pytest.mark.parametrize(("name", "deadline_s"), [("database", 5), ("backend", 5), ("identity", 3)])
def test_page_may_wait_for_the_longest_deadline_on_the_way(name: str, deadline_s: float):
    """The database's own is 4 s, but the web tier gives a question to the backend 5 s, a second attempt included."""
    policy = find_project(QUIZ).policy
    case = Case(policy, policy.dependencies[name], HttpBrowser, lambda _: contextlib.nullcontext())
    assert case.deadline_s == deadline_s


def test_services_that_need_each_other_do_not_go_round_for_ever():
    """DOD304 says so; the drills are made before anybody looks at it."""
    policy = find_project(QUIZ).policy
    backend = replace(policy.services["backend"], needs=("web",))
    policy = replace(policy, services={**policy.services, "backend": backend})
    case = Case(policy, policy.dependencies["database"], HttpBrowser, lambda _: contextlib.nullcontext())
    assert case.deadline_s == 5


@pytest.mark.parametrize(("calls", "ok"), [(20, True), (32, True), (33, False), (40, False)])
def test_few_requests_may_spend_the_retries_that_were_saved_and_no_more(calls: int, ok: bool):
    """A tenth of twenty requests is two retries; ten more may have been saved. A retry for each is too many."""
    assert seen(calls=calls).result().ok is ok


@pytest.mark.parametrize(
    ("slowest_s", "slowdown", "ok"), [(5.4, 1, True), (6.3, 1, False), (6.3, 5, True), (9, 5, False)]
)
def test_late_answer_is_excused_by_a_busy_machine_as_far_as_it_goes(slowest_s: float, slowdown: float, ok: bool):
    """Of 5.5 s half a second is processor time; five times as much on a machine five times as slow."""
    result = seen(calls=20, slowest_s=slowest_s, slowdown=slowdown).result()
    assert result.ok is ok
    assert result.details["machineSlowdown"] == slowdown


async def test_journey_that_does_not_come_back_is_told_with_what_it_met_last():
    """The report says what to look for: the step, its answer, its request id."""
    journey = find_project(QUIZ).policy.journeys[0]
    visitor = HttpBrowser("http://127.0.0.1:1")
    try:
        met = await recovery(journey, visitor, 0.2)
    finally:
        await visitor.close()
    assert met.back_s is None
    assert met.problem.startswith(f"{journey.name}/{journey.steps[0].name}: GET /: no answer: ")
    result = seen(calls=1, back=met).result()
    assert (result.ok, f"not back within 5 s ({met.problem})" in result.observed) == (False, True)


@pytest.mark.parametrize(
    ("ran", "waited", "factor"),
    [(ENOUGH_NS, 0, 1), (ENOUGH_NS, 2 * ENOUGH_NS, 3), (ENOUGH_NS, 99 * ENOUGH_NS, MOST), (1, 10**12, 1)],
)
def test_slowdown_is_the_share_of_waiting_for_a_processor(ran: int, waited: int, factor: float):
    """Bounded above, and nothing is said of too little."""
    told = iter([(5, 7), (5 + ran, 7 + waited)])
    assert Slowdown(lambda: next(told)).factor() == factor


@pytest.mark.skipif(scheduled() == (0, 0), reason="this kernel does not tell")
def test_neighbours_on_the_same_processor_slow_us_down():
    """Two busy processes beside us on one processor: we wait longer than we run."""
    everywhere = os.sched_getaffinity(0)
    one = {min(everywhere)}
    burn = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {one})\nwhile True: pass"]
    neighbours = [subprocess.Popen(burn) for _ in range(2)]
    try:
        os.sched_setaffinity(0, one)
        slowdown = Slowdown()
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        assert slowdown.factor() > 1.5
    finally:
        os.sched_setaffinity(0, everywhere)
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
