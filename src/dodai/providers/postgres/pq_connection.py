"""A short look at a database through libpq itself: what `migrate up` with nothing to do needs, without psycopg.

Importing psycopg takes longer than the whole look (0.12 s of CPU, measured; asyncio comes with it). Queries only,
answers as text; whoever gets a `LookError` asks again through psycopg, whose errors say what is wrong.
"""

from __future__ import annotations

import ctypes
import importlib.util
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dodai.migrations.sql import literal
from dodai.providers.postgres.settings import APPLICATION_NAME, CONNECT_TIMEOUT_S, KEEPALIVE

_OK, _TUPLES, _COMMAND = 0, 2, 1
_READING, _WRITING, _CONNECTED = 1, 2, 3
_TYPES: Mapping[int, Callable[[str], Any]] = {16: lambda text: text == "t", 20: int, 21: int, 23: int, 26: int}
"""Of the answers by the OID of their type (pg_type.dat); all others stay text."""


class LookError(Exception):
    """The look did not come to its end; nothing is said about why."""


class _Option(ctypes.Structure):
    """`PQconninfoOption` of libpq-fe.h."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    ]  # fmt: skip


_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "PQconninfoParse": (ctypes.POINTER(_Option), (ctypes.c_char_p, ctypes.c_void_p)),
    "PQconninfo": (ctypes.POINTER(_Option), (ctypes.c_void_p,)),
    "PQconninfoFree": (None, (ctypes.c_void_p,)),
    "PQconnectStartParams": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)),
    "PQconnectPoll": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQstatus": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQsocket": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQfinish": (None, (ctypes.c_void_p,)),
    "PQsendQuery": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)),
    "PQconsumeInput": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQisBusy": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQgetResult": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "PQresultStatus": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQntuples": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQnfields": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQftype": (ctypes.c_uint, (ctypes.c_void_p, ctypes.c_int)),
    "PQgetisnull": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)),
    "PQgetvalue": (ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)),
    "PQclear": (None, (ctypes.c_void_p,)),
    "PQbackendPID": (ctypes.c_int, (ctypes.c_void_p,)),
    "PQhost": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "PQport": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "PQdb": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "PQsetClientEncoding": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)),
}


@cache
def _libpq() -> Any:
    """The library that psycopg's wheel brings, else the system's; `LookError` where there is none."""
    spec = importlib.util.find_spec("psycopg_binary")
    beside = Path(spec.origin).parent.with_name("psycopg_binary.libs") if spec and spec.origin else Path()
    for name in (*(str(path) for path in sorted(beside.glob("libpq-*.so*"))), "libpq.so.5"):
        try:
            library = ctypes.CDLL(name)
            for function, (result, arguments) in _FUNCTIONS.items():
                found = getattr(library, function)
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return library
    raise LookError


def words_of(dsn: str) -> dict[str, str]:
    """What a URL or `key=value` words say, as libpq reads them."""
    library = _libpq()
    return _words(library, library.PQconninfoParse(dsn.encode(), None))


def _words(library: Any, options: Any) -> dict[str, str]:
    if not options:
        raise LookError
    found: dict[str, str] = {}
    number = 0
    while (option := options[number]).keyword is not None:
        if option.val is not None and option.keyword != b"password":
            found[option.keyword.decode()] = option.val.decode()
        number += 1
    library.PQconninfoFree(options)
    return found


@dataclass(frozen=True, slots=True)
class LookAnswer:
    """The rows of the last statement of a message."""

    rows: list[tuple[Any, ...]]

    def fetchone(self) -> tuple[Any, ...] | None:
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows


class Look:
    """An open connection for queries; what it has of `dodai.migrations.ports.Connection` is what a look needs.

    It waits with `select`, so that a signal ends it at once.
    """

    autocommit = True

    def __init__(self, dsn: str) -> None:
        library = self._library = _libpq()
        given = {**KEEPALIVE, "dbname": dsn, "application_name": APPLICATION_NAME, "client_encoding": "UTF8"}
        # Behind `dbname`, which is the whole URL, a word overrules it, before it a word is only a default.
        keys, values = (
            (ctypes.c_char_p * (len(given) + 1))(*(str(word).encode() for word in words), None)
            for words in (given.keys(), given.values())
        )
        self._conn = library.PQconnectStartParams(keys, values, 1)
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        deadline, state = time.monotonic() + CONNECT_TIMEOUT_S, _WRITING
        while self._conn and state != _CONNECTED:
            left = deadline - time.monotonic()
            if state not in (_READING, _WRITING) or left <= 0:
                raise LookError
            self._wait(state, left)
            state = self._library.PQconnectPoll(self._conn)
        if not self._conn or self._library.PQstatus(self._conn) != _OK:
            raise LookError

    def _wait(self, state: int, seconds: float | None = None) -> None:
        socket = self._library.PQsocket(self._conn)
        if socket < 0:
            raise LookError
        reading, writing = ([socket], []) if state == _READING else ([], [socket])
        select.select(reading, writing, [], seconds)

    @property
    def info(self) -> Look:
        return self

    @property
    def closed(self) -> bool:
        return not self._conn

    @property
    def host(self) -> str:
        return (self._library.PQhost(self._conn) or b"").decode()

    @property
    def port(self) -> int:
        return int(self._library.PQport(self._conn) or 5432)

    @property
    def dbname(self) -> str:
        return (self._library.PQdb(self._conn) or b"").decode()

    @property
    def backend_pid(self) -> int:
        return int(self._library.PQbackendPID(self._conn))

    def get_parameters(self) -> dict[str, str]:
        return _words(self._library, self._library.PQconninfo(self._conn))

    def execute(self, query: str, params: Sequence[Any] = (), *, prepare: bool = False) -> LookAnswer:  # noqa: ARG002
        """The answer to a message; raises `LookError` for anything but rows."""
        for value in params:
            query = query.replace("%s", literal(value), 1)
        library, rows = self._library, list[tuple[Any, ...]]()
        if not library.PQsendQuery(self._conn, query.encode()):
            raise LookError
        while True:
            while library.PQisBusy(self._conn):
                self._wait(_READING)
                if not library.PQconsumeInput(self._conn):
                    raise LookError
            result = library.PQgetResult(self._conn)
            if not result:
                return LookAnswer(rows)
            try:
                rows = self._rows(result)
            finally:
                library.PQclear(result)

    def _rows(self, result: Any) -> list[tuple[Any, ...]]:
        library = self._library
        if library.PQresultStatus(result) not in (_TUPLES, _COMMAND):
            raise LookError
        columns = range(library.PQnfields(result))
        types = [_TYPES.get(library.PQftype(result, column), str) for column in columns]
        return [
            tuple(
                None if library.PQgetisnull(result, row, column)
                else types[column](library.PQgetvalue(result, row, column).decode())
                for column in columns
            )
            for row in range(library.PQntuples(result))
        ]  # fmt: skip

    def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn:
            self._library.PQfinish(conn)
