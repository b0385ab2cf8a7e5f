"""`dodai doctor [ENV]`: what this machine can do, and what its credentials can do for one environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core.codes import MANIFEST_NOT_FOUND
from dodai.core.errors import DodaiError

if TYPE_CHECKING:
    from dodai.operations.ports import DoctorRow

_MARKS = {
    "ok": ("ok     ", "green"),
    "warning": ("warning", "yellow"),
    "absent": ("absent ", "dim"),
    "missing": ("MISSING", "red"),
}


@define("doctor", summary="Show what this machine can do", example="dodai doctor staging")
@click.argument("env", default="")
@click.option("--live", is_flag=True, help="Also ask the vendors of ENV, read only.")
def command(context: CommandContext, env: str, live: bool) -> int:
    if live and not env:
        raise click.UsageError("--live asks the vendors of an environment: name it")
    from dodai.operations.run.machine_seen import Needed, look, needed, rows_of
    from dodai.wiring.shadow_server import installed

    there = _environment(context, env, live=live) if env else []
    try:
        asked = needed(context.project)
    except DodaiError as error:
        if error.code is not MANIFEST_NOT_FOUND or context.manifest_path:
            raise
        asked = Needed()
    rows = [*rows_of(asked, look(asked, *installed())), *there]
    lacking = [row for row in rows if row.verdict == "missing"]
    if context.output.as_json:
        fields = ("name", "verdict", "seen", "needed_for", "fix")
        body = [{**{field: getattr(row, field) for field in fields}, "code": row.code and row.code.id} for row in rows]
        context.output.data("dodai.doctor/1", {"ok": not lacking, "rows": body})
        return 1 if lacking else 0
    for row in rows:
        word, colour = _MARKS[row.verdict]
        wanted = f"  ({row.needed_for})" if row.needed_for else ""
        wanted += f"  {row.code.id}" if row.code else ""
        context.output.line(f"{context.output.paint(word, colour)}  {row.name:18} {row.seen}{wanted}")
        if row.fix:
            context.output.line(f"         {'':18} fix: {row.fix}")
    able = f"this machine can change {env}" if env else "this machine can run dodai"
    able += "" if asked.state else "; there is no manifest here, so what a project needs was not looked at"
    context.output.say(able if not lacking else f"missing: {', '.join(row.name for row in lacking)}")
    return 1 if lacking else 0


def _environment(context: CommandContext, env: str, *, live: bool) -> list[DoctorRow]:
    from dodai.operations.run.account_rows import around_rows
    from dodai.operations.run.doctor import examine_environment

    here = context.environment(env)
    return [*examine_environment(here), *((*around_rows(here), *here.accounts()) if live else ())]
