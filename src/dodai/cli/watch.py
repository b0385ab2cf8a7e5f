"""`dodai watch ENV`: requests, error rates, latencies, dependencies and alerts; a page, and people who are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.output import Output
from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.engine.moment import utc

if TYPE_CHECKING:
    from dodai.core.text import Text
    from dodai.observability.ports import KeptCounters
    from dodai.observability.run import Overview, Row, Watched, Watcher
    from dodai.observability.run.collect import Collection
    from dodai.observability.run.export import Export

_BARS = " ▁▂▃▄▅▆▇█"
_COLOURS = {"up": "green", "failing": "yellow", "down": "red", "unknown": "dim"}


@define("watch", summary="Show metrics and alerts, and tell people", example="dodai watch staging --once")
@click.argument("env", default="local")
@click.option("--once", is_flag=True, help="Print what there is now, and end.")
@click.option("--fast", is_flag=True, help="Seconds instead of minutes, for rehearsals.")
@click.option("--state", metavar="FOLDER", help="Where the lines are, if elsewhere; or Prometheus' address.")
@click.option("--platform", is_flag=True, help="With --once: what the platform of ENV scraped, such as Fly.")
@click.option("--listen", default="127.0.0.1:9464", show_default=True, help="Address of the page; port 0 picks one.")
def command(
    context: CommandContext, env: str, once: bool, fast: bool, state: str | None, platform: bool, listen: str
) -> int:
    from dodai.operations.run.watched_environment import watched

    engine = state and state.startswith(("http://", "https://"))
    if (engine or platform) and not once:
        raise click.UsageError(f"`{'--platform' if platform else f'--state {state}'}` is read once: add --once")
    if platform:
        return _of_platform(context, watched(context.project, env), state)
    if state and engine:
        from dodai.wiring.watch import counters_at

        return _read_back(context, watched(context.project, env), counters_at(state), state)
    there = watched(context.project, env, fast=fast, state=Path(state) if state else None)
    if once:
        return _once(context, there)
    return asyncio.run(_serve(context, there, listen))


def _once(context: CommandContext, there: Watched) -> int:
    """What the `watch` that runs has counted; without one, the lines are counted now. 1 while an alert fires."""
    from dodai.core.errors import DodaiError
    from dodai.observability.rollup import Store
    from dodai.observability.run import Watcher, locked, overview
    from dodai.wiring.watch import collection, standings

    out = context.output
    try:
        with locked(there):
            collected = collection(context.project, there)
            if collected:
                collected.once()
                collected.close()
            watcher = Watcher(there, {}, standings=standings(context.project, there.env))
            watcher.once()
            untold = (collected.problem,) if collected and collected.problem else ()
            seen = overview(there, watcher.store, time.time(), problems=(*watcher.troubles, *untold))
            watcher.store.close()
    except DodaiError as error:
        if error.exit_code != 75:
            raise
        store = Store(there.path, cell_s=there.cell_s, writable=False)
        seen = overview(there, store, time.time())
        store.close()
    if out.as_json:
        out.data("dodai.watch/1", {"environment": there.env, **seen.as_json()})
    else:
        out.line(f"{_head(there, seen)}, {seen.counted['lines']} lines counted")
        if not seen.counted["lines"]:
            said = "nothing was measured, which does not mean that all is well"
            out.line(f"no line was found below `{there.state}`: {said}")
        for line in (*_table(out, seen), *_alerts(out, there, seen)):
            out.line(line)
    if not seen.counted["lines"]:
        return 1
    return 1 if seen.firing else 0


def _of_platform(context: CommandContext, there: Watched, state: str | None) -> int:
    from dodai.wiring.watch import counters_of

    kept = counters_of(context.project, there.env)
    if kept is None or state:
        said = "--state" if state else f"an environment whose platform scrapes nothing: `{there.env}`"
        raise click.UsageError(f"--platform cannot be given with {said}")
    return _read_back(context, there, kept, f"the platform of {there.env}")


def _read_back(context: CommandContext, there: Watched, kept: KeptCounters, address: str) -> int:
    """What another `watch` counted and an engine keeps. 1 while an alert fires, and where nobody can say."""
    from dodai.core.errors import DodaiError
    from dodai.observability.codes import NOT_READ_BACK
    from dodai.observability.run import overview
    from dodai.observability.run.read_back import read_back

    out, now_s = context.output, time.time()
    try:
        store, firing = read_back(kept, there, now_s), kept.firing(now_s)
    except (OSError, ValueError) as error:
        message = f"`{address}` cannot be asked: {error}"
        raise DodaiError(NOT_READ_BACK, message, NOT_READ_BACK.fix.en, exit_code=1) from error
    seen = overview(there, store, now_s)
    store.close()
    measured = any((seen.routes, seen.rpcs, seen.tasks, seen.dependencies))
    alerts = [{"name": name, "about": about, "state": "firing"} for name, about in firing]
    if out.as_json:
        body = {"environment": there.env, "readFrom": address, **seen.as_json(), "firing": alerts, "counted": None}
        out.data("dodai.watch/1", body)
    else:
        out.line(f"{_head(there, seen)}, as `{address}` keeps it")
        if not measured:
            out.line("no counter of dodai was found there: nothing was measured, which does not mean that all is well")
        for line in (*_table(out, seen), *_kept_alerts(out, there, seen, firing)):
            out.line(line)
    return 0 if measured and not firing and not seen.stale else 1


def _kept_alerts(out: Output, there: Watched, seen: Overview, firing: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, about in firing:
        yield out.paint(f"FIRING {name}: {about}", "red")
        yield f"  runbook: {there.facing.runbook}#{name}"
    if seen.stale:
        last = f"not since {utc(seen.judged_s)}" if seen.judged_s else "by nobody that is known there"
        yield out.paint(f"problem: alerts are evaluated {last}: whether one fires is unknown", "yellow")
    elif not firing:
        yield f"alerts: evaluated {utc(seen.judged_s)}, none fires"


def _head(there: Watched, seen: Overview) -> str:
    return f"{there.project}/{there.env}: the last {seen.window_s / 60:g} minutes"


def _table(out: Output, seen: Overview) -> Iterator[str]:
    for title, rows in (("journey", seen.journeys), ("route", seen.routes), ("rpc", seen.rpcs), ("task", seen.tasks)):
        if rows:
            yield ""
            yield f"{title:44} {'count':>8} {'errors':>8} {'p95':>9}  requests"
            yield from (_row(out, row) for row in rows)
    if seen.left_out:
        yield f"… and {seen.left_out} more, see --json"
    if seen.dependencies:
        yield ""
        yield f"{'dependency':44} {'calls':>8} {'failed':>8} {'mean':>9}  the last minute"
    for lamp in seen.dependencies:
        mean = "-" if lamp.mean_ms is None else f"{lamp.mean_ms:.0f} ms"
        state = out.paint(lamp.state, _COLOURS[lamp.state])
        yield f"{f'{lamp.service} → {lamp.name}':44.44} {lamp.count:>8} {lamp.errors:>8} {mean:>9}  {state}"
    yield ""


def _row(out: Output, row: Row) -> str:
    p95 = "-" if row.p95_ms is None else f"{row.p95_ms:.0f} ms"
    rate = f"{row.error_rate:.1%}" if row.count else "-"
    name = f"{row.service} {row.name}".strip()
    text = f"{name:44.44} {row.count:>8} {rate:>8} {p95:>9}  {_spark(row.counts)}".rstrip()
    return out.paint(text, "red") if row.errors else text


def _spark(counts: tuple[int, ...]) -> str:
    top = max(counts, default=0)
    return "".join(_BARS[-(-count * 8 // top)] if top else " " for count in counts)


def _alerts(out: Output, there: Watched, seen: Overview) -> Iterator[str]:
    from dodai.observability.run.overview import alert_of

    for one, *others in seen.outages:
        alert = alert_of(there, one.name)
        value = alert.shown(one.value) if alert else f"{one.value:g}"
        since = utc(one.fired_s)
        yield out.paint(f"FIRING {one.name}: {one.about} at {value} since {since}", "red")
        if one.samples:
            yield f"  {proposal.TRACE(request=one.samples[0])}"
        yield f"  runbook: {there.facing.runbook}#{one.name}"
        if others:
            yield f"  part of the same outage: {', '.join(f'{other.name} {other.about}' for other in others)}"
    for one in seen.pending:
        yield out.paint(f"pending {one.name}: {one.about}", "yellow")
    if not seen.firing and not seen.pending and seen.counted["lines"]:
        yield f"alerts: {len(there.alerts)} evaluated, none fires"
    yield from (f"  {said}" for said in seen.silenced)
    odd = [f"{count} {name}" for name, count in seen.counted.items() if name != "lines" and count]
    if odd:
        yield f"lines: {', '.join(odd)}"
    yield from (out.paint(f"problem: {problem.en}", "yellow") for problem in seen.problems)


async def _serve(context: CommandContext, there: Watched, listen: str) -> int:
    from dodai.engine.heap import give_back, keep_large_buffers_apart
    from dodai.observability.run.watch_page import PageServer, address_of

    keep_large_buffers_apart()
    address = address_of(listen, os.environ.get("DODAI_WATCH_TOKEN", ""))
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, ended.set)
    seat = _Seat(context, there)
    with contextlib.ExitStack() as stack:
        stack.callback(loop.create_task(give_back()).cancel)
        mine = seat.take(stack)
        page = stack.enter_context(PageServer(there, address, os.environ.get("DODAI_WATCH_TOKEN", ""), seat.troubles))
        context.output.line(f"{page.url}  shows {there.project}/{there.env}; Ctrl-C ends it")
        while not mine and not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), there.tick_s)
            mine = seat.take(stack)
        if seat.watcher is not None and not ended.is_set():
            said = context.output.say
            watching = seat.watcher.run(ended, lambda one, alert, change: said(f"{change:9} {alert.name}: {one.about}"))
            await asyncio.gather(
                watching, *(one.run(ended) for one in seat.exports), *(one.run(ended) for one in seat.collections)
            )
    return 0


@dataclass(slots=True)
class _Seat:
    """Who evaluates on this machine: one process; the next one serves its own page until that is free."""

    context: CommandContext
    there: Watched
    watcher: Watcher | None = None
    exports: list[Export] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)
    waiting: str = ""

    def take(self, stack: contextlib.ExitStack) -> bool:
        """Whether we have it now; until `stack` ends."""
        from dodai.core.errors import DodaiError
        from dodai.observability.run import Watcher, locked
        from dodai.wiring.watch import channels, collection, exports, standings, switches, turn

        project, there = self.context.project, self.there
        try:
            stack.enter_context(locked(there))
        except DodaiError as error:
            if error.exit_code != 75:
                raise
            if self.waiting != error.message:
                self.context.output.say(f"{error.message}; this one shows what it counts, and goes on when it ends")
            self.waiting = error.message
            return False
        self.watcher = Watcher(
            there, channels(there), switches(there), standings(project, there.env), turn(project, there.env)
        )
        stack.callback(self.watcher.store.close)
        self.exports = exports(there)
        collected = collection(project, there)
        self.collections = [collected] if collected else []
        return True

    def troubles(self) -> tuple[Text, ...]:
        known = self.watcher.troubles if self.watcher else ()
        beside = [one.problem for one in self.exports] + [one.problem for one in self.collections]
        return (*known, *(problem for problem in beside if problem))
