"""A journal in one file that survives a crash: alone for a local environment, else the copy beside a database."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.journal.values import (
    Event,
    Head,
    Kind,
    PlanEntry,
    PlanRow,
    next_event,
    refuse_unfinished,
    stale_token,
)
from dodai.engine.plan import Plan, canonical
from dodai.engine.state_folder import make_folder

SCHEMA_VERSION = 1
_FINAL = "CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'append only'); END"
_SCHEMA = (
    """CREATE TABLE plans (
      plan_id TEXT PRIMARY KEY, env TEXT NOT NULL, plan_hash TEXT NOT NULL, steps TEXT NOT NULL,
      request TEXT NOT NULL, manifest BLOB NOT NULL) STRICT""",
    """CREATE TABLE events (
      seq INTEGER PRIMARY KEY, plan_id TEXT NOT NULL REFERENCES plans, step_id TEXT NOT NULL, kind TEXT NOT NULL,
      at TEXT NOT NULL, token INTEGER NOT NULL, data TEXT NOT NULL, prev_hash TEXT NOT NULL,
      hash TEXT NOT NULL) STRICT""",
    "CREATE INDEX events_by_plan ON events (plan_id, seq)",
    *(_FINAL.format(table=table, verb=verb) for table in ("plans", "events") for verb in ("UPDATE", "DELETE")),
)
_NOT_DAMAGE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
     sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM}
)  # fmt: skip
_DAMAGED_FILE = frozenset({sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})


@dataclass(slots=True)
class SqliteJournal:
    """A journal in one SQLite file (WAL, synchronous=FULL), mode 0600.

    The head is kept once more in `PATH.head`, so a file that was cut or replaced by an older copy is noticed. A write
    takes about a millisecond and blocks the loop for that long.
    Raises DOD352 when it cannot be written, DOD353 when it is no journal, DOD354 when a newer dodai wrote it.
    """

    path: Path
    _db: sqlite3.Connection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        with self._coded():
            make_folder(self.path.parent)
            # Only a new file: closing a descriptor of one that is open drops the locks of this process's other journal.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=5.0)
        try:
            with self._coded(), self._doorway():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def begin(self, plan_id: str, plan: Plan, *, token: int, at: str) -> None:
        unfinished = None if plan.beside else await self.unfinished(plan.request.env)
        refuse_unfinished(unfinished)
        row = PlanRow.of(plan_id, plan)
        with self._transaction():
            if unfinished:
                self._append(unfinished.plan_id, "closed", "", unfinished.superseded_by(plan_id), token, at)
            self._keep(row)
            event = self._append(plan_id, "requested", "", row.announcement, token, at)
        self._remember(event)

    async def append(
        self, plan_id: str, kind: Kind, *, step_id: str = "", data: Mapping[str, Any] | None = None, token: int, at: str
    ) -> Event:
        with self._transaction():
            event = self._append(plan_id, kind, step_id, data or {}, token, at)
        self._remember(event)
        return event

    async def unfinished(self, env: str) -> PlanEntry | None:
        is_open = "env = ? AND coalesce(last.kind, 'halted') = 'halted' ORDER BY first.seq DESC LIMIT 1"
        return next(iter(self._entries(is_open, env)), None)

    async def history(self, env: str, limit: int = 50) -> tuple[PlanEntry, ...]:
        return self._entries("env = ? ORDER BY first.seq DESC LIMIT ?", env, limit)

    async def entry(self, plan_id: str) -> PlanEntry | None:
        return next(iter(self._entries("plan_id = ?", plan_id)), None)

    def _entries(self, where: str, *values: str | int) -> tuple[PlanEntry, ...]:
        with self._coded():
            rows = self._db.execute(
                f"""SELECT p.plan_id, p.env, p.plan_hash, p.steps, p.request, p.manifest, first.at, last.kind, last.data
                   FROM plans p JOIN events first ON first.plan_id = p.plan_id AND first.kind = 'requested'
                   LEFT JOIN events last ON last.seq =
                     (SELECT max(seq) FROM events WHERE plan_id = p.plan_id AND kind IN ('halted', 'closed'))
                   WHERE p.{where}""",  # noqa: S608 - ours
                values,
            ).fetchall()
            return tuple(PlanRow(*row[:6]).entry(*row[6:]) for row in rows)

    async def events(self, plan_id: str) -> tuple[Event, ...]:
        with self._coded():
            return tuple(self._read("WHERE plan_id = ?", (plan_id,)))

    async def of_kind(self, kind: Kind, limit: int = 100) -> tuple[Event, ...]:
        with self._coded():
            return tuple(reversed(list(self._read("WHERE kind = ?", (kind,)))))[:limit]

    async def verify_chain(self) -> Head:
        outside = self._outside_head()  # read first: a writer may append meanwhile, never take away
        head, seen_outside = Head(), outside.seq == 0
        with self._coded():
            requests: dict[str, str] = {}
            for event in self._read():
                if not event.follows(head):
                    raise self._broken(f"record {event.seq} does not follow record {head.seq}")
                head = event.head
                seen_outside = seen_outside or head == outside
                if event.kind == "requested":
                    requests[event.plan_id] = event.data["digest"]
            self._verify_requests(requests)
        if not seen_outside:
            raise self._broken(f"record {outside.seq}, which `{self._head_path.name}` remembers, is not there")
        if outside.seq == 0 and head.seq > 1:  # one may be missing: a crash between a write and its head
            raise self._broken(f"`{self._head_path.name}` is missing")
        return head

    async def highest_token(self) -> int:
        with self._coded():
            return int(self._db.execute("SELECT coalesce(max(token), 0) FROM events").fetchone()[0])

    async def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def _head_path(self) -> Path:
        return self.path.with_name(self.path.name + ".head")

    @contextmanager
    def _doorway(self) -> Iterator[None]:
        """One process sets a journal up at a time: SQLite refuses a second one that turns WAL on, without waiting."""
        door = os.open(self.path.with_name(self.path.name + ".door"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield
        finally:
            os.close(door)

    def _prepare(self) -> None:
        self._db.execute("PRAGMA busy_timeout = 5000")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = self._version()
        if version > SCHEMA_VERSION:
            raise DodaiError(
                codes.JOURNAL_NEWER,
                f"journal `{self.path}` has schema {version}, this dodai knows {SCHEMA_VERSION}",
                "install the newer dodai",
                exit_code=1,
            )
        if version == 0:
            self._create()
        elif (found := self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise self._broken(str(found))  # the whole check: an index that lies hides steps of a plan from a resume

    def _create(self) -> None:
        with self._transaction():
            if self._version() == 0:  # another process may have been faster
                if self._outside_head().seq:
                    raise self._broken(f"it is empty, but `{self._head_path.name}` remembers records")
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _append(self, plan_id: str, kind: Kind, step_id: str, data: Mapping[str, Any], token: int, at: str) -> Event:
        last = self._db.execute("SELECT seq, hash, token FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        head, newest = (Head(last[0], last[1]), last[2]) if last else (Head(), 0)
        if token < newest:
            raise stale_token(token, newest)
        event = next_event(head, plan_id, kind, step_id, data, token, at)
        self._insert(event)
        return event

    def _insert(self, event: Event) -> None:
        e, data = event, canonical(event.data).decode()
        self._db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (e.seq, e.plan_id, e.step_id, e.kind, e.at, e.token, data, e.prev_hash, e.hash),
        )

    def _keep(self, row: PlanRow) -> None:
        self._db.execute(
            "INSERT INTO plans (plan_id, env, plan_hash, steps, request, manifest) VALUES (?, ?, ?, ?, ?, ?)",
            (row.plan_id, row.env, row.plan_hash, row.steps, row.request, row.manifest),
        )

    # As the copy of another journal

    def head(self) -> Head:
        """The last event; two journals with the same head hold the same events."""
        with self._coded():
            row = self._db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            return Head(*row) if row else Head()

    def hash_of(self, seq: int) -> str:
        """The hash of event `seq`; `""` when there is none."""
        with self._coded():
            row = self._db.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
            return str(row[0]) if row else ""

    def receive(self, rows: Iterable[PlanRow], events: Iterable[Event]) -> None:
        """Take over what another journal has and this one has not; DOD353 for what does not follow."""
        last: Event | None = None
        with self._transaction():
            known = {row[0] for row in self._db.execute("SELECT plan_id FROM plans")}
            for row in rows:
                if row.plan_id not in known:
                    self._keep(row)
            head = self.head()
            for event in events:
                if event.seq > head.seq:
                    if not event.follows(head):
                        raise self._broken(f"record {event.seq} does not follow record {head.seq}")
                    self._insert(event)
                    head, last = event.head, event
        if last:
            self._remember(last)

    def put_aside(self) -> Path:
        """Where everything so far is kept from now on; this journal begins anew."""
        self._db.close()
        with self._coded():
            aside = put_aside(self.path)
        self.__post_init__()
        return aside

    def prove_writable(self) -> None:
        """DOD352 when nothing can be written any more: a byte of no meaning is, and the head once more."""
        with self._transaction():
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        head = self.head()
        if head.seq:
            self._remember(head)

    def rest(self, after: int) -> tuple[tuple[PlanRow, ...], tuple[Event, ...]]:
        """Every request, and the events after number `after`."""
        with self._coded():
            return self._rows(), tuple(event for event in self._read() if event.seq > after)

    def _read(self, where: str = "", values: tuple[str, ...] = ()) -> Iterator[Event]:
        columns = "seq, plan_id, step_id, kind, at, token, data, prev_hash, hash"
        for row in self._db.execute(f"SELECT {columns} FROM events {where} ORDER BY seq", values):  # noqa: S608 - ours
            seq, plan_id, step_id, kind, at, token, data, prev_hash, digest = row
            yield Event(seq, plan_id, step_id, kind, at, token, json.loads(data), prev_hash, digest)

    def _rows(self) -> tuple[PlanRow, ...]:
        rows = self._db.execute("SELECT plan_id, env, plan_hash, steps, request, manifest FROM plans").fetchall()
        return tuple(PlanRow(*row) for row in rows)

    def _verify_requests(self, digests: Mapping[str, str]) -> None:
        rows = self._rows()
        for row in rows:
            if digests.get(row.plan_id) != row.digest or not row.is_of_its_environment:
                raise self._broken(f"the request of plan `{row.plan_id}` is not the one that was recorded")
        if len(rows) != len(digests):
            raise self._broken("a recorded request is gone")

    def _remember(self, head: Event | Head) -> None:
        with self._coded():
            fresh = self._head_path.with_suffix(".new")
            with fresh.open("w", encoding="ascii") as file:
                file.write(f"{head.seq} {head.hash}\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._head_path)

    def _outside_head(self) -> Head:
        with self._coded():
            if not self._head_path.exists():
                return Head()
            seq, digest = self._head_path.read_text(encoding="ascii").split()
            return Head(int(seq), digest)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._coded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _coded(self) -> Iterator[None]:
        """Turn what SQLite and the file system say into DOD352 and DOD353."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if not _cannot_write(error):
                raise self._broken(str(error)) from error
            raise DodaiError(
                codes.JOURNAL_UNWRITABLE,
                f"journal `{self.path}` cannot be written: {error}",
                f"free space or fix permissions of `{self.path.parent}`, then run the command again",
                exit_code=1,
            ) from error
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise self._broken(str(error)) from error

    def _broken(self, what: str) -> DodaiError:
        return DodaiError(
            codes.JOURNAL_BROKEN,
            f"journal `{self.path}` is broken: {' '.join(what.split())}",
            f"restore `{self.path.name}` and `{self._head_path.name}` in `{self.path.parent}` from one backup; without"
            f" one, move both away and compare `{proposal.STATUS(env='ENV')}` with what should run: the journal then"
            " begins anew",
            exit_code=4,
        )


def _cannot_write(error: sqlite3.Error | OSError) -> bool:
    """Whether a full disk, missing permissions or somebody else's lock is in the way; anything else is damage.

    SQLite reports damage under many names (a malformed schema, no such table, text that is not UTF-8), and only these
    few for what free space, permissions or patience can fix.
    """
    if isinstance(error, OSError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _NOT_DAMAGE and code not in _DAMAGED_FILE


def put_aside(path: Path) -> Path:
    """Where the journal of `path` and what stands beside it are now, be it readable or not; nothing is at `path`."""
    name = f"{path.name}.aside-{secrets.token_hex(4)}"
    for suffix in ("-wal", "-shm", ".head", ""):
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.replace(path.with_name(name + suffix))
    return path.with_name(name)
