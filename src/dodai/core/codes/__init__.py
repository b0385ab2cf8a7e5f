"""The codes of the manifest, the command line, the documents and the answers of every layer (DOD0xx)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

MANIFEST_SYNTAX = _code("DOD001", "manifest-syntax")
MANIFEST_UNKNOWN_KEY = _code("DOD002", "manifest-unknown-key")
MANIFEST_WRONG_VALUE = _code("DOD003", "manifest-wrong-value")
MANIFEST_MISSING_KEY = _code("DOD004", "manifest-missing-key")
MANIFEST_UNKNOWN_NAME = _code("DOD005", "manifest-unknown-name")
ACCEPTANCE_EXPIRED = _code("DOD006", "acceptance-expired")
DOCUMENT_STALE = _code("DOD007", "document-stale")
DOCUMENT_MARKERS = _code("DOD008", "document-markers")
UNKNOWN_PROVIDER = _code("DOD009", "unknown-provider")
PROVIDERS_DO_NOT_FIT = _code("DOD010", "providers-do-not-fit")
KEY_OF_ANOTHER_PROVIDER = _code("DOD011", "key-of-another-provider")
MANIFEST_NOT_FOUND = _code("DOD050", "manifest-not-found")
UNKNOWN_WORD = _code("DOD051", "unknown-name")
CONFIRMATION_NEEDED = _code("DOD052", "confirmation-needed")
MISSING_EXTRA = _code("DOD053", "missing-extra")
USAGE = _code("DOD054", "usage")
FILE_UNUSABLE = _code("DOD055", "file-unusable")
INTERPRETER_ABSENT = _code("DOD076", "interpreter-cannot-start")
POOLED = _code("DOD067", "pooled-connection")
EDGE_KEY_MISSING = _code("DOD556", "edge-key-missing")
UNHANDLED_ERROR = _code("DOD061", "unhandled-error")
RESERVED_PATH = _code("DOD062", "reserved-path")
BODY_TOO_LARGE = _code("DOD063", "body-too-large")
DEPENDENCY_UNAVAILABLE = _code("DOD064", "dependency-unavailable")
DEPENDENCY_TIMEOUT = _code("DOD065", "dependency-timeout")
UNVERIFIED_TLS = _code("DOD066", "unverified-tls")
INTERNAL_ERROR = _code("DOD080", "internal-error")

CODES = declared(globals())
