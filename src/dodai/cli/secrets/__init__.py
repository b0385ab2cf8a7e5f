"""`dodai secrets`: what each environment keeps secret, how old it is, and how it is changed while it serves."""

from __future__ import annotations

import click

from dodai.cli.command_context import CONTEXT
from dodai.cli.lazy_group import LazyGroup


@click.group(
    "secrets",
    cls=LazyGroup,
    package=__name__,
    verbs=dict.fromkeys(("list", "rotate", "set"), "command"),
    context_settings=CONTEXT,
    help="Show the secrets of an environment and change them while it serves.\n\n\b\nExample:\n"
    "  dodai secrets rotate staging SESSION_SECRET",
    short_help="Show the secrets of an environment and change them",
)
def command() -> None:
    """No verb prints a value."""
