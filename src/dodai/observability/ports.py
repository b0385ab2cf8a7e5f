"""What observability needs from outside: somewhere to tell people, and the message that they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.text import Text


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that an alert is about. `ended_s` is 0 while it fires; `samples` are ids for `dodai trace`."""

    about: str
    began_s: float
    ended_s: float
    value: str
    threshold: str
    bad: int
    count: int
    samples: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Message:
    """All that one alert says at one time."""

    alert: str
    code: str
    status: Literal["firing", "resolved"]
    severity: str
    project: str
    env: str
    summary: str
    runbook: str
    things: tuple[Told, ...]
    also: tuple[str, ...] = ()
    """What else is a part of the same outage, of which nothing more is told."""

    @property
    def title(self) -> str:
        """One line for a telephone's screen."""
        about = ", ".join(thing.about for thing in self.things[:3])
        more = f" and {len(self.things) - 3} more" if len(self.things) > 3 else ""
        said = f"[{self.status.upper()}] {self.project}/{self.env} {self.alert}: {about}{more}"
        return "".join(char if char.isprintable() else " " for char in said)  # a route may hold anything

    @property
    def text(self) -> str:
        """The whole message as plain text, with the command that leads to an example."""
        lines = [self.title, self.summary]
        for thing in self.things:
            counts = f", {thing.bad} of {thing.count}" if thing.count and thing.bad else ""
            lines.append(f"- {thing.about}: {thing.value} (threshold {thing.threshold}{counts})")
            lines += [f"    {proposal.TRACE(request=sample)}" for sample in thing.samples[:3]]
        lines += [f"also: {one}" for one in self.also]
        return "\n".join([*lines, f"runbook: {self.runbook}"])

    def as_alertmanager(self, receiver: str) -> dict[str, Any]:
        """The body of Alertmanager's webhook, version 4, so that whatever takes that takes this."""
        common = {"alertname": self.alert, "severity": self.severity, "project": self.project, "env": self.env}
        notes = {"summary": self.summary, "runbook_url": self.runbook, "code": self.code}
        if self.also:
            notes["also"] = "; ".join(self.also)
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{self.alert}"}}',
            "truncatedAlerts": 0,
            "status": self.status,
            "receiver": receiver,
            "groupLabels": {"alertname": self.alert},
            "commonLabels": common,
            "commonAnnotations": notes,
            "externalURL": "",
            "alerts": [_as_alert(thing, common, notes, self.status) for thing in self.things],
        }


def _as_alert(thing: Told, common: Mapping[str, str], notes: Mapping[str, str], status: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {**common, "about": thing.about},
        "annotations": {
            **notes,
            "value": thing.value,
            "threshold": thing.threshold,
            "failed": f"{thing.bad} of {thing.count}",
            "requestIds": " ".join(thing.samples),
            "trace": proposal.TRACE(request=thing.samples[0]) if thing.samples else "",
        },
        "startsAt": _instant(thing.began_s),
        "endsAt": _instant(thing.ended_s) if thing.ended_s else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": thing.fingerprint,
    }


def _instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Standing:
    """What an environment says of itself and no line tells: `stated` is (what about, value) by measure.

    `unknown` are sentences about what could not be asked; what was known of it before stays.
    """

    stated: Mapping[str, tuple[tuple[str, float], ...]]
    unknown: tuple[Text, ...] = ()


class Standings(Protocol):
    """Somebody who can ask an environment how it stands."""

    def look(self) -> Standing:
        """How it stands now. Called in a thread, and takes as long as what is asked."""


class RetryLaterError(OSError):
    """A receiver that says when to come back: `after_s` seconds from now."""

    def __init__(self, said: str, after_s: float) -> None:
        super().__init__(said)
        self.after_s = after_s


class DeadMansSwitch(Protocol):
    """Somebody outside who notices when `watch` is no more."""

    def ping(self) -> None:
        """Say that alerts are evaluated, or raise `OSError` or `ValueError`. Called in a thread."""


class Turn(Protocol):
    """Whose turn it is to tell people, where several watch one environment."""

    async def taken_by(self) -> str:
        """Who else tells people now, in words; empty when it is ours. Raises `DodaiError` when nobody can say."""

    async def end(self) -> None:
        """Let somebody else tell them."""


class Destination(Protocol):
    """Somewhere that lines and counters leave to. Its methods raise `OSError` or `ValueError`; called in a thread."""

    def send(self, lines: Sequence[tuple[Mapping[str, Any], bytes]]) -> None:
        """Deliver lines, each parsed and as it was written."""

    def measure(self, counters: Sequence[tuple[str, str, str, Any]], since_s: float, now_s: float) -> None:
        """Deliver what every series came to since `since_s`: (kind, service, name, totals)."""

    def write(self, exposition: str, now_s: float, instance: str) -> None:
        """Deliver all that a scrape would find now; `instance` says whose it is."""


@dataclass(frozen=True, slots=True)
class Added:
    """What was added to one counter in the `step_s` before `at_s`. `bound_us` is the bucket of a histogram, else 0."""

    at_s: int
    service: str
    name: str
    value: float
    bound_us: int = 0


Counter = Literal["requests", "errors", "refused", "duration", "duration_sum"]
"""How many requests of a series ended, failed, were refused; their buckets by latency, and its sum in seconds."""


class KeptLines(Protocol):
    """An engine that lines were sent to."""

    def lines(self, ids: Sequence[str], since_s: float, until_s: float | None) -> tuple[list[dict[str, Any]], int]:
        """Every line between the times that mentions one of the ids, and how many of them could not be read.

        May block. Raises `OSError` or `ValueError` with what was answered instead.
        """


class PlatformLines(KeptLines, Protocol):
    """A platform that keeps the lines of services because they write them to their output."""

    def parts(self) -> tuple[str, ...]:
        """Whose lines it keeps, each apart."""

    def after(self, part: str, place: str, /) -> tuple[Sequence[bytes], str]:
        """The lines that came after `place` ("": the most recent ones), and the place behind them.

        May block. Raises `OSError` or `ValueError` with what was answered instead.
        """


class KeptCounters(Protocol):
    """An engine that counters were sent to. May block; raises `OSError` or `ValueError` with what was answered."""

    def added(self, counter: Counter, kind: str, start_s: int, step_s: int, count: int) -> Sequence[Added]:
        """What each series of the kind added in each of `count` steps from `start_s` on; only steps that were seen."""

    def judged_s(self, now_s: float) -> float | None:
        """When alerts were evaluated last; None where nobody said so."""

    def firing(self, now_s: float) -> Sequence[tuple[str, str]]:
        """(alert, what it is about) of every alert that fires."""


class Telemetry(KeptLines, KeptCounters, Protocol):
    """What was sent away, read back: an engine or a vendor that keeps both."""


class Channel(Protocol):
    """A way to tell somebody."""

    def send(self, message: Message) -> None:
        """Deliver `message`, or raise `OSError` or `ValueError` with what was answered. Called in a thread."""
