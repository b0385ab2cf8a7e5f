"""`dodai secrets list ENV`: owner, consumers, store, age and state of every secret; never a value."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define

if TYPE_CHECKING:
    from dodai.operations.run.secret_status import SecretsReport, SecretStatus

HEAD = ("secret", "version", "age", "due every", "how it changes", "used by", "owner", "state")


@define("list", summary="Show every secret: owner, age, who gets it", example="dodai secrets list staging")
@click.argument("env", default="local")
def command(context: CommandContext, env: str) -> int:
    from dodai.operations.run.secret_status import report_of

    report = asyncio.run(report_of(context.environment(env)))
    if context.output.as_json:
        context.output.data("dodai.secrets/1", _document(report))
    else:
        _print(context, report)
    wrong = any(one.state in ("missing", "unusable", "due", "unknown age") for one in report.secrets)
    return 1 if wrong or report.stale or report.unknown else 0


def _print(context: CommandContext, report: SecretsReport) -> None:
    rows = [HEAD, *(_row(one) for one in report.secrets)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        cells = (word.ljust(width) for word, width in zip(row, widths, strict=True))
        context.output.line("  ".join(cells).rstrip())
    context.output.line(f"store of `{report.env}`: {report.store}")
    if report.unknown:
        context.output.line(f"what runs is not known: {report.unknown}")
    elif not report.served:
        context.output.line("nothing serves, so nothing was compared with what runs")
    for name, current in report.served.items():
        context.output.line(
            f"{name} {'has the values of now' if current else 'runs with other values than those of now'}"
        )
    for command_line in report.next_commands:
        context.output.line(f"next: `{command_line}`")


def _row(one: SecretStatus) -> tuple[str, ...]:
    from dodai.operations.run.secret_status import in_words

    secret, state = one.secret, one.state
    if one.old_until_s is not None:
        state += f": old value for {in_words(one.old_until_s)} more" if one.old_until_s else ": old value can go"
    return (
        secret.name,
        one.version or "-",
        "unknown" if one.age_s is None else in_words(one.age_s),
        in_words(secret.every_s) if secret.every_s else "-",
        secret.rotation,
        ", ".join(secret.used_by) or "-",
        secret.owner or "-",
        state,
    )


def _document(report: SecretsReport) -> dict[str, object]:
    rows = [
        {
            "name": one.secret.name,
            "version": one.version,
            "ageSeconds": one.age_s,
            "dueSeconds": one.secret.every_s or None,
            "rotation": one.secret.rotation,
            "usedBy": list(one.secret.used_by),
            "owner": one.secret.owner,
            "state": one.state,
            "oldValueSecondsLeft": one.old_until_s,
            "next": one.next_command(report.env),
        }
        for one in report.secrets
    ]
    return {
        "env": report.env,
        "store": report.store,
        "secrets": rows,
        "servicesCurrent": dict(report.served),
        "unknown": report.unknown,
        "next": list(report.next_commands),
    }
