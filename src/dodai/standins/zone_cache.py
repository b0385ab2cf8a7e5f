"""What the stand-in's zone keeps of answers for other visitors, and how it names that in `cf-cache-status`.

After https://developers.cloudflare.com/cache/concepts/cache-behavior for a zone without an edge TTL of its own: an
answer that sets a cookie, or is `private`, `no-store`, `no-cache` or of no age, is not kept; one that says nothing is
for 2 hours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from dodai.core.dataclass import dataclass

SILENT_S = 2 * 3600.0
_CLOSED = frozenset({"private", "no-store", "no-cache"})


@dataclass(frozen=True, slots=True)
class ZoneAnswer:
    """What an origin answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def kept_for_s(self) -> float:
        """For how long anybody may have it; 0 for not at all."""
        if self.status != 200 or self._values("set-cookie"):
            return 0.0
        said = [word.strip().lower() for value in self._values("cache-control") for word in value.split(",")]
        if _CLOSED.intersection(said):
            return 0.0
        for name in ("s-maxage=", "max-age="):
            ages = [word.removeprefix(name) for word in said if word.startswith(name)]
            if ages:
                return float(ages[0]) if ages[0].isdecimal() else 0.0
        return SILENT_S

    def _values(self, wanted: str) -> list[str]:
        return [value for name, value in self.headers if name.lower() == wanted]


class ZoneCache:
    """Answers by what was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], tuple[float, ZoneAnswer]] = {}

    def get(self, asked: Iterable[str]) -> ZoneAnswer | None:
        with self._lock:
            until_s, answer = self._kept.get(tuple(asked), (0.0, None))
        return answer if time.monotonic() < until_s else None

    def offer(self, asked: Iterable[str], answer: ZoneAnswer) -> str:
        """Keep it where it may be kept: "MISS", to be had from now on, or "BYPASS"."""
        kept_s = answer.kept_for_s()
        if not kept_s:
            return "BYPASS"
        with self._lock:
            self._kept[tuple(asked)] = (time.monotonic() + kept_s, answer)
        return "MISS"
