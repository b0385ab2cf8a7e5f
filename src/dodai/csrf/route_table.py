"""The table behind `dodai routes`: every state-changing route with its verdict and the evidence of real requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from dodai.core.fact import Cost, Unknown
from dodai.csrf.decision import SAFE_METHODS
from dodai.csrf.policy import CsrfPolicy, Mode

RouteVerdict = Literal["protected", "exempt", "unprotected", "unknown", "safe"]

HOSTILE = ("missing", "tampered", "foreign", "expired", "cross_site")
_HOSTILE_BY_MODE: Mapping[str, tuple[str, ...]] = {"either": ("cross_site",), "header": ("cross_site",)}
_WORST: tuple[RouteVerdict, ...] = ("unprotected", "unknown", "protected", "exempt", "safe")
_SIGN_IN = frozenset({301, 302, 303, 307, 308, 401, 403})


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One (method, path). `by` names who refuses (`dodai`, `django`, `flask-wtf`), `evidence` what was seen, in words.

    `source` is relative to the repository and `line` counts from 1. `probes` maps each case to what became of it.
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

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"

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
            "exemption": self.exemption or None,
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
class RouteTable:
    """The routes of the services. `today` is the ISO day of the audit, `session` how the session cookie is set up,
    `binding` what tokens are bound to, in words.

    `ready` is what became of asking a service whether it is ready (`path`, `status`, `reached`), by service.
    `gaps` are the services whose routes could not be listed, and why; `flaws` is None when no tier was read as text.
    """

    cost: ClassVar[Cost] = "local"
    service: str
    framework: str
    rows: tuple[RouteRow, ...]
    today: str
    session: Mapping[str, Any] | None = None
    binding: str = ""
    gaps: tuple[Unknown, ...] = ()
    ready: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flaws: TierFlaws | None = None

    @property
    def seen(self) -> str:
        """One line of what was looked at, for `check`: how many routes, and what tokens are bound to."""
        bound = f"; tokens are bound to {self.binding}" if self.binding else ""
        return f"csrf: {len(self.state_changing)} state-changing routes of `{self.service}`{bound}"

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
    return RouteTable(
        service=service,
        framework=str(answer.get("framework") or "unknown"),
        rows=tuple(_once(rows)),
        today=today,
        session=answer.get("session"),
        binding=str(answer.get("binding") or ""),
        ready={service: answer["ready"]} if answer.get("ready") else {},
    )


def judge_route(raw: Mapping[str, Any], mode: Mode = "both") -> tuple[RouteVerdict, str, str]:
    """(verdict, by, evidence) of one audited route, exemptions left aside.

    In the modes that need no token from our own pages only the cross-site request has to be refused.
    """
    probes: Mapping[str, Mapping[str, Any]] = raw.get("probes", {})
    hostile = {name: probes[name] for name in _HOSTILE_BY_MODE.get(mode, HOSTILE) if name in probes}
    if raw["kind"] == "opaque":
        return "unknown", "", f"`{raw['endpoint']}` leads to routes that cannot be listed"
    if not hostile:
        return "unknown", "", "no request could be made to it"
    reached = [name for name, probe in hostile.items() if probe["reached"]]
    if reached:
        said = f"a {' and a '.join(_words(name) for name in reached)} request reached the handler"
        if raw.get("guard"):
            return (
                "unknown",
                "",
                f"{said}; `{raw['guard']}` looks like a check inside it, which cannot be proven from outside",
            )
        return "unprotected", "", said
    refusers = {str(probe["by"]) for probe in hostile.values()}
    if refusers != {refuser := next(iter(refusers))} or not refuser:
        return "unknown", "", f"stopped by something else than a CSRF check: {_statuses(hostile)}"
    return _judge_valid(probes, hostile, refuser)


def _judge_valid(
    probes: Mapping[str, Mapping[str, Any]], hostile: Mapping[str, Mapping[str, Any]], refuser: str
) -> tuple[RouteVerdict, str, str]:
    seen = f"{', '.join(_words(name) for name in hostile)} refused"
    valid = [probes[name] for name in ("valid", "valid_header") if name in probes]
    if not valid:
        return "unknown", refuser, f"{seen}; no valid request could be made to compare with"
    reached = [probe for probe in valid if probe["reached"]]
    if any(not probe.get("other") for probe in reached):
        return "protected", refuser, f"{seen}, valid reached the handler"
    if reached:
        return "unknown", refuser, f"its example path was taken by `{reached[0]['other']}`: no request got to it"
    last = valid[-1]
    if last["by"]:
        return "unknown", refuser, f"{seen}, but a valid request was refused as well"
    if last["error"]:
        return "unknown", refuser, f"{seen}; a valid request passed the check and then failed with `{last['error']}`"
    if last["status"] in _SIGN_IN:
        return "protected", refuser, f"{seen}, valid passed the check and was sent to sign in ({last['status']})"
    return "unknown", refuser, f"{seen}; a valid request passed the check but was answered {last['status']} elsewhere"


def _row(raw: Mapping[str, Any], policy: CsrfPolicy, root: str, today: str) -> RouteRow:
    path = f"{raw['host']}{raw['path']}"
    verdict: RouteVerdict
    verdict, by, evidence = "safe", "", ""
    exemption = None
    if raw["method"] not in SAFE_METHODS:
        verdict, by, evidence = judge_route(raw, policy.mode)
        exemption = policy.exemption(f"{raw['method']} {path}")
    if exemption is not None and exemption.when == "bearer":
        evidence += f"; exempt for bearer tokens without cookies ({exemption.reason})" * exemption.holds(today)
        exemption = None
    elif exemption is not None and exemption.holds(today):
        other = _other_handler(raw.get("probes", {}))
        verdict, by = ("unprotected" if other else "exempt"), ""
        evidence = f"exempt, but `_method` leads to `{other}`" if other else exemption.control or exemption.reason
    source = str(raw["source"])
    return RouteRow(
        method=str(raw["method"]),
        path=path,
        source=source.removeprefix(root.rstrip("/") + "/"),
        line=int(raw["line"]),
        framework=str(raw["framework"]),
        endpoint=str(raw["endpoint"]),
        verdict=verdict,
        by=by,
        evidence=evidence,
        exemption=exemption.reason if exemption else "",
        probes=raw.get("probes", {}),
    )


def _other_handler(probes: Mapping[str, Mapping[str, Any]]) -> str:
    """The route that a request to an exempt one reaches by naming another method in its form; empty for none."""
    other = probes.get("override", {}).get("other", "")
    return str(other) if other != probes.get("missing", {}).get("other", "") else ""


def _once(rows: Iterable[RouteRow]) -> list[RouteRow]:
    """One row of each id: the router never gets to a second route of the same method and path.

    Except in Django, where two patterns can differ in their anchors alone: there the worse verdict counts.
    """
    first: dict[str, RouteRow] = {}
    for row in rows:
        known = first.setdefault(row.id, row)
        if row.framework == "django" and _WORST.index(row.verdict) < _WORST.index(known.verdict):
            first[row.id] = row
    return list(first.values())


def _words(name: str) -> str:
    return name.replace("_", "-") if name == "cross_site" else f"{name} token" if name == "expired" else name


def _statuses(probes: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{_words(name)} {probe['status'] or probe['error'] or 'no answer'}" for name, probe in probes.items()
    )
