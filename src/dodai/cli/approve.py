"""`dodai approve PLAN`: sign a plan that somebody else will carry out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from dodai.cli.session import Session, define
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
def command(session: Session, plan: str, env: str, key: Path, name: str) -> int:
    return asyncio.run(_approve(session, plan, env, key.expanduser(), name))


async def _approve(session: Session, word: str, env: str, key: Path, name: str) -> int:
    from dodai.operations.run.approve import Waiting
    from dodai.wiring import environments

    asked = [session.environment(env)] if env else environments.open_all(session.project)
    waiting = await Waiting.find(asked, word)
    request = waiting.entry.request
    session.output.say(as_text(waiting.plan))
    session.output.say(f"asked for by {request.actor} at {waiting.entry.begun_at[:19]}Z")
    approval, key_print = await waiting.approve(key, name)
    if session.output.as_json:
        body = {name: value for name, value in approval.as_data().items() if name != "signature"}
        session.output.data("dodai.approval/1", {"planId": waiting.entry.plan_id, "key": key_print, **body})
    else:
        session.output.line(f"approved by {approval.principal} ({key_print}) until {approval.expires_at[:19]}Z")
        session.output.line(f"{request.actor} goes on with `{request.command}`")
    return 0
