"""Lines that a platform keeps, copied into the folder of the environment as they come, where `watch` and `trace` read.

A line is copied once; after a crash in between those of the last page are seen again, and known by what is there.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from dodai.core.text import Text
from dodai.engine.moment import utc
from dodai.engine.state_folder import make_folder
from dodai.observability.ports import PlatformLines
from dodai.observability.run.watcher import Watched
from dodai.observability.segment import SegmentWriter

INSTANCE = "collected"
_TAIL_BYTES = 1 << 20
POLL_S, MOST_PAUSE_S = 1.0, 30.0


class Collection:
    """The lines of one environment. `problem` says since when which part cannot be asked."""

    def __init__(self, watched: Watched, kept: PlatformLines) -> None:
        self.watched, self.kept = watched, kept
        self.problem: Text | None = None
        self.path = watched.folder / "collected.json"
        self._places = self._known_places()
        self._failures, self._since_s = 0, 0.0
        policy = watched.policy
        self._writers = {
            part: SegmentWriter(
                watched.state / "lines",
                part,
                INSTANCE,
                policy.segment_bytes,
                policy.segment_age_s,
                policy.retention_age_s,
                policy.retention_bytes,
            )
            for part in kept.parts()
        }
        self._last = {part: _last_lines(watched.state / "lines", part) for part in self._writers}

    def once(self) -> int:
        """Copy what is new; how many lines those were. What cannot be asked is told in `problem` and asked again."""
        count, failed = 0, list[str]()
        for part, writer in self._writers.items():
            try:
                lines, place = self.kept.after(part, self._places.get(part, ""))
            except (OSError, ValueError) as error:
                failed.append(f"{part}: {error}")
                continue
            fresh = [line for line in lines if line not in self._last[part]]
            written = sum(writer.write(line + b"\n") for line in fresh)
            count += written
            if written < len(fresh):
                failed.append(f"{part}: {len(fresh) - written} lines cannot be written to {writer.folder}")
                self._last[part] |= set(fresh[:written])
                continue
            self._last[part] = set(lines) if lines else self._last[part]
            self._places[part] = place
        if count:
            self._keep_places(failed)
        self._tell(failed)
        return count

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            await asyncio.to_thread(self.once)
            pause_s = min(MOST_PAUSE_S, POLL_S * 2**self._failures)
            try:
                await asyncio.wait_for(stop.wait(), min(pause_s, self.watched.tick_s) if not self.problem else pause_s)
            except TimeoutError:
                continue
        self.close()

    def close(self) -> None:
        """Let go of the files; whoever reads next seals them."""
        for writer in self._writers.values():
            writer.close()

    def _tell(self, failed: list[str]) -> None:
        if not failed:
            self._failures, self._since_s, self.problem = 0, 0.0, None
            return
        self._failures, self._since_s = min(self._failures + 1, 5), self._since_s or time.time()
        since, said = utc(self._since_s), "; ".join(failed)
        self.problem = Text(
            f"lines are not collected since {since}, and what is shown may be old: {said}",
            f"{since} から行を取得できておらず、表示が古い可能性があります: {said}",
        )

    def _known_places(self) -> dict[str, str]:
        try:
            known = json.loads(self.path.read_text("utf-8"))
            return {str(part): str(place) for part, place in known.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _keep_places(self, failed: list[str]) -> None:
        partial = self.path.with_suffix(".new")
        try:
            make_folder(self.path.parent)
            partial.write_text(json.dumps(self._places), "utf-8")
            partial.replace(self.path)
        except OSError as error:
            failed.append(f"how far was read cannot be kept: {error}")


def _last_lines(folder: Path, part: str) -> set[bytes]:
    """The last lines that were copied of `part`."""
    files = list(folder.glob(f"{part}-{INSTANCE}-*.jsonl"))
    if not files:
        return set()
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    with newest.open("rb") as opened:
        opened.seek(max(0, newest.stat().st_size - _TAIL_BYTES))
        return set(opened.read().splitlines())
