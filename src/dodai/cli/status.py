"""`dodai status [ENV]`: what runs, what is unfinished, what to type next."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime

import click

from dodai.cli.session import Session, define
from dodai.engine.journal import PlanEntry
from dodai.operations.ports import HostStatus


@define("status", summary="Show what runs, what is locked and what is unfinished", example="dodai status staging")
@click.argument("env", default="local")
def command(session: Session, env: str) -> int:
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)

    async def look() -> tuple[HostStatus, PlanEntry | None]:
        status = await environment.host.status()
        if not environment.has_journal:
            return status, None
        with environment.journal() as journal:
            return status, await journal.unfinished(env)

    status, unfinished = asyncio.run(look())
    following = f"dodai resume {env}" if unfinished else "" if status.running else f"dodai deploy {env}"
    if session.output.as_json:
        body = {"host": dataclasses.asdict(status), "unfinished": unfinished.plan_id if unfinished else None}
        session.output.data("dodai.status/1", {"environment": env, **body, "next": following or None})
        return 0
    out = session.output
    since = datetime.fromtimestamp(status.since, UTC).isoformat(timespec="seconds") if status.since else "never"
    out.line(f"{env}: {'running' if status.running else 'not running'} (host pid {status.pid}, since {since})")
    if status.edge:
        out.line(f"  edge      {status.edge}")
    for process in status.processes:
        out.line(f"  {process.name:9} {process.state}  {process.address or process.listens}")
    for service in status.services:
        out.line(f"  {service.name:9} {service.release or 'nothing'}  {service.address}")
        for one in service.instances:
            live = "live" if one.live else "    "
            out.line(f"            {live} {one.release} {one.state} pid {one.pid} restarts {one.restarts}")
    if unfinished:
        out.line(f"unfinished: {unfinished.plan_id} ({unfinished.request.command})")
    if following:
        out.line(f"next: {following}")
    return 0
