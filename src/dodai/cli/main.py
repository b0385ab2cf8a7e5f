"""The command table, the help page, and what every failure looks like."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence

import click

from dodai import __version__
from dodai.cli.command_context import CONTEXT, unknown_command
from dodai.cli.output import Output, heard_or_not, meant_for, wants_json
from dodai.core import codes
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A row of the help page; `dodai.cli.NAME` holds the command."""

    group: str
    summary: str


GROUPS = ("Every day", "Release", "Incident", "Setup")
COMMANDS: dict[str, CommandEntry] = {
    "up": CommandEntry("Every day", "Run the whole system on this machine"),
    "down": CommandEntry("Every day", "Stop a local environment"),
    "check": CommandEntry("Every day", "Judge the repository against every rule"),
    "routes": CommandEntry("Every day", "Show every state-changing route and how it is protected"),
    "checklist": CommandEntry("Every day", "List what a branch touches, for its pull request"),
    "migrate": CommandEntry("Every day", "Apply, show and check database migrations"),
    "rehearse": CommandEntry("Release", "Rehearse the runbook on this machine, faults included"),
    "deploy": CommandEntry("Release", "Bring a release into service"),
    "resume": CommandEntry("Release", "Finish or undo an interrupted plan"),
    "approve": CommandEntry("Release", "Sign a plan that somebody else carries out"),
    "rollback": CommandEntry("Release", "Go back to an earlier release"),
    "restart": CommandEntry("Release", "Start what serves anew, without a gap"),
    "secrets": CommandEntry("Release", "Show the secrets of an environment and change them"),
    "replaced": CommandEntry("Incident", "Show the rows that a restore replaced"),
    "relieve": CommandEntry("Incident", "Let people past a rate limit for a while"),
    "releases": CommandEntry("Release", "List the releases of an environment"),
    "status": CommandEntry("Incident", "Show what runs, what is locked and what is unfinished"),
    "watch": CommandEntry("Incident", "Show metrics and alerts, and tell people"),
    "alerts": CommandEntry("Incident", "List alerts, silence them, acknowledge them"),
    "trace": CommandEntry("Incident", "Follow one request through every tier"),
    "logs": CommandEntry("Incident", "Show what services wrote, and follow it"),
    "exec": CommandEntry("Incident", "Run a command in the place of a service, on record"),
    "incident": CommandEntry("Incident", "Write down what happened, on one timeline"),
    "history": CommandEntry("Incident", "Show who changed what, and when"),
    "explain": CommandEntry("Setup", "Explain a code, or the manifest"),
    "docs": CommandEntry("Setup", "Write the documents, or check that they are fresh"),
    "install": CommandEntry("Setup", "Let an environment come back after a reboot"),
    "doctor": CommandEntry("Setup", "Show what this machine can do"),
    "completion": CommandEntry("Setup", "Print the script for a shell's completion"),
}


class Commands(click.Group):
    """Loads the module of a command only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name in COMMANDS if _exists(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS or not _exists(cmd_name):
            return None
        command: click.Command = importlib.import_module(f"dodai.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click looks for near names among loaded commands; ours are not loaded yet."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown_command(args[0], COMMANDS, ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One screen of at most 25 lines: a group is named beside its first command."""
        formatter.write("Usage: dodai COMMAND [OPTIONS]   (an example of each: dodai COMMAND --help; --version)\n")
        known = self.list_commands(ctx)
        for group in GROUPS:
            for at, name in enumerate(name for name in known if COMMANDS[name].group == group):
                formatter.write(f"{'' if at else group + ':':11} {name:9} {COMMANDS[name].summary}\n")


def _exists(name: str) -> bool:
    return importlib.util.find_spec(f"dodai.cli.{name}") is not None


@click.command(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, "--version", message="dodai %(version)s")
def app() -> None:
    """Run a web application that survives production. `dodai COMMAND --help` shows an example of each."""


def run(words: Sequence[str]) -> int:
    """The exit code of a command line; prints every failure itself."""
    meant = meant_for(words)
    output = Output(as_json=wants_json(words), meant_for=meant)
    try:
        result = app.main(args=list(words) or ["--help"], prog_name="dodai", standalone_mode=False, obj=meant)
    except DodaiError as error:
        output.error(error)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt) as stop:
        return _stopped(stop)
    except click.ClickException as error:
        return _usage(error, output)
    except BrokenPipeError:  # `| head` has read enough
        return _flush(0)
    except ModuleNotFoundError as error:
        return _absent(error, output)
    except OSError as error:
        return _unusable(error, output)
    except Exception as error:  # noqa: BLE001 - the last line of defence; the code says it is our defect
        return _internal(error, output)
    return _flush(result if isinstance(result, int) else 0)


def _flush(code: int) -> int:
    with heard_or_not(sys.stdout):
        pass
    return code


def _stopped(stop: BaseException) -> int:
    """The exit code that a signal handler of ours raised with, else that of Ctrl-C; click wraps what it catches."""
    raised = stop.__cause__ or stop
    return int(raised.args[0]) if isinstance(raised, KeyboardInterrupt) and raised.args else 130


def _usage(error: click.ClickException, output: Output) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "dodai"
    message = error.format_message().rstrip(".")
    failure = DodaiError(codes.USAGE, message, f"see `{command} --help`", exit_code=2)
    output.error(failure)
    return 2


def _absent(error: ModuleNotFoundError, output: Output) -> int:
    from dodai.core.extras import missing_extra

    absent = missing_extra(error)
    if absent is None:
        return _internal(error, output)
    output.error(absent)
    return absent.exit_code


def _unusable(error: OSError, output: Output) -> int:
    """A file or folder that the system refuses is the user's to give back; any other failure is ours."""
    from dodai.engine.file_refusals import FILE_ERRORS, give_back

    if not error.filename or error.errno not in FILE_ERRORS:
        return _internal(error, output)
    said = f"`{os.fsdecode(error.filename)}` cannot be used: {os.strerror(error.errno or 0)}"
    output.error(DodaiError(codes.FILE_UNUSABLE, said, give_back(error), exit_code=4))
    return 4


def _internal(error: Exception, output: Output) -> int:
    details = tuple(traceback.format_exc().splitlines()) if os.environ.get("DODAI_DEBUG") else ()
    message = f"{type(error).__name__}: {error}"
    fix = codes.INTERNAL_ERROR.fix.en
    output.error(DodaiError(codes.INTERNAL_ERROR, message, fix, "dodai", exit_code=4, details=details))
    return 4
