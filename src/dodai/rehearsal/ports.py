"""What a rehearsal needs from outside: a stage to act on, its database, and the visitors of the application."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.ports import Response
from dodai.engine.outcome import Outcome
from dodai.migrations.ports import MigrationTarget
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.journey import Visit, Visitor
from dodai.operations.policy import OperationsPolicy, Secret
from dodai.operations.ports import Host, ReplacedTable

__all__ = ["Difference", "OpenStage", "Response", "Stage", "StageDatabase", "Subject", "Visit", "VisitFrom", "Visitor"]


VisitFrom = Callable[[str, str], Visitor]
"""A new visitor at a base URL who comes from an address of this machine."""


class Stage(Protocol):
    """The environment a rehearsal has built: real processes, entered from outside like a user or an operator does."""

    @property
    def url(self) -> str:
        """Base URL of the edge; empty until a release was deployed."""
        ...

    @property
    def env(self) -> str: ...

    @property
    def host(self) -> Host:
        """What runs the services, and does to them what only a drill wants done."""
        ...

    @property
    def state(self) -> str:
        """The folder of the environment: `lines/` below it is what an operator reads."""
        ...

    @property
    def database_url(self) -> str:
        """The direct URL, never the pooler's."""
        ...

    def differences(self) -> Sequence[Difference]:
        """How the stage differs from production, part by part."""
        ...

    async def request(self, method: str, path: str, **options: Any) -> Response:
        """One request through the edge; options as in httpx. Redirects are not followed."""
        ...

    def fault(self, name: str, mode: str, **settings: float) -> AbstractAsyncContextManager[None]:
        """Something between `name` and those who call it fails for the length of the block; modes as the Host has."""
        ...

    async def publish(self) -> str:
        """The id of a release made of the working tree."""
        ...

    async def read_file(self, release: str, path: str) -> bytes:
        """A file of a published release."""
        ...

    async def derive(self, release: str, changes: Mapping[str, bytes | None]) -> str:
        """A new release: `release` with files replaced, added or (None) removed. This is how a bad one is made."""
        ...

    async def deploy(self, release: str = "", **options: Any) -> Outcome:
        """Deploy as an operator would, with the real journal and lease.

        `kind` is that of the plan (`deploy`, `rollback`, `restart`), `sink` hears of its steps.
        """
        ...

    async def relieve(self, limit: str, for_s: float) -> Outcome:
        """Let everybody past a rate limit for a while, as an operator would."""
        ...

    async def restore(self, release: str) -> Outcome:
        """Go back to `release` and the data of the newest restore point, as an operator would."""
        ...

    async def replaced(self) -> Sequence[ReplacedTable]:
        """What the rows of the data that was replaced last differ in from those that took their place."""
        ...

    def rotates(self) -> Sequence[Secret]:
        """The secrets of this environment, those that dodai makes among them."""
        ...

    async def rotate(self, secret: str, *, finish: bool = False) -> Outcome:
        """Change a secret as an operator would, both values recognised for a while; `finish` drops the old one."""
        ...


OpenStage = Callable[[], AbstractAsyncContextManager[Stage]]
"""A stage of its own for the length of the block, with nothing deployed yet; nothing of it runs afterwards."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of the stage beside the part of production it stands for."""

    part: str
    production: str
    here: str


class StageDatabase(Protocol):
    """The application's database as an operator reaches it, beside the application."""

    async def rows(self) -> Mapping[str, int]:
        """How many rows every table of the application has."""

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Every table of the application is locked against everybody for the length of the block."""

    async def answers(self) -> bool:
        """Whether a connection of our own gets an answer now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The application that is rehearsed: its policies, and how drills reach its parts.

    `migrations` is None for a repository without them, `database` when no service uses one.
    """

    policy: OperationsPolicy
    csrf: CsrfPolicy
    visit: Visit
    visit_from: VisitFrom | None = None
    observability: ObservabilityPolicy = field(default_factory=ObservabilityPolicy)
    migrations: MigrationTarget | None = None
    database: StageDatabase | None = None
