"""The codes of plans, their journal and their lock (DOD35x, DOD37x)."""

from __future__ import annotations

from functools import partial

from dodai.core.errors import Code, declared

_code = partial(Code, package=__name__)

LIVES_ELSEWHERE = _code("DOD382", "environment-lives-elsewhere")
LEASE_HELD = _code("DOD350", "environment-is-locked")
LEASE_LOST = _code("DOD351", "environment-lock-lost")
JOURNAL_UNWRITABLE = _code("DOD352", "journal-not-writable")
JOURNAL_BROKEN = _code("DOD353", "journal-is-broken")
JOURNAL_NEWER = _code("DOD354", "journal-from-newer-dodai")
PLAN_UNFINISHED = _code("DOD355", "plan-unfinished")
PLAN_CHANGED = _code("DOD356", "plan-is-another")
NOTHING_UNFINISHED = _code("DOD357", "nothing-to-resume")
STEP_BLOCKED = _code("DOD358", "step-blocked")
STEP_FAILED = _code("DOD359", "step-failed")
STEP_TIMED_OUT = _code("DOD370", "step-timed-out")
STEP_UNVERIFIED = _code("DOD371", "step-not-verified")
UNDO_FAILED = _code("DOD372", "undo-failed")
PLAN_INTERRUPTED = _code("DOD373", "plan-interrupted")
STEP_DECLINED = _code("DOD374", "manual-step-declined")
JOURNALS_DIFFER = _code("DOD375", "journals-differ")
STATE_FILE_DAMAGED = _code("DOD385", "state-file-damaged")
STATE_FILE_EXPOSED = _code("DOD571", "state-file-exposed")
CONTROL_UNAVAILABLE = _code("DOD376", "control-database-unavailable")

CODES = declared(globals())
