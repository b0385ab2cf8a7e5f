"""The history of alerts: what is pending, fires and was resolved, silences and acknowledgements, in the rollup store.

It survives a restart of `watch`: an alert that fired before it is neither told again nor forgotten.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.observability.alert.evaluate import REPLAYABLE, OneLook, Reading, readings
from dodai.observability.alert.form import Alert
from dodai.observability.alert.join import JOIN_S, NOTHING_CALLED, Sign, Topology, outage_of, root_first
from dodai.observability.rollup import Store

Change = Literal["firing", "resolved"]
Step = list[tuple["Firing", Alert, Change]]
ACKNOWLEDGED = "ack"
SILENCED = "silence"
_BEGIN = (
    "INSERT INTO alert (name, about, since_s, fired_s, resolved_s, value, bad, count, samples, breached_s, outage)"
    " VALUES (?, ?, ?, 0, 0, 0, 0, 0, '[]', ?, 0)"
)


@dataclass(frozen=True, slots=True)
class Firing:
    """One row: from the first breach (`since_s`) over firing to resolved; 0 is not yet. `samples` are request ids.

    `breached_s` is when its condition last held, `outage` the row that leads the outage it is a part of.
    """

    id: int
    name: str
    about: str
    since_s: float
    fired_s: float
    resolved_s: float
    value: float
    bad: int
    count: int
    samples: tuple[str, ...]
    breached_s: float
    outage: int = 0

    @property
    def leads(self) -> bool:
        """Whether it is what people are told of its outage."""
        return self.outage in (0, self.id)

    @property
    def state(self) -> str:
        if self.resolved_s:
            return "resolved"
        return "firing" if self.fired_s else "pending"

    @property
    def fingerprint(self) -> str:
        """The same for one alert about one thing, whenever it fires."""
        return f"{self.name}/{self.about}"


@dataclass(frozen=True, slots=True)
class Silence:
    """`kind` `silence`: nobody is told. `ack`: somebody is on it, so no second notifier is told."""

    name: str
    kind: str
    reason: str
    actor: str
    from_s: float
    until_s: float


class History:
    """The alerts of a store. Only the one `watch` that evaluates calls `judge`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _database(self) -> sqlite3.Connection:
        return self._store.database

    def judge(
        self,
        alerts: Iterable[Alert],
        readings: Iterable[Reading],
        now_s: float,
        hold_s: float,
        topology: Topology = NOTHING_CALLED,
        join_s: float = JOIN_S,
    ) -> Step:
        """What begins to fire and what is resolved now. A breach that stops for `hold_s` is over.

        What fires of an alert that is not among `alerts` any more is resolved and told to nobody.
        """
        open_ = {one.fingerprint: one for one in self.open()}
        changed: Step = []
        with self._store.transaction():
            for reading in readings:
                known = open_.pop(f"{reading.alert.name}/{reading.about}", None)
                changed += self._step(reading, known, now_s, hold_s)
            judged = {alert.name: alert for alert in alerts}
            for gone in open_.values():  # a series that left its windows has nothing wrong with it any more
                changed += self._quiet(gone, judged.get(gone.name), now_s, hold_s)
            self._join(judged, topology, join_s)
        return changed

    def _join(self, alerts: Mapping[str, Alert], topology: Topology, join_s: float) -> None:
        """Put what has begun to fire into its outage."""
        firing = [one for one in self.open() if one.fired_s and one.name in alerts]
        signs = [
            Sign(one.id, one.outage, one.name, one.about, alerts[one.name].severity, one.fired_s) for one in firing
        ]
        known = [one for one in signs if one.outage]
        for new in sorted((one for one in signs if not one.outage), key=root_first):
            outage = outage_of(new, known, topology, join_s)
            self._database.execute("UPDATE alert SET outage = ? WHERE id = ?", (outage, new.id))
            known.append(replace(new, outage=outage))

    def _step(self, reading: Reading, known: Firing | None, now_s: float, hold_s: float) -> Step:
        alert = reading.alert
        if not reading.breached:
            return self._quiet(known, alert, now_s, hold_s) if known else []
        if known is None:
            self._database.execute(_BEGIN, (alert.name, reading.about, now_s, now_s))
            known = self._one(alert.name, reading.about)
        fired_s = known.fired_s or (now_s if now_s - known.since_s >= alert.for_s else 0.0)
        self._database.execute(
            "UPDATE alert SET fired_s = ?, value = ?, bad = ?, count = ?, samples = ?, breached_s = ? WHERE id = ?",
            (fired_s, reading.value, reading.bad, reading.count, json.dumps(reading.samples), now_s, known.id),
        )
        if fired_s and not known.fired_s:
            return [(self._one(alert.name, reading.about), alert, "firing")]
        return []

    def _quiet(self, known: Firing, alert: Alert | None, now_s: float, hold_s: float) -> Step:
        if known.fired_s and now_s - known.breached_s < hold_s:
            return []
        if not known.fired_s:
            self._database.execute("DELETE FROM alert WHERE id = ?", (known.id,))
            return []
        self._database.execute("UPDATE alert SET resolved_s = ? WHERE id = ?", (now_s, known.id))
        found = self._database.execute("SELECT * FROM alert WHERE id = ?", (known.id,)).fetchone()
        return [(_firing(found), alert, "resolved")] if alert else []

    def _one(self, name: str, about: str) -> Firing:
        found = self._database.execute(
            "SELECT * FROM alert WHERE name = ? AND about = ? AND resolved_s = 0", (name, about)
        )
        return _firing(found.fetchone())

    def open(self) -> list[Firing]:
        """What is pending or fires, the oldest first."""
        found = self._database.execute("SELECT * FROM alert WHERE resolved_s = 0 ORDER BY since_s, id")
        return [_firing(row) for row in found]

    def of_outage(self, outage: int) -> list[Firing]:
        """Every row of an outage, the one that leads it first."""
        found = self._database.execute(
            "SELECT * FROM alert WHERE outage = ? OR id = ? ORDER BY id != ?, fired_s, id", (outage, outage, outage)
        )
        return [_firing(row) for row in found]

    def recent(self, since_s: float) -> list[Firing]:
        """What fired and was resolved since, the newest first."""
        found = self._database.execute("SELECT * FROM alert WHERE resolved_s >= ? ORDER BY resolved_s DESC", (since_s,))
        return [_firing(row) for row in found]

    def silence(self, one: Silence) -> None:
        """Keep a silence or an acknowledgement."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO silence (name, kind, reason, actor, from_s, until_s) VALUES (?, ?, ?, ?, ?, ?)",
                (one.name, one.kind, one.reason, one.actor, one.from_s, one.until_s),
            )

    def silences(self, now_s: float) -> list[Silence]:
        """Those that hold now."""
        found = self._database.execute(
            "SELECT name, kind, reason, actor, from_s, until_s FROM silence WHERE from_s <= ? AND until_s > ?",
            (now_s, now_s),
        )
        return [Silence(*row) for row in found]

    def silences_between(self, since_s: float, until_s: float) -> list[Silence]:
        """Those that began in between, the oldest first."""
        found = self._database.execute(
            "SELECT name, kind, reason, actor, from_s, until_s FROM silence WHERE from_s BETWEEN ? AND ?"
            " ORDER BY from_s",
            (since_s, until_s),
        )
        return [Silence(*row) for row in found]


def _firing(row: tuple[object, ...]) -> Firing:
    values = list(row)
    values[9] = tuple(json.loads(str(values[9])))
    return Firing(*values)  # type: ignore[arg-type]


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
