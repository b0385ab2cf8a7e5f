"""The codes of the Authentik provider (76x)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

MISSING = _code("DOD760", "authentik-not-found")

CODES = declared(globals())
