"""Output of the stand-in's machines, collected as Fly does: an entry for each line, given in pages."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.standins.fly.machine_process import FlyMachine

PAGE, KEPT, MOST_BYTES = 100, 50_000, 1 << 20
SECOND_NS = 10**9
RECENT_NS, RETENTION_NS = 24 * 3600 * SECOND_NS, 7 * 24 * 3600 * SECOND_NS
"""https://fly.io/docs/monitoring/logs-api-options/: what who asks without a token gets, and what there is."""


@dataclass(slots=True)
class AppLogs:
    """What the machines wrote to `folder/APP-MACHINE.log`, by app, with its time; `gather` reads what is new."""

    folder: Path
    entries: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    _read: dict[Path, int] = field(default_factory=dict)
    _regions: dict[str, str] = field(default_factory=dict)
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def gather(self, machines: Mapping[str, FlyMachine]) -> None:
        """Every whole line that was written since the last call; `machines` by id say in which region."""
        with self._alone:
            self._regions |= {id_: machine.region for id_, machine in machines.items()}
            for file in self.folder.glob("*.log"):
                self._gather(file)

    def _gather(self, file: Path) -> None:
        at = self._read.get(file, 0)
        if file.stat().st_size <= at:
            return
        with file.open("rb") as opened:
            opened.seek(at)
            written = opened.read(MOST_BYTES)
        whole = written[: written.rfind(b"\n") + 1]
        self._read[file] = at + len(whole)
        app, _, machine = file.stem.rpartition("-")
        kept = self.entries.setdefault(app, [])
        for line in whole.splitlines():
            at_ns = max(time.time_ns(), kept[-1][0] + 1000 if kept else 0)  # no two of an app at once
            kept.append((at_ns, self._entry(machine, line.decode("utf-8", "replace"), at_ns)))
        del kept[: max(0, len(kept) - KEPT)]

    def _entry(self, machine: str, message: str, at_ns: int) -> dict[str, Any]:
        region = self._regions.get(machine, "")
        at = datetime.fromtimestamp(at_ns // SECOND_NS, UTC).replace(microsecond=at_ns % SECOND_NS // 1000)
        meta = {"instance": machine, "region": region, "event": {"provider": "app"}}
        told = {"timestamp": at.isoformat(timespec="microseconds").replace("+00:00", "Z"), "message": message}
        told |= {"level": "info", "instance": machine, "region": region}
        return {"type": "log", "attributes": {**told, "meta": meta}}

    def page(self, app: str, token: str, instance: str = "", region: str = "") -> dict[str, Any]:
        """`PAGE` lines at the most: the first after `token`, a time in nanoseconds; without one the most recent."""
        since = max(int(token) if token else time.time_ns() - RECENT_NS, time.time_ns() - RETENTION_NS)
        with self._alone:
            kept = self.entries.get(app, [])
            later = kept[bisect_right(kept, since, key=lambda one: one[0]) :]
        shown = later[:PAGE] if token else later[-PAGE:]
        chosen = [
            {"id": f"{app}-{at_ns}", **entry}
            for at_ns, entry in shown
            if instance in ("", entry["attributes"]["instance"]) and region in ("", entry["attributes"]["region"])
        ]
        return {"data": chosen, "meta": {"next_token": str(shown[-1][0]) if shown else token}}
