"""Where the lines of a process go: its segment, a copy on standard output, and word of those that were lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from dodai.observability.segment import SegmentWriter
from dodai.runtime.config import RuntimeConfig
from dodai.runtime.stdout_copy import StdoutCopy

_FLUSH_S = 0.5
_REPORT_S = 1.0


class LineOutput:
    """Safe from any thread; never raises and never blocks. `lost(count)` makes the line that says how many are gone."""

    __slots__ = ("_lost", "_reported_at", "_told_at", "alone", "reported", "segment", "spare", "stdout")

    def __init__(self, config: RuntimeConfig, instance: str, lost: Callable[[int], bytes]) -> None:
        policy = config.policy
        self.segment: SegmentWriter | None = None
        if config.state is not None:
            self.segment = SegmentWriter(
                config.state / "lines",
                config.service,
                instance,
                policy.segment_bytes,
                policy.segment_age_s,
                policy.retention_age_s,
                policy.retention_bytes,
            )
        self.stdout = StdoutCopy() if policy.stdout or config.state is None else None
        self.alone = self.segment if self.stdout is None else None
        """The segment where it is all there is: the line of a served request goes there without a step in between."""
        self.spare: StdoutCopy | None = None
        self._lost = lost
        self.reported = 0
        self._reported_at = self._told_at = 0.0

    def put(self, data: bytes) -> None:
        """Write one line."""
        segment, stdout = self.segment, self.stdout
        written = segment is None or segment.write(data)
        if stdout is not None:
            stdout.put(data)
        elif segment is not None and segment.dropped == self.reported:
            return
        if self.dropped != self.reported:
            self.report(written=written)

    @property
    def dropped(self) -> int:
        """Lines lost since the process started, to a full disk or a blocked standard output."""
        return (self.segment.dropped if self.segment else 0) + (self.stdout.dropped if self.stdout else 0)

    def flush(self) -> None:
        """Close the segment under its final name and give standard output half a second."""
        if self.segment:
            self.segment.rotate()
        if self.stdout:
            self.stdout.flush(_FLUSH_S)

    def report(self, *, written: bool) -> None:
        """Say how many lines were lost: where lines are written or, while they cannot be, on standard output."""
        now, count = time.monotonic(), self.dropped - self.reported
        if written and now - self._reported_at >= _REPORT_S:
            self.reported, self._reported_at = self.dropped, now
            self.put(self._lost(count))
        if written or now - self._told_at < _REPORT_S:
            return
        self._told_at = now
        if self.stdout is None and self.spare is None:
            self.spare = StdoutCopy()
        told = self.stdout or self.spare
        if told is not None:
            told.put(self._lost(count))
