"""The applications that one process has wrapped: what two of them call alike is exempt in neither."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

from dodai.csrf.policy import CsrfPolicy
from dodai.frameworks import recognise, routes
from dodai.frameworks.around import sought, unwrap

_SHARED = """\
dodai: `{route}` is a route of several applications that this process has wrapped for `{service}`: its \
`[[csrf.exemption]]` holds in none of them. fix: give it another path in all but one, or serve each as its own \
service
"""
Named = frozenset[tuple[str, str, str, int]]
"""The routes of an application as a whole: the id of each, and where its handler is written."""


class WrappedApplication:
    """One application behind a layer, with what it asks of the others; it lives as long as its layer.

    Which others there are is asked for every exempt request: one may be wrapped when this one has served for hours.
    """

    known: ClassVar[list[weakref.ref[WrappedApplication]]] = []
    """All that are alive, of the whole process: what stands beside an application is nothing that it could hold."""

    def __init__(self, app: Any, service: str, policy: CsrfPolicy) -> None:
        self.app = app
        self.inner = unwrap(app)
        self.service = service
        self.policy = policy
        self._named: Named = frozenset()
        self._count = -1
        self._told: set[str] = set()
        self.known.append(weakref.ref(self, self.known.remove))

    def shares(self, route: str) -> bool:
        """Whether another application has the exempt id `route` too, and is not the same one; then it is said, once."""
        if not self._is_shared(route):
            return False
        if route not in self._told:
            gc.collect()  # what nobody can serve any more stands in nobody's way, and may not be gone yet
            if not self._is_shared(route):
                return False
            self._tell(route)
        return True

    def look(self) -> None:
        """Say what is shared already: where a process starts, and not only when the first refused request has come."""
        with contextlib.suppress(Exception):  # what cannot be listed yet is asked for with each request
            named = self.named() if any(self._others("")) else ()
            for route in sorted({name for name, *_ in named}):
                if self.policy.exemption(route) is not None:
                    self.shares(route)

    def named(self, route: str = "") -> Named:
        """Every route; listed anew when their number has changed, or where `route` is asked for and not among them."""
        count = _count(self.inner)
        if count != self._count or (route and not _has(self._named, route)):
            self._count, self._named = count, _named(self.app)
        return self._named

    def _is_shared(self, route: str) -> bool:
        try:
            return any(self._has_in_common(other, route) for other in self._others(route))
        except Exception:  # noqa: BLE001 - an application's own URLs may raise anything: who cannot be asked may have it
            return True

    def _tell(self, route: str) -> None:
        self._told.add(route)
        if not any(route in other._told for other in self._others(route)):  # noqa: SLF001 - one of this class
            sys.stderr.write(_SHARED.format(route=route, service=self.service))
            sys.stderr.flush()

    def _others(self, route: str) -> Iterator[WrappedApplication]:
        """Those of the same service in which the exemption of `route` would hold as well; without a route all of it."""
        for reference in tuple(self.known):
            other = reference()
            if other is None or other is self or other.service != self.service or not other.policy.exemptions:
                continue
            if (not route or other.policy.exemption(route)) and other.inner is not self.inner:
                yield other

    def _has_in_common(self, other: WrappedApplication, route: str) -> bool:
        """Whether both have `route`. One all of whose routes are the other's is the same, made twice or mounted in it.

        The handlers alone would not tell: two applications may use one, and only one of them checks a signature first.
        """
        own, theirs = self.named(route), other.named()
        return _has(theirs, route) and not (own <= theirs or theirs <= own)


def _has(named: Named, route: str) -> bool:
    anything = f"* {route.partition(' ')[2]}"
    return any(name in (route, anything) for name, *_ in named)


def _named(app: Any) -> Named:
    """The routes of `app`; none where no framework lists them: there no exemption holds."""
    if recognise(app) is None and recognise(sought(app)) is None:
        return frozenset()
    return frozenset((route.id, route.endpoint, route.source, route.line) for route in routes(app))


def _count(app: Any) -> int:
    """How many routes it has at its top, which is asked often; Flask keeps them in its map."""
    rules = getattr(getattr(app, "url_map", None), "_rules", None)
    return len(rules if rules is not None else getattr(app, "routes", None) or ())
