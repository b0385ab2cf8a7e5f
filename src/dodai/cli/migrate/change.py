"""The `migrate` commands that change a database or its ledger."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import click

from dodai.cli.migrate.place import place, say_json, with_env, with_yes
from dodai.cli.session import Session, consent, define, with_break_glass

if TYPE_CHECKING:
    from dodai.migrations.run import Applied
    from dodai.operations.admission import Change


@define("up", summary="Apply what is pending; never asks", example="DATABASE_URL=postgresql://… dodai migrate up")
@with_env
@click.option("--allow-missing", is_flag=True, help="Apply files that sort before applied ones.")
@click.option("--beside-tables", is_flag=True, help="Tables that no ledger accounts for are not of these files.")
@with_break_glass
def up(session: Session, env: str, allow_missing: bool, beside_tables: bool, break_glass: str) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    with place(session, env) as target:
        if env != "local":
            from dodai.operations.run.override import pass_migration

            here = session.environment(env)
            pass_migration(here, target, f"dodai migrate up --env {env}", break_glass)
        admit = partial(refuse_other, env=env)
        done = run.up(
            target, allow_missing=allow_missing, beside_tables=beside_tables, note=session.output.say, admit=admit
        )
    _tell(session, done, "already up to date")


@define("down", summary="Undo the last migrations", example="dodai migrate down 2 --yes")
@with_env
@click.argument("count", type=click.IntRange(1), default=1)
@click.option("--to", metavar="VERSION", default="", help="Undo all after this version.")
@with_break_glass
@with_yes
def down(session: Session, env: str, count: int, to: str, break_glass: str, yes: bool) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    what = f"undo all after version {to}" if to else f"undo the last {count}"
    consent(f"to {what} changes a database", f"{what}?", yes=yes)
    with place(session, env) as target:
        protected = _pass(session, env, "migrate down", f"dodai migrate down: {what}", break_glass)
        done = run.down(
            target,
            count=count,
            to=to,
            protected=protected,
            break_glass=break_glass,
            note=session.output.say,
            admit=partial(refuse_other, env=env),
        )
    _tell(session, done, "already down: nothing to undo")


def _pass(session: Session, env: str, change: Change, what: str, reason: str) -> bool:
    """Whether `env` is protected; where it is, a reason is in its audit log before anything is changed."""
    import asyncio

    from dodai.operations.run.override import is_protected, pass_gates

    here = session.environment(env)
    protected = is_protected(here)
    if protected or (reason and change != "migrate repair"):  # repair keeps its own reason in the ledger
        asyncio.run(pass_gates(here, change, what, reason))
    return protected


@define("adopt", summary="Take over a database that another tool, or nobody, managed", example="dodai migrate adopt")
@with_env
@click.option("--at", metavar="VERSION", default="", help="The version it is at, where several fit.")
@with_break_glass
@with_yes
def adopt(session: Session, env: str, at: str, break_glass: str, yes: bool) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other
    from dodai.wiring.shadow import shadow_server

    major = session.project.policy.database.major
    what = "record as applied the files whose schema is proven to be the database's"
    consent(f"to {what} changes its ledger", f"{what}?", yes=yes)
    with place(session, env) as target:
        _pass(session, env, "migrate adopt", "dodai migrate adopt", break_glass)
        adopted = run.adopt(target, lambda: shadow_server(major), at=at, admit=partial(refuse_other, env=env))
    if session.output.as_json:
        say_json(session, adopted.as_json())
        return
    word = "already adopted" if adopted.already else "adopted"
    session.output.line(f"{word}: {len(adopted.baseline)} migrations are in effect, {len(adopted.pending)} pending")
    if adopted.foreign:
        session.output.line(f"the ledger of another tool was found and left as it is: {adopted.foreign}")


@define("repair", summary="Correct the record of migrations, never the schema", example="dodai migrate repair 42 43")
@with_env
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", default="", help="Why; recorded.")
@click.option("--statement", type=int, default=0, help="An interrupted statement of a NO TRANSACTION file.")
@click.option("--was", type=click.Choice(("done", "undone")), default=None, help="How that statement ended.")
@with_yes
def repair(
    session: Session,
    env: str,
    versions: tuple[str, ...],
    reason: str,
    statement: int,
    was: Literal["done", "undone"] | None,
    yes: bool,
) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    named = " ".join(versions)
    what = f"correct the record of {named}"
    consent(f"to {what} changes a ledger", f"{what}?", yes=yes)
    with place(session, env) as target:
        _pass(session, env, "migrate repair", f"dodai migrate repair {named}", reason)
        admit = partial(refuse_other, env=env)
        repaired = run.repair(target, *versions, reason=reason, statement=statement, was=was or "", admit=admit)
    if session.output.as_json:
        say_json(session, repaired.as_json())
    else:
        for row in repaired.rows:
            session.output.line(f"{row.id}: {row.did}")


def _tell(session: Session, applied: Applied, nothing: str) -> None:
    if session.output.as_json:
        say_json(session, applied.as_json())
        return
    word = "applied" if applied.direction == "up" else "undone"
    for ran in applied.ran:
        session.output.line(f"{word}  {ran.migration.path}  {ran.ms:.0f} ms")
    if not applied.ran:
        session.output.line(nothing)
