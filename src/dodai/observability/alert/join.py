"""Outages: which alerts are about the same one, so that one outage tells people once.

The order of causes is fixed. A process that hangs explains a dependency that does not answer, that explains failed
requests, those explain a burnt budget. An alert is explained by one of a lower rank of its own service, or by one of
the same or a lower rank of a service that its own calls, directly or not, when both begin at about the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.observability.alert.form import TICKET

JOIN_S = 900.0
"""How far apart two alerts of one outage begin: the longest window that pages, but for the long memories of budgets."""
_RANKS = {
    "process-hung": 0, "process-silent": 0, "crash-loop": 0,
    "dependency-down": 1, "pool-wait": 1,
    "http-error-surge": 2, "rpc-error-surge": 2,
    "http-latency": 3, "rpc-latency": 3, "slo-fast-burn": 3, "sustained-errors": 3, "no-traffic": 3,
    "slo-slow-burn": 4, "route-errors": 4,
}  # fmt: skip
"""What has no rank explains nothing and is explained by nothing: a refused form, a full disk, lost lines."""
_ERRORS = ("http-error-surge", "slo-fast-burn", "sustained-errors", "slo-slow-burn", "route-errors")
"""One signal with shorter and longer memories, in that order: these belong together however far apart they begin."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Who calls whom, as (service, dependency) that lines have named in the last hour. `edge` calls the public one."""

    calls: frozenset[tuple[str, str]] = frozenset()
    _below: dict[str, frozenset[str]] = field(default_factory=dict)

    def below(self, service: str) -> frozenset[str]:
        """Everything that `service` calls, directly or not."""
        if service not in self._below:
            found: set[str] = set()
            open_ = [service]
            while open_:
                caller = open_.pop()
                new = {callee for known, callee in self.calls if known == caller} - found
                found |= new
                open_ += new
            self._below[service] = frozenset(found)
        return self._below[service]


NOTHING_CALLED = Topology()


@dataclass(frozen=True, slots=True)
class Sign:
    """An alert that begins to fire or fires, as a sign of an outage."""

    id: int
    outage: int
    name: str
    about: str
    severity: str
    fired_s: float

    @property
    def service(self) -> str:
        return self.about.partition(" ")[0]

    @property
    def dependency(self) -> str:
        return self.about.partition(" ")[2] if self.name == "dependency-down" else ""


def ranks() -> Mapping[str, int]:
    """How near to the cause each alert is, 0 the nearest."""
    return _RANKS


def root_first(new: Sign) -> tuple[int, int]:
    """The order in which signs of the same moment are taken: the nearest to the root leads the outage."""
    return (_RANKS.get(new.name, 0), new.id)


def outage_of(new: Sign, firing: Iterable[Sign], topology: Topology, join_s: float = JOIN_S) -> int:
    """The outage that `new` belongs to: that of a sign which explains it or which it explains, the newest first;
    else its own.

    A sign that people would hear of less urgently than of `new` takes nobody's place.
    """
    for one in sorted(firing, key=lambda one: -one.fired_s):
        if one.severity == TICKET and new.severity != TICKET:
            continue
        near = abs(new.fired_s - one.fired_s) <= join_s
        if _remembers(new, one) or (near and (_explains(one, new, topology) or _explains(new, one, topology))):
            return one.outage
    return new.id


def _remembers(new: Sign, known: Sign) -> bool:
    """Whether `new` is a longer memory of the failed requests that `known` is about."""
    if new.service != known.service or new.name not in _ERRORS or known.name not in _ERRORS:
        return False
    return _ERRORS.index(known.name) < _ERRORS.index(new.name)


def _explains(cause: Sign, effect: Sign, topology: Topology) -> bool:
    if cause.name not in _RANKS or effect.name not in _RANKS:
        return False
    if cause.service == effect.service and _RANKS[cause.name] < _RANKS[effect.name]:
        return True
    if cause.dependency and cause.dependency == effect.dependency:
        return True  # two callers of one dependency
    if effect.dependency == cause.service:
        return True  # what is called says itself why it does not answer
    return cause.service in topology.below(effect.service) and _RANKS[cause.name] <= _RANKS[effect.name]
