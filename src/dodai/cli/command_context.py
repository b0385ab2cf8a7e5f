"""What every command starts from: its options, its output, and the manifest when it asks for it."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dodai.cli.output import Output
from dodai.core import codes
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.suggestion import nearest

if TYPE_CHECKING:
    from dodai.operations.environment import Environment

VARIABLE = "_DODAI_COMPLETE"
"""What a shell sets when it asks for words; click answers it before any command runs."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Set on every command: click keeps the help option that the first context asked for, whatever its parent was."""


@dataclass(slots=True)
class CommandContext:
    """`manifest_path` is what `--manifest` named, None to search upwards from the current folder.

    `client` names the `[client.NAME]` that takes the place of its service, empty for none.
    """

    output: Output
    manifest_path: Path | None = None
    client: str = ""

    @property
    def project(self) -> Any:
        """The project of the manifest; raises DOD050 when there is none, DOD001-DOD005 when it is not sound."""
        from dodai.wiring.find_project import find_project

        project = find_project(self.manifest_path)
        if not self.client:
            return project
        from dodai.operations.project import with_client

        return with_client(project, self.client)

    def of_client(self, name: str) -> CommandContext:
        """The same with another web tier."""
        return replace(self, client=name)

    def environment(self, name: str) -> Environment:
        """The environment of that name, nothing started; DOD051 when there is none, DOD009-DOD011 when unfit.

        Files of it with secrets that others may read are told by every command that comes here.
        """
        from dodai.engine.codes import STATE_FILE_EXPOSED
        from dodai.engine.private_file import exposed
        from dodai.wiring import environments

        found = environments.open(self.project, name)
        for one in exposed(found.folder):
            self.output.say(f"warning: {STATE_FILE_EXPOSED.id} {STATE_FILE_EXPOSED.name}: {one.message}")
            self.output.say(f"  fix: {one.fix}")
        return found


class Seconds(click.FloatRange):
    """A number of seconds, 0 or more; what is no number is never over."""

    def __init__(self) -> None:
        super().__init__(min=0.0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if math.isnan(found):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return found


def consent(what: str, question: str, *, yes: bool) -> None:
    """Ask before something that a person has to want; `what` would happen, for whoever reads the refusal.

    Raises DOD052 (exit 2) when there is nobody to ask, `Abort` when the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"{what} and there is no terminal to ask on"
        raise DodaiError(codes.CONFIRMATION_NEEDED, message, codes.CONFIRMATION_NEEDED.fix.en, exit_code=2)
    click.confirm(question, abort=True, err=True)


def reason_given(context: click.Context, option: click.Parameter, value: str | None) -> str:
    del context, option
    if value is not None and not value.strip():
        raise click.BadParameter("say why, in words that the audit log can keep")
    return (value or "").strip()


with_break_glass: Callable[[Any], Any] = click.option(
    "--break-glass",
    metavar="REASON",
    callback=reason_given,
    help="Why it cannot wait, or is needed where protected. Recorded.",
)


with_client: Callable[[Any], Any] = click.option(
    "--client", metavar="NAME", default="", help="Run `[client.NAME]` of the manifest in the place of its service."
)


def define(name: str, *, summary: str, example: str, needs_manifest: bool = True) -> Callable[..., click.Command]:
    """A click command whose function gets a `CommandContext` first; adds `--json`, `--quiet` and `--manifest`."""

    def build(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def call(*, as_json: bool, quiet: bool, manifest: Path | None = None, **options: Any) -> Any:
            context = click.get_current_context()
            output = Output(as_json=as_json, quiet=quiet, meant_for=context.obj)
            refuse_empty(context)
            return function(CommandContext(output, manifest), **options)

        wrapped: Any = call
        if needs_manifest:
            wrapped = click.option(
                "--manifest",
                type=click.Path(dir_okay=False, path_type=Path),
                help="The manifest; by default the nearest dodai.toml upwards.",
            )(wrapped)
        wrapped = click.option("--quiet", "-q", is_flag=True, help="No progress lines.")(wrapped)
        wrapped = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(wrapped)
        text = f"{summary}.\n\n\b\nExample:\n  {example}"
        made = click.command(name, help=text, short_help=summary, context_settings=CONTEXT)(wrapped)
        if VARIABLE in os.environ:
            from dodai.cli.named import complete_names

            complete_names(made.params)
        return made

    return build


def refuse_empty(context: click.Context) -> None:
    """A usage error for a word of the command line that is empty: a script's variable without a value, and no choice.

    Taken for absent, `check --target "$ENV"` would be ok of an environment that nobody asked, and `rollback --restore
    "$POINT"` would restore nothing. The words that `exec` runs are left alone.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        if isinstance(parameter, click.Argument) and parameter.nargs == -1:
            continue
        value = context.params.get(name)
        if "" in (value if isinstance(value, tuple) else (value,)):
            if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                continue
            raise click.BadParameter("it is empty", context, parameter)


def unknown_command(word: str, known: Iterable[str], context: click.Context) -> click.UsageError:
    """The usage error for a command that does not exist, with the nearest one; click names it since 8.2 only."""
    near = nearest(word, known)
    return click.UsageError(f"No such command '{word}'." + (f" Did you mean '{near}'?" if near else ""), context)
