"""Statements with their values in place of the driver's placeholders."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

_NUMBERED = re.compile(r"\$(\d+)")


def with_values(statement: str, parameters: Any) -> list[str]:
    """The statement once for each set of values; as it stands where a value has no literal that is known here."""
    many = isinstance(parameters, list) and parameters and isinstance(parameters[0], Mapping | tuple | list)
    return [_filled(statement, each) for each in (parameters if many else [parameters])]


def _filled(statement: str, parameters: Any) -> str:
    try:
        if isinstance(parameters, Mapping):
            return statement % {name: literal(value) for name, value in parameters.items()}
        values = [literal(value) for value in parameters or ()]
        if values and _NUMBERED.search(statement):
            return _NUMBERED.sub(lambda found: values[int(found[1]) - 1], statement)
        return statement % tuple(values)
    except (TypeError, ValueError, KeyError, IndexError):
        return statement


def literal(value: Any) -> str:
    """`value` as PostgreSQL reads it, without a type where its text decides; raises `TypeError` for others."""
    if value is None:
        return "NULL"
    if isinstance(value, enum.Enum):
        return literal(value.value)
    if isinstance(value, bool | int | float | decimal.Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"'\\x{bytes(value).hex()}'::bytea"
    if hasattr(value, "obj") or isinstance(value, Mapping):  # psycopg's Jsonb has the value in `obj`
        return literal(json.dumps(getattr(value, "obj", value)))
    if isinstance(value, str | uuid.UUID | dt.date | dt.time | dt.timedelta):
        quoted = str(value).replace("'", "''")
        return f"E'{quoted}'".replace("\\", "\\\\") if "\\" in quoted else f"'{quoted}'"
    if isinstance(value, Sequence):
        return "ARRAY[" + ", ".join(literal(each) for each in value) + "]"
    raise TypeError(type(value).__name__)
