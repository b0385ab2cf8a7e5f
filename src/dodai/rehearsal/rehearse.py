"""A rehearsal: a release deployed to a stage of its own, the drills carried out there, the report written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.outcome import Sink, StepRecord
from dodai.engine.state_folder import make_folder
from dodai.rehearsal.drill import Drill, DrillResult, choose_drills, known_drills
from dodai.rehearsal.ports import Difference, OpenStage, Stage, Subject
from dodai.rehearsal.report import DrillRow, RehearsalReport, StepRow
from dodai.rehearsal.report_html import as_html

KEPT = 5


class RehearsalWatcher(Protocol):
    """Who is told how the rehearsal goes."""

    def sink(self) -> Sink: ...

    def drill_started(self, drill: Drill) -> None: ...

    def drill_finished(self, row: DrillRow) -> None: ...


@dataclass(slots=True)
class Rehearsal:
    """One rehearsal of `subject`, which the manifest calls `project`; `folder` keeps its report.

    `commit` is of the tree that the stage publishes.
    """

    project: str
    commit: str
    subject: Subject
    open_stage: OpenStage
    folder: Path
    watcher: RehearsalWatcher
    only: str = ""
    everything: bool = False
    known: Callable[[Subject], Sequence[Drill]] = known_drills
    began: float = field(default_factory=time.monotonic)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def run(self) -> RehearsalReport:
        """The report, also written to `folder`; nothing of the stage is left running."""
        tree, problem = "", ""
        steps: tuple[StepRow, ...] = ()
        drills: tuple[DrillRow, ...] = ()
        differences: tuple[Difference, ...] = ()
        try:
            async with self.open_stage() as stage:
                differences = tuple(stage.differences())
                tree = await stage.publish()
                steps, drills, problem = await self._story(stage, tree)
                differences = tuple(stage.differences())  # by now it is known what was asked of it
        except DodaiError as error:
            problem = _told(error)
        report = RehearsalReport(
            project=self.project,
            commit=self.commit,
            tree=tree,
            started_at=self.started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.began,
            steps=steps,
            drills=drills,
            equivalence=differences,
            problem=problem,
            web_tier=public.client if (public := self.subject.policy.public_service) else "",
        )
        self._write(report)
        return report

    async def _story(self, stage: Stage, tree: str) -> tuple[tuple[StepRow, ...], tuple[DrillRow, ...], str]:
        at = time.monotonic() - self.began
        outcome = await stage.deploy(tree, sink=self.watcher.sink())
        steps = tuple(_one_after_another(at, outcome.records))
        error = outcome.error()
        if error is not None:
            return steps, (), _told(error)
        chosen = choose_drills(self.known(self.subject), only=self.only, everything=self.everything)
        return steps, tuple([await self._drill(drill, stage) for drill in chosen]), ""

    async def _drill(self, drill: Drill, stage: Stage) -> DrillRow:
        self.watcher.drill_started(drill)
        began = time.monotonic()
        try:
            result = await drill.run(stage)
        except Exception as error:  # noqa: BLE001 - a drill that breaks is a drill that failed
            trace = traceback.format_exc().splitlines()[-6:]
            result = DrillResult(
                f"the drill broke: {type(error).__name__}: {error}", ok=False, details={"trace": trace}
            )
        row = DrillRow(
            id=drill.id,
            area=drill.area,
            title=drill.title,
            expected=drill.expected,
            observed=result.observed,
            outcome="ok" if result.ok else "failed",
            seconds=time.monotonic() - began,
            request_ids=result.request_ids,
            details=result.details,
            began_s=began - self.began,
        )
        self.watcher.drill_finished(row)
        return row

    def _write(self, report: RehearsalReport) -> None:
        document = {"schema": "dodai.rehearsal/1", **report.as_json()}
        make_folder(self.folder)
        (self.folder / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")
        (self.folder / "report.md").write_text(report.as_page().render("en"), "utf-8")
        (self.folder / "report.html").write_text(as_html(report), "utf-8")
        latest = self.folder.parent / "latest"
        partial = latest.with_name(f".latest.{os.getpid()}")
        partial.symlink_to(self.folder.name)
        partial.replace(latest)


def _one_after_another(at: float, records: Iterable[StepRecord]) -> Iterator[StepRow]:
    """The steps of a plan, the first of which began `at` seconds after the rehearsal."""
    for record in records:
        yield StepRow(record.id, record.title.en, record.result, record.seconds, at)
        at += record.seconds


def _told(error: DodaiError) -> str:
    return "\n".join((str(error), *error.details, f"fix: {error.fix}"))


def new_folder(root: Path, now: datetime, discard: Callable[[Path], None]) -> Path:
    """The folder below `root` of a rehearsal that starts now; of old ones only the last few stay.

    `discard` gets the folder of each old one first, and removes what its stage keeps elsewhere.
    """
    make_folder(root)
    old = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
    for path in old[: -(KEPT - 1)]:
        discard(path)
        shutil.rmtree(path, ignore_errors=True)
    stem = now.strftime("%Y%m%dT%H%M%SZ")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        with contextlib.suppress(FileExistsError):
            folder = root / (stem + suffix)
            folder.mkdir()
            return folder
    raise FileExistsError(stem)
