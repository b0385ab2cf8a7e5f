"""`dodai rehearse`: the runbook, carried out on this machine."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import click

from dodai.cli.output import Output, paint
from dodai.cli.progress import StepLines
from dodai.cli.session import Session, define
from dodai.engine.drill import Drill
from dodai.engine.outcome import Sink
from dodai.operations.drill import DrillRow


@define("rehearse", summary="Rehearse the runbook on this machine, faults included", example="dodai rehearse --all")
@click.option("--all", "everything", is_flag=True, help="Every drill, not only one of each area.")
@click.option("--only", metavar="ID,…", default="", help="The story and these drills.")
def command(session: Session, everything: bool, only: str) -> int:
    from dodai.wiring.drills import choose_drills, known_drills
    from dodai.wiring.rehearsal import Rehearsal, new_folder

    project = session.project
    choose_drills(known_drills(project, str), only=only)  # a drill that does not exist is told before anything starts
    folder = new_folder(project, datetime.now(UTC))
    report = asyncio.run(Rehearsal(project, folder, Lines(session.output), only, everything).run())
    if session.output.as_json:
        session.output.data("dodai.rehearsal/1", {**report.as_json(), "folder": str(folder)})
    else:
        if report.problem:
            sys.stderr.write(report.problem + "\n")
        session.output.line(f"{report.outcome}  {report.seconds:.1f} s  {folder / 'report.md'}")
        session.output.line(f"{' ' * len(report.outcome)}            {folder / 'report.json'}")
    return 0 if report.outcome == "ok" else 1


class Lines:
    """One line per step and per drill."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def sink(self) -> Sink:
        return StepLines(self._output)

    def drill_started(self, drill: Drill) -> None:
        self._output.say(f" drill  {drill.id}: {drill.title.en}; expected: {drill.expected}")

    def drill_finished(self, row: DrillRow) -> None:
        colour = "green" if row.outcome == "ok" else "red"
        self._output.say(f"        {paint(row.outcome, colour, sys.stderr)}: {row.observed}  {row.seconds:.2f} s")
        for name, value in row.details.items() if row.outcome != "ok" else ():
            self._output.say(f"        {name}: {value}")
