"""The codes of Fly (DOD710-DOD718, DOD732, DOD733)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

NO_APP = _code("DOD710", "fly-app-not-named")
NO_IMAGE = _code("DOD711", "image-not-named")
IMAGE_GONE = _code("DOD712", "image-not-in-registry")
NO_TEMPLATE = _code("DOD713", "fly-nothing-to-clone")
HAS_VOLUME = _code("DOD714", "fly-machine-has-volume")
NO_CAPACITY = _code("DOD715", "fly-region-without-capacity")
SECRETS_PARTLY = _code("DOD716", "fly-secrets-partly-applied")
SUPERSEDED = _code("DOD717", "fly-newer-operator")
LEASED = _code("DOD718", "fly-machine-leased")
CHECKS_TOO_SLOW = _code("DOD732", "fly-checks-too-slow")
NO_WAY_INSIDE = _code("DOD733", "fly-app-not-reachable-inside")

CODES = declared(globals())
