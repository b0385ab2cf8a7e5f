"""What machines of Fly wrote to their output: the endpoint that flyctl's own `logs` asks, page by page.

https://fly.io/docs/monitoring/logs-api-options/ says what it answers: without `next_token` the most recent 100 lines of
the last 24 hours; with one, a Unix time in nanoseconds, the lines after it, page by page, of about seven days. The form
of a line has no specification and was transcribed from flyctl (superfly/fly-go resource_logs.go).
"""

from __future__ import annotations

import heapq
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.ports import LogLine
from dodai.vendor_api import Api, Operation, Rate, Vendor, one

ADDRESS = "https://api.fly.io"
HOST = "FLY_API_BASE_URL"
"""The environment variable that flyctl reads for the address of this API."""
DEADLINE_S = 20.0
PAGES = 1000
"""How many pages one look reads at the most: who asks from the beginning must not read for ever."""


def fly_logs() -> Vendor:
    """Fly's API of the platform. Its rate is not published: flyctl asks about four times a second."""
    return Vendor(name="Fly (logs)", rates={"": Rate(4.0, 8)})


@dataclass(frozen=True, slots=True)
class FlyLogEvent:
    """Who wrote it: `app`, or a part of the platform such as `proxy` and `runner`."""

    provider: str = ""


@dataclass(frozen=True, slots=True)
class FlyLogMeta:
    """What the platform knows of an entry."""

    event: FlyLogEvent = field(default_factory=FlyLogEvent)


@dataclass(frozen=True, slots=True)
class FlyLogEntry:
    """One line of output."""

    timestamp: str
    message: str
    instance: str = ""
    region: str = ""
    meta: FlyLogMeta = field(default_factory=FlyLogMeta)

    @property
    def at_s(self) -> float:
        """When it was written; 0 where that cannot be read."""
        try:
            return datetime.fromisoformat(self.timestamp).astimezone(UTC).timestamp()
        except ValueError:
            return 0.0


@dataclass(frozen=True, slots=True)
class FlyLogRow:
    """An entry as a page has it."""

    attributes: FlyLogEntry


@dataclass(frozen=True, slots=True)
class FlyLogNext:
    """Where the next page begins."""

    next_token: str = ""


@dataclass(frozen=True, slots=True)
class FlyLogPage:
    """Entries, the oldest first."""

    data: tuple[FlyLogRow, ...] = ()
    meta: FlyLogNext = field(default_factory=FlyLogNext)


LIST_LOGS = Operation(
    name="App_logs",
    method="GET",
    path="/api/v1/apps/{app}/logs",
    reply=one(FlyLogPage),
    source="transcribed",
    limited_by=("app",),
)


@dataclass(frozen=True, slots=True)
class FlyLogs:
    """The output of the services in `apps` as Fly keeps it: the ports `Logs` and `PlatformLines`."""

    connect: Callable[[], Api] = field(repr=False)
    apps: Mapping[str, str]

    def parts(self) -> tuple[str, ...]:
        return tuple(self.apps)

    def read(self, part: str = "", /, since_s: float = 0.0) -> Iterator[LogLine]:
        chosen = [part] if part else list(self.apps)
        return heapq.merge(*(self._read(each, since_s) for each in chosen if each in self.apps))

    def follow(self, part: str = "", /, since_s: float = 0.0) -> Iterator[LogLine | None]:
        places = dict.fromkeys([part] if part else self.apps, _place(since_s))
        while True:
            found: list[LogLine] = []
            for each, place in places.items():
                entries, places[each] = self._after(each, place)
                found += (_line(each, entry) for entry in entries)
            yield from sorted(found)
            yield None

    def lines(self, ids: Sequence[str], since_s: float, until_s: float | None) -> tuple[list[dict[str, Any]], int]:
        """Of what Fly still has; `OSError` where it does not answer, or not with all of it."""
        found, torn = [], 0
        for service in self.apps:
            try:
                entries, _ = self._after(service, _place(since_s), until_s or time.time(), whole=True)
            except DodaiError as error:
                raise OSError(error.message) from error
            for entry in entries:
                if not any(one in entry.message for one in ids):
                    continue
                line = _parsed(entry.message)
                if line is None:
                    torn += entry.message.startswith("{")
                elif since_s <= float(line["ts"]) <= (until_s or float("inf")):
                    found.append(line)
        return found, torn

    def after(self, part: str, place: str, /) -> tuple[Sequence[bytes], str]:
        try:
            entries, place = self._after(part, place)
        except DodaiError as error:
            raise OSError(error.message) from error
        return [entry.message.encode() for entry in entries if _parsed(entry.message) is not None], place

    def _read(self, service: str, since_s: float) -> Iterator[LogLine]:
        entries, _ = self._after(service, _place(since_s))
        return iter([_line(service, entry) for entry in entries])

    def _after(
        self, service: str, place: str, until_s: float = math.inf, *, whole: bool = False
    ) -> tuple[list[FlyLogEntry], str]:
        """Everything from `place` to `until_s` that was there when it was asked for, and where that ended.

        Where more is written than one page a look, there is always another page. `whole`: `OSError` if it is too much.
        """
        found: list[FlyLogEntry] = []
        end_s = min(time.time(), until_s)
        for _ in range(PAGES):
            page = self._page(service, place)
            found += (row.attributes for row in page.data)
            if not page.meta.next_token or page.meta.next_token == place or not page.data:
                return found, page.meta.next_token or place
            place = page.meta.next_token
            if found[-1].at_s >= end_s:
                return found, place
        if whole:
            raise OSError(f"more than {len(found)} lines of `{service}` were written in that time")
        return found, place

    def _page(self, service: str, place: str) -> FlyLogPage:
        app, query = {"app": self.apps[service]}, {"next_token": place}
        return self.connect().call_now(LIST_LOGS, path=app, query=query, deadline_s=DEADLINE_S).value


def _place(since_s: float) -> str:
    """The `next_token` behind which the lines from then on stand; none for the most recent ones."""
    return str(int(since_s * 1e9)) if since_s > 0 else ""


def _line(service: str, entry: FlyLogEntry) -> LogLine:
    """The platform's own words are told apart from those of the service."""
    wrote = entry.meta.event.provider
    part = service if wrote in ("", "app") else f"{service} ({wrote})"
    return LogLine(entry.at_s, part, entry.instance, entry.message)


def _parsed(message: str) -> dict[str, Any] | None:
    """The line of JSON that a tier wrote for a request; None for any other output."""
    if not message.startswith("{"):
        return None
    try:
        line = json.loads(message)
        return line if isinstance(line, dict) and float(line["ts"]) > 0 and line["type"] else None
    except (ValueError, KeyError, TypeError):
        return None
