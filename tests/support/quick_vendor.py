"""A vendor's API without its rates, and one whose waits take no time: neither is what most tests are about."""

from __future__ import annotations

import dataclasses
import threading
import time

from dodai.vendor_api import Rate, Vendor


def quick(vendor: Vendor) -> Vendor:
    """`vendor` without rates, and sure of its reads after half a second."""
    return dataclasses.replace(vendor, rates={"": Rate(1000, 1000)}, lag_s=0.5)


class SkippedWaits:
    """`clock` and `pause` for an `Api`: a pause is over at once, and the clock has moved on by it."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.skipped_s

    def pause(self, _: threading.Event, seconds: float) -> None:
        self.skipped_s += seconds
