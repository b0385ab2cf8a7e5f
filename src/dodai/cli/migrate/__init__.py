"""`dodai migrate`: one tool, one command, the same locally, in CI and in production."""

from __future__ import annotations

import click

from dodai.cli.migrate.change import adopt, down, repair, up
from dodai.cli.migrate.look import check, new, rehearse, stats, status


@click.group(
    "migrate",
    help="Apply, show and check database migrations.\n\n\b\nExample:\n  dodai migrate up",
    short_help="Apply, show and check database migrations",
)
def command() -> None:
    """The commands act on the database that the variable of `[database]` names, else on the local one."""


for _subcommand in (up, status, new, check, rehearse, stats, down, adopt, repair):
    command.add_command(_subcommand)
