"""The journal of an environment in the control database, with a copy in a file that notices what a restore lost."""

# Statements are put together from constants of ours; values are parameters.
# ruff: noqa: S608
from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg import errors

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.journal import (
    Event,
    Head,
    Kind,
    PlanEntry,
    PlanRow,
    SqliteJournal,
    next_event,
    refuse_unfinished,
    stale_token,
)
from dodai.engine.plan import Plan, canonical
from dodai.providers.postgres.control.control_connection import ControlConnection, knowing_better

T = TypeVar("T")
Connection = psycopg.Connection[Any]
_EVENT: LiteralString = "seq, plan_id, step_id, kind, at, token, data, prev_hash, hash"
_INSERT_EVENT: LiteralString = (
    "INSERT INTO dodai.control_event (env, seq, plan_id, step_id, kind, at, token, data, prev_hash, hash)"
)
_REMEMBER: LiteralString = "INSERT INTO dodai.control_head (env, seq, hash)"
_NEWER: LiteralString = "ON CONFLICT (env) DO UPDATE SET seq = excluded.seq, hash = excluded.hash"
_RACES = 20


@dataclass(slots=True)
class PostgresJournal:
    """`dodai.engine.journal.Journal`: durable in PostgreSQL first, then in `copy`.

    An event is one statement: it is written only while the lock row shows no newer token and the event before it is the
    newest, so it is either wholly there or refused. A copy that is behind is brought up to date when the journal opens;
    one that has what the database has not, or something else, is DOD375 (exit 4): a person decides, see `trust`. One
    that cannot be written any more (DOD352) is noticed before a plan begins.
    Raises DOD376 when the control database does not answer, DOD353 for a chain that is broken.
    """

    session: ControlConnection
    copy: SqliteJournal | None = None
    _head: Head | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.session.run(lambda _: None)

    def close(self) -> None:
        self.session.close()
        if self.copy is not None:
            self.copy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def env(self) -> str:
        return self.session.env

    async def begin(self, plan_id: str, plan: Plan, *, token: int, at: str) -> None:
        unfinished = None if plan.beside else await self.unfinished(self.env)
        row = PlanRow.of(plan_id, plan)
        if self.copy is not None:
            self.copy.prove_writable()

        def work(connection: Connection) -> list[Event]:
            if _requested(connection, plan_id):
                return []  # written, but the reply was lost
            refuse_unfinished(unfinished)
            with connection.transaction():
                self._fence(connection, token)
                head = self._newest(connection)
                events: list[Event] = []
                if unfinished:
                    ending = unfinished.superseded_by(plan_id)
                    events.append(next_event(head, unfinished.plan_id, "closed", "", ending, token, at))
                    head = events[-1].head
                _keep(connection, row)
                events.append(next_event(head, plan_id, "requested", "", row.announcement, token, at))
                for event in events:
                    _insert(connection, self.env, event)
                _remember(connection, self.env, events[-1].head)
                return events

        events = await self._run(work)
        self._head = events[-1].head if events else None
        self._copied([row], events)

    async def append(
        self, plan_id: str, kind: Kind, *, step_id: str = "", data: Mapping[str, Any] | None = None, token: int, at: str
    ) -> Event:
        sent: list[Event] = []

        def work(connection: Connection) -> Event:
            if sent and self._is_there(connection, sent[-1]):  # called again: only the reply was lost
                return sent[-1]
            for _ in range(_RACES):
                head = self._head or self._newest(connection)
                sent.append(next_event(head, plan_id, kind, step_id, data or {}, token, at))
                if self._written(connection, sent[-1]):
                    self._head = sent[-1].head
                    return sent[-1]
                self._head = None
            raise self._broken("others write to it all the time")

        event = await self._run(work)
        self._copied([], [event])
        return event

    async def unfinished(self, env: str) -> PlanEntry | None:
        is_open: LiteralString = (
            "p.env = %s AND coalesce(last.kind, 'halted') = 'halted' ORDER BY first.seq DESC LIMIT 1"
        )
        return next(iter(await self._entries(is_open, env)), None)

    async def history(self, env: str, limit: int = 50) -> tuple[PlanEntry, ...]:
        return await self._entries("p.env = %s ORDER BY first.seq DESC LIMIT %s", env, limit)

    async def entry(self, plan_id: str) -> PlanEntry | None:
        return next(iter(await self._entries("p.env = %s AND p.plan_id = %s", self.env, plan_id)), None)

    async def _entries(self, where: LiteralString, *values: str | int) -> tuple[PlanEntry, ...]:
        def work(connection: Connection) -> tuple[PlanEntry, ...]:
            rows = connection.execute(
                """SELECT p.plan_id, p.env, p.plan_hash, p.steps, p.request, p.manifest, first.at, last.kind, last.data
                   FROM dodai.control_plan p
                   JOIN dodai.control_event first ON first.plan_id = p.plan_id AND first.kind = 'requested'
                   LEFT JOIN LATERAL (SELECT kind, data FROM dodai.control_event
                     WHERE plan_id = p.plan_id AND kind IN ('halted', 'closed') ORDER BY seq DESC LIMIT 1) last ON true
                   WHERE """
                + where,
                values,
            ).fetchall()
            return tuple(_plan_row(row[:6]).entry(*row[6:]) for row in rows)

        return await self._run(work)

    async def events(self, plan_id: str) -> tuple[Event, ...]:
        return await self._run(lambda c: _events(c, self.env, "AND plan_id = %s", plan_id))

    async def of_kind(self, kind: Kind, limit: int = 100) -> tuple[Event, ...]:
        found = await self._run(lambda c: _events(c, self.env, "AND kind = %s", kind))
        return tuple(reversed(found))[:limit]

    async def verify_chain(self) -> Head:
        """The head, when every record fits the one before it, the copy agrees, and no record is gone from the end.

        The copy is read first, then the remembered head: whoever writes meanwhile writes to the database first.
        """
        with knowing_better(self.env):
            copied = await self.copy.verify_chain() if self.copy is not None else Head()
        known, rows, events = await self._run(
            lambda c: (_remembered(c, self.env), _plans(c, self.env), _events(c, self.env))
        )
        head = self._checked(rows, events)
        self._compare(rows, events, copied)
        if known != Head() and (known.seq > head.seq or events[known.seq - 1].head != known):
            raise self._broken(f"record {known.seq}, which `dodai.control_head` remembers, is not there")
        if known == Head() and events:
            raise self._broken("`dodai.control_head` forgot it")
        self._head = head
        return head

    async def highest_token(self) -> int:
        """The newest of both sides: a restored database has forgotten the tokens it granted since."""
        here = await self._run(_highest(self.env))
        return max(here, await self.copy.highest_token() if self.copy is not None else 0)

    async def now(self) -> datetime:
        """By the database's clock: nobody's machine has a say in what is still fresh."""

        def work(connection: Connection) -> datetime:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            return datetime.fromtimestamp(0, UTC) if row is None else row[0].astimezone(UTC)

        return await self._run(work)

    def trust(self, which: str) -> str:
        """What was done after a person chose `database` or `copy` where the two differ; one sentence.

        `database` puts the copy aside. `copy` gives the database back what it lost, and only that: DOD375 when the two
        went different ways.
        """
        if self.copy is None:
            return "there is no copy on this machine"
        rows, events = self.session.run(lambda c: (_plans(c, self.env), _events(c, self.env)))
        if which == "database":
            aside = self.copy.put_aside()
            self.copy.receive(rows, events)
            self.session.run(lambda c: _remember(c, self.env, events[-1].head if events else Head()))
            return f"the copy was made anew from the database; the old one is `{aside}`"
        head = events[-1].head if events else Head()
        if head.seq and self.copy.hash_of(head.seq) != head.hash:
            raise self._differ(head, self.copy.head(), "they went different ways")
        plans, missing = self.copy.rest(after=head.seq)
        self.session.run(lambda c: _give_back(c, self.env, plans, missing))
        self._head = None
        return f"{len(missing)} records were given back to the database"

    # Inside

    async def _run(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self.session.run, work)

    def _copied(self, rows: Iterable[PlanRow], events: Iterable[Event]) -> None:
        """Bring the copy along; another handle of this process may have done so already."""
        if self.copy is None:
            return
        events = tuple(events)
        if events and self.copy.head().seq + 1 < events[0].seq:
            plans, everything = self.session.run(lambda c: (_plans(c, self.env), _events(c, self.env)))
            self.copy.receive(plans, everything)
        else:
            self.copy.receive(rows, events)

    def _compare(self, rows: tuple[PlanRow, ...], events: tuple[Event, ...], copied: Head) -> None:
        """Bring a copy up to date that is behind; anything else is for a person."""
        if self.copy is None:
            return
        mine = events[-1].head if events else Head()
        if copied.seq > mine.seq:
            same = mine.seq == 0 or self.copy.hash_of(mine.seq) == mine.hash
            why = "the database lost records, as after a restore" if same else "they went different ways"
            raise self._differ(mine, copied, why)
        if copied.seq and events[copied.seq - 1].hash != copied.hash:
            raise self._differ(mine, copied, "they went different ways")
        self.copy.receive(rows, events)

    def _checked(self, rows: tuple[PlanRow, ...], events: tuple[Event, ...]) -> Head:
        head, digests = Head(), dict[str, str]()
        for event in events:
            if not event.follows(head):
                raise self._broken(f"record {event.seq} does not follow record {head.seq}")
            head = event.head
            if event.kind == "requested":
                digests[event.plan_id] = event.data["digest"]
        if digests != {row.plan_id: row.digest for row in rows}:
            raise self._broken("a request is not the one that was recorded")
        return head

    def _newest(self, connection: Connection) -> Head:
        row = connection.execute(
            "SELECT seq, hash FROM dodai.control_event WHERE env = %s ORDER BY seq DESC LIMIT 1", (self.env,)
        ).fetchone()
        return Head(*row) if row else Head()

    def _fence(self, connection: Connection, token: int) -> None:
        row = connection.execute(
            "SELECT token FROM dodai.control_lease WHERE env = %s FOR UPDATE", (self.env,)
        ).fetchone()
        if row and token < row[0]:
            raise stale_token(token, row[0])

    def _written(self, connection: Connection, event: Event) -> bool:
        """Whether `event` is now the newest; False when another one is, DOD351 under a token that was replaced."""
        try:
            row = connection.execute(
                "WITH fence AS (SELECT token FROM dodai.control_lease WHERE env = %s FOR UPDATE), written AS ("
                + _INSERT_EVENT
                + " SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s FROM fence WHERE token <= %s AND"
                " (SELECT coalesce(max(seq), 0) FROM dodai.control_event WHERE env = %s) = %s"
                " RETURNING env, seq, hash), remembered AS ("
                + _REMEMBER
                + " SELECT env, seq, hash FROM written "
                + _NEWER
                + ") SELECT token, (SELECT seq FROM written) FROM fence",
                (self.env, *_values(self.env, event), event.token, self.env, event.seq - 1),
            ).fetchone()
        except errors.UniqueViolation:
            return False
        if row is None:
            raise self._broken("its lock row is gone")
        if row[1] is None and event.token < row[0]:
            raise stale_token(event.token, row[0])
        return row[1] is not None

    def _is_there(self, connection: Connection, event: Event) -> bool:
        row = connection.execute(
            "SELECT 1 FROM dodai.control_event WHERE env = %s AND seq = %s AND hash = %s",
            (self.env, event.seq, event.hash),
        ).fetchone()
        return row is not None

    def _broken(self, what: str) -> DodaiError:
        return DodaiError(
            codes.JOURNAL_BROKEN,
            f"the journal of `{self.env}` in the control database is broken: {what}",
            "restore the control database from a backup; the copy in the state folder shows what it should say",
            exit_code=4,
        )

    def _differ(self, database: Head, copy: Head, why: str) -> DodaiError:
        return DodaiError(
            codes.JOURNALS_DIFFER,
            f"the journal of `{self.env}` in the control database is not the one on this machine: {why}",
            f"decide which is right, then `{proposal.TRUST_DATABASE(env=self.env)}` or"
            f" `{proposal.TRUST_COPY(env=self.env)}`",
            exit_code=4,
            details=(
                f"control database: record {database.seq}, head {database.hash[:16]}",
                f"copy on this machine: record {copy.seq}, head {copy.hash[:16]}",
            ),
            data={"database": [database.seq, database.hash], "copy": [copy.seq, copy.hash]},
        )


def _values(env: str, event: Event) -> tuple[Any, ...]:
    e, data = event, canonical(event.data).decode()
    return (env, e.seq, e.plan_id, e.step_id, e.kind, e.at, e.token, data, e.prev_hash, e.hash)


def _insert(connection: Connection, env: str, event: Event) -> None:
    connection.execute(_INSERT_EVENT + " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", _values(env, event))


def _keep(connection: Connection, row: PlanRow) -> None:
    connection.execute(
        "INSERT INTO dodai.control_plan (plan_id, env, plan_hash, steps, request, manifest)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (row.plan_id, row.env, row.plan_hash, row.steps, row.request, row.manifest),
    )


def _give_back(connection: Connection, env: str, rows: Iterable[PlanRow], events: Iterable[Event]) -> None:
    with connection.transaction():
        for row in rows:
            _keep(connection, row)
        head = Head()
        for event in events:
            _insert(connection, env, event)
            head = event.head
        if head != Head():
            _remember(connection, env, head)


def _remember(connection: Connection, env: str, head: Head) -> None:
    connection.execute(_REMEMBER + " VALUES (%s, %s, %s) " + _NEWER, (env, head.seq, head.hash))


def _remembered(connection: Connection, env: str) -> Head:
    row = connection.execute("SELECT seq, hash FROM dodai.control_head WHERE env = %s", (env,)).fetchone()
    return Head(*row) if row else Head()


def _requested(connection: Connection, plan_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM dodai.control_plan WHERE plan_id = %s", (plan_id,)).fetchone()
    return found is not None


def _plans(connection: Connection, env: str) -> tuple[PlanRow, ...]:
    rows = connection.execute(
        "SELECT plan_id, env, plan_hash, steps, request, manifest FROM dodai.control_plan WHERE env = %s", (env,)
    ).fetchall()
    return tuple(_plan_row(row) for row in rows)


def _plan_row(row: tuple[Any, ...]) -> PlanRow:
    return PlanRow(*(*row[:5], bytes(row[5])))


def _events(connection: Connection, env: str, where: LiteralString = "", *values: str) -> tuple[Event, ...]:
    rows = connection.execute(
        "SELECT " + _EVENT + " FROM dodai.control_event WHERE env = %s " + where + " ORDER BY seq", (env, *values)
    ).fetchall()
    return tuple(Event(*(*row[:6], json.loads(row[6]), *row[7:])) for row in rows)


def _highest(env: str) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        row = connection.execute(
            "SELECT greatest((SELECT max(token) FROM dodai.control_event WHERE env = %(env)s),"
            " (SELECT token FROM dodai.control_lease WHERE env = %(env)s), 0)",
            {"env": env},
        ).fetchone()
        return int(row[0]) if row else 0

    return work
