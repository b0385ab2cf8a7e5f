"""Alerts of real faults: a whole rehearsal judged by the fast profile, and ten minutes of healthy load with deploys.

Usage: python benchmarks/detection_benchmark.py drills [FOLDER] | healthy [MINUTES]; without a word nothing runs. FOLDER
is that of a `dodai rehearse --all` of the quiz that has been; without one a rehearsal is carried out.
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import httpx2
from results import record
from tests.quiz.copies import copy_quiz
from tests.quiz.stack import QUIZ
from tests.support.command import commit, dodai, start_dodai
from tests.support.wait import until

from dodai.observability.rollup import Store
from dodai.observability.run import Watcher
from dodai.operations.run.watched_environment import watched
from dodai.wiring.find_project import find_project

TICK_S = 0.5
AFTER_S = 20.0
"""How long after a drill an alert may begin that is about it: two heartbeats and what it has to be silent for."""
DEPLOY_EACH_S = 40.0
VISIT_EACH_S = 0.05


def rehearsed(folder: Path) -> Path:
    """The folder of a rehearsal of the quiz, carried out now."""
    place = copy_quiz(folder / "quiz")
    commit(place)
    said = dodai("rehearse", "--all", "--json", "--quiet", cwd=place, timeout_s=3600)
    return Path(json.loads(said.stdout)["folder"])


def drills(rehearsal: Path, scratch: Path) -> None:
    """Each drill is judged by its own lines, at the time at which they were written, as by a `watch --fast` that began
    with it: what still fires from the drill before would hide that this one fires it too.
    """
    report = json.loads((rehearsal / "report.json").read_text())
    start_s = datetime.fromisoformat(report["startedAt"]).timestamp()
    files = (rehearsal / "env" / "lines").glob("*.jsonl")
    found = (raw for file in files for raw in file.read_bytes().splitlines() if raw.startswith(b'{"ts":'))
    dated = sorted((json.loads(raw)["ts"], raw) for raw in found)
    rows = []
    for drill in report["drills"]:
        began = start_s + drill["beganSeconds"]
        own = [(at, raw) for at, raw in dated if began <= at < began + drill["seconds"]]
        fired = sorted((at - began, name, about) for name, about, at in replay(scratch / drill["id"], own))
        said = ", ".join(f"{name} ({about}) {at:.1f}" for at, name, about in fired) or "nothing"
        rows.append((f"`{drill['id']}`", drill["outcome"], f"{drill['seconds']:.0f}", said))
    notes = (
        "Each drill judged by its own lines; seconds count from its beginning, its preparation included, not from its"
    )
    notes += f" fault. The rehearsal took {report['seconds']:.0f} s, at {report['startedAt']}."
    head = ("drill", "outcome", "seconds", "fires, after seconds")
    record("detection-drills", "Alerts of a rehearsal, fast profile", head, rows, f"{notes} {_load()}")


def replay(state: Path, dated: list[tuple[float, bytes]]) -> list[tuple[str, str, float]]:
    """(alert, what about, when) of everything that fires over these lines."""
    if not dated:
        return []
    there = watched(find_project(QUIZ / "dodai.toml"), "local", fast=True, state=state)
    now, fired = [dated[0][0]], list[tuple[str, str, float]]()
    watcher = Watcher(there, {}, clock=lambda: now[0], steady=lambda: now[0])
    waiting = iter(dated)
    at, raw = next(waiting)
    while at:
        now[0] += TICK_S
        while at and at <= now[0]:
            watcher.tally.add(raw, now[0], live=True)
            at, raw = next(waiting, (0.0, b""))
        watcher.store.keep(watcher.tally.take(), {}, now[0])
        fired += [(one.name, one.about, now[0]) for one, _, change in watcher.judge() if change == "firing"]
    watcher.store.close()
    return fired


def healthy(folder: Path, minutes: float) -> None:
    """The quiz under visitors, a deploy again and again, and two real watches: nobody is told of anything."""
    place = copy_quiz(folder / "quiz")
    commit(place)
    said = dodai("deploy", "staging", "--yes", cwd=place)
    assert said.returncode == 0, said.stderr
    try:
        row = _healthy(place, minutes)
    finally:
        dodai("down", "staging", cwd=place)
    head = ("minutes", "requests", "failed", "deploys", "lines", "fired, production windows", "fired, fast profile")
    notes = f"`dodai watch staging` and `dodai watch staging --fast` beside it; their histories. {_load()}"
    record("detection-healthy", "Alerts of healthy load with deploys", head, [row], notes)


def _healthy(place: Path, minutes: float) -> tuple[str, ...]:
    edge = json.loads(dodai("status", "staging", "--json", cwd=place).stdout)["host"]["edge"]
    deploys = 0
    with contextlib.ExitStack() as stack:
        for words in ((), ("--fast",)):
            stack.enter_context(_watch(place, *words))
        seen = stack.enter_context(_visitors(edge))
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            began = time.monotonic()
            (place / "web" / "note.txt").write_text(f"{deploys}\n")
            said = dodai("deploy", "staging", "--yes", cwd=place)
            assert said.returncode == 0, said.stderr
            deploys += 1
            time.sleep(max(0.0, min(end, began + DEPLOY_EACH_S) - time.monotonic()))
    told = []
    for name in ("rollups.sqlite", "rollups-fast.sqlite"):
        store = Store(place / ".dodai" / "env" / "staging" / "watch" / name, writable=False)
        rows = store.database.execute("SELECT name, about FROM alert WHERE fired_s > 0").fetchall()
        told.append(", ".join(f"{alert} ({about})" for alert, about in rows) or "0")
        counted = int(store.facts()["lines"])
        store.close()
    return (f"{minutes:g}", str(seen["good"]), str(seen["bad"]), str(deploys), f"{counted:,}", *told)


@contextlib.contextmanager
def _watch(place: Path, *words: str) -> Iterator[None]:
    with (place / f"watch{len(words)}.log").open("wb") as log:
        process = start_dodai("watch", "staging", "--listen", "127.0.0.1:0", *words, cwd=place, output=log)
    try:
        until(lambda: b"shows" in (place / f"watch{len(words)}.log").read_bytes(), process=process)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def _visitors(edge: str) -> Iterator[dict[str, int]]:
    """Somebody who takes questions one after the other, as people do."""
    seen, over = {"good": 0, "bad": 0}, threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=edge, timeout=20, headers={"accept": "text/html"}, follow_redirects=True) as client:
            while not over.wait(VISIT_EACH_S):
                try:
                    good = client.get("/" if seen["good"] % 3 else "/questions/1").status_code < 500
                except httpx2.HTTPError:
                    good = False
                seen["good" if good else "bad"] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _load() -> str:
    return f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."


def main() -> None:
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="dodai-bench-") as folder:
        if "drills" in words:
            given = [Path(word) for word in words if Path(word, "report.json").exists()]
            drills(given[0] if given else rehearsed(Path(folder)), Path(folder))
        if "healthy" in words:
            numbers = [float(word) for word in words if re.fullmatch(r"[\d.]+", word)]
            healthy(Path(folder), numbers[0] if numbers else 10.0)


if __name__ == "__main__":
    main()
