"""Lines that were sent away, read back through the port. Standard library only, like the lookup beside it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dodai.core.request import time_ms_of
from dodai.observability.trace.find import MATCHED, FoundLines

if TYPE_CHECKING:
    from dodai.observability.ports import KeptLines

_AROUND_S = 3600.0
"""How far the clock of a tier may be off, and how long a request may last, before its lines are not found."""
_FOREIGN_S = 7 * 86400.0
"""How far back an id is looked for that carries no time."""
_RELATED = 20


def read_back(kept: KeptLines, request_id: str) -> FoundLines:
    """Every line of the request that is kept there; raises `OSError` or `ValueError`."""
    found = _asked(kept, [request_id])
    related = {line["requestId"] for line in found.lines if isinstance(line.get("requestId"), str)} - {request_id}
    if related:
        found.add(_asked(kept, sorted(related)[:_RELATED]))
    return found


def _asked(kept: KeptLines, ids: list[str]) -> FoundLines:
    found = FoundLines()
    lines, found.torn = kept.lines(ids, *_times(ids))
    # what only mentions an id, in the text of an error, is not a line of it
    found.lines = [line for line in lines if any(line.get(name) in ids for name in MATCHED)]
    return found


def _times(ids: list[str]) -> tuple[float, float | None]:
    minted = [ms / 1000.0 for one in ids if (ms := time_ms_of(one)) is not None]
    if len(minted) < len(ids):
        return time.time() - _FOREIGN_S, None
    return min(minted) - _AROUND_S, max(minted) + _AROUND_S
