"""`dodai doctor [ENV]`: what this machine can do, and what its credentials can do for one environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core.errors import DodaiError

if TYPE_CHECKING:
    from dodai.operations.run.doctor import DoctorRow

_MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "missing": ("missing", "yellow")}
_NEEDED = ("python", "postgresql", "loopback")


@define("doctor", summary="Show what this machine can do", example="dodai doctor staging")
@click.argument("env", default="")
def command(context: CommandContext, env: str) -> int:
    from dodai.wiring.machine_checks import examine

    there = _environment(context, env) if env else []
    try:
        state, major = context.project.state, context.project.policy.database.major
    except DodaiError:
        state, major = None, 0
    rows = [*examine(state, major=major), *there]
    lacking = [row for row in rows if row.verdict == "missing" and (row.name in _NEEDED or row in there)]
    if context.output.as_json:
        fields = ("name", "verdict", "seen", "needed_for", "fix")
        body = [{field: getattr(row, field) for field in fields} for row in rows]
        context.output.data("dodai.doctor/1", {"ok": not lacking, "rows": body})
        return 1 if lacking else 0
    for row in rows:
        word, colour = _MARKS[row.verdict]
        needed = f"  ({row.needed_for})" if row.needed_for else ""
        context.output.line(f"{context.output.paint(word, colour)}  {row.name:18} {row.seen}{needed}")
        if row.fix:
            context.output.line(f"         {'':18} fix: {row.fix}")
    able = f"this machine can change {env}" if env else "this machine can run dodai"
    context.output.say(able if not lacking else "something essential is missing")
    return 1 if lacking else 0


def _environment(context: CommandContext, env: str) -> list[DoctorRow]:
    from dodai.operations.run.doctor import examine_environment

    return examine_environment(context.environment(env))
