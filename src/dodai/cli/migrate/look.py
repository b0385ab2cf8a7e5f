"""The `migrate` commands that leave the database as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dodai.cli.migrate.place import place, say_json, with_env
from dodai.cli.session import Session, define

if TYPE_CHECKING:
    from dodai.migrations.run import Status


@define("status", summary="Show what is applied and what is pending", example="dodai migrate status --json")
@with_env
def status(session: Session, env: str) -> int:
    from dodai.migrations import run

    with place(session, env) as target:
        seen = run.status(target)
    if session.output.as_json:
        say_json(session, seen.as_json())
    else:
        _print_status(session, seen)
    return 0 if not seen.problems and seen.refusal is None and not seen.invalid_indexes else 1


def _print_status(session: Session, seen: Status) -> None:
    out = session.output
    for entry in seen.entries:
        half = f"{entry.statements_done} of {entry.statements} statements" if entry.standing == "half applied" else ""
        out.line(f"{entry.standing:12} {entry.path or entry.id}  {half or entry.at}".rstrip())
    for problem in seen.problems:
        out.line(f"{problem.code.id} {problem.code.name}: {problem.path}:{problem.line}: {problem.message}")
    for name in seen.invalid_indexes:
        out.line(f"invalid      index {name}: a failed build left it, and no query uses it")
        out.line(f"  fix: `DROP INDEX CONCURRENTLY {name}`, then build it again")
    if seen.refusal:
        out.line(f"`dodai migrate up` would refuse: {seen.refusal.message}")
        out.line(f"  fix: {seen.refusal.fix}")
    out.say(f"{len(seen.applied)} applied, {len(seen.pending)} pending; ledger {seen.ledger}; lock: {seen.lock_holder}")


@define("new", summary="Make an empty migration file", example="dodai migrate new add-readers")
@click.argument("name")
@click.option("--no-transaction", is_flag=True, help="For statements such as CREATE INDEX CONCURRENTLY.")
def new(session: Session, name: str, no_transaction: bool) -> None:
    from dodai.migrations import run
    from dodai.wiring.migrations import target

    project = session.project
    here = target(project, project.root, str)
    path = run.new(here, name, no_transaction=no_transaction, now=datetime.now(UTC))
    if session.output.as_json:
        session.output.data("dodai.migrate.new/1", {"path": path})
    else:
        session.output.line(f"wrote: {path}")


@define("stats", summary="Save row counts, so that check can weigh locks", example="DATABASE_URL=… dodai migrate stats")
@with_env
def stats(session: Session, env: str) -> None:
    from dodai.migrations import run

    with place(session, env) as target:
        rows = run.save_rows(target)
    if session.output.as_json:
        session.output.data("dodai.migrate.stats/1", {"rows": dict(rows)})
        return
    for table, count in rows.items():
        session.output.line(f"{'unknown' if count is None else count:>12}  {table}")
