"""`dodai migrate validate`: what the files alone show."""

from __future__ import annotations

from dodai.cli.command_context import CommandContext, define
from dodai.cli.migrate.target import say_json
from dodai.core import proposal


@define("validate", summary="Judge the files alone: no server, no code of yours", example="dodai migrate validate")
def validate(context: CommandContext) -> int:
    from dodai.migrations import run
    from dodai.wiring.migration_target import target

    found = run.validate(target(context.project, context.project.root, str))
    if context.output.as_json:
        say_json(context, found.as_json())
    for problem in () if context.output.as_json else found.problems:
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        context.output.line(f"{problem.code.id} {problem.code.name}: {place}: {problem.message}")
        context.output.line(f"  fix: {problem.fix or problem.code.fix.en}")
    told = f"{found.files} files read, {len(found.problems)} problems"
    context.output.say(f"{told}; what the files do is judged by `{proposal.MIGRATE_CHECK()}`")
    return 1 if found.problems else 0
