"""`dodai history [ENV]`: who changed what, when, who agreed, and how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from dodai.cli.command_context import CommandContext, define
from dodai.engine.journal import Head, PlanEntry
from dodai.engine.moment import utc
from dodai.operations.approval import Approval
from dodai.operations.evidence import RehearsalRecord
from dodai.operations.run.audit_log import STATEMENT, AuditLog
from dodai.operations.run.gate import BREAK_GLASS
from dodai.operations.run.relief import LIMIT, REASON, UNTIL

if TYPE_CHECKING:
    from dodai.operations.environment import Environment

Admissions = Mapping[str, Mapping[str, str]]


@define("history", summary="Show who changed what, and when", example="dodai history staging --limit 5")
@click.argument("env", default="local")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many plans, the newest first."
)
def command(context: CommandContext, env: str, limit: int) -> int:
    entries, head, admissions = asyncio.run(_look(context.environment(env), limit))
    if context.output.as_json:
        rows = [_as_json(entry, admissions) for entry in entries]
        context.output.data("dodai.history/1", {"environment": env, "head": head.hash, "plans": rows})
    elif not entries:
        context.output.line(f"{env}: nothing is on record here")
    else:
        for entry in entries:
            request = entry.request
            state = entry.state or "unfinished"
            what = f"{state:12} {request.kind:8} {request.release or '-':16}"
            context.output.line(f"{entry.begun_at[:19]}Z  {what} by {request.actor}  {entry.plan_id}")
            for line in _details(entry, admissions):
                context.output.line(f"{'':35}{line}")
        context.output.say(f"the audit log is whole: {head.seq} events, head {head.hash[:12]}")
    return 0 if entries else 1


async def _look(environment: Environment, limit: int) -> tuple[tuple[PlanEntry, ...], Head, Admissions]:
    if not environment.control.exists:
        return (), Head(), {}
    with environment.journal() as journal:
        entries, head = await journal.history(environment.name, limit), await journal.verify_chain()
    return entries, head, {one.plan_id: one.by for one in await AuditLog(environment.journal).admitted()}


def _details(entry: PlanEntry, admissions: Admissions) -> Iterator[str]:
    """What let a plan in, or what was stated."""
    said = _statement(entry)
    match entry.request.kind:
        case "approve":
            one = Approval.from_data(said, 0)
            yield f"signed plan {one.plan[:12]} as {one.principal}, until {one.expires_at[:19]}Z"
        case "rehearse":
            rehearsed = RehearsalRecord.from_data(said, entry.plan_id)
            yield f"level {rehearsed.level}, commit {rehearsed.commit[:12]}, {rehearsed.outcome}"
        case "break-glass":
            yield f"break-glass: {said['reason']} ({said['command']})"
        case "exec":
            yield f"{said['service']} of {said['release']}: {said['command']}"
        case "exec-ended":
            yield f"{said['service']}: {said['command']} ended with {said['exitCode']} after {said['tookS']} s"
        case "relieve":
            told = entry.request.arguments
            yield f"limit `{told[LIMIT]}` until {utc(float(told[UNTIL]))}: {told[REASON]}"
        case _:
            asked = entry.request.arguments.get(BREAK_GLASS)
            yield from admissions.get(entry.plan_id, {"asked": f"break-glass: {asked}"} if asked else {}).values()


def _statement(entry: PlanEntry) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(entry.request.arguments.get(STATEMENT, "{}"))
    return {name: value for name, value in words.items() if name != "signature"}


def _as_json(entry: PlanEntry, admissions: Admissions) -> dict[str, object]:
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
        "admittedBy": dict(admissions.get(entry.plan_id, {})),
        "breakGlass": request.arguments.get(BREAK_GLASS),
        "statement": _statement(entry) or None,
        "reason": request.arguments.get(REASON),
    }
