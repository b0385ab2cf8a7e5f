"""A rule: a pure function over facts that yields findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from dodai.core.dataclass import dataclass
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
    reason: str
    expires: date
    path: str = ""

    def covers(self, finding: Finding) -> bool:
        path = finding.place.path if finding.place else ""
        return self.code in (finding.code.id, finding.code.name) and self.path in ("", path)


@dataclass(frozen=True, slots=True)
class Undecided:
    """A rule that was not judged, with the reason: that of the fact it lacked, or why it was left out."""

    rule: Rule
    reason: str
    fix: str = ""
    by_manifest: bool = False

    def covered_by(self, names: Iterable[str]) -> str:
        """Which of `names` (a code, its name, or an area) stands for this rule; empty for none."""
        code = self.rule.code
        return next((name for name in names if name in (code.id, code.name, code.area)), "")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of rules came to; every rule stands in exactly one of the five groups `unknown` to `allowed`.

    `unknown` could not be judged, or only in part. `not_applicable` are about something that this repository does not
    have. `left_out` were not asked, because of what looking costs. `allowed` are unknown, and somebody has said why
    that is acceptable. `seen` says what was looked at, a line for each fact that can tell.
    """

    findings: tuple[Finding, ...] = ()
    unknown: tuple[Undecided, ...] = ()
    accepted: tuple[tuple[Finding, Acceptance], ...] = ()
    judged: tuple[Rule, ...] = ()
    not_applicable: tuple[Undecided, ...] = ()
    left_out: tuple[Undecided, ...] = ()
    allowed: tuple[tuple[Undecided, str], ...] = ()
    seen: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """True when something was judged, nothing is wrong, and all the rest is either no concern or allowed."""
        return not self.errors and not self.unknown and bool(self.judged or self.allowed)

    @property
    def exit_code(self) -> int:
        """0, 1, or 2 when nothing but the manifest stands in the way."""
        if self.ok:
            return 0
        found = self.errors and self.judged
        return 2 if self.unknown and all(row.by_manifest for row in self.unknown) and not found else 1

    def allowing(self, reasons: Mapping[str, str]) -> Report:
        """The same, with the unknown rules that `reasons` name (code, name or area, to why) set apart."""
        pairs = [(row, row.covered_by(reasons)) for row in self.unknown]
        allowed = tuple((row, reasons[name]) for row, name in pairs if name)
        return replace(self, unknown=tuple(row for row, name in pairs if not name), allowed=allowed)

    def chosen(self, select: Iterable[str], ignore: Iterable[str]) -> Report:
        """The same of the rules that `select` names (all for none) but `ignore` does not; the others are left out.

        Words are codes or their beginnings, names of codes, or areas.
        """
        select, ignore = tuple(select), tuple(ignore)

        def why_not(code: Code) -> str:
            if select and not any(code.is_meant_by(word) for word in select):
                return "left out by `--select`"
            return "left out by `--ignore`" if any(code.is_meant_by(word) for word in ignore) else ""

        out = tuple(Undecided(rule, why) for rule in self.judged if (why := why_not(rule.code)))
        out += tuple(replace(row, reason=why, fix="") for row in self.unknown if (why := why_not(row.rule.code)))
        return replace(
            self,
            findings=tuple(one for one in self.findings if not why_not(one.code)),
            unknown=tuple(row for row in self.unknown if not why_not(row.rule.code)),
            judged=tuple(rule for rule in self.judged if not why_not(rule.code)),
            left_out=(*self.left_out, *out),
        )

    def insisting_on(self, areas: Iterable[str]) -> Report:
        """The same, where an area that was asked for by name is unknown instead of not applicable as a whole."""
        idle = {row.rule.code.area for row in self.not_applicable}
        looked = {rule.code.area for rule in self.judged} | {row.rule.code.area for row in self.unknown}
        empty = (idle & set(areas)) - looked
        moved = tuple(row for row in self.not_applicable if row.rule.code.area in empty)
        kept = tuple(row for row in self.not_applicable if row.rule.code.area not in empty)
        return replace(self, unknown=(*self.unknown, *moved), not_applicable=kept)


def evaluate(rules: Iterable[Rule], facts: Facts, *, accepted: Iterable[Acceptance] = (), today: date) -> Report:
    """Every rule over `facts`; findings that an unexpired acceptance covers are set apart.

    A rule over a fact with gaps gives its findings and is unknown all the same.
    """
    findings: list[Finding] = []
    unknown: list[Undecided] = []
    judged: list[Rule] = []
    idle: list[Undecided] = []
    for candidate in rules:
        values = [facts.get(need, Unknown(f"nothing gathers `{need.__name__}`")) for need in candidate.needs]
        missing = [value for value in values if isinstance(value, Unknown)]
        absent = [value for value in values if isinstance(value, NotApplicable)]
        gaps = [gap for value in values for gap in getattr(value, "gaps", ())]
        if absent:
            idle.append(Undecided(candidate, absent[0].reason))
            continue
        if not missing:
            findings.extend(candidate.test(*values))
        if lack := missing[:1] or gaps:
            reason, fix = "; ".join(one.reason for one in lack), next((one.fix for one in lack if one.fix), "")
            unknown.append(Undecided(candidate, reason, fix, all(one.by_manifest for one in lack)))
        else:
            judged.append(candidate)
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
