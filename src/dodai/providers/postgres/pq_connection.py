"""A synchronous connection through libpq itself: what `migrate` needs of one, without psycopg.

Importing psycopg takes longer than the rest of `migrate up` with nothing to do (0.12 s of CPU, measured; asyncio comes
with it), and libpq tells how many statements of a message went through before one failed, which psycopg does not: so
a file travels with its BEGIN, its ledger row and its COMMIT in one message. Answers are text, or numbers and truth.
"""

from __future__ import annotations

import ctypes
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.migrations.sql import literal
from dodai.providers.postgres.libpq import LibpqError, Notice, libpq, words
from dodai.providers.postgres.settings import APPLICATION_NAME, CONNECT_TIMEOUT_S, KEEPALIVE

_OK, _COMMAND, _TUPLES, _COPY_OUT, _COPY_IN = 0, 1, 2, 3, 4
_EMPTY_QUERY = 0
_READING, _WRITING, _CONNECTED = 1, 2, 3
_TYPES: Mapping[int, Callable[[str], Any]] = {
    16: lambda text: text == "t", 20: int, 21: int, 23: int, 26: int, 700: float, 701: float,
}  # fmt: skip
"""Of the answers by the OID of their type (pg_type.dat); all others stay text."""
_PIECE_MS = 100
_NOBODY_HEARS = Notice(lambda _where, _said: None)
"""libpq prints notices to standard error by itself."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The fields of a server's error, with psycopg's names; `statement_position` counts characters from 1."""

    message_primary: str | None
    message_detail: str | None
    message_hint: str | None
    statement_position: str | None
    context: str | None


_FIELDS = {
    "message_primary": "M",
    "message_detail": "D",
    "message_hint": "H",
    "statement_position": "P",
    "context": "W",
}


class PqError(Exception):
    """A message failed, after `completed` of its statements went through; without `sqlstate` the connection failed."""

    def __init__(self, said: str, sqlstate: str | None, diag: Diagnosis | None, completed: int) -> None:
        super().__init__(said.strip())
        self.sqlstate = sqlstate
        self.diag = diag
        self.completed = completed


@dataclass(frozen=True, slots=True)
class _Result:
    tag: str
    rowcount: int
    rows: list[tuple[Any, ...]]


class PqAnswer:
    """The results of a message, one for each statement; as with psycopg the first is looked at first."""

    def __init__(self, results: list[_Result]) -> None:
        self._results = results
        self._at = 0
        self._row = 0

    @property
    def tags(self) -> tuple[str, ...]:
        """What the server calls each of them: `INSERT 0 1`, `COMMIT`."""
        return tuple(result.tag for result in self._results)

    @property
    def rowcount(self) -> int:
        return self._results[self._at].rowcount if self._results else -1

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self._results[self._at].rows if self._results else []
        self._row += 1
        return rows[self._row - 1] if self._row <= len(rows) else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._results[self._at].rows[self._row :] if self._results else []

    def nextset(self) -> bool | None:
        if self._at + 1 >= len(self._results):
            return None
        self._at, self._row = self._at + 1, 0
        return True


class PqConnection:
    """An open connection in autocommit; it waits with `poll`, so that a signal ends the statement at once."""

    autocommit = True

    def __init__(self, dsn: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        library = self._library = libpq()
        given = {**KEEPALIVE, "dbname": dsn, "application_name": APPLICATION_NAME, "client_encoding": "UTF8"}
        # Behind `dbname`, which is the whole URL, a word overrules it, before it a word is only a default.
        keys, values = (
            (ctypes.c_char_p * (len(given) + 1))(*(str(word).encode() for word in words), None)
            for words in (given.keys(), given.values())
        )
        self._conn = library.PQconnectStartParams(keys, values, 1)
        try:
            self._connect(timeout_s)
        except BaseException:
            self.close()
            raise
        library.PQsetNoticeProcessor(self._conn, _NOBODY_HEARS, None)

    def _connect(self, timeout_s: float) -> None:
        deadline, state = time.monotonic() + timeout_s, _WRITING
        while self._conn and state != _CONNECTED:
            left = deadline - time.monotonic()
            if state not in (_READING, _WRITING) or left <= 0:
                raise LibpqError
            if self._library.PQsocket(self._conn) < 0:
                raise LibpqError
            self._wait(state, left)
            state = self._library.PQconnectPoll(self._conn)
        if not self._conn or self._library.PQstatus(self._conn) != _OK:
            raise LibpqError

    def _wait(self, state: int, seconds: float | None = None) -> None:
        """Until the socket can be read, or written to; longer than `seconds` nobody waits.

        In short pieces: a signal that comes just before `poll` does not end it, and its handler runs behind it.
        """
        poll = select.poll()
        poll.register(self._library.PQsocket(self._conn), select.POLLIN if state == _READING else select.POLLOUT)
        deadline = time.monotonic() + seconds if seconds is not None else None
        while not poll.poll(_PIECE_MS) and (deadline is None or time.monotonic() < deadline):
            pass

    # --- what it is connected to ----------------------------------------------------------------------------------

    @property
    def info(self) -> PqConnection:
        return self

    @property
    def closed(self) -> bool:
        return not self._conn or self._library.PQstatus(self._conn) != _OK

    @property
    def host(self) -> str:
        return self._said("PQhost")

    @property
    def port(self) -> int:
        return int(self._said("PQport") or 5432)

    @property
    def dbname(self) -> str:
        return self._said("PQdb")

    @property
    def user(self) -> str:
        return self._said("PQuser")

    @property
    def password(self) -> str:
        return self._said("PQpass")

    def _said(self, function: str) -> str:
        found = getattr(self._library, function)(self._conn) if self._conn else None
        return (found or b"").decode()

    @property
    def backend_pid(self) -> int:
        return int(self._library.PQbackendPID(self._conn)) if self._conn else 0

    @property
    def transaction_status(self) -> int:
        """`PGTransactionStatusType`: 0 idle, 1 busy, 2 in a transaction, 3 in a failed one, 4 unknown."""
        return int(self._library.PQtransactionStatus(self._conn)) if self._conn else 4

    @property
    def reads_as_written(self) -> bool:
        """Whether the server ends a string where the SQL standard does, as our own lexer does."""
        return bool(self._library.PQparameterStatus(self._conn, b"standard_conforming_strings") == b"on")

    def get_parameters(self) -> dict[str, str]:
        return words(self._library, self._library.PQconninfo(self._conn))

    # --- messages ---------------------------------------------------------------------------------------------------

    def execute(self, query: str, params: Sequence[Any] | None = None, *, prepare: bool | None = None) -> PqAnswer:  # noqa: ARG002 - psycopg's
        """The answers to a message of one or more statements; raises `PqError`. Values stand in for `%s`."""
        if params:
            parts = query.split("%s")
            query = parts[0] + "".join(literal(value) + part for value, part in zip(params, parts[1:], strict=True))
        with self._cancelled_when_interrupted():
            self._send(query)
            return PqAnswer(self._results())

    def _send(self, query: str) -> None:
        if self._conn is None or not self._library.PQsendQuery(self._conn, query.encode()):
            raise self._lost()

    def _results(self) -> list[_Result]:
        """All results of the message that is under way; the error of one is raised once none is left."""
        found: list[_Result] = []
        failed: PqError | None = None
        library = self._library
        while result := self._next_result():
            try:
                status = library.PQresultStatus(result)
                if status in (_TUPLES, _COMMAND, _EMPTY_QUERY):
                    found.append(self._read(result))
                elif status == _COPY_IN:
                    library.PQputCopyEnd(self._conn, b"no data follow this COPY")
                elif status == _COPY_OUT:
                    self._leave_data()
                else:
                    failed = failed or self._error(result, len(found))
            finally:
                library.PQclear(result)
        if failed:
            raise failed
        return found

    def _next_result(self) -> Any:
        library = self._library
        while library.PQisBusy(self._conn):
            self._wait(_READING)
            if not library.PQconsumeInput(self._conn):
                break  # PQgetResult says what went wrong
        return library.PQgetResult(self._conn)

    @contextmanager
    def _cancelled_when_interrupted(self) -> Iterator[None]:
        """A signal in the block ends the statement on the server too, and the connection can be used again."""
        try:
            yield
        except PqError:
            raise
        except BaseException:
            self.cancel()
            with suppress(PqError):
                while result := self._next_result():
                    self._library.PQclear(result)
            raise

    def _read(self, result: Any) -> _Result:
        library = self._library
        value, is_null = library.PQgetvalue, library.PQgetisnull
        types = [_TYPES.get(library.PQftype(result, column), str) for column in range(library.PQnfields(result))]

        def cell(row: int, column: int, read: Callable[[str], Any]) -> Any:
            text = value(result, row, column)  # empty for NULL too
            return read(text.decode()) if text or not is_null(result, row, column) else None

        rows = [
            tuple(cell(row, column, read) for column, read in enumerate(types))
            for row in range(library.PQntuples(result))
        ]
        count = library.PQcmdTuples(result)
        return _Result(library.PQcmdStatus(result).decode(), int(count) if count else -1, rows)

    def _error(self, result: Any, completed: int) -> PqError:
        def field(letter: str) -> str | None:
            said = self._library.PQresultErrorField(result, ord(letter))
            return said.decode(errors="replace") if said else None

        said = (self._library.PQresultErrorMessage(result) or b"").decode(errors="replace")
        diag = Diagnosis(**{name: field(letter) for name, letter in _FIELDS.items()})
        return PqError(said, field("C"), diag, completed)

    def _lost(self) -> PqError:
        return PqError(self._said("PQerrorMessage") or "the connection is closed", None, None, 0)

    # --- COPY ---------------------------------------------------------------------------------------------------------

    def cursor(self) -> PqConnection:
        return self

    @contextmanager
    def copy(self, statement: str) -> Iterator[PqConnection]:
        """`COPY … FROM stdin`: its data are written within the block."""
        library = self._library
        with self._cancelled_when_interrupted():
            self._send(statement)
            result = self._next_result()
            failed = None if library.PQresultStatus(result) == _COPY_IN else self._error(result, 0)
            library.PQclear(result)
            if failed:
                self._results()
                raise failed
        try:
            yield self
        except BaseException:
            library.PQputCopyEnd(self._conn, b"the data were not sent to their end")
            with suppress(PqError):
                self._results()
            raise
        with self._cancelled_when_interrupted():
            library.PQputCopyEnd(self._conn, None)
            self._results()

    def write(self, data: str) -> None:
        """More data of the COPY that is under way."""
        sent = data.encode()
        if self._library.PQputCopyData(self._conn, sent, len(sent)) != 1:
            raise self._lost()

    def _leave_data(self) -> None:
        """Data of `COPY … TO stdout`, which nobody asked for."""
        piece = ctypes.c_void_p()
        while self._library.PQgetCopyData(self._conn, ctypes.byref(piece), 0) > 0:
            self._library.PQfreemem(piece)

    # --- the end ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the server to end what runs; another thread may do so."""
        handle = self._library.PQgetCancel(self._conn) if self._conn else None
        if handle:
            said = ctypes.create_string_buffer(256)
            self._library.PQcancel(handle, said, len(said))
            self._library.PQfreeCancel(handle)

    def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn:
            self._library.PQfinish(conn)
