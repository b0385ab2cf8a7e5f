"""`dodai.operations.ports.Control` in a control database, with a copy of the journal on this machine."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.codes import CONTROL_UNAVAILABLE, JOURNAL_BROKEN
from dodai.engine.journal import Head, Journal, SqliteJournal, put_aside
from dodai.engine.lease import Lease
from dodai.engine.place import Claim, StatePlace
from dodai.engine.plan import PlanRequest
from dodai.operations.local_control import JOURNAL, head_beside
from dodai.operations.ports import ControlSeen, Fence, LockHolder
from dodai.providers.postgres.clock import offset_s
from dodai.providers.postgres.connection import address
from dodai.providers.postgres.control.control_connection import ControlConnection, knowing_better
from dodai.providers.postgres.control.inspect import look
from dodai.providers.postgres.control.journal_table import PostgresJournal
from dodai.providers.postgres.control.lease_table import PostgresLease

WATCH_TTL_S = 15.0
"""For how long nobody is told of alerts after whoever told them fell silent."""


@dataclass(frozen=True, slots=True)
class PostgresControl:
    """`given` is `[env.X].control_url`; the copy is in `folder`. `secret` names what should have held the address."""

    given: str = field(repr=False)
    env: str
    folder: Path
    secret: str = ""

    @property
    def url(self) -> str:
        """DOD376 while the secret has no value: an empty address would lead to whatever libpq finds."""
        if not self.given:
            raise DodaiError(
                CONTROL_UNAVAILABLE,
                f"`control_url` of `[env.{self.env}]` is the secret `{self.secret}`, which has no value here",
                f"give it in the environment variable `{self.secret}`",
                exit_code=1,
            )
        return self.given

    @property
    def _copy(self) -> Path:
        return self.folder / JOURNAL

    @property
    def exists(self) -> bool:
        return True

    def _session(self) -> ControlConnection:
        return ControlConnection(self.url, self.env)

    def journal(self) -> PostgresJournal:
        with knowing_better(self.env):
            copy = SqliteJournal(self._copy)
        try:
            return PostgresJournal(self._session(), copy)
        except BaseException:
            copy.close()
            raise

    def first_journal(self) -> AbstractContextManager[Journal]:
        return PostgresJournal(self._session())

    def copy(self) -> AbstractContextManager[Journal] | None:
        return SqliteJournal(self._copy) if self._copy.exists() else None

    def copied_head(self) -> Head:
        return head_beside(self._copy)

    def lease(self, request: PlanRequest, /, *, least: int, fence: Fence, claim: Claim | None = None) -> Lease:
        return PostgresLease(self._session(), request.actor, request.command, fence=fence, least=least, claim=claim)

    def watch_lease(self, actor: str, /) -> Lease | None:
        session = ControlConnection(self.url, f"{self.env}/watch")
        return PostgresLease(
            session, actor, proposal.WATCH(env=self.env), ttl_s=WATCH_TTL_S, interval_s=WATCH_TTL_S / 3
        )

    async def place(self) -> StatePlace | None:
        lease = PostgresLease(self._session(), "", "")
        try:
            return await asyncio.to_thread(lease.place)
        finally:
            lease.session.close()

    async def holder(self) -> LockHolder | None:
        lease = PostgresLease(self._session(), "", "")
        try:
            standing = await asyncio.to_thread(lease.standing)
        finally:
            lease.session.close()
        return LockHolder(standing.holder, standing.age, standing.left_s) if standing else None

    async def trust(self, which: str, /) -> str:
        if which == "database" and not await self._copy_is_readable():
            aside = put_aside(self._copy)
            with self.journal() as journal:
                await journal.verify_chain()
            return f"the copy was made anew from the database; the broken one is `{aside}`"
        with self.journal() as journal:
            return journal.trust(which)

    async def _copy_is_readable(self) -> bool:
        try:
            with SqliteJournal(self._copy) as copy:
                await copy.verify_chain()
        except DodaiError as error:
            return error.code is not JOURNAL_BROKEN
        return True

    async def clock_offset_s(self) -> float | None:
        return await asyncio.to_thread(offset_s, self.url)

    def inspect(self) -> ControlSeen:
        seen = look(self.url, self.env, self.copied_head())
        held = seen.holder
        return ControlSeen(
            where=f"PostgreSQL {seen.server} at {address(self.url)}",
            newer=seen.newer,
            offset_s=seen.offset_s,
            head=seen.head if seen.schema else Head(),
            copied=seen.copied,
            holder=LockHolder(held.holder, held.age, held.left_s) if held else None,
        )
