"""The entrance of a handler: what runs there must be what the request was judged for.

A request is judged in front of the application. What is between may change it: middleware that rewrites the path, that
reads `_method`, that sends it to another host's routes. So a request that was let through unchecked, because its method
is safe or its route exempt, is asked again where the framework is about to run a handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dodai.core.dataclass import dataclass
from dodai.core.refusal import Refusal
from dodai.core.request import current
from dodai.csrf.codes import HANDLER_NOT_JUDGED
from dodai.csrf.decision import SAFE_METHODS, Decision
from dodai.csrf.enforce.visitor_page import OF_THE_SITE
from dodai.frameworks import Reached

NOT_JUDGED = Decision(False, "handler_not_judged", HANDLER_NOT_JUDGED, 403)
CHECKED: Final = object()
"""The passage of a request that proved itself: whatever handler runs, its own page has asked for it."""


@dataclass(slots=True)
class Grant:
    """The passage of a request that an exemption let through: to this method of this handler, and to nothing else."""

    method: str
    handler: object


class HandlerNotJudgedError(Exception):
    """Raised in front of a handler that the request was not judged for; answered with 403."""

    refusal = Refusal(403, HANDLER_NOT_JUDGED, "handler_not_judged", visitor=OF_THE_SITE)


def enter(held: Any, method: str, reach: Callable[[], Reached]) -> None:
    """What `frameworks.watch` calls with the scope or environ; outside a protected request it does nothing.

    Middleware may have made a scope of its own, without ours or with that of another request. Whose request this is,
    its context says too, and whoever judged it has to agree.
    """
    visitor, context = held.get("dodai.csrf"), current()
    if visitor is not None:
        _admit(visitor, method, reach)
    if context is not None and (last := context.__dict__.get("csrf")) is not visitor and last is not None:
        _admit(last, method, reach)


def _admit(visitor: Any, method: str, reach: Callable[[], Reached]) -> None:
    while visitor is not None:
        passage = visitor.passage
        if passage is CHECKED or (passage is None and method in SAFE_METHODS):
            visitor = visitor.outer
            continue
        reached = reach() if passage is not None and passage.method == method else None
        if reached is None or reached.handler != passage.handler:
            visitor.unproven = visitor.astray = True
            raise HandlerNotJudgedError
        if reached.here:
            visitor.unproven = False
        visitor = visitor.outer
