"""`dodai doctor`: what this machine can do."""

from __future__ import annotations

from dodai.cli.session import Session, define
from dodai.core.errors import DodaiError

_MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "missing": ("missing", "yellow")}
_NEEDED = ("python", "postgresql", "loopback")


@define("doctor", summary="Show what this machine can do", example="dodai doctor --json")
def command(session: Session) -> int:
    from dodai.wiring.machine import examine

    try:
        state, major = session.project.state, session.project.policy.database.major
    except DodaiError:
        state, major = None, 0
    rows = examine(state, major=major)
    lacking = [row for row in rows if row.verdict == "missing" and row.name in _NEEDED]
    if session.output.as_json:
        fields = ("name", "verdict", "seen", "needed_for", "fix")
        body = [{field: getattr(row, field) for field in fields} for row in rows]
        session.output.data("dodai.doctor/1", {"ok": not lacking, "rows": body})
        return 1 if lacking else 0
    for row in rows:
        word, colour = _MARKS[row.verdict]
        needed = f"  ({row.needed_for})" if row.needed_for else ""
        session.output.line(f"{session.output.paint(word, colour)}  {row.name:18} {row.seen}{needed}")
        if row.fix:
            session.output.line(f"         {'':18} fix: {row.fix}")
    session.output.say("this machine can run dodai" if not lacking else "something essential is missing")
    return 1 if lacking else 0
