"""Rules are pure functions over facts; what is not known is never a pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from dodai.core.fact import Cost, NotApplicable, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.rule import Acceptance, judge, rule
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
    report = judge([no_open_door], {Doors: Doors(("cellar",))}, today=TODAY)
    assert [finding.message for finding in report.findings] == ["`cellar` is open"]
    assert report.findings[0].advice == CODE.fix.en
    assert not report.ok


def test_fact_that_could_not_be_gathered_makes_the_rule_unknown_not_passed():
    """A report with an unknown rule is not ok and says why."""
    report = judge([no_open_door], {Doors: Unknown("no key", "bring the key")}, today=TODAY)
    assert [(u.reason, u.fix) for u in report.unknown] == [("no key", "bring the key")]
    assert not report.ok
    assert not report.judged


def test_fact_that_nobody_gathers_is_unknown():
    """A forgotten gatherer cannot turn a rule green."""
    assert not judge([no_open_door], {}, today=TODAY).ok


def test_fact_that_does_not_apply_leaves_the_rule_aside():
    """A house without doors has no open door, and nothing was judged."""
    report = judge([no_open_door], {Doors: NotApplicable("no doors")}, today=TODAY)
    assert report.ok
    assert report.not_applicable == (no_open_door,)


def test_acceptance_covers_only_its_code_and_file_and_only_until_it_expires():
    """An accepted finding is set apart; an expired acceptance covers nothing."""
    facts = {Doors: Doors(("cellar", "attic"))}
    until = Acceptance("DOD101", "cellar", "being painted", TODAY)
    report = judge([no_open_door], facts, accepted=[until], today=TODAY)
    assert [finding.message for finding in report.findings] == ["`attic` is open"]
    assert len(report.accepted) == 1
    late = judge([no_open_door], facts, accepted=[until], today=date(2026, 11, 24))
    assert len(late.findings) == 2


def test_rule_costs_what_its_dearest_fact_costs():
    """`check --fast` may leave it out by that."""
    assert no_open_door.cost == "local"
