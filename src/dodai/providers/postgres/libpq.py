"""libpq itself by ctypes: the functions that are used, found in psycopg's wheel or on the system."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_uint, c_void_p
from functools import cache
from pathlib import Path
from typing import Any


class LibpqError(Exception):
    """There is no libpq here, or it cannot read an address or connect; nothing is said about why."""


class _Option(ctypes.Structure):
    """`PQconninfoOption` of libpq-fe.h."""

    _fields_ = [
        *((name, c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", c_int),
    ]  # fmt: skip


Notice = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "PQconninfoParse": (POINTER(_Option), (c_char_p, c_void_p)),
    "PQconninfo": (POINTER(_Option), (c_void_p,)),
    "PQconninfoFree": (None, (c_void_p,)),
    "PQconnectStartParams": (c_void_p, (c_void_p, c_void_p, c_int)),
    "PQconnectPoll": (c_int, (c_void_p,)),
    "PQsetNoticeProcessor": (c_void_p, (c_void_p, Notice, c_void_p)),
    "PQstatus": (c_int, (c_void_p,)),
    "PQtransactionStatus": (c_int, (c_void_p,)),
    "PQparameterStatus": (c_char_p, (c_void_p, c_char_p)),
    "PQerrorMessage": (c_char_p, (c_void_p,)),
    "PQsocket": (c_int, (c_void_p,)),
    "PQfinish": (None, (c_void_p,)),
    "PQsendQuery": (c_int, (c_void_p, c_char_p)),
    "PQconsumeInput": (c_int, (c_void_p,)),
    "PQisBusy": (c_int, (c_void_p,)),
    "PQgetResult": (c_void_p, (c_void_p,)),
    "PQresultStatus": (c_int, (c_void_p,)),
    "PQresultErrorField": (c_char_p, (c_void_p, c_int)),
    "PQresultErrorMessage": (c_char_p, (c_void_p,)),
    "PQcmdStatus": (c_char_p, (c_void_p,)),
    "PQcmdTuples": (c_char_p, (c_void_p,)),
    "PQntuples": (c_int, (c_void_p,)),
    "PQnfields": (c_int, (c_void_p,)),
    "PQftype": (c_uint, (c_void_p, c_int)),
    "PQgetisnull": (c_int, (c_void_p, c_int, c_int)),
    "PQgetvalue": (c_char_p, (c_void_p, c_int, c_int)),
    "PQclear": (None, (c_void_p,)),
    "PQputCopyData": (c_int, (c_void_p, c_char_p, c_int)),
    "PQputCopyEnd": (c_int, (c_void_p, c_char_p)),
    "PQgetCopyData": (c_int, (c_void_p, POINTER(c_void_p), c_int)),
    "PQfreemem": (None, (c_void_p,)),
    "PQgetCancel": (c_void_p, (c_void_p,)),
    "PQcancel": (c_int, (c_void_p, c_char_p, c_int)),
    "PQfreeCancel": (None, (c_void_p,)),
    "PQbackendPID": (c_int, (c_void_p,)),
    "PQhost": (c_char_p, (c_void_p,)),
    "PQport": (c_char_p, (c_void_p,)),
    "PQdb": (c_char_p, (c_void_p,)),
    "PQuser": (c_char_p, (c_void_p,)),
    "PQpass": (c_char_p, (c_void_p,)),
}


@cache
def libpq() -> Any:
    """The library that psycopg's wheel brings, else the system's; `LibpqError` where there is none."""
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
    raise LibpqError


def words_of(dsn: str) -> dict[str, str]:
    """What a URL or `key=value` words say, as libpq reads them, without the password."""
    library = libpq()
    found = words(library, library.PQconninfoParse(dsn.encode(), None))
    # An `@` in a password that was not written `%40`: a piece of it stands where host or database belong.
    if "@" in found.get("host", "")[1:] or ("://" in dsn and "@" in found.get("dbname", "")):
        raise LibpqError
    return found


def words(library: Any, options: Any) -> dict[str, str]:
    """What an array of options says that has a value, without the password; frees it."""
    if not options:
        raise LibpqError
    found: dict[str, str] = {}
    number = 0
    while (option := options[number]).keyword is not None:
        if option.val is not None and option.keyword != b"password":
            found[option.keyword.decode()] = option.val.decode()
        number += 1
    library.PQconninfoFree(options)
    return found
