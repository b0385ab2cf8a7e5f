"""Alerts in their one form: what is measured, over which windows, when it fires, and what it is called everywhere.

Thresholds and windows come from three places. The 2 % and 5 % over five minutes, and 500 ms and 1 s over ten, are those
of the plan's own application. The burn rates 14.4 and 6 with their windows are those of the Site Reliability Workbook,
chapter 5. `sustained-errors` is there because burn rates are blind at a few requests a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.observability import codes
from dodai.observability.policy import AlertSection, ObservabilityPolicy, Severity, loop_patience_s
from dodai.observability.rollup import Kind

Measure = Literal[
    "error-ratio", "refusal-ratio", "p95-ms", "pool-wait-ms", "loop-lag-ms", "silent-s", "short-lives", "dropped",
    "requests", "disk-free", "unhealthy", "certificate-days", "overdue-days", "restore-days",
    "unwatched-s",
]  # fmt: skip
STATED = frozenset({"disk-free", "unhealthy", "certificate-days", "overdue-days", "restore-days", "unwatched-s"})
"""The measures that lines cannot tell: the watch asks the machine and the environment for them."""
By = Literal["service", "name"]
TICKET: Severity = "ticket"
ASK_EVERY_S = 30.0
"""How often the watch asks for what lines cannot tell."""
QUIET = 1 / 20
"""A process that says nothing for this share of the window of `short-lives` has ended."""
FAST_FACTOR = 60.0
"""The fast profile divides every duration by this, so that minutes are seconds."""


@dataclass(frozen=True, slots=True)
class Alert:
    """It fires when `measure` is above `threshold` in every one of `windows_s`, for `for_s`.

    A window with fewer than `min_count` requests, or `min_bad` failed ones, never fires. `requests`, `disk-free` and
    `certificate-days` fire below. `by` says whether one alert stands for a service or for a single route, RPC or
    dependency.
    """

    name: str
    code: Code
    measure: Measure
    kind: Kind
    threshold: float
    windows_s: tuple[float, ...]
    min_count: int = 0
    min_bad: int = 0
    for_s: float = 0.0
    severity: Severity = "page"
    by: By = "service"

    @property
    def fires_below(self) -> bool:
        return self.measure in ("requests", "disk-free", "certificate-days")

    @property
    def unit(self) -> str:
        """What its values are in, for people."""
        if self.measure.endswith("-ms"):
            return "ms"
        if self.measure.endswith("-s"):
            return "s"
        if self.measure.endswith("-days"):
            return "days"
        return "%" if self.measure in ("error-ratio", "refusal-ratio", "disk-free") else ""

    def shown(self, value: float) -> str:
        """`value` as people read it."""
        return f"{value * 100:.3g} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()

    @property
    def condition(self) -> str:
        """When it fires, in one line: `http error-ratio > 2 % over 5m`."""
        kind = (
            ""
            if self.measure in ("loop-lag-ms", "silent-s", "short-lives", "dropped") or self.measure in STATED
            else f"{self.kind} "
        )
        sign = "<" if self.fires_below else ">"
        windows = " and ".join(_span(window) for window in self.windows_s)
        held = f" for {_span(self.for_s)}" if self.for_s else ""
        return f"{kind}{self.measure} {sign} {self.shown(self.threshold)} over {windows}{held}"

    def detection_s(self, share: float = 1.0, *, tick_s: float = 5.0, heartbeat_s: float = 5.0) -> float | None:
        """After how many seconds at the latest it fires, once `share` of steady traffic fails, or all of it is slow.

        Every window must fill up to its threshold; then `for_s`, and two evaluations. None where that depends on what
        the fault does: how long requests wait, how fast a process ends. It takes longer while there are fewer than
        `min_count` requests.
        """
        match self.measure:
            case "error-ratio" | "refusal-ratio":
                filling = max(window * min(1.0, self.threshold / share) for window in self.windows_s)
            case "p95-ms":
                filling = max(window * min(1.0, 0.05 / share) for window in self.windows_s)
            case "silent-s":
                filling = self.threshold
            case "loop-lag-ms":
                heard_s = heartbeat_s + loop_patience_s(heartbeat_s)
                told_at_once = loop_patience_s(heartbeat_s) * 1000.0 > self.threshold
                filling = heard_s if told_at_once else 2.0 * heard_s
            case "requests":
                filling = self.windows_s[0]
            case "dropped" | "disk-free":
                filling = 0.0
            case "unhealthy" | "certificate-days" | "overdue-days" | "restore-days":
                filling = ASK_EVERY_S
            case _:
                return None
        return filling + self.for_s + 2 * tick_s

    def hearing(self, every_s: float) -> Alert:
        """The same alert where a process that has nothing else to say is heard every `every_s`.

        A heartbeat that is not due yet is not missing: silence begins when two have not come.
        """
        missed_s = 2.0 * every_s
        match self.measure:
            case "silent-s":
                threshold = max(self.threshold, missed_s)
                return replace(self, threshold=threshold, windows_s=(max(self.windows_s[0], 3.0 * threshold),))
            case "loop-lag-ms":
                return replace(self, windows_s=(max(self.windows_s[0], missed_s),))
            case "short-lives":
                return replace(self, windows_s=(max(self.windows_s[0], missed_s / QUIET),))
        return self

    def faster(self, factor: float = FAST_FACTOR) -> Alert:
        """The same alert with seconds for minutes; what is asked for at the least follows, thresholds stay."""
        return replace(
            self,
            windows_s=tuple(max(3.0, window / factor) for window in self.windows_s),
            for_s=self.for_s / factor,
            min_count=max(1, self.min_count // 4) if self.min_count else 0,
            threshold=max(3.0, self.threshold / 10) if self.measure == "silent-s" else self.threshold,
        )


def defaults(slo: float = 0.995) -> tuple[Alert, ...]:
    """Every alert as it is when the manifest says nothing; `slo` is the share of requests that must succeed."""
    budget, minute, hour = 1.0 - slo, 60.0, 3600.0
    made = (
        Alert("http-error-surge", codes.HTTP_ERROR_SURGE, "error-ratio", "http", 0.02, (5 * minute,), 20, 5),
        Alert("rpc-error-surge", codes.RPC_ERROR_SURGE, "error-ratio", "rpc", 0.05, (5 * minute,), 20, 5),
        Alert("dependency-down", codes.DEPENDENCY_DOWN, "error-ratio", "dependency", 0.5, (minute,), 3, 3, by="name"),
        Alert("http-latency", codes.HTTP_LATENCY, "p95-ms", "http", 1000.0, (10 * minute,), 50),
        Alert("rpc-latency", codes.RPC_LATENCY, "p95-ms", "rpc", 500.0, (10 * minute,), 50),
        Alert("slo-fast-burn", codes.SLO_FAST_BURN, "error-ratio", "http", 14.4 * budget, (hour, 5 * minute), 60, 10),
        Alert("slo-slow-burn", codes.SLO_SLOW_BURN, "error-ratio", "http", 6 * budget, (6 * hour, hour / 2), 60, 10,
              severity=TICKET),
        Alert("sustained-errors", codes.SUSTAINED_ERRORS, "error-ratio", "http", 0.1, (hour,), 5, 5),
        Alert("route-errors", codes.ROUTE_ERRORS, "error-ratio", "http", 0.05, (10 * minute,), 20, 5,
              severity=TICKET, by="name"),
        Alert("csrf-refusals", codes.CSRF_REFUSALS, "refusal-ratio", "http", 0.05, (5 * minute,), 20, 20,
              severity=TICKET),
        Alert("pool-wait", codes.POOL_WAIT, "pool-wait-ms", "rpc", 250.0, (5 * minute,), 20),
        Alert("process-hung", codes.PROCESS_HUNG, "loop-lag-ms", "http", 2000.0, (30.0,)),
        Alert("process-silent", codes.PROCESS_SILENT, "silent-s", "http", 30.0, (10 * minute,)),
        Alert("crash-loop", codes.CRASH_LOOP, "short-lives", "http", 2, (10 * minute,)),
        Alert("no-traffic", codes.NO_TRAFFIC, "requests", "http", 1, (5 * minute, hour), 120, severity=TICKET),
        Alert("lines-lost", codes.LINES_LOST, "dropped", "http", 0, (5 * minute,), severity=TICKET),
        Alert("disk-filling", codes.DISK_FILLING, "disk-free", "http", 0.1, (minute,), severity=TICKET),
        Alert("deploy-unhealthy", codes.DEPLOY_UNHEALTHY, "unhealthy", "http", 0, (minute,), for_s=5 * minute,
              severity=TICKET),
        Alert("certificate-expiring", codes.CERTIFICATE_EXPIRING, "certificate-days", "http", 14, (hour,),
              severity=TICKET),
        Alert("certificate-expired", codes.CERTIFICATE_EXPIRED, "certificate-days", "http", 1, (hour,)),
        Alert("secret-rotation-due", codes.SECRET_ROTATION_DUE, "overdue-days", "http", 0, (hour,), severity=TICKET),
        Alert("restore-test-due", codes.RESTORE_TEST_DUE, "restore-days", "http", 90, (hour,), severity=TICKET),
        Alert("unwatched", codes.UNWATCHED, "unwatched-s", "http", 300.0, (10 * minute,), severity=TICKET),
    )  # fmt: skip
    return tuple(made)


def chosen(
    sections: Mapping[str, AlertSection], slo: float = 0.995, *, fast: bool = False, heartbeat_s: float = 5.0
) -> tuple[Alert, ...]:
    """The alerts as the manifest has them; a name that it does not know is `unknown_names`."""
    found = (_changed(alert, sections.get(alert.name)) for alert in defaults(slo))
    kept = (alert.faster() if fast else alert for alert in found if alert is not None)
    return tuple(alert.hearing(heartbeat_s) for alert in kept)


def alerts_of(policy: ObservabilityPolicy, *, fast: bool = False) -> tuple[Alert, ...]:
    """The alerts of an environment with this policy."""
    return chosen(policy.alerts, policy.slo, fast=fast, heartbeat_s=policy.heartbeat_s)


def unknown_names(sections: Iterable[str]) -> tuple[str, ...]:
    """The names among `sections` that belong to no alert."""
    known = {alert.name for alert in defaults()}
    return tuple(name for name in sections if name not in known)


def _changed(alert: Alert, section: AlertSection | None) -> Alert | None:
    if section is None:
        return alert
    if not section.enabled:
        return None
    first = section.window_s or alert.windows_s[0]
    return replace(
        alert,
        threshold=section.threshold or alert.threshold,
        windows_s=(first, *alert.windows_s[1:]),
        min_count=section.min_count or alert.min_count,
        for_s=section.for_s or alert.for_s,
        severity=section.severity or alert.severity,
    )


def _span(seconds: float) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
