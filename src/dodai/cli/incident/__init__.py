"""`dodai incident`: what happened, written down while it can still be seen, and whether it was learnt from."""

from __future__ import annotations

import click

from dodai.cli.command_context import CONTEXT
from dodai.cli.lazy_group import LazyGroup


@click.group(
    "incident",
    cls=LazyGroup,
    package=__name__,
    verbs=dict.fromkeys(("new", "list"), "command"),
    context_settings=CONTEXT,
    help="Write down what happened, on one timeline.\n\n\b\nExample:\n"
    "  dodai incident new 01a20a154cc271afb17c548fca6d98ca --env staging",
    short_help="Write down what happened, on one timeline",
)
def command() -> None:
    """Files in the repository: they outlive lines and rollups."""
