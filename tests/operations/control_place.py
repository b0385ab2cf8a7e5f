"""An environment whose lock and journal are in a PostgreSQL of its own; its world is a file that counts effects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.world import Spec, World, make_plan

from dodai.engine.execute import execute, resume
from dodai.engine.journal import SqliteJournal
from dodai.engine.outcome import Outcome
from dodai.providers.postgres.control import ControlConnection, PostgresJournal, PostgresLease


@dataclass(frozen=True)
class ControlPlace:
    folder: Path
    dsn: str
    patience_s: float = 2.0
    env: str = "staging"
    sessions: list[ControlConnection] = field(default_factory=list)

    @property
    def world(self) -> World:
        return World(self.folder / "world")

    def session(self) -> ControlConnection:
        self.sessions.append(ControlConnection(self.dsn, self.env, self.patience_s))
        return self.sessions[-1]

    def close(self) -> None:
        """End the sessions of holders that never gave their lease back."""
        for session in self.sessions:
            session.close()

    @contextmanager
    def journal(self, copy: str = "copy.sqlite") -> Iterator[PostgresJournal]:
        with SqliteJournal(self.folder / copy) as file, PostgresJournal(self.session(), file) as journal:
            yield journal

    def lease(self, actor: str = "hana", **options) -> PostgresLease:
        return PostgresLease(self.session(), actor, f"dodai deploy {self.env}", **options)

    async def execute(self, specs: list[Spec], **options) -> Outcome:
        lease = options.pop("lease", None) or self.lease()
        with self.journal() as journal:
            return await execute(make_plan(specs, self.world), journal, lease, **options)

    async def resume(self, specs: list[Spec], **options) -> Outcome:
        with self.journal() as journal:
            return await resume(
                journal, self.lease("taro"), self.env, lambda _: make_plan(specs, self.world), **options
            )
