"""Which database a `migrate` command acts on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dodai.cli.session import Session
    from dodai.migrations.ports import Target

with_env: Callable[[Any], Any] = click.option(
    "--env", default="local", show_default=True, help="Whose local database, when no URL is given."
)
with_yes: Callable[[Any], Any] = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@contextlib.contextmanager
def place(session: Session, env: str) -> Iterator[Target]:
    """The migrations of the project and the database of `env`, run for the block when nobody runs it."""
    from dodai.wiring.database_url import database_to_migrate
    from dodai.wiring.migrations import target

    project = session.project
    with _stopped_by_signals(), database_to_migrate(project, env) as url:
        yield target(project, project.root, lambda: url)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
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


def say_json(session: Session, document: dict[str, Any]) -> None:
    """A value's own document, its schema name first."""
    session.output.data(document.pop("schema"), document)
