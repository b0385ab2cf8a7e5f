"""The codes of the Cloudflare provider (74x)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

MISSING = _code("DOD740", "cloudflare-not-found")
FOREIGN_RECORD = _code("DOD741", "cloudflare-record-conflict")
PLAN = _code("DOD742", "cloudflare-plan")
NOT_APPLIED = _code("DOD743", "cloudflare-not-applied")
ORIGIN_ELSEWHERE = _code("DOD744", "cloudflare-origin-elsewhere")
KEY_UNKNOWN = _code("DOD745", "cloudflare-key-unknown")

CODES = declared(globals())
