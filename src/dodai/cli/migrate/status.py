"""`dodai migrate status`: what is applied and what is pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dodai.cli.command_context import CommandContext, define
from dodai.cli.migrate.target import place, say_json, with_env
from dodai.core import proposal

if TYPE_CHECKING:
    from dodai.migrations.run import Status


@define("status", summary="Show what is applied and what is pending", example="dodai migrate status --json")
@with_env
def status(context: CommandContext, env: str) -> int:
    from dodai.migrations import run

    with place(context, env) as target:
        seen = run.status(target)
    if context.output.as_json:
        say_json(context, seen.as_json())
    else:
        _print_status(context, seen)
    return 0 if not seen.problems and seen.refusal is None and not seen.invalid_indexes else 1


def _print_status(context: CommandContext, seen: Status) -> None:
    out = context.output
    for entry in seen.entries:
        half = f"{entry.statements_done} of {entry.statements} statements" if entry.standing == "half applied" else ""
        out.line(f"{entry.standing:12} {entry.path or entry.id}  {half or entry.at}".rstrip())
    for problem in seen.problems:
        out.line(f"{problem.code.id} {problem.code.name}: {problem.path}:{problem.line}: {problem.message}")
    for name in seen.invalid_indexes:
        out.line(f"invalid      index {name}: a failed build left it, and no query uses it")
        out.line(f"  fix: `DROP INDEX CONCURRENTLY {name}`, then build it again")
    if seen.refusal:
        out.line(f"`{proposal.MIGRATE_UP()}` would refuse: {seen.refusal.message}")
        out.line(f"  fix: {seen.refusal.fix}")
    out.say(f"{len(seen.applied)} applied, {len(seen.pending)} pending; ledger {seen.ledger}; lock: {seen.lock_holder}")
