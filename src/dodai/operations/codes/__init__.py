"""The codes of releases, deploys, rollbacks and the protection of environments (DOD3xx)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

ENVIRONMENT_FROZEN = _code("DOD360", "environment-frozen")
NOT_WHERE_PROTECTED = _code("DOD361", "not-where-protected")
NEVER_LET_IN = _code("DOD362", "release-never-let-in")
REASON_NEEDED = _code("DOD363", "reason-needed")
NO_PUBLIC_SERVICE = _code("DOD303", "no-public-service")
SERVICE_CYCLE = _code("DOD304", "service-cycle")
NO_READY_PATH = _code("DOD310", "no-readiness-path")
IMPOSSIBLE_WORKER = _code("DOD315", "impossible-worker")
UNKNOWN_REFERENCE = _code("DOD311", "reference-to-no-service")
STATE_TRACKED = _code("DOD312", "state-folder-in-git")
UNPROVEN_LIMITATION = _code("DOD305", "limitation-unproven")
UNFIT_NAME = _code("DOD318", "environment-name-unfit")
PASSWORD_IN_MANIFEST = _code("DOD319", "password-in-manifest")
RUNS_ELSEWHERE = _code("DOD383", "environment-runs-elsewhere")
OTHER_USER = _code("DOD381", "environment-of-another-user")
FREEZE_UNREADABLE = _code("DOD340", "freeze-window-unreadable")
PROTECTION_INCOMPLETE = _code("DOD341", "protection-incomplete")
NOT_ON_THIS_MACHINE = _code("DOD364", "not-on-this-machine")
ROLLBACK_REFUSED = _code("DOD367", "rollback-refused")
NO_SUCH_RELEASE = _code("DOD368", "no-such-release")
APPROVAL_NEEDED = _code("DOD369", "approval-needed")
STALE_PLAN = _code("DOD377", "plan-is-stale")
BUILD_FAILED = _code("DOD378", "build-failed")
INCLUDE_MISSING = _code("DOD379", "include-missing")
NOTHING_ANSWERS = _code("DOD380", "environment-does-not-answer")
RELEASE_NOT_HEALTHY = _code("DOD387", "release-not-healthy")
WRONG_VERSION = _code("DOD388", "wrong-version-answers")
JOURNEY_FAILED = _code("DOD389", "journey-failed")
SECRET_OVERDUE = _code("DOD500", "secret-overdue")
SECRET_WITHOUT_VALUE = _code("DOD501", "secret-without-value")
OTHER_VALUES_SERVE = _code("DOD502", "old-values-serve")
OLD_VALUE_KEPT = _code("DOD503", "old-value-kept")
VARIABLE_UNDECLARED = _code("DOD504", "variable-undeclared")
VARIABLE_UNUSED = _code("DOD505", "variable-unused")
VARIABLE_NAME_UNFIT = _code("DOD506", "variable-name-unfit")
SECRET_IN_FILE = _code("DOD507", "secret-in-file")
SECRET_MISSING = _code("DOD560", "secret-missing")
ROTATION_REFUSED = _code("DOD561", "rotation-refused")
SECRET_VALUE_UNUSABLE = _code("DOD562", "secret-value-unusable")

CODES = declared(globals())
