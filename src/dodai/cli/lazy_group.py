"""A command with verbs of its own, each in a module that is loaded only when the verb is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from dodai.cli.command_context import unknown_command


class LazyGroup(click.Group):
    """`verbs` maps each verb, which is a module of `package`, to the name of its command there."""

    def __init__(self, *args: Any, package: str, verbs: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.package, self.verbs = package, verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.verbs:
            return None
        module = importlib.import_module(f"{self.package}.{cmd_name}")
        command: click.Command = getattr(module, self.verbs[cmd_name])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click looks for near names among loaded commands; ours are not loaded yet."""
        if args and not args[0].startswith("-") and args[0] not in self.verbs:
            raise unknown_command(args[0], self.verbs, ctx)
        return super().resolve_command(ctx, args)
