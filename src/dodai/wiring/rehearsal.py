"""A rehearsal: the whole system on a private Host bound to this process, the story walked, the drills run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from dodai.core.errors import DodaiError
from dodai.engine.drill import Drill, DrillResult
from dodai.engine.execute import execute
from dodai.engine.outcome import Outcome, SilentSink, Sink
from dodai.operations.drill import Difference, DrillRow, RehearsalReport, StepRow
from dodai.operations.policy import Environment
from dodai.operations.ports import Fault
from dodai.providers.local.browser import HttpBrowser
from dodai.providers.local.host import HostClient
from dodai.wiring.drills import choose_drills, known_drills
from dodai.wiring.local import LocalEnvironment
from dodai.wiring.project import Project
from dodai.wiring.settings import LocalSettings

KEPT = 5
ENVIRONMENT = "rehearsal"


class Watcher(Protocol):
    """Who is told how the rehearsal goes."""

    def sink(self) -> Sink: ...

    def drill_started(self, drill: Drill) -> None: ...

    def drill_finished(self, row: DrillRow) -> None: ...


@dataclass(slots=True)
class LocalStage:
    """The stage of the drills: what an operator and a visitor can reach, nothing else."""

    environment: LocalEnvironment
    url: str
    browser: HttpBrowser

    @property
    def env(self) -> str:
        return self.environment.environment.name

    @property
    def host(self) -> HostClient:
        return self.environment.host

    @property
    def database_url(self) -> str:
        return self.environment.database.url()

    @property
    def state(self) -> str:
        return str(self.environment.folder)

    async def request(self, method: str, path: str, **options: Any) -> Any:
        return await self.browser.send(method, path, **options)

    @contextlib.asynccontextmanager
    async def fault(self, name: str, mode: str, **settings: float) -> AsyncIterator[None]:
        standing: Any = {"mode": mode, **settings}
        await self.host.fault(name, Fault(**standing))
        try:
            yield
        finally:
            await self.host.fault(name, Fault())

    async def read_file(self, release: str, path: str) -> bytes:
        return await asyncio.to_thread((Path(self.environment.releases.path(release)) / path).read_bytes)

    async def derive(self, release: str, changes: Mapping[str, bytes | None]) -> str:
        return await asyncio.to_thread(self.environment.releases.derive, release, changes)

    async def deploy(self, release: str = "", **options: Any) -> Outcome:
        if changes := options.get("secrets"):
            await asyncio.to_thread(change_secrets, self.environment.settings, changes)
        kind = options.get("kind", "deploy")
        return await run_deploy(self.environment, release, kind=kind, sink=options.get("sink"))


def change_secrets(settings: LocalSettings, changes: Mapping[str, Callable[[str], str]]) -> None:
    """Give secrets the values that `changes` make of the ones they have; services see them when they start."""
    known = settings.values()
    changed = {**known, **{name: change(known[name]) for name, change in changes.items()}}
    partial = settings.file.with_name(f".{settings.file.name}.drill")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(changed, stream, indent=1)
    partial.replace(settings.file)


async def run_deploy(
    environment: LocalEnvironment, release: str, *, kind: str = "deploy", sink: Sink | None = None
) -> Outcome:
    """How bringing `release` into service (or going back to it) ended, with the environment's own journal and lease."""
    # Nobody can deploy to the environment of a rehearsal: it is gone when the rehearsal is.
    request = await environment.request(kind, release, {"command": "dodai rehearse"})
    with environment.journal() as journal:
        return await execute(environment.build(request), journal, environment.lease(request), sink=sink)


@dataclass(slots=True)
class Rehearsal:
    """One rehearsal of `project`; `folder` keeps its report, its lines and its logs."""

    project: Project
    folder: Path
    watcher: Watcher
    only: str = ""
    everything: bool = False
    began: float = field(default_factory=time.monotonic)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def run(self) -> RehearsalReport:
        """The report, also written to `folder`; nothing of the stage is left running."""
        environment = LocalEnvironment(
            self.project, Environment(ENVIRONMENT, "local", (), "", 0, protected=False), self.folder / "env"
        )
        tree, problem = "", ""
        steps: tuple[StepRow, ...] = ()
        drills: tuple[DrillRow, ...] = ()
        try:
            host = await environment.open(detached=False)
            try:
                tree = await asyncio.to_thread(environment.releases.publish, str(self.project.root))
                steps, drills, problem = await self._story(environment, host, tree)
            finally:
                await host.down()
        except DodaiError as error:
            problem = "\n".join((str(error), *error.details, f"fix: {error.fix}"))
        report = RehearsalReport(
            project=self.project.manifest.name,
            commit=commit_of(self.project.root),
            tree=tree,
            started_at=self.started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.began,
            steps=steps,
            drills=drills,
            equivalence=equivalence(),
            problem=problem,
        )
        self._write(report)
        await asyncio.to_thread(discard_data, environment.folder)
        return report

    async def _story(
        self, environment: LocalEnvironment, host: HostClient, tree: str
    ) -> tuple[tuple[StepRow, ...], tuple[DrillRow, ...], str]:
        outcome = await run_deploy(environment, tree, sink=self.watcher.sink())
        steps = tuple(StepRow(r.id, r.title.en, r.result, r.seconds) for r in outcome.records)
        error = outcome.error()
        if error is not None:
            return steps, (), "\n".join((str(error), *error.details, f"fix: {error.fix}"))
        edge = (await host.status()).edge
        async with HttpBrowser(edge) as browser:
            stage = LocalStage(environment, edge, browser)
            known = known_drills(self.project, lambda: stage.database_url)
            chosen = choose_drills(known, only=self.only, everything=self.everything)
            rows = [await self._drill(drill, stage) for drill in chosen]
        return steps, tuple(rows), ""

    async def _drill(self, drill: Drill, stage: LocalStage) -> DrillRow:
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
        )
        self.watcher.drill_finished(row)
        return row

    def _write(self, report: RehearsalReport) -> None:
        document = {"schema": "dodai.rehearsal/1", **report.as_json()}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")
        (self.folder / "report.md").write_text(report.as_page().render("en"), "utf-8")
        latest = self.folder.parent / "latest"
        partial = latest.with_name(f".latest.{os.getpid()}")
        partial.symlink_to(self.folder.name)
        partial.replace(latest)


class Silence:
    """A watcher that says nothing."""

    def sink(self) -> Sink:
        return SilentSink()

    def drill_started(self, drill: Drill) -> None: ...

    def drill_finished(self, row: DrillRow) -> None: ...


def new_folder(project: Project, now: datetime) -> Path:
    """The folder of a rehearsal that starts now; old ones beyond the last few are removed."""
    root = project.state / "rehearsals"
    root.mkdir(parents=True, exist_ok=True)
    old = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
    for path in old[: -(KEPT - 1)]:
        discard_data(path / "env")
        shutil.rmtree(path, ignore_errors=True)
    stem = now.strftime("%Y%m%dT%H%M%SZ")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        with contextlib.suppress(FileExistsError):
            folder = root / (stem + suffix)
            folder.mkdir()
            return folder
    raise FileExistsError(stem)


def discard_data(folder: Path) -> None:
    """Remove what a rehearsal does not keep: the database and the copies of the tree. Lines and logs stay."""
    elsewhere = folder / "postgres" / "elsewhere"
    with contextlib.suppress(OSError):
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
    for name in ("postgres", "releases"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("secrets.json", "database.json", "edge.key"):
        (folder / name).unlink(missing_ok=True)


_LOOK = ("-c", "core.fileMode=true", "-c", "core.fsmonitor=false")
"""Whatever the settings of a person or a repository leave out, a release has it."""


def commit_of(root: Path) -> str:
    """The git commit of the tree, with `+` when it has uncommitted changes; empty outside git."""
    try:
        head = git(root, "rev-parse", "HEAD")
        words = ("status", "--porcelain", "--untracked-files=all", "--ignore-submodules=none", "--", ".")
        return head + ("+" if git(root, *_LOOK, *words) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def git(root: Path, *words: str) -> str:
    answer = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    return answer.stdout.strip()


def equivalence() -> tuple[Difference, ...]:
    """How the stage differs from production, part by part."""
    from dodai.providers.postgres.binaries import find_binaries

    version = find_binaries().version
    return (
        Difference("edge", "Cloudflare: TLS, WAF, caches, many places", "one process on loopback, plain http"),
        Difference("compute", "Fly.io machines from an image", "processes on this machine from a copy of the tree"),
        Difference("database", "Neon: pooler, branches, TLS", f"PostgreSQL {version} on this machine"),
        Difference("identity", "Authentik", "a stand-in where the manifest names one"),
        Difference("migrations, deploy, health, journeys", "the same code", "the same code"),
    )
