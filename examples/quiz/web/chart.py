"""Two weeks of answers as bars: numbers for the template to draw, nothing is drawn by a script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from contract import quiz_pb2 as pb

JAPAN = ZoneInfo("Asia/Tokyo")
DAYS = 14
WIDTH, HEIGHT = 560, 100
STEP, BAR = WIDTH / DAYS, 24
LEAST_SCALE = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One day. Lengths are in the units of the drawing; `right_height` is the lower, filled part."""

    day: date
    answered: int
    right: int
    x: float
    height: float
    right_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    most: int
    width: int = WIDTH
    height: int = HEIGHT
    bar_width: int = BAR


def draw(days: Iterable[pb.Day], today: date) -> Chart:
    """Fourteen bars up to `today`; a day without answers is a gap, not a missing place."""
    known = {day.date: day for day in days}
    dates = [today - timedelta(days=DAYS - 1 - n) for n in range(DAYS)]
    most = max([LEAST_SCALE, *(day.answered for day in known.values())])
    most += most % 2  # the rule in the middle is a whole number, too
    return Chart(tuple(_bar(n, day, known.get(day.isoformat(), pb.Day()), most) for n, day in enumerate(dates)), most)


def _bar(place: int, day: date, found: pb.Day, most: int) -> Bar:
    return Bar(
        day=day,
        answered=found.answered,
        right=found.right,
        x=round(place * STEP + (STEP - BAR) / 2, 1),
        height=round(HEIGHT * found.answered / most, 1),
        right_height=round(HEIGHT * found.right / most, 1),
    )
