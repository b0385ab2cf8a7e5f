"""Contract of a vendor's reply: a dataclass with the few fields that are used, filled from what came or refused."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[object], T]
"""Makes a value of a parsed reply; raises `OffContractError`."""


class OffContractError(ValueError):
    """A reply is not what the contract says: `where` (`$.checks[0].status`), what is wanted and what came."""

    def __init__(self, where: str, wanted: str, found: object) -> None:
        super().__init__(f"`{where}` should be {wanted}, and is {_kind(found)}")
        self.where = where


def one(kind: type[T]) -> Reader[T]:
    """Reads one `kind`."""
    return lambda value: read(kind, value)


def many(kind: type[T]) -> Reader[tuple[T, ...]]:
    """Reads a list of `kind`; null is an empty list, as some vendors write one."""

    def reader(value: object) -> tuple[T, ...]:
        if not isinstance(value, Sequence | None) or isinstance(value, str):
            raise OffContractError("$", "a list", value)
        return tuple(read(kind, each, f"$[{index}]") for index, each in enumerate(value or ()))

    return reader


def nothing(value: object) -> None:
    """Reads no body: whatever came is not looked at."""
    del value


def read(kind: type[T], value: object, where: str = "$") -> T:
    """`value` as the dataclass `kind`; fields it does not name are ignored, null counts as absent.

    Fields may be str, int, float, bool, Any, another dataclass, `X | None`, `tuple[X, ...]` or `Mapping[str, X]`. One
    without a default has to be there. Raises `OffContractError`.
    """
    if not isinstance(value, Mapping):
        raise OffContractError(where, "an object", value)
    found: dict[str, Any] = {}
    for field, hint in _fields(cast("Any", kind)):
        name = field.metadata.get("key", field.name)
        if (given := value.get(name)) is not None:
            found[field.name] = _read(hint, given, f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise OffContractError(f"{where}.{name}", "there", None)
    return kind(**found)


def called(key: str, **options: Any) -> Any:
    """A field whose name in the reply is `key`, with the options of `dataclasses.field`."""
    return dataclasses.field(metadata={"key": key}, **options)


@cache
def _fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def _read(hint: Any, value: object, where: str) -> Any:
    if hint is Any:
        return value
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise OffContractError(where, "a list", value)
        return tuple(_read(arguments[0], each, f"{where}[{index}]") for index, each in enumerate(value))
    if origin is not None:
        if not isinstance(value, Mapping):
            raise OffContractError(where, "an object", value)
        return {str(key): _read(arguments[1], each, f"{where}.{key}") for key, each in value.items()}
    return _plain(hint, value, where)


def _plain(hint: Any, value: object, where: str) -> Any:
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise OffContractError(where, f"of type {hint.__name__}", value)
    return value


def _kind(found: object) -> str:
    """What came, without its value: that may be a secret."""
    return "absent" if found is None else f"of type {type(found).__name__}"
