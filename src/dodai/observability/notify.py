"""Notification: what fires now and what each notifier was told, brought together until they agree.

Nothing is a queue. What a notifier has to hear follows from the history and from what it has heard, both in the store:
a message that could not be delivered is tried again, one that was is not repeated, and a restart changes neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from dodai.core.dataclass import dataclass
from dodai.observability.alert import Alert, Firing, History
from dodai.observability.alert.history import ACKNOWLEDGED, SILENCED, Silence
from dodai.observability.policy import NotifierSection
from dodai.observability.ports import Message, RetryLaterError, Told
from dodai.observability.rollup import Store

RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""The pauses after failures in a row; the last one goes on."""
LONGEST_S = 600.0
"""A receiver that asks for more patience than this is tried all the same."""
_REMEMBER_S = 86400.0
TAKEN_OVER_S = 60.0
"""Longer than it takes to notice that somebody else tells nobody any more."""
FRESH_TICKS = 6
CALLS_S = 60.0
"""How far back a message looks for dependencies that fail."""


@dataclass(frozen=True, slots=True)
class Facing:
    """What messages say about where they come from. `runbook` is followed by `#` and the name of the alert."""

    project: str
    env: str
    runbook: str


@dataclass(slots=True)
class Outbox:
    """What one notifier has to hear, and what it has heard."""

    section: NotifierSection
    store: Store
    facing: Facing
    alerts: Mapping[str, Alert]
    failures: int = 0
    problem: str = ""
    next_try_s: float = 0.0

    def begin(self, now_s: float) -> None:
        """A notifier that was not there before hears of nothing that is over."""
        with self.store.transaction() as database:
            row = (self.section.name, now_s)
            database.execute("INSERT OR IGNORE INTO notifier VALUES (?, ?, '', 0)", row)

    def take_over(self, now_s: float) -> None:
        """What is over was told by whoever told people until now; they may have ended a moment ago."""
        with self.store.transaction() as database:
            row = (now_s - TAKEN_OVER_S, self.section.name)
            database.execute("UPDATE notifier SET since_s = max(since_s, ?) WHERE name = ?", row)

    def due(self, now_s: float) -> list[tuple[Message, tuple[int, ...]]]:
        """The messages to deliver now, one for each alert and state, with the rows that they tell."""
        if now_s < self.next_try_s:
            return []
        history = History(self.store)
        told, silences = self._told(), history.silences(now_s)
        firing = [one for one in history.open() if one.fired_s and self._wants(one, silences, now_s, told)]
        over = [one for one in history.recent(now_s - _REMEMBER_S) if self._owes(one, silences, told)]
        messages = []
        for status, rows in (("firing", firing), ("resolved", over)):
            for name in dict.fromkeys(one.name for one in rows):
                chosen = [one for one in rows if one.name == name]
                messages.append((self._message(chosen, status), tuple(one.id for one in chosen)))
        return messages

    def delivered(self, ids: Iterable[int], status: str) -> None:
        """Keep that it was told."""
        self.failures, self.problem, self.next_try_s = 0, "", 0.0
        with self.store.transaction() as database:
            rows = [(self.section.name, id_, status) for id_ in ids]
            database.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", rows)
            database.execute("UPDATE notifier SET problem = '' WHERE name = ?", (self.section.name,))

    def failed(self, error: Exception, now_s: float) -> None:
        """Keep why it was not told; it is tried again: soon, then every minute, or when the receiver says."""
        asked_s = min(error.after_s, LONGEST_S) if isinstance(error, RetryLaterError) else 0.0
        self.next_try_s = now_s + max(asked_s, RETRY_S[min(self.failures, len(RETRY_S) - 1)])
        self.failures += 1
        why = self.problem = str(error)[:300] or type(error).__name__
        with self.store.transaction() as database:
            row = (why, now_s, self.section.name)
            database.execute("UPDATE notifier SET problem = ?, tried_s = ? WHERE name = ?", row)

    def _told(self) -> dict[int, str]:
        query = "SELECT alert, state FROM told WHERE notifier = ?"
        return dict(self.store.database.execute(query, (self.section.name,)))

    def _wants(self, one: Firing, silences: Iterable[Silence], now_s: float, told: Mapping[int, str]) -> bool:
        if one.id in told or not self._concerns(one) or now_s - one.fired_s < self.section.after_s:
            return False
        if not one.leads and self._explained(one, now_s):
            return False
        kinds = {silence.kind for silence in silences if silence.name in (one.name, "*")}
        return SILENCED not in kinds and not (self.section.after_s and ACKNOWLEDGED in kinds)

    def _explained(self, one: Firing, now_s: float) -> bool:
        """Whether people know of it by what leads its outage: while that fires, and as long after it as the windows
        of `one` still hold what happened then.
        """
        leader = History(self.store).of_outage(one.outage)[0]
        memory_s = max(self.alerts[one.name].windows_s)
        return not leader.resolved_s or now_s - leader.resolved_s <= memory_s

    def _owes(self, one: Firing, silences: Iterable[Silence], told: Mapping[int, str]) -> bool:
        """Of what is over: what it was told of, and what it never heard of because it could not be reached."""
        if one.id in told:
            return told[one.id] == "firing"
        since = "SELECT since_s FROM notifier WHERE name = ?"
        known = self.store.database.execute(since, (self.section.name,)).fetchone()
        if not known or not one.leads or one.fired_s < known[0] or self.section.after_s or not self._concerns(one):
            return False
        return not any(silence.kind == SILENCED and silence.name in (one.name, "*") for silence in silences)

    def _concerns(self, one: Firing) -> bool:
        alert = self.alerts.get(one.name)
        return alert is not None and self.section.severity in ("", alert.severity)

    def _message(self, rows: list[Firing], status: str) -> Message:
        alert = self.alerts[rows[0].name]
        things = tuple(_told(one, alert, self.facing) for one in rows)
        return Message(
            alert=alert.name,
            code=alert.code.id,
            status="firing" if status == "firing" else "resolved",
            severity=alert.severity,
            project=self.facing.project,
            env=self.facing.env,
            summary=alert.code.what.en,
            runbook=f"{self.facing.runbook}#{alert.name}",
            things=things,
            also=self._also(rows) if status == "firing" else (),
        )

    def _also(self, rows: list[Firing]) -> tuple[str, ...]:
        """What else fires of the same outages, and the dependencies that do not answer now."""
        history = History(self.store)
        told = {one.id for one in rows}
        found = [other for one in rows for other in history.of_outage(one.outage or one.id)]
        firing = [f"{one.name}: {one.about}" for one in found if one.id not in told and not one.resolved_s]
        until = max(one.breached_s for one in rows)
        calls = self.store.totals("dependency", until - CALLS_S, until, by_name=True, histograms=False)
        failing = [
            f"{service} → {name}: {total.errors} of {total.count} calls fail"
            for (service, name), total in sorted(calls.items())
            if total.errors
        ]
        return tuple(dict.fromkeys([*firing, *failing]))[:10]


@dataclass(slots=True)
class Pulse:
    """When a dead man's switch is asked for: while alerts are evaluated, and never otherwise."""

    section: NotifierSection
    store: Store
    next_s: float = 0.0

    def due(self, now_s: float, tick_s: float) -> bool:
        """Whether it is time, and the last evaluation is as fresh as it must be."""
        judged_s = self.store.facts().get("judged_s", 0.0)
        return now_s >= self.next_s and now_s - judged_s <= FRESH_TICKS * tick_s

    def answered(self, now_s: float, problem: str = "") -> None:
        """Keep when it was asked, and what is wrong with it; what is wrong is shown, and tried again soon."""
        self.next_s = now_s + (min(self.section.every_s, RETRY_S[-1] / 12) if problem else self.section.every_s)
        with self.store.transaction() as database:
            row = (self.section.name, now_s, problem, now_s)
            database.execute("INSERT OR REPLACE INTO notifier VALUES (?, ?, ?, ?)", row)


def _told(one: Firing, alert: Alert, facing: Facing) -> Told:
    mark = hashlib.sha256(f"{facing.project}/{facing.env}/{one.fingerprint}".encode()).hexdigest()[:16]
    below = "below " if alert.fires_below else "above "
    return Told(
        one.about, one.fired_s, one.resolved_s, alert.shown(one.value), below + alert.shown(alert.threshold),
        one.bad, one.count, one.samples, mark,
    )  # fmt: skip
