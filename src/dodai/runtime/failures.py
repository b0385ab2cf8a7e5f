"""What became of a request that failed: into its line, and while developing onto the screen."""

from __future__ import annotations

import logging

from dodai.core.request import RequestContext, current
from dodai.observability.line_format import error_name, stack_of
from dodai.runtime import heartbeat
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


def stopping() -> None:
    """Say that this process was asked to end; for a server that dodai does not see, at its signal.

    Processes that end one after the other are a deploy where it is said, and else a crash loop. `dodai.asgi` says it at
    the end of the lifespan, `dodai.grpc.watch_server` when the server is stopped, `dodai.wsgi` at the exit of a worker
    that has served and is not in the middle of a request.
    """
    heartbeat.stopping(Runtime.current())


def lost_lines() -> int:
    """How many lines this process lost to a full disk or a blocked standard output, for the detail of `/readyz`."""
    return Runtime.current().dropped
