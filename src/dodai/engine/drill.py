"""A drill: one thing that goes wrong in the rehearsal's environment, and what must be seen then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from dodai.core.page import Text
from dodai.engine.outcome import Outcome


class Response(Protocol):
    """An answer over HTTP, as httpx names its parts."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...


class Stage(Protocol):
    """The environment a rehearsal has built: real processes, entered from outside like a user or an operator does."""

    @property
    def url(self) -> str:
        """Base URL of the edge."""
        ...

    @property
    def env(self) -> str: ...

    @property
    def host(self) -> Any:
        """The `operations.ports.Host` that runs the services."""
        ...

    @property
    def state(self) -> str:
        """The folder of the environment: `lines/` below it is what an operator reads."""
        ...

    @property
    def database_url(self) -> str:
        """The direct URL, never the pooler's."""
        ...

    async def request(self, method: str, path: str, **options: Any) -> Response:
        """One request through the edge; options as in httpx. Redirects are not followed."""
        ...

    def fault(self, name: str, mode: str, **settings: float) -> AbstractAsyncContextManager[None]:
        """Something between `name` and those who call it fails for the length of the block; modes as the Host has."""
        ...

    async def read_file(self, release: str, path: str) -> bytes:
        """A file of a published release."""
        ...

    async def derive(self, release: str, changes: Mapping[str, bytes | None]) -> str:
        """A new release: `release` with files replaced, added or (None) removed. This is how a bad one is made."""
        ...

    async def deploy(self, release: str = "", **options: Any) -> Outcome:
        """Deploy as an operator would, with the real journal and lease.

        `secrets` maps names of secrets to functions from the value they have to the one they get; it stays.
        """
        ...


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What was seen; `ok` when it is what the drill expects. `request_ids` lead into the lines of the run."""

    observed: str
    ok: bool
    request_ids: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drill:
    """`expected` is the sentence a report shows beside `DrillResult.observed`. A drill leaves the stage as it was."""

    id: str
    area: str
    title: Text
    expected: str
    run: Callable[[Stage], Awaitable[DrillResult]]
