"""`dodai rehearse`: the runbook, carried out on this machine."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define, with_client
from dodai.cli.output import Output, paint
from dodai.cli.progress import Elapsed, StepLines
from dodai.core import proposal
from dodai.engine.outcome import Sink
from dodai.rehearsal.drill import Drill, choose_drills, known_drills
from dodai.rehearsal.report import DrillRow, RehearsalReport

if TYPE_CHECKING:
    from dodai.operations.environment import Environment
    from dodai.operations.evidence import RehearsalRecord
    from dodai.rehearsal.recording import Recording


@define("rehearse", summary="Rehearse the runbook on this machine, faults included", example="dodai rehearse --all")
@click.option("--all", "everything", is_flag=True, help="Every drill, not only one of each area.")
@click.option("--only", metavar="ID,…", default="", help="The story and these drills.")
@click.option("--respond", is_flag=True, help="The story and the first response of each alert that has a command.")
@click.option("--record", metavar="ENV", default="", help="Write the result into the journal of ENV as evidence.")
@click.option("--key", type=click.Path(path_type=Path), help="The SSH key of this machine, to sign --record with.")
@click.option("--env", metavar="ENV", default="", help="With the drivers of ENV, against stand-ins of its vendors.")
@click.option("--document", is_flag=True, help="Keep what was seen for the documents; needs --all.")
@with_client
def command(
    context: CommandContext,
    everything: bool,
    only: str,
    respond: bool,
    record: str,
    key: Path | None,
    env: str,
    document: bool,
    client: str,
) -> int:
    if env and (record or client or respond):
        raise click.UsageError("what ran against stand-ins is no evidence: give --env alone, or with --only")
    if respond and (only or everything or record):
        raise click.UsageError("--respond is a rehearsal of its own: give neither --all, --only nor --record with it")
    if record and only:
        raise click.UsageError("a part of a rehearsal is no evidence: give --record or --only, not both")
    if record and client:
        raise click.UsageError("evidence is of what the manifest runs: give --record or --client, not both")
    if key and not record:
        raise click.UsageError("a signature is for evidence: give --key with --record")
    if document and (only or respond or env or client or not everything):
        raise click.UsageError("the documents tell of whole rehearsals of what the manifest runs: --all --document")
    context = context.of_client(client)
    if env:
        return _with_stand_ins(context, env, only)
    from dodai.rehearsal.drills.respond import PREFIX
    from dodai.wiring.stage import rehearsal, subject_of

    project = context.project
    known = known_drills(subject_of(project, str))
    only = ",".join(drill.id for drill in known if drill.id.startswith(PREFIX)) if respond else only
    choose_drills(known, only=only)  # a drill that does not exist is told before anything starts
    recording = asyncio.run(_begin(context.environment(record), key and key.expanduser())) if record else None
    rehearsed = rehearsal(project, datetime.now(UTC), Lines(context.output), only=only, everything=everything)
    folder, report = rehearsed.folder, asyncio.run(rehearsed.run())
    evidence = asyncio.run(recording.finish(report, context.output.say)) if recording else None
    if document:
        _document(context, report)
    return _tell(context, folder, report, record, evidence, respond=respond)


def _document(context: CommandContext, report: RehearsalReport) -> None:
    """Keep it where the documents are rendered from, a red one too."""
    from dodai.rehearsal.document import rehearsed_file
    from dodai.rehearsal.rehearsed import Rehearsed

    path = rehearsed_file(context.project)
    Rehearsed.of(report).write(path)
    context.output.say(f"wrote {path}; `{proposal.DOCS()}` renders it")


def _with_stand_ins(context: CommandContext, env: str, only: str) -> int:
    """The story and the drills of a production environment; what they do not prove is printed."""
    from dodai.wiring.stage import production_rehearsal

    rehearsed = production_rehearsal(context.project, env, datetime.now(UTC), Lines(context.output), only=only)
    choose_drills(rehearsed.known(rehearsed.subject), only=only)
    report = asyncio.run(rehearsed.run())
    if not context.output.as_json:
        for row in report.equivalence:
            context.output.line(f"not proven  {row.part}: {row.production}; here: {row.here}")
    return _tell(context, rehearsed.folder, report)


def _tell(
    context: CommandContext,
    folder: Path,
    report: RehearsalReport,
    record: str = "",
    evidence: RehearsalRecord | None = None,
    *,
    respond: bool = False,
) -> int:
    from dodai.rehearsal.drills.respond import HEALTHY_S, median_s

    median = median_s(row.details.get("healthySeconds") for row in report.drills) if respond else None
    if context.output.as_json:
        recorded = {"recorded": evidence.as_data()} if evidence else {}
        healthy = {"medianHealthySeconds": median, "aimSeconds": HEALTHY_S} if respond else {}
        context.output.data("dodai.rehearsal/1", {**report.as_json(), "folder": str(folder), **recorded, **healthy})
    else:
        if report.problem:
            sys.stderr.write(report.problem + "\n")
        context.output.line(f"{report.outcome}  {report.seconds:.1f} s  {folder / 'report.md'}")
        for name in ("report.html", "report.json"):
            context.output.line(f"{' ' * len(report.outcome)}            {folder / name}")
        if respond:
            told = "not known: not every fault was ended" if median is None else f"{median:.1f} s"
            aim = f"aim on an idle machine: {HEALTHY_S:g} s"
            context.output.line(f"from fault to healthy, median of {len(report.drills)}: {told} ({aim})")
        if evidence:
            what = f"level {evidence.level}, commit {evidence.commit[:12]}, {evidence.outcome}"
            context.output.line(f"recorded for {record}: {what}")
    return 0 if report.outcome == "ok" and (evidence is None or evidence.outcome == "ok") else 1


async def _begin(environment: Environment, key: Path | None) -> Recording:
    from dodai.rehearsal.recording import Recording

    return await Recording.begin(environment, key)


class Lines:
    """One line per step and per drill."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._elapsed = Elapsed(output)

    def sink(self) -> Sink:
        return StepLines(self._output)

    def drill_started(self, drill: Drill) -> None:
        self._output.say(f" drill  {drill.id}: {drill.title.en}; expected: {drill.expected}")
        self._elapsed.begin(f"        {drill.id}")

    def drill_finished(self, row: DrillRow) -> None:
        self._elapsed.end()
        colour = "green" if row.outcome == "ok" else "red"
        self._output.say(f"        {paint(row.outcome, colour, sys.stderr)}: {row.observed}  {row.seconds:.2f} s")
        for name, value in row.details.items() if row.outcome != "ok" else ():
            self._output.say(f"        {name}: {value}")
