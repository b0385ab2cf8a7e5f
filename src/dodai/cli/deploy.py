"""`dodai deploy ENV [RELEASE]`: the deploy plan, printed and carried out."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.progress import StepLines, confirm, finish
from dodai.cli.session import Session, define
from dodai.engine.plan import Plan
from dodai.engine.render import as_json, as_text


@define("deploy", summary="Bring a release into service", example="dodai deploy staging --dry-run")
@click.argument("env")
@click.argument("release", default="")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(session: Session, env: str, release: str, dry_run: bool, yes: bool) -> int:
    return asyncio.run(_deploy(session, env, release, dry_run=dry_run, yes=yes))


async def _deploy(session: Session, env: str, release: str, *, dry_run: bool, yes: bool) -> int:
    from dodai.engine.execute import execute
    from dodai.engine.stop import install_signal_stop
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)
    release = release or await asyncio.to_thread(environment.releases.publish, str(session.project.root))
    environment.releases.path(release)  # a release that is not there is told before anything is asked
    plan = environment.build(await environment.request("deploy", release))
    if dry_run:
        _show(session, plan)
        return 0
    confirm(session.output, plan, yes=yes)
    await environment.open(detached=True)
    request = await environment.request("deploy", release)
    stop = install_signal_stop(asyncio.get_running_loop())
    with environment.journal() as journal:
        outcome = await execute(
            environment.build(request),
            journal,
            environment.lease(request),
            sink=StepLines(session.output),
            stop=stop,
        )
    edge = (await environment.host.status()).edge
    if outcome.exit_code == 0 and not session.output.as_json:
        session.output.line(f"{edge}  serves release {release}")
    return finish(session.output, outcome)


def _show(session: Session, plan: Plan) -> None:
    if session.output.as_json:
        document = as_json(plan)
        session.output.data(document.pop("schema"), document)
    else:
        session.output.line(as_text(plan))
