"""Fly's own proxy as the edge of an environment: it is there with the app and leads to what is not cordoned."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.operations.ports import EdgeSpec, EdgeState
from dodai.providers.fly.machines_api import SHOW_APP
from dodai.vendor_api import Api, VendorError

RECENT_S = 5.0
PUBLIC = "FLY_PUBLIC_URL"
"""The environment variable with another address than `https://APP.fly.dev`: a stand-in has no names."""


@dataclass(frozen=True, slots=True)
class FlyProxyEdge:
    """`Edge` of an app that visitors reach at `url`; rules are those of its machines, so nothing is applied."""

    connect: Callable[[], Api] = field(repr=False)
    app: str
    url: str
    seen: dict[str, float] = field(default_factory=dict, repr=False)

    def under(self, token: int, /) -> FlyProxyEdge:
        del token  # nothing is changed here
        return self

    async def observe(self) -> EdgeState:
        """Serves while the app is there; an app is not asked for twice within `RECENT_S`."""
        if time.monotonic() - self.seen.get(self.app, -RECENT_S) < RECENT_S:
            return EdgeState(url=self.url, limits=False)
        try:
            await self.connect().call(SHOW_APP, path={"app": self.app}, deadline_s=10.0)
        except VendorError:
            return EdgeState(limits=False)
        self.seen[self.app] = time.monotonic()
        return EdgeState(url=self.url, limits=False)

    async def apply(self, spec: EdgeSpec, /) -> EdgeState:
        del spec
        await self.connect().call(SHOW_APP, path={"app": self.app})
        return EdgeState(url=self.url, limits=False)
