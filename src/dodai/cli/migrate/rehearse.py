"""`dodai migrate rehearse`: what is pending, tried on a copy of the database under load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.migrate.target import say_json, stopped_by_signals, with_env

if TYPE_CHECKING:
    from dodai.migrations.run import MigrationRehearsal


@define("rehearse", summary="Try what is pending on a copy, under load", example="dodai migrate rehearse --env staging")
@with_env
@click.option("--dump", is_flag=True, help="Copy by pg_dump: for a role without REPLICATION.")
@click.option("--on", default="", metavar="PROVIDER", help="On a copy that the database's provider makes: `neon`.")
def rehearse(context: CommandContext, env: str, dump: bool, on: str) -> int:
    from dodai.wiring.migration_database import copies_of, database_to_migrate
    from dodai.wiring.migration_target import rehearse_on, rehearse_on_a_copy

    project, note = context.project, context.output.say
    copies = None if dump else copies_of(project, env, on, note)
    if copies:
        with stopped_by_signals():
            seen = rehearse_on(project, copies, note)
    else:
        with database_to_migrate(project, env) as url:
            seen = rehearse_on_a_copy(project, url, note, production=env != "local", dump=dump)
    if context.output.as_json:
        say_json(context, seen.as_json())
    else:
        _print_rehearsed(context, seen)
    return 0 if seen.ok else 1


def _print_rehearsed(context: CommandContext, seen: MigrationRehearsal) -> None:
    out = context.output
    if not seen.pending and not seen.failure:
        out.line("nothing is pending")
        return
    for one in seen.statements:
        first = one.text.strip().splitlines()[0][:60]
        out.line(f"{one.ms:8.1f} ms  {one.path}:{one.line}  {first}")
        for effect in one.effects:
            what = [word for word in ("rewritten", "scanned", "indexed", "dropped") if getattr(effect, word)]
            out.line(f"             {effect.table}: {', '.join([effect.lock, *what])}")
    for table, rows in seen.rows.items():
        out.line(f"{table}: {rows} rows")
    out.line(f"worst wait of an innocent read or write: {seen.worst_ms:.0f} ms; lock wait {seen.lock_wait_ms:.0f} ms")
    if seen.caveat:
        out.line(seen.caveat)
    if seen.failure:
        out.error(seen.failure)
