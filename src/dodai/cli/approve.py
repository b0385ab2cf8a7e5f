"""`dodai approve PLAN`: sign a plan that somebody else will carry out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from dodai.cli.command_context import CommandContext, define
from dodai.engine.render import as_text


@define("approve", summary="Sign a plan that somebody else carries out", example="dodai approve 3f29c1d07a44")
@click.argument("plan")
@click.option("--env", default="", help="Where it waits; every environment is asked by default.")
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    default=Path("~/.ssh/id_ed25519"),
    show_default=True,
    help="Your SSH key; a public one when an agent holds the secret.",
)
@click.option("--as", "name", metavar="NAME", default="", help="Who signs, where the key stands for several.")
def command(context: CommandContext, plan: str, env: str, key: Path, name: str) -> int:
    return asyncio.run(_approve(context, plan, env, key.expanduser(), name))


async def _approve(context: CommandContext, word: str, env: str, key: Path, name: str) -> int:
    from dodai.operations.run.approve import Waiting
    from dodai.wiring import environments

    asked = [context.environment(env)] if env else environments.open_all(context.project)
    waiting = await Waiting.find(asked, word)
    request = waiting.entry.request
    context.output.say(as_text(waiting.plan))
    context.output.say(f"asked for by {request.actor} at {waiting.entry.begun_at[:19]}Z")
    approval, key_print = await waiting.approve(key, name)
    if context.output.as_json:
        body = {name: value for name, value in approval.as_data().items() if name != "signature"}
        context.output.data("dodai.approval/1", {"planId": waiting.entry.plan_id, "key": key_print, **body})
    else:
        context.output.line(f"approved by {approval.principal} ({key_print}) until {approval.expires_at[:19]}Z")
        context.output.line(f"{request.actor} goes on with `{request.command}`")
    return 0
