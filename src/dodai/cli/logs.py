"""`dodai logs ENV [SERVICE]`: what services and other processes wrote to their output, running or not."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core import codes, proposal
from dodai.core.errors import DodaiError
from dodai.core.suggestion import did_you_mean
from dodai.engine.moment import utc

if TYPE_CHECKING:
    from dodai.operations.environment import Environment
    from dodai.operations.ports import LogLine, Logs

POLL_S = 0.2


@define("logs", summary="Show what services wrote, and follow it", example="dodai logs staging web --since 10m")
@click.argument("env")
@click.argument("service", default="")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on, until interrupted.")
@click.option("--since", metavar="SPAN", default="", help="What was written in the last 30s, 10m, 2h or 1d.")
@click.option("--request", "request_id", metavar="ID", default="", help="Lines with this request id only.")
@click.option(
    "--lines", type=click.IntRange(1), default=100, show_default=True,
    help="How many of those before now; with --since all.",
)  # fmt: skip
def command(
    context: CommandContext, env: str, service: str, follow: bool, since: str, request_id: str, lines: int
) -> int:
    """With --json a line of JSON for each line. 1 when there is no such line."""
    oldest = time.time() - _span_s(since) if since else 0.0
    environment = context.environment(env)
    logs = _logs(environment)
    _refuse_elsewhere(context, environment)
    if service and service not in (*environment.project.policy.services, *logs.parts()):
        fix = did_you_mean(service, logs.parts(), f"`{proposal.LOGS(env=env)}` shows every part")
        raise DodaiError(codes.UNKNOWN_WORD, f"`{env}` has no service `{service}`", fix, exit_code=2)
    wanted = _Wanted(oldest, request_id)
    found = (line for line in logs.read(service, since_s=oldest) if wanted.has(line))
    if follow:
        return _follow(context, logs.follow(service, since_s=oldest), wanted, 0 if since else lines)
    shown = _show(context, found if since or request_id else deque(found, maxlen=max(0, lines)))
    if wanted.undated:
        context.output.say(f"{wanted.undated} lines are left out: when they were written is not known")
    if not shown:
        context.output.say(f"{env}: no {'such ' if since or request_id else ''}line")
    return 0 if shown else 1


class _Wanted:
    """Which lines are asked for; those that might be, for all that is known, are counted."""

    def __init__(self, oldest: float, request_id: str) -> None:
        self.oldest = oldest
        self.request_id = request_id
        self.undated = 0

    def has(self, line: LogLine) -> bool:
        if self.request_id not in line.text:
            return False
        if self.oldest and not line.at:
            self.undated += 1
        return line.at >= self.oldest


def _span_s(span: str) -> float:
    from dodai.core.section import UNITS_S, measure

    try:
        return measure(span, UNITS_S)
    except (ValueError, TypeError):
        raise click.BadParameter(f"`{span}` is not a span of time such as 30s, 10m, 2h or 1d") from None


def _logs(environment: Environment) -> Logs:
    """DOD364 (exit 2) where a vendor keeps them."""
    if environment.logs is None:
        from dodai.operations.codes import NOT_ON_THIS_MACHINE

        at = environment.config.provider_of("compute")
        said = f"`{environment.name}` runs at `{at}`, which keeps what its services write"
        raise DodaiError(NOT_ON_THIS_MACHINE, said, f"use the tools of `{at}`", exit_code=2)
    return environment.logs


def _refuse_elsewhere(context: CommandContext, environment: Environment) -> None:
    """DOD382 where it lives at another place; that nobody can say where does not hide what is here."""
    from dodai.engine.codes import CONTROL_UNAVAILABLE

    try:
        asyncio.run(environment.refuse_elsewhere())
    except DodaiError as error:
        if error.code is not CONTROL_UNAVAILABLE:
            raise
        context.output.say(f"this is what is in {environment.folder}; where it runs is not known: {error.message}")


def _follow(context: CommandContext, lines: Iterator[LogLine | None], wanted: _Wanted, last: int) -> int:
    """What there is first, at most the `last` lines of it (0: all), then everything as it comes."""
    before: deque[LogLine] = deque(maxlen=last or None)
    for line in lines:
        if line is None:
            break
        if wanted.has(line):
            before.append(line)
    _show(context, before)
    for line in lines:
        if line is None:
            time.sleep(POLL_S)
        elif wanted.has(line):
            _show(context, [line])
    return 0


def _show(context: CommandContext, lines: Iterable[LogLine]) -> int:
    """How many they are."""
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is the answer
        at = utc(line.at) if line.at else ""
        if context.output.as_json:
            row = {"at": at or None, "part": line.part, "release": line.release or None, "text": line.text}
            context.output.verbatim(json.dumps({"schema": "dodai.log-line/1", **row}))
        else:
            name = f"{line.part} {line.release[:8]}" if line.release else line.part
            context.output.verbatim(f"{at or '-':20} {context.output.paint(name, 'cyan')} | {line.text}")
    return count
