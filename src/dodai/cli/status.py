"""`dodai status [ENV]`: what runs, who holds the lock, what is unfinished, what to type next."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dodai.cli.output import Output
from dodai.cli.session import Session, define

if TYPE_CHECKING:
    from dodai.wiring.standing import Standing


@define("status", summary="Show what runs, what is locked and what is unfinished", example="dodai status staging")
@click.argument("env", default="local")
def command(session: Session, env: str) -> int:
    from dodai.wiring.local import LocalEnvironment
    from dodai.wiring.standing import look

    environment = LocalEnvironment.of(session.project, env)
    standing = asyncio.run(look(environment))
    if session.output.as_json:
        session.output.data("dodai.status/1", {"environment": env, **_as_json(standing)})
        return 0
    _host(session.output, standing)
    _plans(session.output, standing)
    return 0


def _as_json(standing: Standing) -> dict[str, Any]:
    unfinished, holder = standing.unfinished, standing.holder
    return {
        "host": dataclasses.asdict(standing.host),
        "holder": dataclasses.asdict(holder) if holder else None,
        "unfinished": unfinished.plan_id if unfinished else None,
        "lastPlan": standing.last.plan_id if standing.last else None,
        "pendingMigrations": standing.pending,
        "problem": standing.problem or None,
        "remedy": standing.remedy or None,
        "answers": dict(standing.answers),
        "next": standing.next_command or None,
    }


def _host(out: Output, standing: Standing) -> None:
    env, status = standing.env, standing.host
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
            answer = f", {standing.answers[service.name]}" if one.live and service.name in standing.answers else ""
            out.line(f"            {live} {one.release} {one.state} pid {one.pid} restarts {one.restarts}{answer}")
            if answer and standing.answers[service.name] != "ready":
                out.line(f"                 log {one.log}")


def _plans(out: Output, standing: Standing) -> None:
    if standing.problem:
        out.line(f"problem:    {standing.problem}")
    if standing.pending is not None:
        out.line(f"schema:     {f'{standing.pending} migrations pending' if standing.pending else 'up to date'}")
    holder = standing.holder
    if holder:
        where = f"pid {holder.pid} on {holder.host}" + ("" if holder.alive else ", which runs no more")
        out.line(f"lock:       {holder.actor} ({where}) for {holder.age}: {holder.command or 'unknown command'}")
    else:
        out.line(f"lock:       {'unknown, see the problem' if standing.problem else 'free'}")
    if standing.last:
        request, state = standing.last.request, standing.last.state or "unfinished"
        out.line(
            f"last plan:  {request.kind} {request.release} by {request.actor}, {state}, {standing.last.begun_at[:19]}Z"
        )
    if standing.unfinished:
        out.line(f"unfinished: {standing.unfinished.plan_id} ({standing.unfinished.request.command})")
    out.line(f"next:       {standing.next_step}")
