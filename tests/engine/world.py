"""A world of switches in one file, steps that throw them, and every way such a step can fail."""

from __future__ import annotations

import asyncio
import os
import selectors
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dodai.core.page import Text
from dodai.engine.execute import execute, resume
from dodai.engine.journal import SqliteJournal
from dodai.engine.lease import FileLease
from dodai.engine.outcome import Outcome, SilentSink, StepRecord
from dodai.engine.plan import Observed, Plan, PlanRequest, Step, StepContext
from dodai.engine.stop import Stop

FAULTS = (
    "none",
    "blocked",
    "observe_raises",
    "raise_before",
    "raise_after",
    "hang_before",
    "hang_after",
    "blind",  # apply raises after its effect, and then nobody can see it
    "verify_false",
    "verify_raises",
    "verify_hangs",
)
UNDO_FAULTS = ("none", "raise_before", "raise_after", "hang_before", "hang_after", "no_effect")
PHASES = ("observe", "before_effect", "after_effect", "verify")


@dataclass(frozen=True)
class Spec:
    """One step of a random plan."""

    id: str
    needs: tuple[str, ...] = ()
    kind: str = "undo"  # undo | forward | passive
    no_return: bool = False
    already: bool = False
    fault: str = "none"
    undo_fault: str = "none"


@dataclass(frozen=True)
class Interrupt:
    """`count` signals while step `id` is in `phase`."""

    id: str
    phase: str
    count: int


@dataclass(frozen=True)
class World:
    """Every effect is one appended line, `+id` or `-id`, so that a duplicated effect stays visible for ever."""

    path: Path

    def effects(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def here(self, step_id: str) -> bool:
        return next((e[0] == "+" for e in reversed(self.effects()) if e[1:] == step_id), False)

    def write(self, effect: str) -> None:
        fd = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(fd, f"{effect}\n".encode())
        os.close(fd)

    def duplicates(self) -> list[str]:
        last: dict[str, str] = {}
        twice = []
        for effect in self.effects():
            if last.get(effect[1:], "-") == effect[0]:
                twice.append(effect)
            last[effect[1:]] = effect[0]
        return twice

    def present(self) -> set[str]:
        return {e[1:] for e in self.effects() if self.here(e[1:])}


async def forever() -> None:
    await asyncio.Event().wait()


def make_step(spec: Spec, world: World, stop: Stop, interrupt: Interrupt | None = None) -> Step:
    async def signals(phase: str) -> None:
        if interrupt and (interrupt.id, interrupt.phase) == (spec.id, phase) and stop.count < interrupt.count:
            for _ in range(interrupt.count):
                stop.request(2)
            await asyncio.sleep(0)

    async def observe(context: StepContext) -> Observed:
        await signals("observe")
        here = world.here(spec.id)
        if spec.fault == "observe_raises" or (spec.fault == "blind" and here):
            raise OSError("nobody answers")
        if spec.fault == "blocked" and not here:
            return Observed("blocked", "a switch is missing")
        return Observed("done" if here else "needed")

    async def apply(context: StepContext) -> None:
        await signals("before_effect")
        if spec.fault == "raise_before":
            raise RuntimeError("refused")
        if spec.fault == "hang_before":
            await forever()
        if spec.kind != "passive":
            world.write(f"+{spec.id}")
        await signals("after_effect")
        if spec.fault in ("raise_after", "blind"):
            raise RuntimeError("connection lost")
        if spec.fault == "hang_after":
            await forever()

    async def verify(context: StepContext) -> Observed:
        await signals("verify")
        if spec.fault == "verify_raises":
            raise RuntimeError("cannot verify")
        if spec.fault == "verify_hangs":
            await forever()
        good = spec.fault != "verify_false" and (spec.kind == "passive" or world.here(spec.id))
        return Observed("done" if good else "needed", "the wrong version answers")

    async def undo(context: StepContext) -> None:
        if spec.undo_fault == "raise_before":
            raise RuntimeError("undo refused")
        if spec.undo_fault == "hang_before":
            await forever()
        if spec.undo_fault != "no_effect":
            world.write(f"-{spec.id}")
        if spec.undo_fault == "raise_after":
            raise RuntimeError("undo: connection lost")
        if spec.undo_fault == "hang_after":
            await forever()

    return Step(
        id=spec.id,
        title=Text(f"Throw {spec.id}", f"{spec.id} を入れる"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=verify,
        undo=None if spec.kind == "passive" else undo,
        needs=spec.needs,
        on_failure="fix_forward" if spec.kind == "forward" else "undo",
        point_of_no_return=spec.no_return,
        timeout_s=5.0,
    )


def make_plan(
    specs: list[Spec], world: World, stop: Stop | None = None, interrupt: Interrupt | None = None, release: str = "r1"
) -> Plan:
    request = PlanRequest("deploy", "staging", release, "hana", b"[project]\n", "m1")
    steps = tuple(make_step(spec, world, stop or Stop(), interrupt) for spec in specs)
    return Plan(request, Text("Deploy", "デプロイ"), steps)


@dataclass(frozen=True)
class Place:
    """A folder with a world, a journal and a lease, as an environment has them."""

    folder: Path

    @property
    def world(self) -> World:
        return World(self.folder / "world")

    def journal(self) -> SqliteJournal:
        return SqliteJournal(self.folder / "staging.sqlite3")

    def lease(self, actor: str = "hana") -> FileLease:
        return FileLease(self.folder / "staging.lock", actor, "dodai deploy staging")

    def setup(self, specs: list[Spec]) -> None:
        for spec in specs:
            if spec.already:
                self.world.write(f"+{spec.id}")

    async def execute(self, specs: list[Spec], interrupt: Interrupt | None = None, **options) -> Outcome:
        stop = options.pop("stop", None) or Stop()
        with self.journal() as journal:
            plan = make_plan(specs, self.world, stop, interrupt)
            return await execute(plan, journal, self.lease(), stop=stop, **options)

    async def resume(self, specs: list[Spec], *, undo: bool = False, **options) -> Outcome:
        with self.journal() as journal:
            return await resume(
                journal, self.lease("taro"), "staging", lambda _: make_plan(specs, self.world), undo=undo, **options
            )


@contextmanager
def new_place(specs: list[Spec]) -> Iterator[Place]:
    """A place in memory where the system has such a folder: SIGKILL leaves the page cache alone, and CI disks are slow."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        place = Place(Path(folder))
        place.setup(specs)
        yield place


async def run_steps(place: Place, *steps: Step, **options) -> Outcome:
    plan = replace(make_plan([], place.world), steps=steps)
    with place.journal() as journal:
        return await execute(plan, journal, options.pop("lease", None) or place.lease(), **options)


def good_step(place: Place, step_id: str, **fields) -> Step:
    return replace(make_plan([Spec(step_id)], place.world).steps[0], **fields)


class Telling(SilentSink):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_started(self, step: Step, number: int, total: int, *, undoing: bool) -> None:
        self.lines.append(f"{'undo ' if undoing else ''}{step.id} {number}/{total}")

    def noted(self, step: Step, text: str) -> None:
        self.lines.append(f"{step.id}: {text}")

    def step_finished(self, step: Step, record: StepRecord) -> None:
        self.lines.append(f"{step.id} {record.result}")


class _Impatient(selectors.DefaultSelector):
    """A selector that never waits: where it would, the clock of its loop jumps instead."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None):
        ready = super().select(0)
        if not ready and timeout:
            self.elapsed_s += timeout
        return ready


def run_in_virtual_time(main: Callable[[], object]):
    """What the coroutine returns, on a loop where a deadline of an hour takes no time and load makes nothing late."""
    selector = _Impatient()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.elapsed_s  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())
