"""One route as every framework can describe it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol


class Enter(Protocol):
    """Is called with (scope or environ, method, reached) before a handler runs, and raises to keep it from running.

    False where what was let in is the one that was reached, and no other handler of the method.
    """

    def __call__(self, held: Any, method: str, reach: Callable[[], Reached], /) -> bool: ...

    def joined(self, other: Any, /) -> Any:
        """What stands there from now on, where another one is to be called as well."""

    def apart(self) -> Any:
        """The one for applications that nobody watches and that share the place."""


Kind = Literal["handler", "any", "websocket", "opaque"]
"""`any`: the framework does not say which methods it answers. `opaque`: something mounted that cannot be listed."""

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_CHECKS = re.compile(
    r"(?i)(check|valid|verif|protect|require|ensure|assert|enforce|compare|guard).*[cx]srf|"
    r"[cx]srf.*(check|valid|verif|protect|require|ensure|enforce|compare|guard|match)"
)
_WRITES = frozenset({"create", "delete", "update", "bulk_create", "bulk_update", "get_or_create", "update_or_create"})
_STATEMENT = re.compile(r"\s*(INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|TRUNCATE|DROP\s+TABLE)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Route:
    """`example` is a path that this route matches. `guard` names something inside the handler that looks like a check,
    `writes` what a handler that only reads calls to change something.

    `source` is an absolute file name and `line` counts from 1; empty and 0 when the handler has no Python source.
    `served_at` is what `Host` a request has to have, where `host` is less than one: a subdomain, or none of any.
    `pattern` tells it from another route of the same id, where an id does not say all that a path does (`{id:int}`).
    """

    method: str
    path: str
    framework: str
    kind: Kind = "handler"
    endpoint: str = ""
    source: str = ""
    line: int = 0
    host: str = ""
    example: str = ""
    guard: str = ""
    exempt_by: str = ""
    writes: str = ""
    served_at: str = ""
    pattern: str = ""

    @property
    def id(self) -> str:
        return f"{self.method} {self.host}{self.path}"

    def served(self, method: str) -> Route:
        """The route as it was entered with `method`, whatever the request was sent with."""
        return replace(self, method=method)

    def below(self, prefix: str) -> Route:
        """The route of an application that is mounted under `prefix`."""
        return replace(self, path=prefix + self.path, example=prefix + self.example if self.example else "")


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """What a router will choose for a request: the id that `dodai routes` prints, and the handler itself.

    `watched` says whether everything on the way there has the entrance of `watch` now, whatever was added or replaced
    since. `is_shared` says whether another handler has this id as well, where an id does not say all that a path does.
    """

    id: str
    handler: object
    watched: bool = False
    is_shared: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a request is: in front of `handler`, or, if not `here`, of a router further in that would choose it.

    `handler` is what `MatchedRoute.handler` of the same one compares equal to, None where no route takes the request.
    `behind` says that the middleware and hooks of the application have been passed, its own CSRF check among them.
    """

    handler: object
    here: bool = True
    behind: bool = True


class _AnyHandler:
    """Equal to every handler: which one it will be is not known yet, or not here."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


ANY_HANDLER = _AnyHandler()
ENTERED: object = object()
"""In the place of a handler that cannot be told here: it is the one whose entrance has been passed, or a stray one."""


def let_through(check: str, cases: Mapping[str, Any], is_refused: Callable[[str, Any], bool]) -> str:
    """The first forged request that `check` does not refuse, in words, every case asked with every method; or empty."""
    for method in UNSAFE:
        for case, sent in cases.items():
            if not is_refused(method, sent):
                return f"`{check}` let a forged {method} {case} pass"
    return ""


def where(endpoint: Any) -> tuple[str, str, int]:
    """(dotted name, source file, line) of a handler, through partials, decorators and methods."""
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    target = inspect.unwrap(endpoint) if callable(endpoint) else endpoint
    if not (inspect.isfunction(target) or inspect.ismethod(target) or inspect.isclass(target)):
        target = type(target)
    name = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}".strip(".")
    code = getattr(target, "__code__", None)
    if code is not None:
        return name, code.co_filename, code.co_firstlineno
    try:
        return name, inspect.getsourcefile(target) or "", inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return name, "", 0


def looks_like_guard(*values: Any) -> str:
    """The name of the first of `values` that is called after CSRF; empty when there is none."""
    for value in values:
        name = getattr(value, "__qualname__", "") or type(value).__qualname__
        if "csrf" in name.lower() or "csrf" in str(getattr(value, "__module__", "")).lower():
            return f"{getattr(value, '__module__', '')}.{name}".strip(".")
        if used := _guard_in(value):
            return used
    return ""


def _guard_in(handler: Any) -> str:
    """What a handler's own code uses that checks tokens: a function named so, a form class with a CSRF field."""
    target = inspect.unwrap(handler) if callable(handler) else handler
    codes = (
        [target] if not isinstance(target, type) else [inspect.unwrap(v) for v in vars(target).values() if callable(v)]
    )
    for each in codes:
        code, known = getattr(each, "__code__", None), getattr(each, "__globals__", {})
        for name in _names(code) if code is not None else ():
            if _CHECKS.search(name):
                return name
            value = known.get(name)
            if isinstance(value, type) and any(_has_token(base) for base in value.__mro__):
                return f"{value.__module__}.{value.__qualname__}"
            if inspect.isfunction(value) and any(_CHECKS.search(inner) for inner in _names(value.__code__)):
                return f"{value.__module__}.{value.__qualname__}"
    return ""


def looks_like_write(handler: Any, method: str) -> str:
    """What the code of a handler of GET calls that changes something stored; empty when it has no such call."""
    if method != "GET":
        return ""
    target = inspect.unwrap(handler) if callable(handler) else handler
    if isinstance(target, type):
        target = getattr(target, "get", None)
    code = getattr(target, "__code__", None)
    if code is None:
        return ""
    names = set(_names(code))
    if "commit" in names:
        return "commit"
    stored = sorted(names & _WRITES) if "objects" in names else []
    return stored[0] if stored else next((text[:40] for text in _texts(code) if _STATEMENT.match(text)), "")


def _texts(code: Any) -> Iterator[str]:
    for const in code.co_consts:
        if isinstance(const, str):
            yield const
        elif inspect.iscode(const):
            yield from _texts(const)


def _has_token(base: type) -> bool:
    """True for a form class that checks a token when it is validated, as those of Flask-WTF do."""
    meta = base.__dict__.get("Meta")
    wants = getattr(meta, "csrf", False)
    return "csrf" in base.__name__.lower() or wants is True or (isinstance(wants, property | functools.cached_property))


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if inspect.iscode(const):
            yield from _names(const)
