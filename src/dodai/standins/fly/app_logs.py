"""Output of the stand-in's machines, collected as Fly does: an entry for each line, given in pages."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.standins.fly.machine_process import FlyMachine, now

PAGE, KEPT = 100, 50_000
BUFFER = 100
"""How many entries somebody gets who asks without a token: `flyctl logs --no-tail` shows about so many."""
MOST_BYTES = 1 << 20


@dataclass(slots=True)
class AppLogs:
    """What the machines wrote to `folder/APP-MACHINE.log`, by app; `gather` reads what is new."""

    folder: Path
    buffer: int = BUFFER
    entries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
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
            kept.append(self._entry(machine, line.decode("utf-8", "replace")))
        if len(kept) > KEPT:
            self.dropped[app] = self.dropped.get(app, 0) + len(kept) - KEPT
            del kept[: len(kept) - KEPT]

    def _entry(self, machine: str, message: str) -> dict[str, Any]:
        region = self._regions.get(machine, "")
        meta = {"instance": machine, "region": region, "event": {"provider": "app"}}
        told = {"timestamp": now(), "message": message, "level": "info", "instance": machine, "region": region}
        return {"type": "log", "attributes": {**told, "meta": meta}}

    def page(self, app: str, token: str, instance: str = "", region: str = "") -> dict[str, Any]:
        """What comes after `token`, `PAGE` at the most; without one, the newest, as many as are in the buffer."""
        with self._alone:
            kept, dropped = self.entries.get(app, []), self.dropped.get(app, 0)
            start = max(0, int(token) - dropped) if token else max(0, len(kept) - self.buffer)
            shown = list(enumerate(kept[start : start + PAGE], start + dropped))
        chosen = [
            {"id": f"{app}-{number}", **entry}
            for number, entry in shown
            if instance in ("", entry["attributes"]["instance"]) and region in ("", entry["attributes"]["region"])
        ]
        return {"data": chosen, "meta": {"next_token": str(start + dropped + len(shown))}}
