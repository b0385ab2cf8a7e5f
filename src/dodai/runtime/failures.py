"""What became of a request that failed: into its line, and while developing onto the screen."""

from __future__ import annotations

import logging

from dodai.core.request import RequestContext, current
from dodai.observability.line_format import error_name, stack_of
from dodai.runtime.process import Runtime

_LOG = logging.getLogger("dodai")


def note_error(error: BaseException) -> None:
    """Note in the line of the current request what its framework answered with a page of its own."""
    context = current()
    if context is not None and context.error is None:
        context.error, context.stack = error_name(error), stack_of(error)


def log_failure(error: BaseException, context: RequestContext) -> None:
    """Message and traceback for a developer: a line has neither, because they may carry what a user typed."""
    _LOG.error("request %s failed", context.request_id, exc_info=error)


class RequestIdFilter(logging.Filter):
    """Gives every record of the application's own log a `request_id`, `-` outside a request.

    `handler.addFilter(RequestIdFilter())` and `%(request_id)s` in its format.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        context = current()
        record.request_id = context.request_id if context is not None else "-"
        return True


def lost_lines() -> int:
    """How many lines this process lost to a full disk or a blocked standard output, for the detail of `/readyz`."""
    return Runtime.current().dropped
