"""Which database a `migrate` command acts on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dodai.cli.command_context import CommandContext
    from dodai.migrations.ports import MigrationTarget
    from dodai.migrations.run import Applied
    from dodai.operations.admission import Change

with_env: Callable[[Any], Any] = click.option(
    "--env", default="local", show_default=True, help="Whose local database, when no URL is given."
)
with_yes: Callable[[Any], Any] = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@contextlib.contextmanager
def place(context: CommandContext, env: str) -> Iterator[MigrationTarget]:
    """The migrations of the project and the database of `env`, run for the block when nobody runs it."""
    from dodai.wiring.migration_database import database_to_migrate
    from dodai.wiring.migration_target import target

    project = context.project
    with stopped_by_signals(), database_to_migrate(project, env) as url:
        yield target(project, project.root, lambda: url)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and a lost terminal end the block as Ctrl-C does, so that the running statement ends with it."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt(143)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_json(context: CommandContext, document: dict[str, Any]) -> None:
    """A value's own document, its schema name first."""
    context.output.data(document.pop("schema"), document)


def pass_protected_gates(context: CommandContext, env: str, change: Change, what: str, reason: str) -> bool:
    """Whether `env` is protected; where it is, a reason is in its audit log before anything is changed."""
    import asyncio

    from dodai.operations.run.override import is_protected, pass_gates

    here = context.environment(env)
    protected = is_protected(here)
    if protected or (reason and change != "migrate repair"):  # repair keeps its own reason in the ledger
        asyncio.run(pass_gates(here, change, what, reason))
    return protected


def print_applied(context: CommandContext, applied: Applied, nothing: str) -> None:
    if context.output.as_json:
        say_json(context, applied.as_json())
        return
    word = "applied" if applied.direction == "up" else "undone"
    for ran in applied.ran:
        context.output.line(f"{word}  {ran.migration.path}  {ran.ms:.0f} ms")
    if not applied.ran:
        context.output.line(nothing)
