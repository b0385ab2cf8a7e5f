"""`dodai secrets`: what each environment keeps secret, how old it is, and how it is changed while it serves."""

from __future__ import annotations

import importlib

import click

from dodai.cli.command_context import CONTEXT, unknown_command

_SUBCOMMANDS = ("list", "rotate", "set")


class SecretsGroup(click.Group):
    """Loads the module of a subcommand only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*_SUBCOMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _SUBCOMMANDS:
            return None
        command: click.Command = importlib.import_module(f"dodai.cli.secrets.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click looks for near names among loaded commands; ours are not loaded yet."""
        if args and not args[0].startswith("-") and args[0] not in _SUBCOMMANDS:
            raise unknown_command(args[0], _SUBCOMMANDS, ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "secrets",
    cls=SecretsGroup,
    context_settings=CONTEXT,
    help="Show the secrets of an environment and change them while it serves.\n\n\b\nExample:\n"
    "  dodai secrets rotate staging SESSION_SECRET",
    short_help="Show the secrets of an environment and change them",
)
def command() -> None:
    """No verb prints a value."""
