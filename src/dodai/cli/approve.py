"""`dodai approve PLAN`: sign a plan that somebody else will carry out."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import click

from dodai.cli.command_context import CommandContext, consent, define
from dodai.core import proposal
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
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(context: CommandContext, plan: str, env: str, key: Path, name: str, yes: bool) -> int:
    return asyncio.run(_approve(context, plan, env, key.expanduser(), name, yes=yes))


async def _approve(context: CommandContext, word: str, env: str, key: Path, name: str, *, yes: bool) -> int:
    from dodai.migrations.check.shadow import locks
    from dodai.operations.run.approve import Waiting
    from dodai.wiring import environments
    from dodai.wiring.migration_target import target
    from dodai.wiring.shadow_server import shadow_of

    asked = [context.environment(env)] if env else environments.open_all(context.project)
    waiting = await Waiting.find(asked, word)
    request = waiting.entry.request
    context.output.say(as_text(waiting.plan))
    context.output.say(f"asked for by {request.actor} at {waiting.entry.begun_at[:19]}Z")
    context.output.say("what is signed, beside what serves now:")
    for one in await waiting.shown():
        context.output.say(f"  {one.what:10}  {one.change}")
    project, pending = await waiting.pending()
    there, shadow = target(project, project.root, str), partial(shadow_of, project)
    for line in await asyncio.to_thread(list, locks(there, shadow, pending)):
        context.output.say(f"  {'locks':10}  {line}")
    waiting.refuse_pointless()
    consent(f"`{proposal.APPROVE(plan=waiting.entry.plan_id)}` signs a plan", "sign it?", yes=yes)
    approval, key_print = await waiting.approve(key, name)
    if context.output.as_json:
        body = {name: value for name, value in approval.as_data().items() if name != "signature"}
        context.output.data("dodai.approval/1", {"planId": waiting.entry.plan_id, "key": key_print, **body})
    else:
        context.output.line(f"approved by {approval.principal} ({key_print}) until {approval.expires_at[:19]}Z")
        context.output.line(f"{request.actor} goes on with `{request.command}`")
    return 0
