"""The entrance of a handler: what runs there must be what the request was judged for.

A request is judged in front of the application. What is between may change it: middleware that rewrites the path, that
reads `_method`, that sends it to another host's routes. So a request that was let through unchecked, because its method
is safe or its route exempt, is asked again where the framework is about to run a handler.

One that nobody judged got there around the layer: middleware made a scope and a context of its own, or the application
inside is served instead of what `wrap` returned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, Literal

from dodai.core.dataclass import dataclass
from dodai.core.refusal import Refusal
from dodai.core.request import current
from dodai.csrf.codes import HANDLER_NOT_JUDGED, NOT_BEHIND_LAYER, OWN_CHECK_NOT_RUN
from dodai.csrf.decision import SAFE_METHODS, Decision
from dodai.csrf.enforce.visitor_page import OF_THE_SITE
from dodai.frameworks import ENTERED, Reached

NOT_JUDGED = Decision(False, "handler_not_judged", HANDLER_NOT_JUDGED, 403)
OWN_CHECK_UNSEEN = Decision(False, "framework_check_unseen", OWN_CHECK_NOT_RUN, 403)
CHECKED: Final = object()
"""The passage of a request that proved itself: whatever handler runs, its own page has asked for it."""
AWAITED: Final = object()
"""The passage of a request whose token the framework's own check has yet to accept, in mode `framework`.

Whatever becomes of its method: a write that middleware makes a read is one that the framework's check leaves out.
"""
AWAITED_AS_WRITE: Final = object()
"""The same of a read whose headers ask for another method: it is served as a read, or its token is accepted."""


@dataclass(slots=True)
class Grant:
    """The passage of a request that an exemption let through: to this method of this handler, and to nothing else."""

    method: str
    handler: object


class HandlerNotJudgedError(Exception):
    """Raised in front of a handler that the request was not judged for; answered with 403."""

    refusal = Refusal(403, HANDLER_NOT_JUDGED, "handler_not_judged", visitor=OF_THE_SITE)


class OwnCheckNotSeenError(HandlerNotJudgedError):
    """Raised in front of a handler when nobody saw the framework's own check accept the request's token."""

    refusal = Refusal(403, OWN_CHECK_NOT_RUN, "framework_check_unseen", visitor=OF_THE_SITE)


def refused_at_entrance(visitor: Any) -> Decision:
    """The refusal of a request that was kept from its handler."""
    astray: Decision | None = visitor.astray
    return astray or NOT_JUDGED


def own_check_seen() -> None:
    """What the framework's own check calls when it has accepted the token of the current request."""
    context = current()
    visitor = context.__dict__.get("csrf") if context is not None else None
    while visitor is not None:
        if visitor.awaits:
            visitor.passage = CHECKED
        visitor = visitor.outer


class NotBehindLayerError(HandlerNotJudgedError):
    """Raised in front of a handler for a request that came around the layer."""

    refusal = Refusal(403, NOT_BEHIND_LAYER, "not_behind_layer", visitor=OF_THE_SITE)

    def __str__(self) -> str:
        return (
            f"{NOT_BEHIND_LAYER.id} {NOT_BEHIND_LAYER.name}: {NOT_BEHIND_LAYER.what.en}. fix: {NOT_BEHIND_LAYER.fix.en}"
        )


Stray = Literal["pass", "tell", "refuse"]
_STRICT: dict[Stray, int] = {"pass": 0, "tell": 1, "refuse": 2}


class Entrance:
    """What `frameworks.watch` calls with the scope or environ in front of each handler of an application.

    `stray` says what becomes of a request that changes something and that nobody judged. While developing it is told
    once: a test may well call the application inside.
    """

    __slots__ = ("_told", "stray")

    def __init__(self, stray: Stray) -> None:
        self.stray: Stray = stray
        self._told = False

    def __call__(self, held: Any, method: str, reach: Callable[[], Reached]) -> bool:
        """Raise for a request that must not enter; False for one that may enter what it has reached, and nothing else.

        Middleware may have made a scope of its own, without ours or with that of another request. Whose request this
        is, its context says too, and whoever judged it has to agree.
        """
        visitor, context, anywhere = held.get("dodai.csrf"), current(), True
        if visitor is not None:
            anywhere = _admit(visitor, method, reach)
        elif context is None and method not in SAFE_METHODS and self.stray != "pass":
            self._strayed()
        if context is not None and (last := context.__dict__.get("csrf")) is not visitor and last is not None:
            anywhere = _admit(last, method, reach) and anywhere
        return anywhere

    def joined(self, other: Entrance) -> Entrance:
        """The stricter of the two, for an application that is wrapped twice."""
        return self if _STRICT[self.stray] >= _STRICT[other.stray] else other

    def apart(self) -> Entrance:
        """The one that lets pass what nobody judged."""
        return Entrance("pass")

    def _strayed(self) -> None:
        if self.stray == "refuse":
            raise NotBehindLayerError
        if not self._told:
            self._told = True
            sys.stderr.write(f"dodai: {NotBehindLayerError()}\n")
            sys.stderr.flush()


def _is_granted(visitor: Any, handler: object) -> bool:
    return bool(handler == visitor.passage.handler or (handler is ENTERED and not visitor.unproven))


def _admit(visitor: Any, method: str, reach: Callable[[], Reached]) -> bool:
    anywhere = True
    while visitor is not None:
        passage = visitor.passage
        if passage is CHECKED or ((passage is None or passage is AWAITED_AS_WRITE) and method in SAFE_METHODS):
            visitor = visitor.outer
            continue
        anywhere = False
        if visitor.awaits:
            where = reach()
            if where.handler is not None and (where.behind or visitor.astray is not None):
                visitor.unproven, visitor.astray = True, OWN_CHECK_UNSEEN
                raise OwnCheckNotSeenError
            visitor = visitor.outer
            continue
        reached = reach() if passage is not None and passage.method == method else None
        if reached is None or not _is_granted(visitor, reached.handler):
            if visitor.only_counts(NOT_JUDGED):
                visitor = visitor.outer
                continue
            visitor.unproven, visitor.astray = True, NOT_JUDGED
            raise HandlerNotJudgedError
        if reached.here:
            visitor.unproven = False
        visitor = visitor.outer
    return anywhere
