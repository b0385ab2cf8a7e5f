"""Where releases of an environment are kept: immutable, content-addressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Artifacts(Protocol):
    """The artifacts that releases of an environment are made of."""

    def publish(self, source: str, /, include: Sequence[str] = ()) -> str:
        """The id of `source` as it is now, copied if not there yet; `include` are ignored paths that belong to it."""
        ...

    def derive(self, release: str, changes: Mapping[str, bytes | None], /) -> str:
        """The id of `release` with some files replaced, added or (None) removed."""
        ...

    def path(self, release: str, /) -> str:
        """The folder of a published release, manifest and migrations included; DOD396 when it is not there."""
        ...

    def prune(self, keep: int, in_use: Sequence[str], /) -> tuple[str, ...]:
        """Remove all but the `keep` newest and those in use; the ids that were removed."""
        ...
