"""Where secrets are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class SecretStore(Protocol):
    """The secrets of one environment, by the names of the manifest. A value is never printed or journalled."""

    @property
    def makes_up_values(self) -> bool:
        """Whether a missing secret may be given a random value: on a machine for development only."""
        ...

    def get(self) -> Mapping[str, str]:
        """Every value by name; empty before the first `put`."""
        ...

    def put(self, values: Mapping[str, str], /) -> None:
        """Keep exactly these values, durable when it returns; a reader sees the old or the new ones."""
        ...

    def digest(self, told: Mapping[str, str], /) -> str:
        """16 hex digits over all of `told`: equal for equal values in this environment, and nothing about them."""
        ...

    def versions(self) -> Mapping[str, str]:
        """12 hex digits for each secret: equal for equal values in this environment, and nothing about the value.

        Without the names that hold a `.`: those belong to a rotation and are no service's.
        """
        ...

    def since(self) -> Mapping[str, float]:
        """When each secret got the value it has, in seconds since the epoch; without those nobody saw change."""
        ...
