"""The operational foundation of a web application: enforced, checked, run and documented from one manifest."""

from __future__ import annotations

__version__ = "0.1.0"


def request_id() -> str | None:
    """The id of the request being served here, for a log or an error page of your own; None outside a request."""
    from dodai.core.request import current

    context = current()
    return context.request_id if context is not None else None
