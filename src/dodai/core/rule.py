"""A rule: a pure function over facts that yields findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from dodai.core.errors import Code
from dodai.core.fact import Cost, NotApplicable, Unknown
from dodai.core.finding import Finding

Facts = Mapping[type, Any]
"""Each kind of fact to its value, or to `Unknown` or `NotApplicable`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`test` receives one argument for each type in `needs`, in that order."""

    code: Code
    needs: tuple[type, ...]
    test: Callable[..., Iterable[Finding]]

    @property
    def cost(self) -> Cost:
        """The most expensive fact it needs."""
        costs = {fact.cost for fact in self.needs if hasattr(fact, "cost")}
        return "live" if "live" in costs else "local" if "local" in costs else "static"


def rule(code: Code, *, needs: tuple[type, ...]) -> Callable[[Callable[..., Iterable[Finding]]], Rule]:
    """Turn a function over facts into a `Rule`: `@rule(UNPROTECTED_ROUTE, needs=(RouteTable,))`."""

    def build(test: Callable[..., Iterable[Finding]]) -> Rule:
        return Rule(code, needs, test)

    return build


def declared(names: Mapping[str, object]) -> tuple[Rule, ...]:
    """The rules that a module defines, given its `globals()`."""
    return tuple(value for value in names.values() if isinstance(value, Rule))


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A finding the team has decided to live with, for a reason and until a day."""

    code: str
    path: str
    reason: str
    expires: date

    def covers(self, finding: Finding) -> bool:
        path = finding.place.path if finding.place else ""
        return self.code in (finding.code.id, finding.code.name) and self.path in ("", path)


@dataclass(frozen=True, slots=True)
class Undecided:
    """A rule that could not be judged, with the reason of the fact it lacked."""

    rule: Rule
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of rules came to. `ok` is true only when nothing is wrong and nothing is unknown.

    `seen` says what was looked at, a line for each fact that can tell.
    """

    findings: tuple[Finding, ...] = ()
    unknown: tuple[Undecided, ...] = ()
    accepted: tuple[tuple[Finding, Acceptance], ...] = ()
    judged: tuple[Rule, ...] = ()
    not_applicable: tuple[Rule, ...] = ()
    seen: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        return not self.errors and not self.unknown


def judge(rules: Iterable[Rule], facts: Facts, *, accepted: Iterable[Acceptance] = (), today: date) -> Report:
    """Every rule over `facts`; findings that an unexpired acceptance covers are set apart."""
    findings: list[Finding] = []
    unknown: list[Undecided] = []
    judged: list[Rule] = []
    idle: list[Rule] = []
    for candidate in rules:
        values = [facts.get(need, Unknown(f"nothing gathers `{need.__name__}`")) for need in candidate.needs]
        if any(isinstance(value, NotApplicable) for value in values):
            idle.append(candidate)
        elif missing := next((value for value in values if isinstance(value, Unknown)), None):
            unknown.append(Undecided(candidate, missing.reason, missing.fix))
        else:
            judged.append(candidate)
            findings.extend(candidate.test(*values))
    open_findings, covered = _set_apart(findings, [a for a in accepted if a.expires >= today])
    return Report(open_findings, tuple(unknown), covered, tuple(judged), tuple(idle))


def _set_apart(
    findings: list[Finding], accepted: list[Acceptance]
) -> tuple[tuple[Finding, ...], tuple[tuple[Finding, Acceptance], ...]]:
    remaining: list[Finding] = []
    covered: list[tuple[Finding, Acceptance]] = []
    for finding in findings:
        acceptance = next((a for a in accepted if a.covers(finding)), None)
        if acceptance:
            covered.append((finding, acceptance))
        else:
            remaining.append(finding)
    return tuple(remaining), tuple(covered)
