"""`dodai status [ENV]`: what runs, who holds the lock, what is unfinished, what to type next."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import click

from dodai.cli.command_context import CommandContext, Seconds, define
from dodai.cli.output import Output
from dodai.core import proposal
from dodai.engine.moment import utc
from dodai.operations.ports import HostStatus

if TYPE_CHECKING:
    from dodai.observability.run import Overview, Watched
    from dodai.operations.environment import Environment
    from dodai.operations.run.status import EnvironmentStatus

POLL_S = 0.2


@define("status", summary="Show what runs, what is locked and what is unfinished", example="dodai status staging")
@click.argument("env", default="local")
@click.option("--wait", is_flag=True, help="Until it serves, or a person must act.")
@click.option(
    "--timeout", "timeout_s", type=Seconds(), default=60.0, show_default=True, help="Seconds to wait at most."
)
def command(context: CommandContext, env: str, wait: bool, timeout_s: float) -> int:
    status = asyncio.run(_look(context.environment(env), timeout_s if wait else 0.0))
    if context.output.as_json:
        alerts = _alerts_as_json(context, env)
        context.output.data("dodai.status/1", {"environment": env, **_as_json(status), "alerts": alerts})
        return status.exit_code
    _services(context.output, status)
    _plans(context.output, status)
    _alerts(context, env)
    return status.exit_code


async def _look(environment: Environment, wait_s: float) -> EnvironmentStatus:
    from dodai.operations.run.status import status_of

    end = time.monotonic() + wait_s
    while True:
        status = await status_of(environment)
        if status.exit_code != 1 or time.monotonic() >= end:
            return status
        await asyncio.sleep(POLL_S)


def _as_json(status: EnvironmentStatus) -> dict[str, Any]:
    unfinished, held = status.unfinished, status.holder
    holder = {**dataclasses.asdict(held.holder), "age": held.age, "alive": held.is_alive} if held else None
    return {
        "host": dataclasses.asdict(status.compute),
        "edge": status.edge or None,
        "holder": {**holder, "takeover_s": held.left_s} if held and holder else None,
        "unfinished": unfinished.plan_id if unfinished else None,
        "lastPlan": status.last.plan_id if status.last else None,
        "pendingMigrations": status.pending,
        "problem": status.problem or None,
        "remedy": status.remedy or None,
        "answers": dict(status.answers),
        "reliefs": {limit: utc(until_s) for limit, until_s in status.reliefs.items()},
        "state": status.state,
        "exitCode": status.exit_code,
        "recorded": status.recorded or None,
        "elsewhere": dataclasses.asdict(status.elsewhere) if status.elsewhere else None,
        "next": status.next_command or None,
    }


def _services(out: Output, status: EnvironmentStatus) -> None:
    compute = status.compute
    known = []
    if isinstance(compute, HostStatus) and compute.pid:
        known.append(f"host pid {compute.pid}")
    if compute.since:
        known.append(f"since {utc(compute.since)}")
    said = f" ({', '.join(known)})" if known and not (status.unknown or status.elsewhere) else ""
    out.line(f"{status.env}: {_word(status)}{said}")
    if status.unknown:
        out.line(f"  unknown   {status.unknown}")
    if status.edge:
        out.line(f"  edge      {status.edge}")
    for limit, until_s in status.reliefs.items():
        out.line(f"            limit `{limit}` holds nobody back until {utc(until_s)}")
    for process in compute.processes if isinstance(compute, HostStatus) else ():
        out.line(f"  {process.name:9} {process.state}  {process.address or process.listens}")
    for service in compute.services:
        out.line(f"  {service.name:9} {service.release or 'nothing'}  {service.address}")
        for one in service.instances:
            live = "live" if one.live else "    "
            own = status.answered.get(service.name, 0) in (0, one.pid)  # the others were not what was least ready
            answer = f", {status.answers[service.name]}" if own and one.live and service.name in status.answers else ""
            where = f" in {one.region}" if one.region else f" pid {one.pid}"
            out.line(f"            {live} {one.release} {one.state}{where} restarts {one.restarts}{answer}")
            if one.trouble:
                out.line(f"                 {one.trouble}")
            if answer and status.answers[service.name] != "ready":
                out.line(f"                 log {one.log}")


def _word(status: EnvironmentStatus) -> str:
    if status.unknown:
        return "unknown whether it runs"
    if status.elsewhere:
        return f"lives in {status.elsewhere}, not here"
    if status.compute.returning:
        return "coming back"
    return "running" if status.compute.running else "not running"


def _plans(out: Output, status: EnvironmentStatus) -> None:
    if status.problem:
        out.line(f"problem:    {status.problem}")
    if status.pending is not None:
        out.line(f"schema:     {f'{status.pending} migrations pending' if status.pending else 'up to date'}")
    held = status.holder
    if held:
        holder = held.holder
        where = f"pid {holder.pid} on {holder.host}" + ("" if held.is_alive else ", which runs no more")
        out.line(f"lock:       {holder.actor} ({where}) for {held.age}: {holder.command or 'unknown command'}")
    else:
        out.line(f"lock:       {'unknown, see the problem' if status.problem else 'free'}")
    if status.last:
        request, state = status.last.request, status.last.state or "unfinished"
        out.line(
            f"last plan:  {request.kind} {request.release} by {request.actor}, {state}, {status.last.begun_at[:19]}Z"
        )
    if status.unfinished:
        out.line(f"unfinished: {status.unfinished.plan_id} ({status.unfinished.request.command})")
    out.line(f"next:       {status.next_step}")


def _seen(context: CommandContext, env: str) -> tuple[Watched, Overview] | None:
    """What `dodai watch` saw, from its rollups; None where it never ran."""
    from dodai.observability.rollup import Store
    from dodai.observability.run import overview
    from dodai.operations.run.watched_environment import watched

    there = watched(context.project, env)
    if not there.path.exists():
        return None
    store = Store(there.path, cell_s=there.cell_s, writable=False)
    try:
        return there, overview(there, store, time.time())
    finally:
        store.close()


def _alerts_as_json(context: CommandContext, env: str) -> dict[str, Any] | None:
    """None where nothing ever watched: no alert was evaluated."""
    try:
        seen = _seen(context, env)
    except sqlite3.Error as error:
        return {"unknown": f"the rollups cannot be read: {error}"}
    if seen is None:
        return None
    _, said = seen
    whole = said.as_json()
    return {name: whole[name] for name in ("judgedAt", "stale", "firing", "pending", "silenced", "problems")}


def _alerts(context: CommandContext, env: str) -> None:
    """What `dodai watch` saw; nothing where it never ran, and never an all-clear from a watch that ended."""
    out = context.output
    try:
        found = _seen(context, env)
    except sqlite3.Error as error:
        out.line(f"alerts:     unknown, the rollups cannot be read: {error}")
        return
    if found is None:
        return
    there, seen = found
    for one in seen.firing:
        example = f", `{proposal.TRACE(request=one.samples[0])}`" if one.samples else ""
        out.line(f"firing:     {one.name}: {one.about}{example}")
    at = utc(seen.judged_s)
    if seen.stale:
        out.line(f"alerts:     not evaluated since {at}: `{proposal.WATCH(env=env)}` does that")
    elif not seen.firing:
        out.line(f"alerts:     {len(there.alerts)} evaluated, none fires")
    for problem in seen.problems:
        out.line(f"            {problem.en}")
