"""What migrations need from outside: a database connection (psycopg's satisfies it), proof, and a clock of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from dodai.core.dataclass import dataclass
from dodai.migrations.migration import Direction, Migration, MigrationFolder, Statement
from dodai.migrations.policy import MigrationsPolicy


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def copy(self, statement: str) -> AbstractContextManager[Any]: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def nextset(self) -> bool | None: ...


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
    def password(self) -> str: ...
    @property
    def backend_pid(self) -> int: ...
    @property
    def transaction_status(self) -> int: ...
    def get_parameters(self) -> Mapping[str, str]: ...


class SqlConnection(Protocol):
    """A synchronous connection, direct and not shared. Without parameters `execute` uses the simple query protocol."""

    autocommit: bool

    @property
    def closed(self) -> bool: ...
    @property
    def info(self) -> ConnectionInfo: ...
    def execute(self, query: str, params: Sequence[Any] | None = None, *, prepare: bool | None = None) -> Cursor: ...
    def cursor(self) -> Cursor: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


COPY_PIECE = 1 << 16
"""Characters of COPY data that are handed over at once."""
Connect = Callable[[], SqlConnection]
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


class Tool(Protocol):
    """A history that another tool owns: how it is read, what of it is applied, and how one migration of it is run.

    SQL files need none: they are ours. Providers have one for each tool.
    """

    @property
    def table(self) -> str:
        """The tool's own ledger; a schema may stand before it."""
        ...

    @property
    def needs_every_file(self) -> bool:
        """True when the tool can do nothing while the database is at a migration that has no file."""
        ...

    def read(self) -> MigrationFolder:
        """The migrations of the tree without running anything of the user's; statements are not known."""
        ...

    def at(self, ref: str) -> MigrationFolder:
        """The same at a commit."""
        ...

    def listed(self) -> MigrationFolder:
        """All that the tool knows, also from outside of the tree; may run the user's code in a process of its own."""
        ...

    def rendered(
        self, shadow: Shadow, there_and_back: Collection[str] | None = None, wanted: Collection[str] = ()
    ) -> MigrationFolder:
        """All that the tool knows with the statements that it sends, found out on an empty server, in its own order.

        The way down is found out for those in `there_and_back`, for all when it is None. With `wanted` nothing is run
        but these and what they follow; the others come without statements.
        """
        ...

    def applied(self, conn: SqlConnection, table: str) -> Sequence[tuple[str, datetime | None]]:
        """Ids in the order they were applied, and when, where the tool keeps that; `table` is there, and quoted."""
        ...

    def record_sql(self, table: str, migration: Migration, direction: Direction) -> str:
        """Statements that make the tool's ledger say so without running the migration."""
        ...

    def replace_sql(
        self, table: str, gone: Sequence[str], added: Sequence[Migration], kept: Sequence[Migration]
    ) -> str:
        """Statements that make the tool's ledger say that `kept` are in effect, `added` of them for the first time.

        The ids of `gone`, which have no file of theirs any more, are taken out of it.
        """
        ...

    def shows_sql(self, table: str, migration: Migration) -> str:
        """A condition that is true when the tool's ledger has this migration as its latest, or among its rows."""
        ...

    def create_sql(self, table: str) -> str:
        """The statement that makes the tool's ledger where it is not there yet."""
        ...

    def open(self, url: str = "") -> Worker:
        """The tool at work in the user's interpreter, on the database at `url`; DOD226 when it cannot be started.

        It loads itself meanwhile. Without `url` it loads nothing of the user's until `begin` says which database.
        """
        ...

    def new(self, name: str) -> str:
        """The path of the new, empty migration that the tool made."""
        ...


class Process(Protocol):
    """Work that can be told to stop, from another thread."""

    def cancel(self) -> None: ...


class Worker(Process, Protocol):
    """Another tool at work in a process of its own."""

    def begin(self, url: str) -> None:
        """Let it load what it needs for the database at `url` while we do something else; it asks for nothing yet."""
        ...

    def listed(self) -> MigrationFolder:
        """`Tool.listed`, told by this process. Raises DOD226 when there is no answer."""
        ...

    def plan(self, request: Mapping[str, Any], conn: SqlConnection, table: str) -> Mapping[str, Any]:
        """`plan`: the ids that the tool itself would run on the database, in its order; `failed`: why it would not.

        `table` is its ledger, quoted, "" where there is none yet.
        """
        ...

    def finish(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the tool does behind its last migration."""
        ...

    def start(self, request: Mapping[str, Any], todo: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Let it run migrations one after the other, each with the row of our log that belongs into its transaction.

        Request and answers are those of `dodai.agent.migrate`.
        """
        ...

    def ran(self, migration: Migration, direction: Direction, timeout_s: float) -> Mapping[str, Any]:
        """What came of the next migration. Raises DOD226 when there is no answer."""
        ...

    def ended(self, timeout_s: float) -> Mapping[str, Any]:
        """What came of the tool's end, behind the last migration. Raises DOD226 when there is no answer."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MigrationTarget:
    """Where migrations run: the files of one tree and the way to one database.

    `root` is the repository or the tree of a release; `connect` opens a direct connection, errors coded. `environment`
    is what `ENVSUB` sees; `author` is asked for once per run that changes something. `tool` is None for SQL files.
    """

    root: Path
    policy: MigrationsPolicy
    connect: Connect
    author: Callable[[], Author] = Author
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    tool: Tool | None = None

    @contextmanager
    def reading(self) -> Iterator[SqlConnection]:
        """A connection for a look, which waits for nobody longer than `[migrations].lock_timeout`."""
        conn = self.connect()
        try:
            conn.autocommit = True
            conn.execute(f"SET lock_timeout = '{int(self.policy.lock_timeout_s * 1000)}ms'")
            yield conn
        finally:
            conn.close()


@dataclass(frozen=True, slots=True)
class Copy:
    """A database to try on. `url` leads to it directly, past any pooler, and may hold a password.

    `kind` says how it was made; `production_data` whether its rows are production's.
    """

    url: str = field(repr=False)
    kind: str
    production_data: bool


class Copies(Protocol):
    """Makes a copy of the target's database, gives its direct URL, and removes it: the seam for a vendor's branches.

    The local ones are servers beside this process (`dodai.providers.postgres.copies`). A driver for Neon makes a branch
    of the target's branch and an endpoint with it, answers the host without `-pooler`, and deletes the branch at the
    end. It names the branch after `run` and lets it expire, so that one that a killed process left behind is found and
    goes by itself.
    """

    def copied(self, run: str) -> AbstractContextManager[Copy]:
        """The copy, ready for connections; gone after the block. The original is only read. Failures are DOD786."""
        ...


Shadow = Callable[[], AbstractContextManager[Callable[[], Connect]]]
"""Starts an empty server of its own; inside the block each call makes an empty database and the way to it."""


def url_of(conn: SqlConnection) -> str:
    """The URL of the database that `conn` is connected to, password included: another program gets to the same one."""
    info = conn.info
    more = {k: v for k, v in info.get_parameters().items() if k.startswith("ssl") or k in ("hostaddr", "options")}
    login = quote(info.user, safe="") + (f":{quote(info.password, safe='')}" if info.password else "")
    if info.host.startswith(("/", "@")):
        more = {"host": info.host, "port": str(info.port), **more}
        return f"postgresql://{login}@/{quote(info.dbname, safe='')}?{urlencode(more, safe='/')}"
    tail = f"?{urlencode(more, safe='/')}" if more else ""
    return f"postgresql://{login}@{info.host}:{info.port}/{quote(info.dbname, safe='')}{tail}"


def send(conn: SqlConnection, statement: Statement) -> None:
    """Run one statement; the data of a `COPY FROM stdin` follow it, in pieces as the server takes them."""
    if statement.data is None:
        conn.execute(statement.sql)
        return
    with conn.cursor().copy(statement.sql) as copy:
        for start in range(0, len(statement.data), COPY_PIECE):
            copy.write(statement.data[start : start + COPY_PIECE])


def is_gone(conn: SqlConnection) -> bool:
    """Asked anew each time: a connection can be lost between two lines."""
    return conn.closed


def sqlstate(error: BaseException) -> str:
    """The five-character SQLSTATE an error carries; "" when the server sent none (a lost connection)."""
    return str(getattr(error, "sqlstate", None) or "")


def is_database_error(error: BaseException) -> bool:
    """True for errors of a database driver, recognised by their `sqlstate` attribute."""
    return hasattr(error, "sqlstate")


_COPY_LINE = re.compile(r"^COPY .*?, line (\d+)")


def error_line(error: BaseException, statement: Statement, opening: int = 0) -> int:
    """The line of the file that the server points to, of its data for a COPY; else the statement's first.

    `opening` is how many characters were sent before the statement, which the server counts in its positions.
    """
    diag = getattr(error, "diag", None)
    if statement.data is not None and (found := _COPY_LINE.match(getattr(diag, "context", None) or "")):
        return statement.line + statement.sql.count("\n") + int(found[1])
    position = getattr(diag, "statement_position", None)
    offset = max(int(position) - 1 - opening, 0) if position else 0
    return statement.line + statement.sql.count("\n", 0, offset)


def server_message(error: BaseException) -> str:
    """The server's first line, with detail and hint when there are any."""
    diag = getattr(error, "diag", None)
    parts = [getattr(diag, name, None) for name in ("message_primary", "message_detail", "message_hint")]
    return "; ".join(str(part) for part in parts if part) or str(error).partition("\n")[0]
