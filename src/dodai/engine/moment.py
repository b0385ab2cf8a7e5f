"""Moments as people read them, and as records have them."""

from __future__ import annotations

import time
from datetime import datetime


def utc(at_s: float) -> str:
    """A moment as every message has it: to the second, in UTC, with its zone, in the order that sorts."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def read_moment(text: str) -> datetime | None:
    """The moment that `text` (ISO 8601 with its offset) names; None for anything else, which is never in time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.utcoffset() is not None else None
