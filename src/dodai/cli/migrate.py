"""`dodai migrate`: one tool, one command, the same locally, in CI and in production."""

from __future__ import annotations

import click

from dodai.cli.session import Session, define
from dodai.migrations.run import Status


@click.group(
    "migrate",
    help="Apply, show and check database migrations.\n\n\b\nExample:\n  dodai migrate up",
    short_help="Apply, show and check database migrations",
)
def command() -> None:
    """The commands below act on the database that `[database].variable` names, else on the local one."""


@define("up", summary="Apply what is pending; never asks", example="DATABASE_URL=postgresql://… dodai migrate up")
@click.option("--env", default="local", show_default=True, help="Whose local database, when no URL is given.")
@click.option("--allow-missing", is_flag=True, help="Apply files that sort before applied ones.")
def up(session: Session, env: str, allow_missing: bool) -> int:
    from dodai.migrations import run
    from dodai.wiring.local import database_to_migrate
    from dodai.wiring.migrations import target

    project = session.project
    with database_to_migrate(project, env) as url:
        place = target(project, project.root, lambda: url)
        applied = run.up(place, allow_missing=allow_missing, note=session.output.say)
    if session.output.as_json:
        document = applied.as_json()
        session.output.data(document.pop("schema", "dodai.migrate.up/1"), document)
        return 0
    for ran in applied.ran:
        session.output.line(f"applied  {ran.migration.path}  {ran.ms:.0f} ms")
    if not applied.ran:
        session.output.line("already up to date")
    return 0


@define("status", summary="Show what is applied and what is pending", example="dodai migrate status --json")
@click.option("--env", default="local", show_default=True, help="Whose local database, when no URL is given.")
def status(session: Session, env: str) -> int:
    from dodai.migrations import run
    from dodai.wiring.local import database_to_migrate
    from dodai.wiring.migrations import target

    project = session.project
    with database_to_migrate(project, env) as url:
        seen = run.status(target(project, project.root, lambda: url))
    if session.output.as_json:
        document = seen.as_json()
        session.output.data(document.pop("schema"), document)
    else:
        _print(session, seen)
    return 0 if not seen.problems and seen.refusal is None else 1


def _print(session: Session, seen: Status) -> None:
    out = session.output
    for entry in seen.entries:
        out.line(f"{entry.standing:12} {entry.path or entry.id}  {entry.at}".rstrip())
    for problem in seen.problems:
        out.line(f"{problem.code.id} {problem.code.name}: {problem.path}:{problem.line}: {problem.message}")
    if seen.refusal:
        out.line(f"`dodai migrate up` would refuse: {seen.refusal.message}")
        out.line(f"  fix: {seen.refusal.fix}")
    out.say(f"{len(seen.applied)} applied, {len(seen.pending)} pending; ledger {seen.ledger}; lock: {seen.lock_holder}")


command.add_command(up)
command.add_command(status)
