"""The codes that all drivers of vendors share (DOD700-DOD709)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

NO_TOKEN = _code("DOD700", "vendor-token-missing")
TOKEN_REFUSED = _code("DOD701", "vendor-token-refused")
TOKEN_LACKS = _code("DOD702", "vendor-token-lacks-scope")
REFUSED = _code("DOD703", "vendor-refused")
THROTTLED = _code("DOD704", "vendor-throttled")
UNAVAILABLE = _code("DOD705", "vendor-unavailable")
UNCLEAR = _code("DOD706", "vendor-answer-unclear")
OFF_CONTRACT = _code("DOD707", "vendor-reply-off-contract")
PLAIN_ADDRESS = _code("DOD709", "vendor-address-not-safe")

NO_STAND_IN = _code("DOD719", "no-stand-in")

CODES = declared(globals())
OF_THE_USER = (NO_TOKEN, TOKEN_REFUSED, TOKEN_LACKS, PLAIN_ADDRESS)
