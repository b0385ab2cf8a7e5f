"""Lines, spans and metrics that leave: read again beside the evaluator, from where the last delivery ended.

What could not be delivered stays in its files and is tried again; a line leaves once or, if an answer was lost, twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from dodai.core.text import Text
from dodai.engine.moment import utc
from dodai.engine.state_folder import make_folder
from dodai.observability.notify import LONGEST_S, RETRY_S
from dodai.observability.policy import ExportSection
from dodai.observability.ports import Destination, RetryLaterError
from dodai.observability.rollup import Store, Tail, TailPosition
from dodai.observability.run.metrics import exposition
from dodai.observability.run.watcher import BACKFILL_S, Watched
from dodai.observability.trace.find import line_folders

BATCH = 1000
READ_S = 0.2
"""How long a look reads at the most, so that what waits for its delivery has a bound."""
MEASURE_S = 10.0


class Export:
    """One destination. `problem` says since when nothing arrives there."""

    def __init__(self, watched: Watched, section: ExportSection, destination: Destination) -> None:
        self.watched, self.section, self.destination = watched, section, destination
        self.problem: Text | None = None
        self.path = watched.folder / f"export-{section.name}.json"
        self.failures = 0
        self._measured_s = 0.0
        self._delivered = self._kept()
        self._tail = Tail((), self._copied(), time.time() - BACKFILL_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, which waits for no answer longer than a delivery takes."""
        while not stop.is_set():
            pause_s = await asyncio.to_thread(self.once)
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue

    def once(self) -> float:
        """Deliver what there is; how long to wait before the next look."""
        try:
            more = self._deliver()
            self._measure()
        except (OSError, ValueError) as error:
            asked_s = min(error.after_s, LONGEST_S) if isinstance(error, RetryLaterError) else 0.0
            pause_s = max(asked_s, RETRY_S[min(self.failures, len(RETRY_S) - 1)])
            self.failures += 1
            self._tail.places = self._copied()
            since = utc(time.time())
            self.problem = self.problem or Text(
                f"export `{self.section.name}` delivers nothing since {since}: {error}",
                f"エクスポート `{self.section.name}` は {since} から送信できていません: {error}",
            )
            return pause_s
        self.failures, self.problem = 0, self._keep() if more or self.problem else None
        return 0.0 if more else self.watched.tick_s

    def _deliver(self) -> bool:
        """Whether there was anything."""
        self._tail.folders = tuple(Path(folder) for folder in line_folders([str(self.watched.state)]))
        found = [(line, raw) for raw, _ in self._tail.read(time.monotonic() + READ_S) if (line := _parsed(raw))]
        for start in range(0, len(found), BATCH):
            self.destination.send(found[start : start + BATCH])
        self._delivered = {inode: replace(place) for inode, place in self._tail.places.items()}
        return bool(found)

    def _measure(self) -> None:
        now_s = time.time()
        if now_s - self._measured_s < MEASURE_S or not self.watched.path.exists():
            return
        store = Store(self.watched.path, cell_s=self.watched.cell_s, writable=False)
        try:
            counters: Sequence[Any] = store.counters()
            since_s = store.oldest_s() or now_s
            thresholds = [alert.threshold for alert in self.watched.alerts if alert.measure == "p95-ms"]
            scraped = exposition(store, thresholds) if self.section.remote_write else ""
        finally:
            store.close()
        self.destination.measure(counters, since_s, now_s)
        if scraped:
            self.destination.write(scraped, now_s, f"{self.watched.project}/{self.watched.env}")
        self._measured_s = now_s

    def _kept(self) -> dict[int, TailPosition]:
        try:
            known = json.loads(self.path.read_text())
            return {int(inode): TailPosition(int(at), bytes.fromhex(mark)) for inode, (at, mark) in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _copied(self) -> dict[int, TailPosition]:
        return {inode: replace(place) for inode, place in self._delivered.items()}

    def _keep(self) -> Text | None:
        """Write down how far was delivered; what is wrong with that. A full disk must not send everything again now."""
        known = {inode: (place.offset, place.mark.hex()) for inode, place in self._delivered.items()}
        partial = self.path.with_suffix(".new")
        try:
            make_folder(self.path.parent)
            partial.write_text(json.dumps(known))
            partial.replace(self.path)
        except OSError as error:
            return Text(
                f"export `{self.section.name}` cannot keep how far it delivered, and would begin there again: {error}",
                f"エクスポート `{self.section.name}` は送信位置を保存できず、再起動後に同じ行を再送します: {error}",
            )
        return None


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """The line; None for what is none, which the evaluator counts and tells."""
    try:
        line = orjson.loads(raw)
        return line if isinstance(line, dict) and float(line["ts"]) > 0 and line["type"] else None
    except (ValueError, KeyError, TypeError):
        return None
