"""The detection matrix: which alert fires for which fault, within how many seconds, and which ones stay quiet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.observability.detection_cases import CASES, HEALTHY, HOUR, MINUTE, Case, beats_of, visits
from tests.observability.traffic import T0, Simulation, both
from tests.quiz.stack import QUIZ

from dodai.observability.alert import defaults
from dodai.observability.ports import Standing
from dodai.rehearsal.drills import connections
from dodai.wiring.find_project import find_project

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "detection.md"
WELL = {
    "unhealthy": 0.0,
    "certificate-days": 60.0,
    "overdue-days": -1.0,
    "restore-days": 1.0,
    "disk-free": 0.5,
    "unwatched-s": 0.0,
}


def lived(case: Case, folder: Path) -> tuple[Simulation, float]:
    """The world in which it happened, and when it began."""
    world = Simulation(folder, public="web")
    began = T0 + (10 * MINUTE if case.lead else 0.0)
    traffic = both(visits(case, began), beats_of(case, began))
    if case.lead:
        world.live(10 * MINUTE, traffic, 30.0)
    assert world.fired == []
    world.states = case.stands or Standing({})
    world.live(case.lasts_s, both(traffic, case.more) if case.more else traffic, 60.0 if case.lasts_s > HOUR else 0.0)
    return world, began


@pytest.mark.share(3)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_fault_fires_its_alerts_in_time_and_no_others(case: Case, tmp_path: Path):
    """People hear of the one that leads, with requests that failed; all of it is over once the fault is."""
    world, began = lived(case, tmp_path)
    fired = {name: at - began for name, _, at in reversed(world.fired)}
    assert set(fired) == set(case.fires)
    late = {name: at for name, at in fired.items() if at > case.fires[name]}
    assert not late
    firing = [one for one in world.watcher.history.open() if one.fired_s]
    assert {one.name for one in firing if one.leads} == case.told
    assert all(one.samples for one in firing if "error" in one.name or "refusals" in one.name)
    if case.fires:
        _recovers(world, case)


def _recovers(world: Simulation, case: Case) -> None:
    longest_s = max(max(alert.windows_s) for alert in defaults() if alert.name in case.fires)
    over = world.now
    world.states = Standing({measure: ((_about(case), well),) for measure, well in WELL.items() if case.stands})
    again = replace(case, rate=min(case.rate, 0.2), visit=lambda _number, _since: HEALTHY, beats=None)
    world.live(longest_s + 2 * MINUTE, both(visits(again, over), beats_of(again, over)), longest_s / 20)
    assert {name for name, _, _ in world.resolved} == set(case.fires)


def _about(case: Case) -> str:
    assert case.stands is not None
    ((about, _),) = next(iter(case.stands.stated.values()))
    return about


def test_every_alert_has_a_fault_that_fires_it():
    """What no case fires might as well not be there; six cases and more fire nothing."""
    assert {name for case in CASES for name in case.fires} == {alert.name for alert in defaults()}
    assert sum(not case.fires for case in CASES) > 6


def rows() -> Iterator[str]:
    """What the page says of each case."""
    for case in CASES:
        order = sorted(case.fires, key=lambda name: (name not in case.told, case.fires[name], name))
        shown = [
            f"**{name}** {case.fires[name]} s" if name in case.told else f"{name} {case.fires[name]} s"
            for name in order
        ]
        yield f"| {case.what} | {', '.join(shown) or 'nothing'} |"


def test_every_way_a_dependency_goes_away_is_a_row():
    """Each drill of a connection of the example has one: `identity-blackholed` as much as `backend-refused`."""
    project = find_project(QUIZ / "dodai.toml")
    drills = connections.drills(project.policy, cast("Any", None), cast("Any", object()))
    assert len(drills) >= 14
    missing = {drill.id for drill in drills if not any(f"`{drill.id}`" in case.what for case in CASES)}
    assert not missing


def test_page_says_what_the_matrix_shows():
    """Every row, in this order, and no other one."""
    assert [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")][2:] == list(rows())
