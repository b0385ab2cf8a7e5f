"""The codes of observability (DOD4xx)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

CONTEXT_LOST = _code("DOD401", "context-lost")
BASE_HTTP_MIDDLEWARE = _code("DOD402", "base-http-middleware")
UNBOUNDED_LABEL = _code("DOD403", "unbounded-label")
SECRET_IN_LOG = _code("DOD404", "secret-in-log")
LINE_DRIFT = _code("DOD405", "line-drift")
UNKNOWN_FIELD = _code("DOD406", "unknown-field")
UNKNOWN_ALERT = _code("DOD407", "unknown-alert")
NOTIFIER_INCOMPLETE = _code("DOD408", "notifier-incomplete")
INCIDENT_UNANSWERED = _code("DOD409", "incident-unanswered")
INCIDENT_UNREADABLE = _code("DOD410", "incident-unreadable")
METRICS_PUBLIC = _code("DOD411", "metrics-public")
HTTP_ERROR_SURGE = _code("DOD450", "http-error-surge")
RPC_ERROR_SURGE = _code("DOD451", "rpc-error-surge")
DEPENDENCY_DOWN = _code("DOD452", "dependency-down")
HTTP_LATENCY = _code("DOD453", "http-latency")
RPC_LATENCY = _code("DOD454", "rpc-latency")
SLO_FAST_BURN = _code("DOD455", "slo-fast-burn")
SLO_SLOW_BURN = _code("DOD456", "slo-slow-burn")
SUSTAINED_ERRORS = _code("DOD457", "sustained-errors")
ROUTE_ERRORS = _code("DOD458", "route-errors")
CSRF_REFUSALS = _code("DOD459", "csrf-refusals")
POOL_WAIT = _code("DOD460", "pool-wait")
PROCESS_HUNG = _code("DOD461", "process-hung")
PROCESS_SILENT = _code("DOD462", "process-silent")
CRASH_LOOP = _code("DOD463", "crash-loop")
NO_TRAFFIC = _code("DOD464", "no-traffic")
LINES_LOST = _code("DOD465", "lines-lost")
DEPLOY_UNHEALTHY = _code("DOD466", "deploy-unhealthy")
CERTIFICATE_EXPIRING = _code("DOD467", "certificate-expiring")
DISK_FILLING = _code("DOD468", "disk-filling")
CERTIFICATE_EXPIRED = _code("DOD469", "certificate-expired")
SECRET_ROTATION_DUE = _code("DOD470", "secret-rotation-due")
RESTORE_TEST_DUE = _code("DOD472", "restore-test-due")
UNWATCHED = _code("DOD471", "unwatched")
RUNTIME_SETTINGS = _code("DOD480", "runtime-settings")
TRACE_NOT_FOUND = _code("DOD481", "trace-not-found")
ROLLUPS_UNAVAILABLE = _code("DOD482", "rollups-unavailable")
INCIDENT_NOT_SEEN = _code("DOD483", "incident-not-seen")
WATCHED_ALREADY = _code("DOD484", "watched-already")
PAGE_NOT_PUBLIC = _code("DOD485", "page-not-public")
PAGE_ADDRESS = _code("DOD486", "page-address")
NOT_READ_BACK = _code("DOD487", "not-read-back")

CODES = declared(globals())
