"""`dodai deploy ENV [RELEASE]`: the deploy plan, printed and carried out."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, Seconds, define, with_break_glass
from dodai.cli.output import heard_or_not
from dodai.cli.progress import Elapsed, confirm, finish, show, tell
from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.operations.run.gate import BREAK_GLASS

if TYPE_CHECKING:
    from dodai.operations.environment import Environment

LOOK_S = 0.5


@define("deploy", summary="Bring a release into service", example="dodai deploy staging --dry-run")
@click.argument("env")
@click.argument("release", default="")
@click.option("--image", "images", multiple=True, help="SERVICE=NAME@sha256:… where images are run; repeatable.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Never opens a gate.")
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=Seconds(),
    default=0.0,
    help="Where somebody else holds the lock: wait for it so long at most.",
)
@with_break_glass
def command(
    context: CommandContext,
    env: str,
    release: str,
    images: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    wait_s: float,
    break_glass: str,
) -> int:
    arguments = {BREAK_GLASS: break_glass} if break_glass else {}
    if not release and not images:  # given again, it brings what was corrected meanwhile, not the release that failed
        arguments["command"] = proposal.DEPLOY(env=env)
    return asyncio.run(
        _deploy(context, env, release, arguments, images=images, dry_run=dry_run, yes=yes, wait_s=wait_s)
    )


async def _deploy(
    context: CommandContext,
    env: str,
    word: str,
    arguments: Mapping[str, str],
    *,
    images: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    wait_s: float,
) -> int:
    from dodai.operations.run.build import publish
    from dodai.operations.run.rollback_target import find_release

    environment = context.environment(env)
    named = dict(_image(each) for each in images)
    if word:
        release = await find_release(environment, word)
        release = environment.artifacts.with_images(release, named) if named else release
    else:
        with Elapsed(context.output).around_lines() as note:
            release = await asyncio.to_thread(publish, environment, note, lambda _: named)
    environment.artifacts.path(release)  # a release that is not there is told before anything is asked
    if dry_run:
        return await rehearsed(context, environment, "deploy", release, arguments)
    return await carry_out(context, environment, "deploy", release, arguments, yes=yes, wait_s=wait_s)


def _image(text: str) -> tuple[str, str]:
    service, _, reference = text.partition("=")
    if not (service and reference):
        raise click.BadParameter(f"`{text}` is not SERVICE=NAME@sha256:DIGEST", param_hint="--image")
    return service, reference


async def rehearsed(
    context: CommandContext,
    environment: Environment,
    kind: str,
    release: str,
    arguments: Mapping[str, str] | None = None,
) -> int:
    """0, the plan and what it would change having been printed."""
    from dodai.operations.run.differences import differences
    from dodai.operations.run.plans import build, request_for

    request = await request_for(environment, kind, release, arguments)
    show(context.output, build(environment, request), await differences(environment, request))
    return 0


async def carry_out(
    context: CommandContext,
    environment: Environment,
    kind: str,
    release: str,
    arguments: Mapping[str, str] | None = None,
    *,
    yes: bool,
    given: str = "",
    wait_s: float = 0.0,
) -> int:
    """How `_carry_out_now` ended, tried again for `wait_s` while somebody else holds the lock.

    Each try is a plan of its own: what the holder brought into service meanwhile is what it starts from. So only a
    release that was chosen whatever serves may wait.
    """
    from dodai.engine.codes import LEASE_HELD

    end, said = time.monotonic() + wait_s, ""
    while True:
        try:
            return await _carry_out_now(context, environment, kind, release, arguments, yes=yes, given=given)
        except DodaiError as error:
            if error.code is not LEASE_HELD or time.monotonic() >= end:
                raise
            holder = str(error.data.get("pid", ""))
            if holder != said:
                context.output.say(f"waits: {error.message}")
            said = holder
        await asyncio.sleep(LOOK_S)


async def _with_its_packages(context: CommandContext, environment: Environment, release: str) -> None:
    """An earlier release runs with its own: installed anew where they were removed since."""
    from dodai.operations.run.dependencies import packages_of

    if packages := packages_of(environment):
        with Elapsed(context.output).around_lines() as note:
            await asyncio.to_thread(packages.provide, release, note)


async def _carry_out_now(
    context: CommandContext,
    environment: Environment,
    kind: str,
    release: str,
    arguments: Mapping[str, str] | None,
    *,
    yes: bool,
    given: str,
) -> int:
    """The exit code of bringing `release` into service: asked about, then done under the lock and written down.

    Without a `release`, nothing is started: what the plan changes waits for the first one.
    What was shown is what is done: DOD377 (exit 1) when something else serves by the time the answer comes. `given` is
    the value of a secret that the plan sets.
    """
    from dodai.cli.progress import StepLines
    from dodai.engine.execute import execute
    from dodai.engine.stop import install_signal_stop
    from dodai.operations.run.override import record_what_was_not
    from dodai.operations.run.plans import build, refuse_stale, request_for
    from dodai.operations.run.rotation_end import settle_rotation

    shown = await request_for(environment, kind, release, arguments)
    confirm(context.output, build(environment, shown), yes=yes)
    await record_what_was_not(environment)
    with environment.journal() as journal:  # first: nothing is started where nothing could be written down
        if release:
            await _with_its_packages(context, environment, release)
            await environment.compute.prepare()
        request = await request_for(environment, kind, release, arguments)
        refuse_stale(shown, request)
        stop = install_signal_stop(asyncio.get_running_loop())
        plan, lease = build(environment, request, given), environment.lease(request)
        outcome = await execute(plan, journal, lease, sink=StepLines(context.output), stop=stop)
        if outcome.closed and (left := await settle_rotation(environment, request)):
            context.output.say(left)
    if outcome.exit_code == 0 and release and not context.output.as_json:
        edge = (await environment.edge.observe()).url
        with heard_or_not(sys.stdout):
            context.output.line(f"{edge}  serves release {release}")
    await tell(context.output, outcome)
    return finish(context.output, outcome)
