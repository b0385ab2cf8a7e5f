"""The codes of observability (DOD4xx)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

CONTEXT_LOST = _code("DOD401", "context-lost")
BASE_HTTP_MIDDLEWARE = _code("DOD402", "base-http-middleware")
UNBOUNDED_LABEL = _code("DOD403", "unbounded-label")
SECRET_IN_LOG = _code("DOD404", "secret-in-log")
LINE_DRIFT = _code("DOD405", "line-drift")
UNKNOWN_FIELD = _code("DOD406", "unknown-field")
RUNTIME_SETTINGS = _code("DOD480", "runtime-settings")
TRACE_NOT_FOUND = _code("DOD481", "trace-not-found")

CODES = declared(globals())
