"""`dodai exec ENV SERVICE -- COMMAND`: a command with the files, settings and secrets of what serves, on record."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.command_context import CommandContext, define, with_break_glass


@define(
    "exec",
    summary="Run a command in the place of a service, on record",
    example="dodai exec staging web -- python -m shop.reindex",
)
@click.argument("env")
@click.argument("service")
@click.argument("words", metavar="-- COMMAND", nargs=-1, required=True, type=click.UNPROCESSED)
@with_break_glass
def command(context: CommandContext, env: str, service: str, words: tuple[str, ...], break_glass: str) -> int:
    """`python` and `node` alone are those of the release; the exit code is that of the command."""
    from dodai.operations.programs import find_programs
    from dodai.operations.run import beside
    from dodai.operations.run.dependencies import Packages

    environment = context.environment(env)
    place = asyncio.run(beside.place_of(environment, service))
    asyncio.run(beside.begin(place, words, break_glass))
    if place.stale:
        context.output.say(f"{service} was started with other settings than those of now, which this command gets")
    programs = find_programs(Packages(place.here).python(place.given.release))
    first = {"python": "{python}", "node": "{node}", "npm": "{npm}"}.get(words[0], words[0])
    code, took_s = beside.carry_out(place, programs.fill((first, *words[1:])))
    if error := asyncio.run(beside.end(place, words, code, took_s)):
        context.output.say(f"it ended with {code}, which is not on record: {error.code.id} {error.message}")
    return code
