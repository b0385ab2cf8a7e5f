"""The table behind `dodai routes`: every state-changing route with its verdict and the evidence of real requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any, ClassVar, Literal

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, Unknown
from dodai.csrf.decision import SAFE_METHODS
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_verdict import Judgement, RouteVerdict, judge_route

_WORST: tuple[RouteVerdict, ...] = ("unprotected", "unknown", "protected", "exempt", "safe")


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One (method, path), or one path whose handler takes any method: `method` is then `*`, `methods` what was tried.

    `by` names who refuses (`dodai`, `django`, `flask-wtf`), `second` who wants a token of its own as well, `evidence`
    what was seen, in words, and `fix` what to do about it. `exempt_by` is how the framework's own check is told to
    leave it out, `idle` why dodai's own exemption of it does not hold. `source` is relative to the repository and
    `line` counts from 1. `probes` maps each case to what became of it. `writes` is what a handler of GET calls that
    changes something stored. `service` is whose route it is, `pattern` what tells it from another of the same id:
    `{id:int}` and `{id:path}` are both `{id}`.
    """

    method: str
    path: str
    source: str
    line: int
    framework: str
    endpoint: str
    verdict: RouteVerdict
    by: str = ""
    evidence: str = ""
    exemption: str = ""
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fix: str = ""
    second: str = ""
    exempt_by: str = ""
    idle: str = ""
    methods: tuple[str, ...] = ()
    writes: str = ""
    service: str = ""
    pattern: str = ""

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def ids(self) -> tuple[str, ...]:
        """The id, and that of each method of a row that stands for several."""
        return (self.id, *(f"{method} {self.path}" for method in self.methods))

    @property
    def state_changing(self) -> bool:
        return self.verdict != "safe"

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "source": self.source,
            "line": self.line,
            "framework": self.framework,
            "endpoint": self.endpoint,
            "verdict": self.verdict,
            "by": self.by or None,
            "evidence": self.evidence,
            "fix": self.fix or None,
            "exemption": self.exemption or None,
            "methods": list(self.methods) or [self.method],
            "probes": {name: dict(probe) for name, probe in self.probes.items()},
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """`coverage` is protected / (state-changing - exempt), None for 0 of 0; what is unknown counts as unprotected."""

    state_changing: int
    protected: int
    exempt: int
    unprotected: int
    unknown: int

    @property
    def coverage(self) -> float | None:
        counted = self.state_changing - self.exempt
        return self.protected / counted if counted else None

    def as_json(self) -> dict[str, Any]:
        return {
            "stateChanging": self.state_changing,
            "protected": self.protected,
            "exempt": self.exempt,
            "unprotected": self.unprotected,
            "unknown": self.unknown,
            "coverage": self.coverage,
        }


@dataclass(frozen=True, slots=True)
class RouteFlaw:
    """Something else that is wrong with a web tier, by `kind`; `said` is the sentence of its finding."""

    kind: Literal[
        "vulnerable-version", "own-check-behind-proxy", "own-check-off", "loader-changes-state", "secret-fallback"
    ]
    path: str
    line: int
    said: str


@dataclass(frozen=True, slots=True)
class TierFlaws:
    """What is wrong with the web tiers that were read, besides routes and forms."""

    cost: ClassVar[Cost] = "local"
    rows: tuple[RouteFlaw, ...] = ()


@dataclass(frozen=True, slots=True)
class TierAudit:
    """What node says about a tier whose source was read: its own list of routes, and the answers of its build.

    `routes` and `actions` were found by reading. `listed` are the routes that the framework lists, `differing` what
    only one of the two has. `asked` are the actions of the build that were sent hostile posts, without the `exempt`:
    `refused` of them refused all, `alone` also without what stands in front; `unproven` says of the others why not.
    """

    tier: str
    actions: int
    routes: int
    listed: int | Unknown
    asked: int | Unknown
    differing: tuple[str, ...] = ()
    exempt: int = 0
    refused: int = 0
    alone: int = 0
    unproven: tuple[str, ...] = ()

    @property
    def seen(self) -> str:
        """Both counts in one line."""
        listed = (
            f"not listed by the framework ({self.listed.reason})"
            if isinstance(self.listed, Unknown)
            else f"{self.listed} listed by the framework"
        )
        asked = (
            f"build not asked ({self.asked.reason})"
            if isinstance(self.asked, Unknown)
            else f"{self.asked} asked in the build, {self.refused} refused every hostile post, "
            f"{self.alone} by themselves"
        )
        exempt = f"{self.exempt} exempt, " if self.exempt else ""
        return f"{self.tier}: {self.routes} routes read, {listed}; {self.actions} actions read, {exempt}{asked}"

    @property
    def fixes(self) -> tuple[str, ...]:
        """What would make known what is not."""
        return tuple(one.fix for one in (self.listed, self.asked) if isinstance(one, Unknown) and one.fix)

    def as_json(self) -> dict[str, Any]:
        def number(found: int | Unknown) -> int | dict[str, str]:
            return {"unknown": found.reason, "fix": found.fix} if isinstance(found, Unknown) else found

        return {
            "tier": self.tier,
            "read": {"routes": self.routes, "actions": self.actions},
            "listed": number(self.listed),
            "differing": list(self.differing),
            "asked": number(self.asked),
            "exempt": self.exempt,
            "refused": self.refused,
            "alone": self.alone,
            "unproven": list(self.unproven),
        }


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes of the services. `today` is the ISO day of the audit, `session` how the session cookie is set up,
    `binding` what tokens are bound to, in words.

    `ready` is what became of asking a service whether it is ready (`path`, `status`, `reached`), by service.
    `native` are the field and header of the framework's own check, None when it has none.

    `requests` is how many requests were made to find out.

    `gaps` are the services whose routes could not be listed, and why. Of tiers that were read as text `tiers` are the
    audits; `flaws` is None when there was none.
    """

    cost: ClassVar[Cost] = "local"
    service: str
    framework: str
    rows: tuple[RouteRow, ...]
    today: str
    session: Mapping[str, Any] | None = None
    binding: str = ""
    native: Mapping[str, str] | None = None
    gaps: tuple[Unknown, ...] = ()
    ready: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flaws: TierFlaws | None = None
    tiers: tuple[TierAudit, ...] = ()
    requests: int = 0

    @property
    def seen(self) -> str:
        """One line of what was looked at, for `check`: how many routes, and what tokens are bound to."""
        bound = f"; tokens are bound to {self.binding}" if self.binding else ""
        tiers = "".join(f"; {tier.seen}" for tier in self.tiers)
        asked = f", asked with {self.requests} requests" if self.requests else ""
        return f"csrf: {len(self.state_changing)} state-changing routes of `{self.service}`{asked}{bound}{tiers}"

    @property
    def state_changing(self) -> tuple[RouteRow, ...]:
        return tuple(row for row in self.rows if row.state_changing)

    @property
    def summary(self) -> Summary:
        return summarise(row.verdict for row in self.state_changing)


def summarise(verdicts: Iterable[str]) -> Summary:
    """The counts over verdicts of state-changing things."""
    seen = list(verdicts)
    return Summary(len(seen), *(seen.count(word) for word in ("protected", "exempt", "unprotected", "unknown")))


def build_table(answer: Mapping[str, Any], *, policy: CsrfPolicy, service: str, root: str, today: str) -> RouteTable:
    """The table of an agent's answer; `root` is the repository, `today` decides whether exemptions hold."""
    rows = [_row(raw, policy, root, today) for raw in answer["routes"]]
    rows.sort(key=lambda row: (not row.state_changing, row.path, row.method))
    gaps = tuple(Unknown(str(gap["reason"]), str(gap["fix"])) for gap in answer.get("gaps", ()))
    return RouteTable(
        service=service,
        framework=str(answer.get("framework") or "unknown"),
        rows=tuple(_any_method(_once(rows), {_id(raw) for raw in answer["routes"] if raw["kind"] == "any"})),
        today=today,
        gaps=gaps,
        session=answer.get("session"),
        binding=str(answer.get("binding") or ""),
        native=answer.get("native"),
        ready={service: answer["ready"]} if answer.get("ready") else {},
        requests=int(answer.get("requests") or 0),
    )


_NAMELESS = "the application does not say that it is this service (`wrap(app, service='PROJECT/SERVICE')`)"


def _row(raw: Mapping[str, Any], policy: CsrfPolicy, root: str, today: str) -> RouteRow:
    path = f"{raw['host']}{raw['path']}"
    found, exemption, idle = Judgement("safe"), None, ""
    if raw["method"] not in SAFE_METHODS:
        found = judge_route(raw, policy)
        outer = raw["kind"] == "layer"
        exemption = policy.outer_layer(str(raw["endpoint"])) if outer else policy.exemption(f"{raw['method']} {path}")
    if exemption is not None and exemption.when == "bearer":
        holds = exemption.holds(today) and not raw.get("elsewhere")
        idle = _NAMELESS if raw.get("elsewhere") and exemption.holds(today) else ""
        said = f"; exempt for bearer tokens without cookies ({exemption.reason})" * holds
        found, exemption = replace(found, evidence=found.evidence + said), None
    elif exemption is not None and exemption.holds(today) and (refuser := _refuser(raw)):
        idle = (
            _NAMELESS if raw.get("elsewhere") else "dodai cannot see every way to its handlers, or several have this id"
        )
        idle = idle if refuser == "dodai" else f"{refuser} refuses what dodai lets pass"
        found = replace(found, evidence=f"{found.evidence}; its exemption does not hold in the running app: {idle}")
    elif exemption is not None and exemption.holds(today):
        other = _other_handler(raw.get("probes", {}))
        evidence = f"exempt, but `_method` leads to `{other}`" if other else exemption.control or exemption.reason
        found = Judgement("unprotected" if other else "exempt", evidence=evidence)
    source = str(raw["source"])
    return RouteRow(
        method=str(raw["method"]),
        path=path,
        source=source.removeprefix(root.rstrip("/") + "/"),
        line=int(raw["line"]),
        framework=str(raw["framework"]),
        endpoint=str(raw["endpoint"]),
        verdict=found.verdict,
        by=found.by,
        evidence=found.evidence,
        exemption=exemption.reason if exemption and found.verdict == "exempt" else "",
        probes=raw.get("probes", {}),
        fix=found.fix,
        second=found.second,
        exempt_by=str(raw.get("exemptBy") or ""),
        idle=idle,
        writes=str(raw.get("writes") or ""),
        pattern=str(raw.get("pattern") or ""),
    )


def _refuser(raw: Mapping[str, Any]) -> str:
    """Who refused a request without a token, exemption or not; empty when nobody known did."""
    missing = raw.get("probes", {}).get("missing") or {}
    return str(missing.get("by") or "") if not missing.get("reached") else ""


def _id(raw: Mapping[str, Any]) -> str:
    return f"{raw['method']} {raw['host']}{raw['path']}"


def _any_method(rows: Iterable[RouteRow], anything: set[str]) -> Iterator[RouteRow]:
    """One row for a handler that takes any method, when all of them came out alike; `anything` are the ids of those."""
    alike: dict[tuple[object, ...], list[RouteRow]] = {}
    for row in rows:
        # What differs in an exemption, in a verdict or in who refused stays apart; not in how much was asked.
        told = row.evidence if row.verdict in ("unknown", "exempt") else ""
        said = (row.verdict, row.by, row.second, told, row.exemption, row.idle, row.source, row.line)
        many = row.id in anything and row.state_changing and row.method != "*"
        alike.setdefault((row.path, row.pattern, *(said if many else (row.method,))), []).append(row)
    for group in alike.values():
        methods = tuple(row.method for row in group)
        most = max(group, key=lambda row: len(row.probes))
        yield most if len(group) == 1 else replace(most, method="*", methods=methods)


def _other_handler(probes: Mapping[str, Mapping[str, Any]]) -> str:
    """The route that a request to an exempt one reaches by naming another method in its form; empty for none."""
    other = probes.get("override", {}).get("other", "")
    return str(other) if other != probes.get("missing", {}).get("other", "") else ""


def _once(rows: Iterable[RouteRow]) -> list[RouteRow]:
    """One row of each id and pattern: the router never gets to a second route of the same method and path.

    Except in Django, where two patterns can differ in their anchors alone: there the worse verdict counts.
    """
    first: dict[tuple[str, str], RouteRow] = {}
    for row in rows:
        key = (row.id, row.pattern)
        known = first.setdefault(key, row)
        if row.framework == "django" and _WORST.index(row.verdict) < _WORST.index(known.verdict):
            first[key] = row
    return list(first.values())
