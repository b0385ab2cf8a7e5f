"""The codes of the Authentik provider (76x)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

MISSING = _code("DOD760", "authentik-not-found")
BLUEPRINT_UNREADABLE = _code("DOD761", "blueprint-unreadable")
BLUEPRINT_REFUSED = _code("DOD762", "blueprint-refused")
BLUEPRINT_NOT_APPLIED = _code("DOD763", "blueprint-not-applied")
BLUEPRINT_UNFINISHED = _code("DOD764", "blueprint-unfinished")
BLUEPRINT_OF_A_FILE = _code("DOD765", "blueprint-of-a-file")
BLUEPRINT_DISAGREES = _code("DOD766", "blueprint-disagrees")

CODES = declared(globals())
