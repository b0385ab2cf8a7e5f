"""The codes of CSRF protection (DOD1xx)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

UNPROTECTED_ROUTE = _code("DOD101", "unprotected-route")
UNPROTECTED_FORM = _code("DOD102", "unprotected-form")
UNKNOWN_ROUTE = _code("DOD103", "unproven-route")
UNKNOWN_FORM = _code("DOD104", "unproven-form")
EXEMPTION_EXPIRED = _code("DOD105", "exemption-expired")
EXEMPTION_WITHOUT_CONTROL = _code("DOD106", "exemption-without-control")
EXEMPTION_WITHOUT_ROUTE = _code("DOD107", "exemption-without-route")
TOKEN_IN_URL = _code("DOD108", "token-in-url")
COOKIE_FLAGS = _code("DOD109", "csrf-cookie-flags")
NO_PUBLIC_ORIGIN = _code("DOD110", "no-public-origin")
WEAK_KEY = _code("DOD111", "weak-csrf-key")
CACHEABLE_TOKEN_PAGE = _code("DOD112", "cacheable-token-page")
NO_REFERRER_POLICY = _code("DOD113", "no-referrer-policy")
GET_CHANGES_STATE = _code("DOD114", "get-looks-like-mutation")
NOTHING_TO_PROTECT = _code("DOD115", "no-state-changing-route")
EXEMPTION_ENDS_SOON = _code("DOD116", "exemption-ends-soon")
VULNERABLE_VERSION = _code("DOD117", "vulnerable-web-framework")
OWN_CHECK_BEHIND_PROXY = _code("DOD118", "framework-check-behind-proxy")
OWN_CHECK_OFF = _code("DOD119", "framework-check-off")
LOADER_CHANGES_STATE = _code("DOD120", "loader-changes-state")
SECRET_FALLBACK = _code("DOD121", "secret-fallback-in-source")
FOREIGN_ORIGIN = _code("DOD150", "csrf-foreign-origin")
TOKEN_MISSING = _code("DOD151", "csrf-token-missing")
TOKEN_INVALID = _code("DOD152", "csrf-token-invalid")
TOKEN_EXPIRED = _code("DOD153", "csrf-token-expired")
TOKEN_FOREIGN = _code("DOD154", "csrf-token-of-another-session")
TOKEN_TOO_LATE = _code("DOD155", "csrf-token-after-file")
REQUEST_UNREADABLE = _code("DOD156", "csrf-request-unreadable")
BODY_TOO_SLOW = _code("DOD157", "csrf-body-too-slow")
TOKEN_DUPLICATED = _code("DOD158", "csrf-token-duplicated")
EXEMPTION_OVER = _code("DOD159", "csrf-exemption-over")
HANDLER_NOT_JUDGED = _code("DOD160", "csrf-handler-not-judged")
NOT_BEHIND_LAYER = _code("DOD161", "csrf-not-behind-layer")
OWN_CHECK_UNPROVEN = _code("DOD162", "csrf-framework-check-unproven")
OWN_CHECK_NOT_RUN = _code("DOD163", "csrf-framework-check-not-run")
KEYS_MALFORMED = _code("DOD180", "csrf-keys-malformed")
ORIGIN_MALFORMED = _code("DOD181", "public-origin-malformed")
TOKEN_AFTER_START = _code("DOD182", "csrf-token-after-response-start")
NOT_INSTALLED = _code("DOD183", "csrf-not-installed")
ORIGIN_NEEDED = _code("DOD184", "csrf-mode-needs-origin")
OWN_CHECK_MISSING = _code("DOD186", "csrf-framework-check-missing")
PROBE_REFUSED = _code("DOD185", "csrf-probe-refused")

CODES = declared(globals())
