"""The timeline of an incident: lines, alerts and plans in the order in which they happened, and what each alert saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.line import REQUEST_TYPES
from dodai.core.text import Text
from dodai.observability.alert import REPLAYABLE, Alert, Firing, Reading, readings
from dodai.observability.alert.history import ACKNOWLEDGED, Silence
from dodai.observability.rollup import Store
from dodai.observability.trace.tree import FAILED_OUTCOMES

BEFORE_S = 3600.0
"""How far back of the beginning a change still belongs on the timeline."""
AFTER_S = 900.0
_STEPS = 60
_LOOK_S = 900.0
Source = Literal["request", "alert", "plan", "release", "answer"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One row of the timeline; `fired` is the alert that begins to fire with it."""

    at_s: float
    source: Source
    text: Text
    fired: str = ""


@dataclass(frozen=True, slots=True)
class IncidentSpan:
    """From when to when the timeline goes; the incident itself begins at `began_s`."""

    since_s: float
    began_s: float
    until_s: float


def span_of(began_s: float, firings: Iterable[Firing], now_s: float) -> IncidentSpan:
    """An hour before, and until the last alert that overlaps the beginning was over."""
    ended = [one.resolved_s or now_s for one in firings if _near(one, began_s)]
    return IncidentSpan(began_s - BEFORE_S, began_s, min(now_s, max([*ended, began_s]) + AFTER_S))


def _near(one: Firing, began_s: float) -> bool:
    return one.since_s <= began_s + _LOOK_S and (one.resolved_s or began_s) >= began_s


def of_lines(lines: Iterable[Mapping[str, Any]]) -> Iterator[Moment]:
    """Where the request failed, tier by tier. Lines are written when a tier is done."""
    for line in lines:
        if line.get("type") not in REQUEST_TYPES or not isinstance(line.get("ts"), int | float):
            continue
        what = line.get("rpc") or f"{line.get('method', '')} {line.get('route', '')}".strip()
        said = " ".join(str(line[name]) for name in ("status", "outcome", "code", "error") if line.get(name))
        en, ja = ("fails", "失敗") if line.get("outcome") in FAILED_OUTCOMES else ("answers", "応答")
        service = line.get("service", "?")
        text = Text(f"`{service}` {en} `{what}`: {said}", f"`{service}` が `{what}` に{ja}: {said}")
        yield Moment(float(line["ts"]), "request", text)


def of_alerts(firings: Iterable[Firing], alerts: Mapping[str, Alert], span: IncidentSpan) -> Iterator[Moment]:
    """When each alert began to fire, and when it was resolved."""
    for one in firings:
        if not one.fired_s or not span.since_s <= one.fired_s <= span.until_s:
            continue
        alert = alerts.get(one.name)
        value = f" at {alert.shown(one.value)}" if alert else ""
        fires = Text(f"{one.name} fires: {one.about}{value}", f"{one.name} が発火: {one.about}{value}")
        yield Moment(one.fired_s, "alert", fires, one.name)
        if one.resolved_s:
            over = Text(f"{one.name} is resolved: {one.about}", f"{one.name} が解消: {one.about}")
            yield Moment(one.resolved_s, "alert", over)


def of_responses(silences: Iterable[Silence]) -> Iterator[Moment]:
    """Who muted an alert, or said that they are on it."""
    for one in silences:
        en, ja = ("is on", "対応開始") if one.kind == ACKNOWLEDGED else ("silences", "通知停止")
        said = Text(f"{one.actor} {en} {one.name}: {one.reason}", f"{one.actor} が {one.name} に{ja}: {one.reason}")
        yield Moment(one.from_s, "answer", said)


@dataclass(frozen=True, slots=True)
class AlertJudgement:
    """What one alert saw of the incident at the most. `reading` is None where nothing was counted."""

    alert: Alert
    reading: Reading | None
    breached: bool

    @property
    def share(self) -> float:
        """How near the threshold it came; 1 and more is above."""
        if self.reading is None or not self.alert.threshold:
            return 0.0
        return self.reading.value / self.alert.threshold


def judgements(alerts: Iterable[Alert], store: Store, span: IncidentSpan) -> list[AlertJudgement]:
    """The alerts that can be judged afterwards, those that came nearest first; the ones that fire below are left out.

    Each is evaluated sixty times from the beginning on: what it measured at the most.
    """
    until_s = max(span.began_s + store.cell_s, min(span.until_s, span.began_s + 6 * _LOOK_S))
    step_s = (until_s - span.began_s) / _STEPS
    moments = [span.began_s + step_s * (at + 1) for at in range(_STEPS)]
    found = []
    for alert in alerts:
        if alert.measure not in REPLAYABLE or alert.fires_below:
            continue
        seen = [reading for at_s in moments for reading in readings(alert, store, at_s)]
        top = max(seen, key=lambda reading: (reading.breached, reading.value, reading.bad), default=None)
        found.append(AlertJudgement(alert, top, any(reading.breached for reading in seen)))
    return sorted(found, key=lambda one: (not one.breached, -one.share, one.alert.name))
