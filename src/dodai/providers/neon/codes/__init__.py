"""The codes of the Neon provider (72x)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

MISSING = _code("DOD720", "neon-not-found")
NO_COMPUTE = _code("DOD721", "neon-no-compute")
UNFINISHED = _code("DOD722", "neon-unfinished")
LIMIT = _code("DOD723", "neon-limit")
NO_SNAPSHOT = _code("DOD724", "neon-no-snapshot")

CODES = declared(globals())
