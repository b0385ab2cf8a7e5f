"""The gate over the quiz: full coverage as it stands, and red after each fault that somebody could commit."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from tests.quiz.copies import copy_quiz

from dodai.core.manifest import Manifest, read
from dodai.core.rule import Report, evaluate
from dodai.csrf.check import RULES
from dodai.csrf.check.gather import gather_forms, gather_routes
from dodai.csrf.document import csrf_rollout
from dodai.csrf.form_table import FormTable
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteRow, RouteTable, TierFlaws
from dodai.runtime.manifest_location import reference
from dodai.wiring.checks import ProviderFacts

QUIZ = Path(__file__).parents[2] / "examples" / "quiz"
TODAY = "2026-11-23"
FIELDS = [
    (path.name, number)
    for path in sorted((QUIZ / "web" / "templates").glob("*.html"))
    for number in range(path.read_text("utf-8").count("{{ csrf_field() }}"))
]


@pytest.fixture
def quiz(tmp_path) -> Path:
    """A copy that can be spoiled."""
    return copy_quiz(tmp_path / "quiz")


def manifest_of(root: Path) -> Manifest:
    return read((root / "dodai.toml").read_bytes(), reference(), path="dodai.toml")


def routes_of(root: Path) -> RouteTable:
    table = gather_routes(
        manifest_of(root).data, root=root, python=sys.executable, today=TODAY, source=ProviderFacts().route_source()
    )
    assert isinstance(table, RouteTable), table
    return table


def gate(root: Path, *, routes: RouteTable | None = None) -> Report:
    forms = gather_forms(
        manifest_of(root).data, root=root, python=sys.executable, source=ProviderFacts().route_source()
    )
    table = routes or routes_of(root)
    facts = {Manifest: manifest_of(root), RouteTable: table, TierFlaws: table.flaws or TierFlaws(), FormTable: forms}
    return evaluate(RULES, facts, today=date.fromisoformat(TODAY))


def spoil(path: Path, old: str, new: str, *, number: int = 0) -> None:
    """Replace the occurrence `number` of `old`, which must be there."""
    parts = path.read_text("utf-8").split(old)
    assert len(parts) > number + 1, f"{path.name} has no `{old}`"
    path.write_text(old.join(parts[: number + 1]) + new + old.join(parts[number + 1 :]), "utf-8")


def test_quiz_is_covered_whole():
    """Coverage 1.0, nothing unknown, no error; forms too."""
    table = routes_of(QUIZ)
    assert (table.summary.coverage, table.summary.unknown) == (1.0, 0)
    forms = gather_forms(
        manifest_of(QUIZ).data, root=QUIZ, python=sys.executable, source=ProviderFacts().route_source()
    )
    assert (forms.summary.coverage, forms.summary.unknown) == (1.0, 0)
    assert gate(QUIZ, routes=table).ok


def test_middleware_removed_turns_the_gate_red(quiz):
    """The one line that protects everything."""
    source = (quiz / "web" / "app.py").read_text("utf-8")
    (quiz / "web" / "app.py").write_text(source + "\napp = app.app\n", "utf-8")
    report = gate(quiz)
    assert {finding.code.id for finding in report.errors} == {"DOD101"}
    assert len(report.errors) >= 8


@pytest.mark.parametrize(("template", "number"), FIELDS)
def test_field_removed_from_any_one_form_turns_the_gate_red(quiz, template, number):
    """Each form alone; the finding names the template."""
    sound = routes_table_of_quiz()
    spoil(quiz / "web" / "templates" / template, "{{ csrf_field() }}", "", number=number)
    found = gate(quiz, routes=sound).errors
    assert {finding.code.id for finding in found} == {"DOD102"}
    assert {finding.place.path for finding in found} == {f"web/templates/{template}"}


def test_exemption_that_is_over_turns_the_gate_red(quiz):
    """The webhook counts as unprotected again, and the finding names the day."""
    manifest = quiz / "dodai.toml"
    text = manifest.read_text("utf-8")
    expires = text.partition('expires = "')[2].partition('"')[0]
    manifest.write_text(text.replace(f'expires = "{expires}"', 'expires = "2026-11-22"'), "utf-8")
    assert "DOD105" in {finding.code.id for finding in gate(quiz).errors}


def test_route_that_the_page_does_not_list_makes_the_page_stale(quiz):
    """A route added inside the wrapper is protected; the document that lists the targets is out of date."""
    policy = CsrfPolicy.from_manifest(manifest_of(quiz).data["csrf"])
    before = csrf_rollout(policy, routes_of(quiz), None).render("ja")
    source = (quiz / "web" / "app.py").read_text("utf-8")
    added = "\nasync def _new(request): ...\napp.app.router.add_route('/unlisted', _new, methods=['POST'])\n"
    (quiz / "web" / "app.py").write_text(source + added, "utf-8")
    table = routes_of(quiz)
    assert table.summary.coverage == 1.0
    after = csrf_rollout(policy, table, None).render("ja")
    assert "/unlisted" in after
    assert after != before


def routes_table_of_quiz() -> RouteTable:
    """A stand-in for the routes, which the forms do not depend on: every known route protected."""
    exempt = [row.route for row in CsrfPolicy.from_manifest(manifest_of(QUIZ).data["csrf"]).exemptions]
    rows = [RouteRow(*route.split(" ", 1), "web/app.py", 1, "starlette", "web.x", "exempt") for route in exempt]
    rows = [replace(row, service="web") for row in rows]
    rows.append(RouteRow("POST", "/save", "web/app.py", 1, "starlette", "web.save", "protected", "dodai"))
    return RouteTable("web", "starlette", tuple(rows), TODAY)
