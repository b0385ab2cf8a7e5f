"""Rules are pure functions over facts; what is not known is never a pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import ClassVar

import pytest

from dodai.core.fact import Cost, NotApplicable, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.rule import Acceptance, evaluate, rule
from dodai.csrf.codes import UNPROTECTED_ROUTE as CODE

TODAY = date(2026, 11, 23)


@dataclass(frozen=True)
class Doors:
    cost: ClassVar[Cost] = "local"
    open: tuple[str, ...]


@rule(CODE, needs=(Doors,))
def no_open_door(doors):
    return [Finding(CODE, f"`{door}` is open", Place(door)) for door in doors.open]


def test_rule_sees_its_facts_and_yields_findings():
    """The fact arrives as the argument, the finding takes advice from the code's page."""
    report = evaluate([no_open_door], {Doors: Doors(("cellar",))}, today=TODAY)
    assert [finding.message for finding in report.findings] == ["`cellar` is open"]
    assert report.findings[0].advice == CODE.fix.en
    assert not report.ok


def test_fact_that_could_not_be_gathered_makes_the_rule_unknown_not_passed():
    """A report with an unknown rule is not ok and says why."""
    report = evaluate([no_open_door], {Doors: Unknown("no key", "bring the key")}, today=TODAY)
    assert [(u.reason, u.fix) for u in report.unknown] == [("no key", "bring the key")]
    assert not report.ok
    assert not report.judged


def test_fact_that_nobody_gathers_is_unknown():
    """A forgotten gatherer cannot turn a rule green."""
    assert not evaluate([no_open_door], {}, today=TODAY).ok


def test_fact_that_does_not_apply_leaves_the_rule_aside():
    """A house without doors has no open door; a report that judged nothing is no pass."""
    report = evaluate([no_open_door], {Doors: NotApplicable("no doors")}, today=TODAY)
    assert (report.findings, report.unknown) == ((), ())
    assert not report.ok
    assert [(row.rule, row.reason) for row in report.not_applicable] == [(no_open_door, "no doors")]


def test_acceptance_covers_only_its_code_and_file_and_only_until_it_expires():
    """An accepted finding is set apart; an expired acceptance covers nothing."""
    facts = {Doors: Doors(("cellar", "attic"))}
    until = Acceptance("DOD101", "being painted", TODAY, "cellar")
    report = evaluate([no_open_door], facts, accepted=[until], today=TODAY)
    assert [finding.message for finding in report.findings] == ["`attic` is open"]
    assert len(report.accepted) == 1
    late = evaluate([no_open_door], facts, accepted=[until], today=date(2026, 11, 24))
    assert len(late.findings) == 2


def test_rule_costs_what_its_dearest_fact_costs():
    """`check --fast` may leave it out by that."""
    assert no_open_door.cost == "local"


@dataclass(frozen=True)
class SomeDoors(Doors):
    gaps: tuple[Unknown, ...] = ()


def test_fact_with_gaps_gives_findings_and_leaves_its_rules_unknown():
    """What was seen is reported; what was not is no pass."""
    seen = SomeDoors(open=("attic",), gaps=(Unknown("the cellar is dark", "bring a lamp"),))
    report = evaluate([no_open_door], {Doors: seen}, today=TODAY)
    assert len(report.findings) == 1
    assert [(row.reason, row.fix) for row in report.unknown] == [("the cellar is dark", "bring a lamp")]
    assert report.judged == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((Unknown("no manifest", by_manifest=True),), 2),
        ((Unknown("no manifest", by_manifest=True), Unknown("no key")), 1),
        ((Unknown("no key"),), 1),
        ((Doors(open=()),), 0),
        ((Doors(open=("attic",)),), 1),
        ((NotApplicable("no doors"),), 1),
    ],
)
def test_exit_code_tells_a_manifest_that_lacks_something_from_the_rest(values, expected):
    """2 only when nothing else stands in the way."""
    reports = [evaluate([no_open_door], {Doors: value}, today=TODAY) for value in values]
    whole = replace(reports[0], unknown=tuple(row for report in reports for row in report.unknown))
    assert whole.exit_code == expected


def test_allowance_covers_by_code_name_and_area_only():
    """Another word allows nothing."""
    report = evaluate([no_open_door], {Doors: Unknown("no key")}, today=TODAY)
    code = no_open_door.code
    for word in (code.id, code.name, code.area):
        assert report.allowing({word: "why"}).ok
    assert not report.allowing({"DOD102": "why"}).ok
