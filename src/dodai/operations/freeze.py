"""Windows in which nobody deploys, and when the one that is open ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations import codes

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = r"(\d\d):(\d\d)"
_WEEKLY = re.compile(rf"(\w{{3}})(?:-(\w{{3}}))? {_CLOCK}-{_CLOCK} (\S+)", re.ASCII)
_MOMENT = r"(\d{4}-\d\d-\d\dT\d\d:\d\d)"
_DATED = re.compile(rf"{_MOMENT}/{_MOMENT} (\S+)", re.ASCII)
_CHAINED = 400
"""Windows that touch are followed so often: more than a year of single days."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """The same hours on some days of the week, by the clocks of `zone`; `until_min` 1440 is the end of the day."""

    days: frozenset[int]
    from_min: int
    until_min: int
    zone: ZoneInfo

    def end(self, now: datetime) -> datetime | None:
        here = now.astimezone(self.zone)
        minute = here.hour * 60 + here.minute
        if here.weekday() not in self.days or not self.from_min <= minute < self.until_min:
            return None
        day = here.date() + timedelta(days=self.until_min // 1440)
        return datetime.combine(day, time(*divmod(self.until_min % 1440, 60)), self.zone)


@dataclass(frozen=True, slots=True)
class Dated:
    """From one moment to another."""

    begins: datetime
    ends: datetime

    def end(self, now: datetime) -> datetime | None:
        return self.ends if self.begins <= now < self.ends else None


def window(text: str) -> Weekly | Dated:
    """What `text` says; DOD340 (exit 2) when it is no window. The two forms are described in the manifest."""
    try:
        if found := _WEEKLY.fullmatch(text):
            return _weekly(*found.groups())
        if found := _DATED.fullmatch(text):
            return _dated(*found.groups())
    except (ValueError, KeyError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise _unreadable(text, str(error).strip("'\"")) from None
    raise _unreadable(text, "neither `DAYS HH:MM-HH:MM ZONE` nor `YYYY-MM-DDTHH:MM/YYYY-MM-DDTHH:MM ZONE`")


def frozen_until(windows: Iterable[str], now: datetime) -> tuple[str, datetime] | None:
    """The window that is open at `now` as written, and when deploys are possible again; None while none is open.

    Windows that touch or overlap count as one. DOD340 for any that cannot be read: what nobody understands is closed.
    """
    known = [(text, window(text)) for text in windows]
    first = next((text for text, one in known if one.end(now)), "")
    until = now
    for _ in range(_CHAINED):
        ends = [end for _, one in known if (end := one.end(until))]
        if not ends:
            break
        until = max(ends)
    return (first, until) if first else None


def _weekly(first: str, last: str | None, *rest: str) -> Weekly:
    from_h, from_m, until_h, until_m, zone = rest
    begins, ends = DAYS.index(first), DAYS.index(last or first)
    days = frozenset((begins + n) % 7 for n in range((ends - begins) % 7 + 1))
    from_min, until_min = _minutes(from_h, from_m), _minutes(until_h, until_m)
    if from_min >= until_min:
        raise ValueError("the hours end before they begin; write one window for each day")
    return Weekly(days, from_min, until_min, ZoneInfo(zone))


def _dated(begins: str, ends: str, zone: str) -> Dated:
    there = ZoneInfo(zone)
    found = Dated(
        datetime.fromisoformat(begins).replace(tzinfo=there), datetime.fromisoformat(ends).replace(tzinfo=there)
    )
    if found.begins >= found.ends:
        raise ValueError("it ends before it begins")
    return found


def _minutes(hours: str, minutes: str) -> int:
    found = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or found > 1440:
        raise ValueError(f"{hours}:{minutes} is no time of day")
    return found


def _unreadable(text: str, why: str) -> DodaiError:
    fix = codes.FREEZE_UNREADABLE.fix.en
    return DodaiError(codes.FREEZE_UNREADABLE, f"`{text}` is no freeze window: {why}", fix, exit_code=2)
