"""What migrations need from outside: a database connection (psycopg's satisfies it), proof, and a clock of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dodai.migrations.policy import MigrationsPolicy


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class ConnectionInfo(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def dbname(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def backend_pid(self) -> int: ...
    @property
    def transaction_status(self) -> int: ...
    def get_parameters(self) -> Mapping[str, str]: ...


class Connection(Protocol):
    """A synchronous connection, direct and not shared. Without parameters `execute` uses the simple query protocol."""

    autocommit: bool

    @property
    def closed(self) -> bool: ...
    @property
    def info(self) -> ConnectionInfo: ...
    def execute(self, query: str, params: Sequence[Any] | None = None, *, prepare: bool | None = None) -> Cursor: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


Connect = Callable[[], Connection]
"""Opens a new connection to the same database; errors are coded."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One recorded rehearsal. `pending` are the checksums it ran, in order; `age_s` its age in seconds."""

    id: str
    pending: tuple[str, ...]
    age_s: float
    outcome: str


class EvidenceStore(Protocol):
    """Where rehearsals are recorded (the control database)."""

    def rehearsals(self, env: str) -> Sequence[Evidence]: ...


@dataclass(frozen=True, slots=True)
class Author:
    """Who runs migrations and from what; goes into every log row. `actor` is a person or a CI job, as claimed."""

    actor: str = ""
    host: str = ""
    git_sha: str = ""
    git_dirty: bool = False
    version: str = ""
    approval: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Where migrations run: the files of one tree and the way to one database.

    `root` is the repository or the tree of a release; `connect` opens a direct connection, errors coded. `environment`
    is what `ENVSUB` sees; `author` is asked for once per run that changes something.
    """

    root: Path
    policy: MigrationsPolicy
    connect: Connect
    author: Callable[[], Author] = Author
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


Shadow = Callable[[], AbstractContextManager[Callable[[], Connect]]]
"""Starts an empty server of its own; inside the block each call makes an empty database and the way to it."""


def is_gone(conn: Connection) -> bool:
    """Asked anew each time: a connection can be lost between two lines."""
    return conn.closed


def sqlstate(error: BaseException) -> str:
    """The five-character SQLSTATE an error carries; "" when the server sent none (a lost connection)."""
    return str(getattr(error, "sqlstate", None) or "")


def is_database_error(error: BaseException) -> bool:
    """True for errors of a database driver, recognised by their `sqlstate` attribute."""
    return hasattr(error, "sqlstate")


def server_message(error: BaseException) -> str:
    """The server's first line, with detail and hint when there are any."""
    diag = getattr(error, "diag", None)
    parts = [getattr(diag, name, None) for name in ("message_primary", "message_detail", "message_hint")]
    return "; ".join(str(part) for part in parts if part) or str(error).partition("\n")[0]
