"""The watcher of one environment: lines → rollups → alerts → whoever has to know, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TypeVar

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.text import Text
from dodai.engine.moment import utc
from dodai.engine.state_folder import make_folder
from dodai.observability import codes
from dodai.observability.alert import Alert, Change, Firing, History, OneLook, Stated, alerts_of, readings
from dodai.observability.alert.form import ASK_EVERY_S, FAST_FACTOR
from dodai.observability.alert.join import JOIN_S, Topology
from dodai.observability.notify import Facing, Outbox, Pulse
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.ports import Channel, DeadMansSwitch, Standing, Standings, Turn
from dodai.observability.rollup import Store, Tail, Tally
from dodai.observability.rollup.clock_step import StepDetector, move
from dodai.observability.rollup.without_disk import back_on_disk, leave_disk, trim
from dodai.observability.trace.find import line_folders

BACKFILL_S = 3600.0
"""How much of what was written before the first `watch` is counted: enough for the longest window that pages."""
STANDS_S = 3600.0
CALLED_S = 3600.0
"""For how long a dependency that nobody calls any more still explains an outage."""
TURN_S = 5.0
"""How often it is asked whose turn it is to tell people."""
_READ_S = 5.0
_PRUNE_EVERY_S = 600.0
FAST_CELL_S = 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watched:
    """An environment as `watch` sees it. `state` is its folder, `journeys` are routes by journey, for the page."""

    project: str
    env: str
    state: Path
    policy: ObservabilityPolicy
    probes: frozenset[str] = frozenset()
    journeys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    public: str = ""
    fast: bool = False
    runbook: str = "docs/Phase2/observability.md"

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return alerts_of(self.policy, fast=self.fast)

    @property
    def cell_s(self) -> int:
        return FAST_CELL_S if self.fast else max(1, round(self.policy.cell_s))

    @property
    def tick_s(self) -> float:
        return self.cell_s / 2

    @property
    def folder(self) -> Path:
        return self.state / "watch"

    @property
    def path(self) -> Path:
        """Where its rollups are; those of the fast profile have cells of another width."""
        return self.folder / ("rollups-fast.sqlite" if self.fast else "rollups.sqlite")

    @property
    def facing(self) -> Facing:
        return Facing(self.project, self.env, self.policy.runbook or self.runbook)


class Watcher:
    """Reads and judges. `problem` is what it could not do the last time, for the page and for `--once`."""

    def __init__(
        self,
        watched: Watched,
        channels: Mapping[str, Channel],
        switches: Mapping[str, DeadMansSwitch] | None = None,
        standings: Standings | None = None,
        turn: Turn | None = None,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watched, self.clock, self.channels, self.switches = watched, clock, channels, switches or {}
        self.store = Store(watched.path, cell_s=watched.cell_s)
        self.history = History(self.store)
        self.alerts = watched.alerts
        since = self.clock() - BACKFILL_S
        self.tail = Tail((), self.store.places(), since)
        thresholds = tuple(alert.threshold for alert in self.alerts if alert.measure == "p95-ms")
        self.tally = Tally(watched.cell_s, watched.probes, thresholds, known=self.store.series())
        by_name = {alert.name: alert for alert in self.alerts}
        sections = watched.policy.notifiers
        self.outboxes = {name: Outbox(sections[name], self.store, watched.facing, by_name) for name in channels}
        self.problem = self.store.problem
        self._standings, self._standing = standings, Standing({})
        self._turn, self.tells, self._told_elsewhere = turn, turn is None, Text("", "")
        self._stood_s: dict[str, float] = {}
        self._watched_s = 0.0
        self._pruned_s = 0.0
        self._steps = StepDetector(clock, steady, self.store.facts().get("read_s", 0.0))
        self.pulses = {name: Pulse(sections[name], self.store) for name in self.switches}

    def read(self, until: float = float("inf")) -> int:
        """How many lines were read now; stops at `until` on the monotonic clock."""
        now = self.clock()
        self.tail.folders = tuple(Path(folder) for folder in line_folders([str(self.watched.state)]))
        for line, live in self.tail.read(until):
            self.tally.add(line, now, live=live)
        batch = self.tally.batch
        self.store.keep(batch, self.tail.places, now)
        self.tally.take()
        return batch.lines

    def judge(self) -> list[tuple[Firing, Alert, Change]]:
        """Every alert, evaluated now; what began to fire and what is resolved."""
        now = self.clock()
        stated = self._stated(now)
        view = OneLook(self.store)
        found = [reading for alert in self.alerts for reading in readings(alert, view, now, stated)]
        join_s = JOIN_S / FAST_FACTOR if self.watched.fast else JOIN_S
        calls = self.store.calls(now - CALLED_S) | {("edge", self.watched.public)}
        changes = self.history.judge(self.alerts, found, now, 3 * self.watched.tick_s, Topology(calls), join_s)
        self.store.set_fact("judged_s", now)
        if self._watched_s:
            self._watched_s = now
            self.store.set_fact("watched_s", now)
        return changes

    def _stated(self, now_s: float) -> Stated:
        """What lines cannot tell. What an environment said of itself is not judged once that is an hour old."""
        gap_s = max(0.0, now_s - self._watched_s) if self._watched_s else 0.0
        machine = {"disk-free": (("disk", _disk_free(self.watched.state)),), "unwatched-s": (("watch", gap_s),)}
        fresh = {measure for measure, at in self._stood_s.items() if now_s - at < STANDS_S}
        return {**machine, **{name: said for name, said in self._standing.stated.items() if name in fresh}}

    def look(self) -> None:
        """Ask the environment how it stands; of what it does not say, the last answer stays."""
        if self._standings is None:
            return
        seen = self._standings.look()
        self._standing = Standing({**self._standing.stated, **seen.stated}, seen.unknown)
        self._stood_s |= dict.fromkeys(seen.stated, self.clock())

    @property
    def troubles(self) -> tuple[Text, ...]:
        """What it could not do the last time, and what the environment could not be asked."""
        known = (self.problem, self._told_elsewhere)
        return (*(one for one in known if one and one.en), *self._standing.unknown)

    def once(self) -> None:
        """Everything that was written until now, judged once; for whoever does not go on watching."""
        self.look()
        self._written(self._once)

    def _once(self) -> None:
        self.heed_clock()
        self.read()
        self.judge()

    def heed_clock(self) -> None:
        """Where the wall clock was set, all that is known moves along with it; the page says so."""
        by_s = self._steps.step_s()
        if not by_s:
            return
        move(self.store, by_s, self.clock())
        self._stood_s = {measure: at + by_s for measure, at in self._stood_s.items()}
        self._pruned_s += by_s
        self._watched_s += by_s if self._watched_s else 0.0
        for box in self.outboxes.values():
            box.next_try_s += by_s
        for pulse in self.pulses.values():
            pulse.next_s += by_s

    def tick(self) -> list[tuple[Firing, Alert, Change]]:
        """Read, then judge. While the disk refuses writes both go on in memory, and `problem` says so."""
        back_on_disk(self.store)
        changes = self._written(self._tick)
        if self.store.disk is None:
            self.problem = self.store.problem
        return changes

    def _tick(self) -> list[tuple[Firing, Alert, Change]]:
        self.heed_clock()
        self.read(time.monotonic() + _READ_S)
        changes = self.judge()
        if self.clock() - self._pruned_s > _PRUNE_EVERY_S:
            self._pruned_s = self.clock()
            self.store.prune(self._pruned_s)
            if self.store.disk is not None:
                trim(self.store, self._pruned_s)
        return changes

    def _written(self, write: Callable[[], T]) -> T:
        """What `write` returns. What the disk refuses is done again in memory, and nobody is told later for it."""
        try:
            return write()
        except sqlite3.OperationalError as error:
            if self.store.disk is not None:
                raise
            leave_disk(self.store, self.clock())
            since = utc(self.clock())
            self.problem = Text(
                f"the rollups cannot be written since {since} ({error}): alerts are judged in memory",
                f"{since} から集計ファイルに書き込めません({error})。アラートはメモリー上で評価しています",
            )
            return write()

    async def run(self, stop: asyncio.Event, heard: Callable[[Firing, Alert, Change], None]) -> None:
        """Until `stop`. Telling people never holds up reading."""
        now = self.clock()
        self._watched_s = self.store.facts().get("watched_s", now)  # what somebody looked at once is not watched
        for box in self.outboxes.values():
            self._written(partial(box.begin, now))
        async with asyncio.TaskGroup() as group:
            telling = [group.create_task(self._tell(name, stop)) for name in self.outboxes]
            if self._standings is not None:
                telling.append(group.create_task(self._look(stop)))
            telling += [group.create_task(self._ping(name, stop)) for name in self.switches]
            if self._turn is not None:
                telling.append(group.create_task(self._take_turns(self._turn, stop)))
            while not stop.is_set():
                for change in self.tick():
                    heard(*change)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self.watched.tick_s)
            for task in telling:
                task.cancel()
        if self._turn is not None:
            await self._turn.end()

    async def _tell(self, name: str, stop: asyncio.Event) -> None:
        box, channel = self.outboxes[name], self.channels[name]
        while not stop.is_set():
            for message, ids in box.due(self.clock()) if self.tells else ():
                try:
                    await asyncio.to_thread(channel.send, message)
                except (OSError, ValueError) as error:
                    self._written(partial(box.failed, error, self.clock()))
                    break
                self._written(partial(box.delivered, ids, message.status))
            await asyncio.sleep(min(0.5, self.watched.tick_s))

    async def _take_turns(self, turn: Turn, stop: asyncio.Event) -> None:
        """Where nobody can say whose turn it is, people are told: twice is better than not at all."""
        while not stop.is_set():
            try:
                other = await turn.taken_by()
            except DodaiError as error:
                other, said = (
                    "",
                    Text(
                        f"who tells people cannot be asked, so this `watch` does: {error.message}",
                        f"通知の担当を確認できないため、この `watch` が通知します: {error.message}",
                    ),
                )
            else:
                said = Text(
                    f"people are told by another `watch`: {other}" if other else "",
                    f"通知は別の `watch` が担当しています: {other}" if other else "",
                )
            if not other and not self.tells:
                for box in self.outboxes.values():
                    self._written(partial(box.take_over, self.clock()))
            self.tells, self._told_elsewhere = not other, said
            await asyncio.sleep(TURN_S / FAST_FACTOR if self.watched.fast else TURN_S)

    async def _look(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self.watched.tick_s if self.watched.fast else ASK_EVERY_S)

    async def _ping(self, name: str, stop: asyncio.Event) -> None:
        pulse = self.pulses[name]
        while not stop.is_set():
            if self.tells and pulse.due(self.clock(), self.watched.tick_s):
                problem = ""
                try:
                    await asyncio.to_thread(self.switches[name].ping)
                except (OSError, ValueError) as error:
                    problem = str(error)[:300] or type(error).__name__
                self._written(partial(pulse.answered, self.clock(), problem))
            await asyncio.sleep(min(0.5, self.watched.tick_s))


@contextlib.contextmanager
def locked(watched: Watched) -> Iterator[None]:
    """Inside, nobody else evaluates this environment; DOD484 (exit 75) while somebody does.

    The lock is the kernel's: it ends with the process that has it.
    """
    make_folder(watched.folder)
    descriptor = os.open(watched.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            message = f"`{watched.env}` is watched by process {pid or 'unknown'} already"
            raise DodaiError(codes.WATCHED_ALREADY, message, codes.WATCHED_ALREADY.fix.en, exit_code=75) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _disk_free(folder: Path) -> float:
    """The share that is free; 1 where it cannot be asked for."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return 1.0
    return usage.free / usage.total if usage.total else 1.0
