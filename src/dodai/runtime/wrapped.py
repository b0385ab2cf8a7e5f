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
`[[csrf.exemption]]` holds in none of them. fix: name the application that it is for in `app` of the service, or give \
the route another path in all but one
"""


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
        self._ids: frozenset[str] = frozenset()
        self._count = -1
        self._told: set[str] = set()
        self.known.append(weakref.ref(self, self.known.remove))

    def shares(self, route: str) -> bool:
        """Whether another application has the exempt id `route` too; then it is said, once."""
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
            ids = self.ids() if any(self._others("")) else ()
            for route in sorted(ids):
                if self.policy.exemption(route) is not None:
                    self.shares(route)

    def ids(self, route: str = "") -> frozenset[str]:
        """Every route; listed anew when their number has changed, or where `route` is asked for and not among them."""
        count = _count(self.inner)
        if count != self._count or (route and not _has(self._ids, route)):
            self._count, self._ids = count, _ids(self.app)
        return self._ids

    def _is_shared(self, route: str) -> bool:
        try:
            return any(_has(other.ids(), route) for other in self._others(route))
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


def _has(ids: frozenset[str], route: str) -> bool:
    return route in ids or f"* {route.partition(' ')[2]}" in ids


def _ids(app: Any) -> frozenset[str]:
    """The ids of the routes of `app`; none where no framework lists them: there no exemption holds."""
    if recognise(app) is None and recognise(sought(app)) is None:
        return frozenset()
    return frozenset(route.id for route in routes(app))


def _count(app: Any) -> int:
    """How many routes it has at its top, which is asked often; Flask keeps them in its map."""
    rules = getattr(getattr(app, "url_map", None), "_rules", None)
    return len(rules if rules is not None else getattr(app, "routes", None) or ())
