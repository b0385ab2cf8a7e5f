"""What was asked for and what has happened, written down before it happens, in a file that survives a crash."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.plan import Plan, PlanRequest, canonical

Kind = Literal[
    "requested",  # the request is durable; nothing has happened
    "attempt",  # a process begins or resumes
    "intent",  # a step is about to be looked at
    "already",  # it was done before this plan
    "applying",  # durable before apply
    "applied",  # apply came back
    "done",  # verified
    "failed",  # with the reason
    "turning_back",  # from here on the plan is undone; a resume goes on undoing
    "cleared",  # a look showed that an unclear apply changed nothing
    "undoing",  # durable before undo
    "undone",
    "undo_failed",
    "kept",  # cannot or must not be undone
    "interrupted",  # a signal
    "note",
    "halted",  # this attempt ended, the plan did not
    "closed",  # the plan ended
]
GENESIS = "0" * 64
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


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal. `at` is UTC in ISO 8601, `token` the fencing token it was written under."""

    seq: int
    plan_id: str
    step_id: str
    kind: Kind
    at: str
    token: int
    data: Mapping[str, Any]
    prev_hash: str
    hash: str

    def expected_hash(self) -> str:
        """The hash these fields should have."""
        fields = [self.seq, self.plan_id, self.step_id, self.kind, self.at, self.token, self.data, self.prev_hash]
        return hashlib.sha256(canonical(fields)).hexdigest()


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A plan as the journal knows it; `state` is that of its last ending, `""` while it never ended.

    `settled` marks an open plan of which only verified steps that cannot be undone remain: `resume` may try it again,
    and a new plan may take its place.
    """

    plan_id: str
    plan_hash: str
    request: PlanRequest
    steps: tuple[str, ...]
    begun_at: str
    state: str = ""
    exit_code: int | None = None
    closed: bool = False
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The last event: enough to notice elsewhere that a journal lost its tail."""

    seq: int = 0
    hash: str = GENESIS


class Journal(Protocol):
    """Where plans are written down. The seam for a control database: nothing here is particular to a file.

    Every write is durable when it returns and refused (DOD351) when a newer fencing token has written before.
    """

    async def begin(self, plan_id: str, plan: Plan, *, token: int, at: str) -> None:
        """Write the request down and close a settled plan before it; DOD355 when one is open and not settled."""
        ...

    async def append(
        self, plan_id: str, kind: Kind, *, step_id: str = "", data: Mapping[str, Any] | None = None, token: int, at: str
    ) -> Event: ...

    async def unfinished(self, env: str) -> PlanEntry | None: ...

    async def history(self, env: str, limit: int = 50) -> tuple[PlanEntry, ...]:
        """The newest plans first."""
        ...

    async def events(self, plan_id: str) -> tuple[Event, ...]: ...

    async def verify_chain(self) -> Head:
        """The head, when every record fits the one before it; DOD353 otherwise."""
        ...

    async def highest_token(self) -> int: ...


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
            self.path.parent.mkdir(parents=True, exist_ok=True)
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
        unfinished = await self.unfinished(plan.request.env)
        if unfinished and not unfinished.settled:
            raise _unfinished(unfinished)
        steps = json.dumps([step.id for step in plan.ordered()])
        request, manifest = _request_json(plan.request), plan.request.manifest
        digest = _digest(plan.hash, steps, request, manifest)
        with self._transaction():
            if unfinished:
                ending = {"state": unfinished.state, "exit_code": unfinished.exit_code, "superseded_by": plan_id}
                self._append(unfinished.plan_id, "closed", "", ending, token, at)
            self._db.execute(
                "INSERT INTO plans (plan_id, env, plan_hash, steps, request, manifest) VALUES (?, ?, ?, ?, ?, ?)",
                (plan_id, plan.request.env, plan.hash, steps, request, manifest),
            )
            event = self._append(plan_id, "requested", "", {"digest": digest, "actor": plan.request.actor}, token, at)
        self._remember(event)

    async def append(
        self, plan_id: str, kind: Kind, *, step_id: str = "", data: Mapping[str, Any] | None = None, token: int, at: str
    ) -> Event:
        with self._transaction():
            event = self._append(plan_id, kind, step_id, data or {}, token, at)
        self._remember(event)
        return event

    async def unfinished(self, env: str) -> PlanEntry | None:
        return next((entry for entry in await self.history(env) if not entry.closed), None)

    async def history(self, env: str, limit: int = 50) -> tuple[PlanEntry, ...]:
        with self._coded():
            rows = self._db.execute(
                """SELECT p.plan_id, p.plan_hash, p.steps, p.request, p.manifest, first.at, last.kind, last.data
                   FROM plans p JOIN events first ON first.plan_id = p.plan_id AND first.kind = 'requested'
                   LEFT JOIN events last ON last.seq =
                     (SELECT max(seq) FROM events WHERE plan_id = p.plan_id AND kind IN ('halted', 'closed'))
                   WHERE p.env = ? ORDER BY first.seq DESC LIMIT ?""",
                (env, limit),
            ).fetchall()
            return tuple(_entry(*row) for row in rows)

    async def events(self, plan_id: str) -> tuple[Event, ...]:
        with self._coded():
            return tuple(self._read("WHERE plan_id = ?", (plan_id,)))

    async def verify_chain(self) -> Head:
        outside = self._outside_head()  # read first: a writer may append meanwhile, never take away
        head, seen_outside = Head(), outside.seq == 0
        with self._coded():
            requests: dict[str, str] = {}
            for event in self._read():
                if event.seq != head.seq + 1 or event.prev_hash != head.hash or event.hash != event.expected_hash():
                    raise self._broken(f"record {event.seq} does not follow record {head.seq}")
                head = Head(event.seq, event.hash)
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
        elif (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._broken(str(found))

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
        seq, prev_hash, newest = last or (0, GENESIS, 0)
        if token < newest:
            raise DodaiError(
                codes.LEASE_LOST,
                f"token {token} is older than {newest}: somebody else took over this environment",
                "see who works there with `dodai status ENV`",
                exit_code=75,
            )
        event = Event(seq + 1, plan_id, step_id, kind, at, token, json.loads(canonical(data)), prev_hash, "")
        digest = event.expected_hash()
        self._db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (event.seq, plan_id, step_id, kind, at, token, canonical(data).decode(), prev_hash, digest),
        )
        return Event(event.seq, plan_id, step_id, kind, at, token, event.data, prev_hash, digest)

    def _read(self, where: str = "", values: tuple[str, ...] = ()) -> Iterator[Event]:
        columns = "seq, plan_id, step_id, kind, at, token, data, prev_hash, hash"
        for row in self._db.execute(f"SELECT {columns} FROM events {where} ORDER BY seq", values):  # noqa: S608 - ours
            seq, plan_id, step_id, kind, at, token, data, prev_hash, digest = row
            yield Event(seq, plan_id, step_id, kind, at, token, json.loads(data), prev_hash, digest)

    def _verify_requests(self, digests: Mapping[str, str]) -> None:
        rows = self._db.execute("SELECT plan_id, plan_hash, steps, request, manifest FROM plans").fetchall()
        for plan_id, *parts in rows:
            if digests.get(plan_id) != _digest(*parts):
                raise self._broken(f"the request of plan `{plan_id}` is not the one that was recorded")
        if len(rows) != len(digests):
            raise self._broken("a recorded request is gone")

    def _remember(self, event: Event) -> None:
        with self._coded():
            fresh = self._head_path.with_suffix(".new")
            with fresh.open("w", encoding="ascii") as file:
                file.write(f"{event.seq} {event.hash}\n")
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
        except (sqlite3.OperationalError, OSError) as error:
            raise DodaiError(
                codes.JOURNAL_UNWRITABLE,
                f"journal `{self.path}` cannot be written: {error}",
                f"free space or mend permissions of `{self.path.parent}`, then run the command again",
                exit_code=1,
            ) from error
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            raise self._broken(str(error)) from error

    def _broken(self, what: str) -> DodaiError:
        return DodaiError(
            codes.JOURNAL_BROKEN,
            f"journal `{self.path}` is broken: {what}",
            f"restore `{self.path}` and its `.head` from a backup, or keep them aside and see `dodai status`",
            exit_code=4,
        )


def _unfinished(entry: PlanEntry) -> DodaiError:
    env = entry.request.env
    return DodaiError(
        codes.PLAN_UNFINISHED,
        f"plan `{entry.plan_id}` of `{env}` (begun {entry.begun_at} by {entry.request.actor}) has not ended",
        f"finish it with `dodai resume {env}` or take it back with `dodai resume {env} --undo`",
        exit_code=1,
    )


def _request_json(request: PlanRequest) -> str:
    words = {name: getattr(request, name) for name in ("kind", "env", "release", "actor", "manifest_hash")}
    maps = {name: dict(getattr(request, name)) for name in ("secret_versions", "arguments")}
    return canonical(words | maps).decode()


def _digest(plan_hash: str, steps: str, request: str, manifest: bytes) -> str:
    return hashlib.sha256(canonical([plan_hash, steps, request, hashlib.sha256(manifest).hexdigest()])).hexdigest()


def _entry(
    plan_id: str, plan_hash: str, steps: str, request: str, manifest: bytes, at: str, kind: str | None, data: str | None
) -> PlanEntry:
    ending = json.loads(data) if data else {}
    return PlanEntry(
        plan_id,
        plan_hash,
        PlanRequest(manifest=manifest, **json.loads(request)),
        tuple(json.loads(steps)),
        at,
        ending.get("state", ""),
        ending.get("exit_code"),
        kind == "closed",
        ending.get("settled", False),
    )
