"""VictoriaLogs, asked by LogsQL: phrases, a time range, one JSON object a line. Seen with v1.52.1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.providers.telemetry.get import answer

_MOST = 5000


@dataclass(frozen=True, slots=True)
class VictoriaLogs:
    """`dodai.observability.ports.KeptLines` at `address`."""

    address: str

    def lines(self, ids: Sequence[str], since_s: float, until_s: float | None) -> tuple[list[dict[str, Any]], int]:
        asked = {"query": " or ".join(f'"{one}"' for one in ids), "limit": str(_MOST), "start": f"{since_s:.0f}"}
        if until_s is not None:
            asked["end"] = f"{until_s:.0f}"
        found, torn = [], 0
        with answer(self.address, "/select/logsql/query", asked) as rows:
            for row in rows:
                try:
                    line = json.loads(json.loads(row)["_msg"])
                except (ValueError, KeyError, TypeError):
                    torn += 1
                    continue
                if isinstance(line, dict):
                    found.append(line)
                else:
                    torn += 1
        return found, torn
