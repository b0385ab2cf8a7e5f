"""The example application, judged by the commands that the rows of the plan name, and spoiled until they go red."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.plan import judge
from tests.quiz.copies import copy_quiz
from tests.support.command import dodai

from dodai.rehearsal.drill import choose_drills, known_drills
from dodai.wiring.find_project import find_project
from dodai.wiring.stage import subject_of

QUIZ = Path(__file__).resolve().parents[2] / "examples" / "quiz"
MIGRATIONS = "db/migrations"


def asked(folder: Path, *words: str) -> tuple[int, dict]:
    """The exit code of a command in the folder, and the document it prints."""
    done = dodai(*words, "--json", cwd=folder)
    return done.returncode, json.loads(done.stdout)


@cache
def of_the_example(*words: str) -> tuple[int, dict]:
    """The same of the example itself, which no test changes."""
    return asked(QUIZ, *words)


def found(document: dict) -> set[str]:
    return {finding["code"] for finding in document["findings"]}


@pytest.fixture
def quiz(tmp_path) -> Path:
    """A copy that a test may spoil."""
    return copy_quiz(tmp_path / "quiz")


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / path).read_text("utf-8")
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1), "utf-8")

    return spoil


def add(path: str, text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / path).write_text(text, "utf-8")

    return spoil


def test_every_state_changing_route_of_the_example_is_protected():
    """12 routes of different kinds, each probed: missing, tampered, foreign, expired, cross-site and valid.

    Those of the tier in node are read as text; their own tests send the requests.
    """
    code, document = of_the_example("routes")
    summary = document["summary"]
    assert (code, summary["coverage"], summary["unprotected"], summary["unknown"]) == (0, 1.0, 0, 0)
    proven = [route for route in document["routes"] if route["verdict"] == "protected" and route["probes"]]
    assert len(proven) >= 10
    read = [route for route in document["routes"] if route["verdict"] == "protected" and not route["probes"]]
    assert {route["source"].partition("/")[0] for route in read} == {"client", "client-remix2"}
    for route in proven:
        probes = route["probes"]
        assert all(
            probes[name]["status"] == 403 for name in ("missing", "tampered", "foreign", "expired", "cross_site")
        )
        assert not any(probes[name]["reached"] for name in ("missing", "tampered", "foreign", "expired", "cross_site"))
        assert all(probe["requestId"] for probe in probes.values())
        assert probes["valid"]["reached"]
    exempt = [route for route in document["routes"] if route["verdict"] == "exempt"]
    assert {(route["method"], route["path"]) for route in exempt} == {("POST", "/webhooks/review")}


def test_every_form_of_the_example_carries_a_token():
    """Hidden fields, and headers where a script sends the form."""
    _, document = of_the_example("routes")
    forms = document["summary"]["forms"]
    assert (forms["coverage"], forms["unprotected"], forms["unknown"]) == (1.0, 0, 0)
    assert forms["stateChanging"] >= 10


@pytest.mark.parametrize("area", ["csrf", "migrations", "operations"])
def test_the_example_is_clean_and_nothing_about_it_is_unknown(area):
    """A green check of an area means that all its rules were judged."""
    code, document = of_the_example("check", area)
    assert (code, document["findings"], document["unknown"]) == (0, [], [])
    assert document["judged"]


def test_the_documents_of_the_example_say_what_its_definition_says():
    """Whoever reads them at 3 a.m. reads what would be executed."""
    code, document = of_the_example("docs", "--check")
    assert (code, document["findings"]) == (0, [])


def test_every_limitation_called_resolved_names_a_rule_that_judges_or_a_drill_that_exists():
    """What resolves a known limitation is something that can turn red."""
    project = find_project(QUIZ / "dodai.toml")
    named = {row["resolved_by"] for row in project.manifest.data["limitation"]} - {""}
    judged = {
        code for area in ("csrf", "migrations", "operations") for code in of_the_example("check", area)[1]["judged"]
    }
    drills = {drill.id for drill in known_drills(subject_of(project, str))}
    assert named
    assert named <= judged | drills


def test_every_drill_that_a_row_of_the_plan_names_is_carried_out_by_make_rehearse():
    """One that only `--all` has is not in the report, so its row is red in CI and nowhere before."""
    carried_out = {
        drill.id for drill in choose_drills(known_drills(subject_of(find_project(QUIZ / "dodai.toml"), str)))
    }
    rows = judge.rows((Path(__file__).parent / "requirements.toml").read_text("utf-8"))
    named = {condition["drill"] for row in rows for condition in row.conditions if "drill" in condition}
    assert named
    assert named <= carried_out


@pytest.mark.parametrize(
    ("area", "spoil", "code"),
    [
        ("csrf", replace("web/app.py", "app = dodai.asgi.wrap(build(", "app = (lambda app, **_: app)(build("), "DOD101"),
        ("csrf", replace("web/templates/me.html", "{{ csrf_field() }}", ""), "DOD102"),
        ("csrf", replace("dodai.toml", 'expires = "2027-11-30"', 'expires = "2020-01-01"'), "DOD105"),
        ("migrations", add(f"{MIGRATIONS}/20261005090000_again.sql", "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n"), "DOD202"),
        ("migrations", add(f"{MIGRATIONS}/20990101000000_bad.sql", "-- +goose Up\nSELECT nothing;\n-- +goose Down\nSELECT 1;\n"), "DOD208"),
        ("migrations", add(f"{MIGRATIONS}/20990101000000_bad.sql", "-- +goose Up\nCREATE TABLE a (b int);\n-- +goose Down\nSELECT 1;\n"), "DOD210"),
    ],
    ids=["middleware-removed", "field-removed", "exemption-expired", "duplicate-version", "does-not-apply", "down-forgets"],
)  # fmt: skip
def test_a_spoiled_example_turns_the_gate_red(quiz, area, spoil, code):
    """Exit 1, and a finding with the code of what was spoiled."""
    spoil(quiz)
    exit_code, document = asked(quiz, "check", area)
    assert exit_code == 1
    assert code in found(document)
