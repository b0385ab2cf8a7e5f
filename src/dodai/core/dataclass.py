"""`dataclass` of the standard library, applied five times faster where a class is frozen and has slots.

A command defines two hundred such classes before it does anything. The standard decorator compiles six methods for
each, 0.5 ms together, and most are never called: a third of what a command, a host or an agent needs to start. Here
only `__init__` is compiled; the others are closures over the names of the fields. They do the same:
`tests/core/test_dataclass.py` asks both. A class for which that would not hold goes to the standard decorator.
"""

from __future__ import annotations

import dataclasses
from inspect import get_annotations
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass  # type checkers know this one by its name
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """The decorator, with the options of `dataclasses.dataclass`."""

        def decorate(one: type) -> type:
            return _fast(one, **options) if _is_plain(one, options) else dataclasses.dataclass(one, **options)

        return decorate if cls is None else decorate(cls)


OPTIONS = {"frozen", "slots", "kw_only"}
WRITTEN = ("__init__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__getstate__", "__setstate__")


def _is_plain(cls: type, options: dict[str, bool]) -> bool:
    """True for a frozen class with slots that stands alone and writes none of the methods itself."""
    kinds = get_annotations(cls).values()
    return (
        bool(options.get("frozen") and options.get("slots"))
        and options.keys() <= OPTIONS
        and not any(hasattr(base, "__dataclass_fields__") for base in cls.__bases__)
        and not any(name in cls.__dict__ for name in WRITTEN)
        and not any("InitVar" in str(kind) or "KW_ONLY" in str(kind) for kind in kinds)
    )


def _fast(cls: type, *, kw_only: bool = False, **_: bool) -> Any:
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # the standard decorator would look for the signature, as long again
    made: Any = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=True, kw_only=kw_only)
    made.__dataclass_params__.frozen = made.__dataclass_params__.eq = True  # for classes derived from this one
    fields = dataclasses.fields(made)
    names = tuple(field.name for field in fields)
    made.__init__ = _init(made, fields)
    made.__eq__, made.__hash__ = _equality(fields)
    made.__setattr__, made.__delattr__ = _frozen(made, names)
    made.__getstate__, made.__setstate__ = _state, _set_state
    if "__repr__" not in made.__dict__:
        made.__repr__ = _repr(tuple(field.name for field in fields if field.repr))
    return made


def _init(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> Any:
    """Compiled, so that a wrong call is told as that of any function."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
    positional: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for field in fields:
        parameter = given = name = field.name
        if field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            parameter, made = f"{name}=_missing", f"_make_{name}()"
            given = f"{made} if {name} is _missing else {name}" if field.init else made
        elif field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
            given = name if field.init else f"_default_{name}"
        elif not field.init:
            continue
        if field.init:
            (named if field.kw_only else positional).append(parameter)
        body.append(f" _set(self, {name!r}, {given})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *named] if named else [])])
    text = f"def __init__({parameters}):\n" + "\n".join(body or [" pass"])
    exec(text, known)  # noqa: S102 - as the standard library does
    init = known["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return init


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple(getattr(one, name) for name in names)


def _equality(fields: tuple[dataclasses.Field[Any], ...]) -> tuple[Any, Any]:
    compared = tuple(field.name for field in fields if field.compare)
    hashed = tuple(field.name for field in fields if (field.compare if field.hash is None else field.hash))
    values = _values(compared)
    key = values if hashed == compared else _values(hashed)

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807 - it becomes that method
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(key(self))

    return __eq__, __hash__


def _repr(names: tuple[str, ...]) -> Any:
    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _frozen(cls: type[Any], names: tuple[str, ...]) -> tuple[Any, Any]:
    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
