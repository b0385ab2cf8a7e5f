"""`dodai releases ENV`: what was in service, from which commit, and what may come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from dodai.cli.command_context import CommandContext, define

if TYPE_CHECKING:
    from dodai.operations.environment import Environment
    from dodai.operations.release import ReleaseRecord, Verdict


@define("releases", summary="List the releases of an environment", example="dodai releases staging")
@click.argument("env", default="local")
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many, the newest first.")
def command(context: CommandContext, env: str, limit: int) -> int:
    environment = context.environment(env)
    rows = asyncio.run(_look(environment, limit))
    copies = [point.where for point in environment.database.restore_points.all()]
    if context.output.as_json:
        body = [_as_json(record, live, verdict) for record, live, verdict in rows]
        context.output.data("dodai.releases/1", {"environment": env, "releases": body, "restorePoints": copies})
    elif not rows:
        context.output.line(f"{env}: no release was ever in service")
    for record, live, verdict in () if context.output.as_json else rows:
        state = "live" if live else "may come back" if verdict.allowed else f"may not come back: {verdict.reason}"
        commit = record.commit[:12] + ("+" if record.dirty else "") or "no commit"
        context.output.line(f"{record.release}  {record.at[:19]}Z  {commit}  by {record.actor}  {state}")
    if not context.output.as_json:
        for path in copies:
            context.output.line(f"restore point  {path}")
    return 0 if rows else 1


async def _look(environment: Environment, limit: int) -> list[tuple[ReleaseRecord, bool, Verdict]]:
    """Each release once, as it was last recorded, beside the verdict on the schema of now."""
    from dodai.operations.run.release_log import ReleaseLog
    from dodai.operations.run.rollback_target import verdict

    if not environment.control.exists:
        return []
    live = await environment.live()
    newest: dict[str, ReleaseRecord] = {}
    for record in await ReleaseLog(environment).records():
        newest.setdefault(record.release, record)
    return [
        (record, record.release == live, await verdict(environment, record)) for record in list(newest.values())[:limit]
    ]


def _as_json(record: ReleaseRecord, live: bool, verdict: Verdict) -> dict[str, Any]:
    return {
        "release": record.release,
        "live": live,
        "recordedAt": record.at,
        "planId": record.plan_id,
        "actor": record.actor,
        "commit": record.commit or None,
        "dirty": record.dirty,
        "configHash": record.config,
        "settingsHash": record.settings,
        "secretDigests": dict(record.secrets),
        "requiredMigrations": list(record.required),
        "schema": list(record.schema),
        "mayComeBack": verdict.allowed,
        "reason": verdict.reason,
    }
