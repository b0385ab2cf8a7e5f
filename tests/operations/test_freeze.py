"""Freeze windows: what is written is what is closed, to the minute, in the zone it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.core.errors import DodaiError
from dodai.operations.freeze import DAYS, frozen_until, window

WEEKEND = ("Fri 17:00-24:00 Asia/Tokyo", "Sat-Sun 00:00-24:00 Asia/Tokyo")


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def until(windows, text, zone="Asia/Tokyo"):
    found = frozen_until(windows, at(text, zone))
    return found and found[1].isoformat()


def test_windows_that_touch_end_together():
    """From Friday evening the weekend is one freeze; it ends on Monday at midnight."""
    assert until(WEEKEND, "2026-11-27T16:59") is None
    assert until(WEEKEND, "2026-11-27T17:00") == "2026-11-30T00:00:00+09:00"
    assert until(WEEKEND, "2026-11-29T23:59") == "2026-11-30T00:00:00+09:00"
    assert until(WEEKEND, "2026-11-30T00:00") is None


def test_the_zone_of_the_window_counts_and_not_that_of_the_machine():
    """Friday 17:00 in Tokyo is Friday 08:00 UTC."""
    assert frozen_until(WEEKEND, at("2026-11-27T07:59")) is None
    assert frozen_until(WEEKEND, at("2026-11-27T08:00"))


def test_a_range_of_days_may_run_over_the_end_of_the_week():
    """`Sat-Mon` is three days."""
    assert [bool(frozen_until(["Sat-Mon 00:00-24:00 UTC"], at(f"2026-11-{day}T12:00"))) for day in range(23, 30)] == [
        True, False, False, False, False, True, True,
    ]  # fmt: skip


def test_a_dated_window_has_its_first_moment_and_not_its_last():
    """Two moments, by the clocks of its zone, summer time included."""
    holidays = ["2026-12-28T12:00/2027-01-04T09:00 Asia/Tokyo"]
    assert until(holidays, "2026-12-28T11:59") is None
    assert until(holidays, "2026-12-28T12:00") == "2027-01-04T09:00:00+09:00"
    assert until(holidays, "2027-01-04T09:00") is None
    summer = ["2026-10-24T00:00/2026-10-26T00:00 Europe/Berlin"]
    assert until(summer, "2026-10-25T12:00", "UTC") == "2026-10-26T00:00:00+01:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "weekend",
        "Sat 00:00-24:00",
        "Sat 00:00-24:00 Mars/Olympus",
        "Sat 22:00-06:00 UTC",
        "Sat 00:00-24:01 UTC",
        "Sat 00:60-01:00 UTC",
        "Foo 00:00-24:00 UTC",
        "sat 00:00-24:00 UTC",
        "Sat 00:00-24:00 UTC\n",
        "Sat 00:00-24:00 ../../etc/passwd",
        "2026-12-28T12:00/2026-12-28T12:00 UTC",
        "2026-13-28T12:00/2027-01-04T09:00 UTC",
        "2026-12-28/2027-01-04 UTC",
        "٢٠٢٦-12-28T12:00/2027-01-04T09:00 UTC",
    ],
)
def test_what_cannot_be_read_is_refused_and_never_open(text):
    """DOD340, exit 2, and the two forms that exist."""
    with pytest.raises(DodaiError) as caught:
        frozen_until(["Mon 00:00-00:01 UTC", text], at("2026-11-27T12:00"))
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD340", 2)
    assert repr(text)[1:-1].partition("\\")[0] in caught.value.message


MINUTES = st.integers(0, 1439)
WEEKLY = st.builds(
    lambda first, last, a, b, zone: (
        f"{DAYS[first]}-{DAYS[last]} {min(a, b) // 60:02}:{min(a, b) % 60:02}-"
        f"{(max(a, b) + 1) // 60:02}:{(max(a, b) + 1) % 60:02} {zone}"
    ),
    st.integers(0, 6),
    st.integers(0, 6),
    MINUTES,
    MINUTES,
    st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]),
)
MOMENTS = st.integers(0, 365 * 1440).map(lambda minute: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute))


@given(st.lists(WEEKLY, min_size=1, max_size=3), MOMENTS)
def test_a_freeze_ends_later_than_now_and_where_no_window_is_open(windows, now):
    """Everything in between is frozen too: nobody is told an end that is none. A whole week for ever has no end."""
    found = frozen_until(windows, now)
    open_now = any(window(text).end(now) for text in windows)
    assert bool(found) is open_now
    if not found or found[1] > now + timedelta(days=300):
        return
    text, ends = found
    assert text in windows
    assert ends > now
    assert not any(window(each).end(ends) for each in windows)
    for share in (0.0, 0.3, 0.7):
        assert frozen_until(windows, now + share * (ends - now))
