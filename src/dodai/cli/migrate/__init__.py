"""`dodai migrate`: one tool, one command, the same locally, in CI and in production."""

from __future__ import annotations

import click

from dodai.cli.command_context import CONTEXT
from dodai.cli.lazy_group import LazyGroup

_SUBCOMMANDS = ("up", "down", "adopt", "repair", "status", "new", "check", "rehearse", "stats", "validate")
"""Each is a module of this folder: `up` is typed all day and loads nothing of the others."""


@click.group(
    "migrate",
    cls=LazyGroup,
    package=__name__,
    verbs={name: name for name in _SUBCOMMANDS},
    context_settings=CONTEXT,
    help="Apply, show and check database migrations.\n\n\b\nExample:\n  dodai migrate up",
    short_help="Apply, show and check database migrations",
)
def command() -> None:
    """The commands act on the database that the variable of `[database]` names, else on the local one."""
