"""Replay: the alerts of the manifest as it is now, evaluated over traffic that is past."""

from __future__ import annotations

from collections.abc import Iterable

from dodai.core.dataclass import dataclass
from dodai.observability.alert import REPLAYABLE, Alert, Firing, History, OneLook, readings
from dodai.observability.rollup import Store

_MOST_STEPS = 720


@dataclass(frozen=True, slots=True)
class Replay:
    """What would have fired from `since_s` to `until_s`, looked at every `step_s`; `not_judged` are names of alerts."""

    since_s: float
    until_s: float
    step_s: float
    fired: tuple[Firing, ...]
    not_judged: tuple[str, ...]


def replay(alerts: Iterable[Alert], store: Store, since_s: float, until_s: float) -> Replay | None:
    """None when no rollups of that time are kept. It begins with the oldest ones, if that is later than `since_s`."""
    oldest = store.oldest_s()
    if oldest is None or oldest >= until_s:
        return None
    since_s = max(since_s, oldest)
    step_s = max(float(store.cell_s), (until_s - since_s) / _MOST_STEPS)
    known = tuple(alerts)
    judged = [alert for alert in known if alert.measure in REPLAYABLE]
    scratch = Store(None)
    history, now = History(scratch), since_s
    while now < until_s:
        now = min(until_s, now + step_s)
        view = OneLook(store)
        found = [reading for alert in judged for reading in readings(alert, view, now)]
        history.judge(judged, found, now, 3 * step_s)
    fired = [*history.recent(0.0), *(one for one in history.open() if one.fired_s)]
    scratch.close()
    missing = tuple(alert.name for alert in known if alert.measure not in REPLAYABLE)
    return Replay(since_s, until_s, step_s, tuple(sorted(fired, key=lambda one: one.fired_s)), missing)
