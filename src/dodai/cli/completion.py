"""`dodai completion SHELL`: the script that makes a shell complete commands, environments, releases and codes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dodai.cli.command_context import VARIABLE, CommandContext, define

SHELLS = ("bash", "zsh", "fish")


@define(
    "completion",
    summary="Print the script for a shell's completion",
    example='eval "$(dodai completion bash)"',
    needs_manifest=False,
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(context: CommandContext, shell: str) -> int:
    from dodai.cli.main import app

    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click has all of `SHELLS`
    context.output.line(script(app, {}, "dodai", VARIABLE).source().strip())
    return 0
