"""Lines that were sent to VictoriaLogs, read back by LogsQL. Standard library only, like the lookup beside it."""

from __future__ import annotations

import json
import time

from dodai.core.request import time_ms_of
from dodai.observability.trace.find import MATCHED, FoundLines

TIMEOUT_S = 30.0
_AROUND_S = 3600.0
"""How far the clock of a tier may be off, and how long a request may last, before its lines are not found."""
_FOREIGN_S = 7 * 86400.0
"""How far back an id is looked for that carries no time."""
_MOST = 5000
_RELATED = 20


def lines_at(address: str, request_id: str) -> FoundLines:
    """Every line of the request that VictoriaLogs at `address` has; raises `OSError` or `ValueError`."""
    found = _asked(address, [request_id])
    related = {line["requestId"] for line in found.lines if isinstance(line.get("requestId"), str)} - {request_id}
    if related:
        found.add(_asked(address, sorted(related)[:_RELATED]))
    return found


def _asked(address: str, ids: list[str]) -> FoundLines:
    from urllib.parse import urlencode  # they take as long to load as a whole lookup in files
    from urllib.request import urlopen

    asked = {"query": " or ".join(f'"{one}"' for one in ids), "limit": str(_MOST), **_times(ids)}
    found = FoundLines()
    url = f"{address.rstrip('/')}/select/logsql/query?{urlencode(asked)}"
    with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http or https, or it is a folder
        for row in answer:
            try:
                line = json.loads(json.loads(row)["_msg"])
                if any(line.get(name) in ids for name in MATCHED):
                    found.lines.append(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                found.torn += 1
    return found


def _times(ids: list[str]) -> dict[str, str]:
    minted = [ms / 1000.0 for one in ids if (ms := time_ms_of(one)) is not None]
    if len(minted) < len(ids):
        return {"start": f"{time.time() - _FOREIGN_S:.0f}"}
    return {"start": f"{min(minted) - _AROUND_S:.0f}", "end": f"{max(minted) + _AROUND_S:.0f}"}
