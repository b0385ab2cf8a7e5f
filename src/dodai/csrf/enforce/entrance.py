"""The entrance of a handler: what runs there must be what the request was judged for.

A request is judged in front of the application. What is between may change it: middleware that rewrites the path, that
reads `_method`, that sends it to another host's routes. So a request that was let through unchecked, because its method
is safe or its route exempt, is asked again where the framework is about to run a handler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dodai.core.refusal import Refusal
from dodai.csrf.codes import HANDLER_NOT_JUDGED
from dodai.csrf.decision import SAFE_METHODS, Decision

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

    refusal = Refusal(403, HANDLER_NOT_JUDGED, "handler_not_judged")


def enter(held: Any, method: str, handler: Callable[[], object]) -> None:
    """What `frameworks.watch` calls with the scope or environ; outside a protected request it does nothing."""
    visitor = held.get("dodai.csrf")
    if visitor is None:
        return
    passage = visitor.passage
    if passage is CHECKED or (passage is None and method in SAFE_METHODS):
        return
    if passage is not None and passage.method == method and handler() == passage.handler:
        visitor.unproven = False
        return
    visitor.unproven = visitor.astray = True
    raise HandlerNotJudgedError
