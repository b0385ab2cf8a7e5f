"""Segments: append-only files of lines, one writer each, renamed when full, sealed with a sidecar of request ids.

`trace` reads segments in a few milliseconds and needs no writer, so `SegmentWriter` is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dodai.observability.segment.seal import prune, seal, seal_all

if TYPE_CHECKING:
    from dodai.observability.segment.writer import SegmentWriter

__all__ = ["SegmentWriter", "prune", "seal", "seal_all"]


def __getattr__(name: str) -> Any:
    if name == "SegmentWriter":
        from dodai.observability.segment.writer import SegmentWriter

        return SegmentWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
