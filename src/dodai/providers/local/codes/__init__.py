"""The codes of local environments: the edge, the processes and the trees of releases (DOD3xx)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

EDGE_REFUSED = _code("DOD550", "edge-refused-request")
EDGE_TOO_LARGE = _code("DOD551", "edge-request-too-large")
EDGE_TIMEOUT = _code("DOD552", "edge-request-timeout")
EDGE_BLOCKED = _code("DOD553", "edge-path-blocked")
EDGE_NO_ANSWER = _code("DOD554", "edge-no-upstream")
EDGE_SLOW = _code("DOD555", "edge-upstream-timeout")
EDGE_LIMITED = _code("DOD557", "edge-rate-limited")
UNSAFE_TREE = _code("DOD366", "unsafe-release-tree")
NO_ACCOUNT = _code("DOD386", "no-account-for-service")
EXITED_AT_BOOT = _code("DOD390", "process-exited-at-boot")
NEVER_LISTENED = _code("DOD391", "process-never-listened")
DEADLINE_PASSED = _code("DOD392", "host-deadline-passed")
NO_INSTANCE = _code("DOD393", "no-such-instance")
OTHER_SETTINGS = _code("DOD394", "runs-with-other-settings")
PORT_IN_USE = _code("DOD395", "port-in-use")
IMAGES_NOT_RUN = _code("DOD708", "images-not-run-here")
NO_TREE = _code("DOD396", "no-such-release-tree")
HOST_HELD = _code("DOD397", "host-already-runs")
HOST_GONE = _code("DOD398", "host-not-running")
STALE_TOKEN = _code("DOD399", "stale-fencing-token")

CODES = declared(globals())
