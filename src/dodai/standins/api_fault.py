"""ApiFaults of a vendor's API, switched on for a stand-in: what is answered, and whether the effect happened."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from dodai.core.dataclass import dataclass

ApiFaultKind = Literal["status", "status after", "lost", "lost before", "slow", "stale", "off contract"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiFault:
    """What happens to the next `times` requests whose `METHOD /path` matches `where`, after the first `skip` of them.

    - `status`: answered `status` with `headers`, nothing is done; `status after`: done, then answered so
    - `lost`: done, and the connection ends without a reply; `lost before`: not done, and no reply either
    - `slow`: done after `seconds`
    - `stale`: a GET answers what it answered before the last change
    - `off contract`: done, and the reply is `body`
    """

    kind: ApiFaultKind
    where: str = ""
    times: int = 1
    skip: int = 0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    body: bytes = b'{"unexpected": true}'


class ApiFaults:
    """The faults that are switched on, used up one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._standing: list[ApiFault] = []

    def add(self, fault: ApiFault) -> None:
        with self._lock:
            self._standing.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._standing.clear()

    @property
    def left(self) -> tuple[ApiFault, ...]:
        """Those that have not happened as often as they should."""
        with self._lock:
            return tuple(self._standing)

    def meet(self, request: str) -> ApiFault | None:
        """The fault of this request (`GET /v1/apps`), counted; None when there is none."""
        with self._lock:
            for index, fault in enumerate(self._standing):
                if not re.search(fault.where, request):
                    continue
                if fault.skip:
                    self._standing[index] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times > 1:
                    self._standing[index] = replace(fault, times=fault.times - 1)
                else:
                    del self._standing[index]
                return fault
        return None
