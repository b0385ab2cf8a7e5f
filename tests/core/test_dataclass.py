"""`dodai.core.dataclass` does what `dataclasses.dataclass` does: every class here is made by both and asked the same."""

from __future__ import annotations

import ast
import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from dodai.core.dataclass import dataclass as fast

T = TypeVar("T")
SOURCES = Path(__file__).parents[2] / "src" / "dodai"
Decorator = Callable[..., Any]


def _plain(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        """Some fields of every kind."""

        KIND: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)
        note: str = field(default="n", compare=False, repr=False)
        total: int = field(init=False, default=7)
        hidden: int = field(default=0, hash=False, kw_only=True)

        @property
        def twice(self) -> int:
            return 2 * self.x

    return Point


def _kw_only(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True, kw_only=True)
    class Point:
        x: int = 1
        y: int

    return Point


def _one(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        x: int

    return Point


def _empty(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        """Nothing in it."""

    return Point


def _checked(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        x: int
        y: int = field(init=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("x")
            object.__setattr__(self, "y", self.x + 1)

    return Point


def _generic(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point(Generic[T]):
        x: T

    return Point


def _derived(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point(_plain(made_by)):  # type: ignore[misc]
        z: int = 5

    return Point


def _derived_plainly(made_by: Decorator) -> type:
    class Point(_one(made_by)):  # type: ignore[misc]
        """Has a dictionary beside the slots."""

    return Point


def _own_methods(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "mine"

        def __hash__(self) -> int:
            return 1

    return Point


def _own_repr(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        x: int

        def __repr__(self) -> str:
            return "mine"

    return Point


def _only_at_creation(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True)
    class Point:
        x: InitVar[int]
        y: int = 0

        def __post_init__(self, x: int) -> None:
            object.__setattr__(self, "y", x)

    return Point


def _ordered(made_by: Decorator) -> type:
    @made_by(frozen=True, slots=True, order=True)
    class Point:
        x: int

    return Point


def _open(made_by: Decorator) -> type:
    @made_by(slots=True)
    class Point:
        x: int

    return Point


def _bare(made_by: Decorator) -> type:
    @made_by
    class Point:
        x: int

    return Point


CLASSES = (
    _plain, _kw_only, _one, _empty, _checked, _generic, _derived, _derived_plainly, _own_methods, _own_repr,
    _only_at_creation, _ordered, _open, _bare,
)  # fmt: skip
CALLS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}), ((1,), {}), ((1, 3), {}), ((1, 3, ["a"], "m"), {}), ((), {"x": 1}), ((), {"y": 1}), ((), {"x": 1, "y": 2}),
    ((1,), {"x": 2}), ((1,), {"hidden": 9}), ((-1,), {}), ((1, 2, [], "n", 5, 6, 7), {}), ((1,), {"nobody": 0}), ((1.5,), {}),
)  # fmt: skip


def _seen(action: Callable[[], object]) -> object:
    """What came of it: the value, or the error with its words."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - whatever the standard decorator's class raises
        return type(error), str(error)


def _facts(one: Any, made: Callable[[], Any]) -> dict[str, object]:
    """Everything a caller can ask of an instance; `made` makes another one with the same values."""
    if isinstance(one, tuple):
        return {"error": one}
    other = made()
    names = [f.name for f in dataclasses.fields(one)]
    return {
        "repr": _seen(lambda: repr(one)),
        "equal": (_seen(lambda: one == other), _seen(lambda: one == 1), _seen(lambda: one != other)),
        "hash": _seen(lambda: hash(one) == hash(other)),
        "hash value": _seen(lambda: hash(one)),
        "set": [_seen(lambda name=name: setattr(one, name, 3)) for name in names],
        "delete": [_seen(lambda name=name: delattr(one, name)) for name in names],
        "fields": [(f.name, f.default, f.init, f.kw_only) for f in dataclasses.fields(one)],
        "dict": _seen(lambda: dataclasses.asdict(one)),
        "replaced": _seen(lambda: repr(dataclasses.replace(one, x=4))),
        "copies": [_seen(lambda: repr(copy.copy(one))), _seen(lambda: repr(copy.deepcopy(one)))],
        "state": _seen(one.__getstate__),
        "less": _seen(lambda: one < other),
        "match": type(one).__match_args__,
        "slots": getattr(type(one), "__slots__", None),
        "dictionary": hasattr(one, "__dict__"),
    }


@pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_class_behaves_as_one_of_the_standard_decorator(
    make: Callable[[Decorator], type], call: tuple[tuple[Any, ...], dict[str, Any]]
):
    """The same answers and the same errors, word by word, for every way to call it."""
    args, named = call
    kinds = [make(decorator) for decorator in (dataclass, fast)]
    standard, ours = (
        _facts(_seen(lambda kind=kind: kind(*args, **named)), lambda kind=kind: kind(*args, **named)) for kind in kinds
    )
    assert ours == standard


@fast(frozen=True, slots=True)
class Sent:
    x: int
    y: tuple[int, ...] = ()


def test_attribute_that_nobody_declared_cannot_be_set():
    """The standard decorator ends in a `TypeError` about `super` here, as it keeps the class without slots in mind."""
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'other'"):
        Sent(1).other = 2  # type: ignore[attr-defined]


def test_instance_survives_a_pickle():
    """The Host's children and the check's agents send such values."""
    assert pickle.loads(pickle.dumps(Sent(1, (2,)))) == Sent(1, (2,))


def test_class_of_the_standard_decorator_may_derive_from_it():
    """And is frozen as well."""

    @dataclass(frozen=True, slots=True)
    class More(Sent):
        z: int = 3

    assert repr(More(1)).endswith("More(x=1, y=(), z=3)")
    with pytest.raises(dataclasses.FrozenInstanceError):
        More(1).x = 2  # type: ignore[misc]


def test_value_that_contains_itself_has_a_representation():
    """As with the standard decorator, by three dots."""
    one = Sent(1, ())
    object.__setattr__(one, "y", (one,))
    assert repr(one) == "Sent(x=1, y=(...,))"


def test_every_module_takes_this_one():
    """The agent runs without dodai's other modules, and its framework adapters inside applications."""
    slow = [
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if path.relative_to(SOURCES).parts[0] not in {"agent", "frameworks"} and path.name != "dataclass.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
        if "dataclass" in [name.name for name in node.names]
    ]
    assert slow == []
