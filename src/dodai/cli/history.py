"""`dodai history [ENV]`: who changed what, when, and how it ended."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.session import Session, define
from dodai.engine.journal import Head, PlanEntry


@define("history", summary="Show who changed what, and when", example="dodai history staging --limit 5")
@click.argument("env", default="local")
@click.option("--limit", default=20, show_default=True, help="How many plans, the newest first.")
def command(session: Session, env: str, limit: int) -> int:
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)

    async def look() -> tuple[tuple[PlanEntry, ...], Head]:
        if not environment.has_journal:
            return (), Head()
        with environment.journal() as journal:
            return await journal.history(env, limit), await journal.verify_chain()

    entries, head = asyncio.run(look())
    if session.output.as_json:
        rows = [_as_json(entry) for entry in entries]
        session.output.data("dodai.history/1", {"environment": env, "head": head.hash, "plans": rows})
    elif not entries:
        session.output.line(f"{env}: nothing was ever done here")
    else:
        for entry in entries:
            request = entry.request
            state = entry.state or "unfinished"
            what = f"{state:12} {request.kind:8} {request.release or '-':16}"
            session.output.line(f"{entry.begun_at[:19]}Z  {what} by {request.actor}  {entry.plan_id}")
        session.output.say(f"the audit log is whole: {head.seq} events, head {head.hash[:12]}")
    return 0 if entries else 1


def _as_json(entry: PlanEntry) -> dict[str, object]:
    request = entry.request
    return {
        "planId": entry.plan_id,
        "planHash": entry.plan_hash,
        "kind": request.kind,
        "release": request.release or None,
        "actor": request.actor,
        "begunAt": entry.begun_at,
        "state": entry.state or "unfinished",
        "exitCode": entry.exit_code,
    }
