"""`dodai secrets set ENV NAME`: a value somebody else made, from the terminal or standard input, never argv."""

from __future__ import annotations

import asyncio
import sys

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.secrets.rotate import change_secret
from dodai.core.errors import DodaiError
from dodai.operations.codes import SECRET_VALUE_UNUSABLE
from dodai.operations.secret import CSRF_KEYS, KEY_RINGS, MAX_VALUE_BYTES, unfit


@define("set", summary="Give a secret a value that somebody else made", example="dodai secrets set staging OIDC_SECRET")
@click.argument("env")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(context: CommandContext, env: str, name: str, dry_run: bool, yes: bool) -> int:
    """The value is the whole of standard input, without one line end at its end; a terminal asks for it, unseen."""
    given = "" if dry_run else _value(name)
    return asyncio.run(change_secret(context, env, name, "set", "set", [], dry_run=dry_run, yes=yes, given=given))


def _value(name: str) -> str:
    """The value; DOD562 (exit 2) for one that no environment variable can carry. The message never has any of it."""
    if sys.stdin.isatty():
        raw = str(click.prompt(f"value of {name}", hide_input=True, err=True)).encode("utf-8", "surrogateescape")
    else:
        raw = sys.stdin.buffer.read(MAX_VALUE_BYTES + 2).removesuffix(b"\n").removesuffix(b"\r")
    text, reason = "", f"it is longer than {MAX_VALUE_BYTES} bytes" if len(raw) > MAX_VALUE_BYTES else ""
    try:
        text = "" if reason else raw.decode("utf-8")
        reason = reason or unfit(text) or _unfit_ring(name, text)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    if reason:
        raise DodaiError(
            SECRET_VALUE_UNUSABLE,
            f"the value for `{name}` was not taken: {reason}",
            SECRET_VALUE_UNUSABLE.fix.en,
            exit_code=2,
        )
    return text


def _unfit_ring(name: str, text: str) -> str:
    """Why the services would not take `text` for that key ring of dodai's; `""` for another secret, or when they do."""
    if name not in KEY_RINGS:
        return ""
    from dodai.csrf.token import parse_key_ring
    from dodai.runtime.identity import ProofKeyRing

    try:
        (parse_key_ring if name == CSRF_KEYS else ProofKeyRing.parse)(text)
    except DodaiError as error:
        return error.message
    except ValueError as error:
        return str(error)
    return ""
