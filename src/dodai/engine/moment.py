"""Moments as people read them."""

from __future__ import annotations

import time


def utc(at_s: float) -> str:
    """A moment as every message has it: to the second, in UTC, with its zone, in the order that sorts."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
