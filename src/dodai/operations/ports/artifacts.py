"""Where releases of an environment are kept: immutable, content-addressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from dodai.core.dataclass import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ReleaseFile:
    """One file of a release. `content` is the SHA-256 of a file, or where a symbolic link leads."""

    path: str
    kind: Literal["file", "link"]
    executable: bool
    content: str


class Artifacts(Protocol):
    """The artifacts that releases of an environment are made of."""

    def publish(self, source: str, /, include: Sequence[str] = ()) -> str:
        """The id of `source` as it is now, copied if not there yet; `include` are ignored paths that belong to it."""
        ...

    def identify(self, source: str, without: Sequence[str] = (), /) -> str:
        """The id that `source` without the paths `without` would have; nothing is copied."""
        ...

    def derive(self, release: str, changes: Mapping[str, bytes | None], /) -> str:
        """The id of `release` with some files replaced, added or (None) removed."""
        ...

    def with_images(self, release: str, images: Mapping[str, str], /) -> str:
        """The id of `release` with an image for each service, by its digest (DOD711); DOD708 where none is run."""
        ...

    def path(self, release: str, /) -> str:
        """The folder of a published release, manifest and migrations included; DOD396 when it is not there."""
        ...

    def reference(self, release: str, service: str, /) -> str:
        """What `Compute.start` starts for a service: the folder here, an image by its digest elsewhere; DOD396."""
        ...

    def entries(self, release: str, /) -> tuple[ReleaseFile, ...]:
        """What the release consists of, sorted by path."""
        ...

    def digest(self, release: str, /) -> str:
        """64 hex digits over what was published."""
        ...

    def proven(self, release: str, /) -> str:
        """`digest` of the files as they are now; DOD366 when they are not what was published under this id."""
        ...

    def published(self) -> tuple[str, ...]:
        """Every release, the newest first."""
        ...

    def prune(self, keep: int, in_use: Sequence[str], /) -> tuple[str, ...]:
        """Remove all but the `keep` newest and those in use; the ids that were removed."""
        ...
