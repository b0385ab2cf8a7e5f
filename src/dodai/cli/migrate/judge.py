"""The `migrate` commands that try migrations before anybody relies on them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dodai.cli.check import print_report
from dodai.cli.migrate.place import say_json, with_env
from dodai.cli.report import report_as_json
from dodai.cli.session import Session, define

if TYPE_CHECKING:
    from dodai.migrations.run import Rehearsed


@define("check", summary="The rules of migrations; the same as `dodai check migrations`", example="dodai migrate check")
@click.option("--base", metavar="REF", default="", help="The branch that new files are compared with.")
@click.option("--all", "everything", is_flag=True, help="Judge every file, not only those new against the base.")
def check(session: Session, base: str, everything: bool) -> int:
    from dodai.wiring.facts import check as judge

    began = datetime.now(UTC)
    report = judge(
        session.manifest_path,
        areas=("migrations",),
        cost="local",
        base=base,
        everything=everything,
        today=began.date(),
    )
    seconds = (datetime.now(UTC) - began).total_seconds()
    if session.output.as_json:
        session.output.data("dodai.check/1", report_as_json(report, seconds))
    else:
        print_report(session, report, seconds)
    return report.exit_code


@define("rehearse", summary="Try what is pending on a copy, under load", example="dodai migrate rehearse --env staging")
@with_env
@click.option("--dump", is_flag=True, help="Copy by pg_dump: for a role without REPLICATION.")
def rehearse(session: Session, env: str, dump: bool) -> int:
    from dodai.wiring.database_url import database_to_migrate
    from dodai.wiring.migrations import rehearse_on_a_copy

    project = session.project
    with database_to_migrate(project, env) as url:
        seen = rehearse_on_a_copy(project, url, session.output.say, production=env != "local", dump=dump)
    if session.output.as_json:
        say_json(session, seen.as_json())
    else:
        _print_rehearsed(session, seen)
    return 0 if seen.ok else 1


def _print_rehearsed(session: Session, seen: Rehearsed) -> None:
    out = session.output
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
