"""`dodai migrate`: one tool, one command, the same locally, in CI and in production."""

from __future__ import annotations

import importlib

import click

from dodai.cli.command_context import CONTEXT, unknown_command

_SUBCOMMANDS = ("up", "down", "adopt", "repair", "status", "new", "check", "rehearse", "stats", "validate")
"""Each is a module of this folder: `up` is typed all day and loads nothing of the others."""


class Subcommands(click.Group):
    """Loads the module of a subcommand only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _SUBCOMMANDS:
            return None
        module = importlib.import_module(f"dodai.cli.migrate.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click looks for near names among loaded commands; ours are not loaded yet."""
        if args and not args[0].startswith("-") and args[0] not in _SUBCOMMANDS:
            raise unknown_command(args[0], _SUBCOMMANDS, ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "migrate",
    cls=Subcommands,
    context_settings=CONTEXT,
    help="Apply, show and check database migrations.\n\n\b\nExample:\n  dodai migrate up",
    short_help="Apply, show and check database migrations",
)
def command() -> None:
    """The commands act on the database that the variable of `[database]` names, else on the local one."""
