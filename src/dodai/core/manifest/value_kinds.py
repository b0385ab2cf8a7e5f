"""The kinds of value a manifest key can have: what is accepted, and what it becomes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from dodai.core.dataclass import dataclass
from dodai.core.section import UNITS_BYTES, UNITS_S, measure

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_ROUTE = re.compile(r"(?:[A-Z][A-Z-]*|\*) \S+(?: \S+)*")


class NotThisValueError(ValueError):
    """The value is not of the kind; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`read` turns a TOML value into the value the policies see, or raises `NotThisValueError`.

    `schema` is the JSON Schema of what may be written. `refers_to` names a table when the value is a name in it.
    `fits` raises for a value of the kind that must not stand beside the others of its table.
    """

    name: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    refers_to: str = ""
    fits: Callable[[Any, Mapping[str, Any]], None] = lambda _value, _beside: None


def parse_kind(words: str) -> Kind:
    """The kind that a `#:` line names; raises `ValueError` for a word that is no kind."""
    words = words.strip()
    if words in _SIMPLE:
        return _SIMPLE[words]
    if words.startswith("list of "):
        return _list_of(parse_kind(words.removeprefix("list of ")))
    if words.startswith("map of "):
        return _map_of(parse_kind(words.removeprefix("map of ")))
    if words.startswith("one of "):
        return _one_of(tuple(re.findall(r'"([^"]*)"', words)))
    if words.startswith("ref "):
        table = words.removeprefix("ref ")
        return Kind(f"the name of a [{table}.NAME]", _text, {"type": "string"}, refers_to=table)
    raise ValueError(f"`{words}` is no kind of value")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise NotThisValueError("a string")
    return value


def _name(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", _text(value)):
        raise NotThisValueError("a name of letters, digits, `-`, `_` and `.`, at most 63 long")
    return str(value)


def _schema(value: Any) -> str:
    if not _SCHEMA.fullmatch(_text(value)) or value.startswith("pg_") or value == "information_schema":
        raise NotThisValueError(
            "the name of a PostgreSQL schema: small letters, digits and `_`, at most 63 long, and not one of its own"
            " (`pg_…`, `information_schema`)"
        )
    return str(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotThisValueError("an integer")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise NotThisValueError("a number")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise NotThisValueError("true or false")
    return value


def _measure(value: Any, units: Mapping[str, float], expected: str) -> float:
    try:
        return measure(value, units)
    except (ValueError, TypeError):
        raise NotThisValueError(expected) from None


def _duration(value: Any) -> float:
    return _measure(value, UNITS_S, 'a duration such as "250ms", "5s", "10m", "1h" or "90d"')


def _size(value: Any) -> int:
    return int(_measure(value, UNITS_BYTES, 'a size such as "4096B", "64KiB", "8MiB" or "1GiB"'))


def _url(value: Any) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        sound = bool(parts.scheme and (parts.netloc or parts.scheme == "sqlite"))
    except ValueError:
        sound = False
    if not sound:
        raise NotThisValueError('a URL such as "https://quiz.example.com"')
    return text


def _path(value: Any) -> str:
    if "\0" in _text(value):
        raise NotThisValueError("a path")
    return str(value)


def _date(value: Any) -> Any:
    if type(value).__name__ != "date":
        raise NotThisValueError("a date such as 2027-03-31, without quotes")
    return value


def _list_of(item: Kind) -> Kind:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise NotThisValueError(f"a list, each item {item.name}")
        return tuple(item.read(entry) for entry in value)

    def fits(value: Any, beside: Mapping[str, Any]) -> None:
        for entry in value:
            item.fits(entry, beside)

    return Kind(f"a list of {item.name}", read, {"type": "array", "items": dict(item.schema)}, item.refers_to, fits)


def _map_of(item: Kind) -> Kind:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise NotThisValueError(f"a table, each value {item.name}")
        return {key: item.read(entry) for key, entry in value.items()}

    return Kind(f"a table of {item.name}", read, {"type": "object", "additionalProperties": dict(item.schema)})


def _one_of(choices: tuple[str, ...]) -> Kind:
    named = ", ".join(f'"{choice}"' for choice in choices)

    def read(value: Any) -> str:
        if value not in choices:
            raise NotThisValueError(f"one of {named}")
        return str(value)

    return Kind(f"one of {named}", read, {"enum": list(choices)})


def _day(value: Any) -> str:
    if _text(value) and not _is_day(value):
        raise NotThisValueError('a day such as "2027-03-31", in quotes')
    return str(value)


def _is_day(text: str) -> bool:
    try:
        return _DAY.fullmatch(text) is not None and bool(tomllib.loads(f"day = {text}"))  # TOML knows the calendar
    except tomllib.TOMLDecodeError:
        return False


def _route(value: Any) -> str:
    method, space, path = _text(value).strip().partition(" ")
    path = path.strip()
    if not value or _ROUTE.fullmatch(value):
        return str(value)
    if not space and method[:1] == "/":
        method, path = "POST", method
    nearest = f"{method.upper()} {path}" if path else "POST /webhooks/grade"
    nearest = nearest if _ROUTE.fullmatch(nearest) else "POST /webhooks/grade"
    raise NotThisValueError(f'a method and a path, such as "{nearest}"')


def _one_route(value: Any, beside: Mapping[str, Any]) -> None:
    """A `*` covers several routes, and only what no page can make a browser send is left out for several."""
    method, _, path = str(value).partition(" ")
    if beside.get("when") == "bearer" or (method != "*" and path not in ("/*", "*")):
        return
    if method == "*" and path != "/*":
        raise NotThisValueError(f'one method, such as "POST {path}" (`routes = […]` for more)')
    raise NotThisValueError('each route that is meant, such as "POST /webhooks/grade", or `when = "bearer"` beside it')


def _any(value: Any) -> Any:
    return value


_SIMPLE = {
    "string": Kind("a string", _text, {"type": "string"}),
    "name": Kind("a name", _name, {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"}),
    "schema": Kind(
        "a schema",
        _schema,
        {"type": "string", "pattern": f"^(?!pg_|information_schema$){_SCHEMA.pattern}$"},
    ),
    "integer": Kind("an integer", _integer, {"type": "integer"}),
    "number": Kind("a number", _number, {"type": "number"}),
    "boolean": Kind("true or false", _boolean, {"type": "boolean"}),
    "duration": Kind("a duration", _duration, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"}),
    "size": Kind("a size", _size, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|KiB|MiB|GiB)$"}),
    "url": Kind("a URL", _url, {"type": "string", "format": "uri"}),
    "path": Kind("a path", _path, {"type": "string"}),
    "date": Kind("a date", _date, {"type": "string", "format": "date"}),
    "day": Kind("a day", _day, {"type": "string", "pattern": f"^({_DAY.pattern})?$"}),
    "route": Kind("a route", _route, {"type": "string", "pattern": f"^({_ROUTE.pattern})?$"}, fits=_one_route),
    "any": Kind("any value", _any, {}),
}
