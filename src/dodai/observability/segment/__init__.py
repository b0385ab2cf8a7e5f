"""Segments: append-only files of lines, one writer each, renamed when full, sealed with a sidecar of request ids.

`trace` reads segments in a few milliseconds and needs no writer, so `SegmentWriter` is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dodai.observability.segment.index import index_together
from dodai.observability.segment.seal import prune, seal
from dodai.observability.segment.seal import seal_all as seal_each

if TYPE_CHECKING:
    from dodai.observability.segment.writer import SegmentWriter

__all__ = ["SegmentWriter", "prune", "seal", "seal_all"]


def seal_all(folder: str, *, until: float = float("inf")) -> int:
    """How many segments of `folder` were sealed now; stops at `until` on the monotonic clock. Never raises.

    Where many are sealed they get an index together.
    """
    sealed = seal_each(folder, until=until)
    index_together(folder)
    return sealed


def __getattr__(name: str) -> Any:
    if name == "SegmentWriter":
        from dodai.observability.segment.writer import SegmentWriter

        return SegmentWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
