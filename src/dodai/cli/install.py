"""`dodai install ENV`: the unit of systemd by which an environment comes back after a reboot."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.command_context import CommandContext, define


@define("install", summary="Let an environment come back after a reboot", example="dodai install staging")
@click.argument("env")
@click.option("--print", "only_print", is_flag=True, help="Print the unit and write nothing.")
def command(context: CommandContext, env: str, only_print: bool) -> int:
    """It is written, not enabled: what is left to type is printed."""
    from dodai.operations.run.boot import unit_of
    from dodai.operations.run.override import pass_gates

    environment, out = context.environment(env), context.output
    unit = unit_of(environment)
    if only_print:
        out.line(unit.text.rstrip())
        return 0
    asyncio.run(environment.refuse_elsewhere())
    asyncio.run(pass_gates(environment, "install", f"dodai install {env}"))
    written = unit.write()
    if out.as_json:
        said = {"environment": env, "unit": unit.name, "path": str(unit.path), "written": written}
        out.data("dodai.install/1", {**said, "commands": list(unit.next_commands)})
        return 0
    out.line(f"{'written' if written else 'already there'}: {unit.path}")
    for line in unit.next_commands:
        out.line(f"  {line}")
    return 0
