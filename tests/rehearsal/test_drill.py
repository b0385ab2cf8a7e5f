"""Which drills there are, in which order, and which of them a rehearsal carries out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dodai.core.errors import AREAS, DodaiError
from dodai.core.page import Text
from dodai.observability.alert.response import RESPONSES
from dodai.rehearsal import drills
from dodai.rehearsal.drill import Drill, DrillResult, choose_drills, drill_files, known_drills
from dodai.rehearsal.drills.respond import KINDS, PREFIX, median_s, responses
from dodai.wiring.find_project import find_project
from dodai.wiring.stage import subject_of

QUIZ = Path(__file__).resolve().parents[2] / "examples" / "quiz" / "dodai.toml"
PLANTED = """
from dodai.core.page import Text
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult

async def see(stage):
    return DrillResult(stage.url, ok=True)

DRILLS = DrillFile("operations", lambda subject: [Drill("planted", "operations", Text("", ""), "", see)])
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """One more file of drills."""
    (tmp_path / "a_planted_drill.py").write_text(PLANTED)
    monkeypatch.setattr(drills, "__path__", [*drills.__path__, str(tmp_path)])
    yield
    sys.modules.pop("dodai.rehearsal.drills.a_planted_drill", None)


@pytest.fixture(scope="module")
def subject():
    return subject_of(find_project(QUIZ), str)


def drill(id_: str, area: str) -> Drill:
    async def see(_):
        return DrillResult("", ok=True)

    return Drill(id_, area, Text("", ""), "", see)


def test_file_in_the_folder_of_drills_is_all_that_a_new_drill_needs(planted, subject):
    """Nothing else names it."""
    known = known_drills(subject)
    assert "planted" in [one.id for one in known]
    assert choose_drills(known, only="planted")[0].area == "operations"


def test_every_file_of_drills_belongs_to_an_area_and_ids_are_used_once(subject):
    """The order of the areas is that of a rehearsal."""
    areas = [file.area for file in drill_files()]
    assert list(dict.fromkeys(areas)) == [area for area in AREAS if area in areas]
    assert areas == sorted(areas, key=AREAS.index)
    ids = [one.id for one in known_drills(subject)]
    assert len(ids) == len(set(ids)) > 20


def test_drill_that_judges_all_lines_is_the_last_of_all(subject):
    """Whatever ran after it would be judged by nobody."""
    assert known_drills(subject)[-1].id == "every-line-is-whole"


def test_short_rehearsal_has_one_drill_of_each_area(subject):
    """What `dodai rehearse` carries out without `--all`."""
    assert [one.id for one in choose_drills(known_drills(subject))] == [
        "forged-posts-are-refused",
        "broken-migration-stops-the-deploy",
        "bad-release-is-undone",
        "request-id-through-every-tier",
    ]


def test_first_responses_are_carried_out_when_they_are_asked_for_and_never_by_all(subject):
    """Half a minute for each fault is more than every rehearsal has."""
    known = known_drills(subject)
    found = [one.id for one in known if one.id.startswith(PREFIX)]
    faults = ("frozen-web", "frozen-backend", "hung-web", "crashing-web")
    assert found == [f"respond-to-{one}" for one in faults]
    assert not set(found) & {one.id for one in choose_drills(known, everything=True)}
    assert [one.id for one in choose_drills(known, only=",".join(found))] == found


def test_first_response_of_each_alert_with_a_command_is_carried_out(subject):
    """None is left out, and none is for an alert that has no command."""
    with_command = sorted(name for name, one in RESPONSES.items() if one.responds)
    assert sorted(one.alert for one in responses(subject.policy)) == with_command


def test_every_command_that_a_first_response_has_can_be_carried_out_on_a_stage():
    """A new one that the drills do not know would be followed by nobody."""
    assert {one.responds for one in RESPONSES.values() if one.responds} == set(KINDS)


def test_median_from_fault_to_healthy_is_not_known_while_one_fault_was_not_ended():
    """Leaving it out would make the median better."""
    assert median_s([4.0, 20.0, 9.0]) == 9.0
    assert median_s([4.0, None, 9.0]) is None
    assert median_s([]) is None


def test_drills_are_chosen_by_their_ids():
    """In the order they run; a word that is not one names the nearest."""
    known = (drill("one", "csrf"), drill("two", "csrf"), drill("three", "operations"))
    assert choose_drills(known, only="two, one") == known[:2]
    assert choose_drills(known, everything=True) == known
    with pytest.raises(DodaiError, match="there is no drill `tow`") as caught:
        choose_drills(known, only="tow")
    assert "`two`" in caught.value.fix
