"""`dodai trace ID`: declared here for help and completion; `__main__` runs it before this library is loaded."""

from __future__ import annotations

import click

from dodai.cli.command_context import CommandContext, define


@define(
    "trace",
    summary="Follow one request through every tier",
    example="dodai trace 01a20a288b427b969a28243b7e75d12c",
    needs_manifest=False,
)
@click.argument("request_id")
@click.option("--follow", is_flag=True, help="Keep looking until interrupted.")
@click.option("--for", "follow_s", metavar="SECONDS", default=None, help="Keep looking for this long.")
@click.option("--env", metavar="ENV", default="", help="Ask the platform that ENV runs on, such as Fly.")
@click.option("--state", multiple=True, metavar="FOLDER", help="A folder or VictoriaLogs' address; by default .dodai.")
def command(
    context: CommandContext, request_id: str, follow: bool, follow_s: str | None, env: str, state: tuple[str, ...]
) -> int:
    from dodai.observability.trace import main
    from dodai.wiring.watch import lines_at

    words = [request_id, *(["--follow"] if follow else []), *(["--for", follow_s] if follow_s else [])]
    words += ["--env", env] if env else []
    words += [word for folder in state for word in ("--state", folder)]
    return main(words + (["--json"] if context.output.as_json else []), lines_at)
