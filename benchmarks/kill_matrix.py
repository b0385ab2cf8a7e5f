"""Every kill point of every story, with in-process ports and with real processes; the table goes to results.md.

.venv/bin/python benchmarks/kill_matrix.py            # all
.venv/bin/python benchmarks/kill_matrix.py ports      # in-process ports only
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import psycopg
from results import record
from tests.end_to_end.small_app import SmallApp
from tests.operations.kill_world import STORIES, Matrix

from dodai.providers.postgres.cluster import throw_away

DRIVER = Path(__file__).parents[1] / "tests" / "end_to_end" / "killed_dodai.py"
KINDS = ("intent", "applying", "applied", "done", "already")
REAL = {"deploy": ("deploy", False), "resume --undo": ("deploy", True)}


def ports(dsn: str, root: Path) -> list[tuple[str, ...]]:
    """Each story killed at every telling point, then at every point with its resume killed a third further on."""
    rows = []
    for story in STORIES:
        began, matrix = time.monotonic(), Matrix(dsn, root)
        peace = matrix.in_peace(story)
        points = peace[3]
        for number, at in enumerate(points):
            matrix.judge(story, (at,), peace)
            again = points[(number + len(points) // 3) % len(points)]
            matrix.judge(story, (at, again), peace)
        rows.append(row(f"{story.name}, in-process ports", 2 * len(points), matrix.bad, began))
    return rows


def row(name: str, kills: int, bad: list[str], began: float) -> tuple[str, ...]:
    print(*bad, sep="\n", end="\n" if bad else "")
    twice = sum(": twice" in line for line in bad)
    return name, str(kills), str(len(bad) - twice), str(twice), f"{time.monotonic() - began:.0f} s"


def real(dsn: str, folder: Path) -> list[tuple[str, ...]]:
    """Real processes, killed behind every record of every step of a deploy; finished, or taken back."""
    app = SmallApp(folder)
    try:
        return [_real(app, dsn, name, undo=undo) for name, (_, undo) in REAL.items()]
    finally:
        app.clear()


def _real(app: SmallApp, dsn: str, name: str, *, undo: bool) -> tuple[str, ...]:
    began, kills, bad = time.monotonic(), 0, []
    _write(app, dsn, f"# {name} 0")
    assert app.run("deploy", "staging", "--yes").returncode == 0
    for number, at in enumerate(_records(dsn, app), 1):
        _write(app, dsn, f"# {name} {number}")
        old = _live(app)
        environment = {**app.environment({"KILL_AT": at}), "PYTHONPATH": str(DRIVER.parents[2])}
        words = [sys.executable, str(DRIVER), "deploy", "staging", "--yes"]
        killed = subprocess.run(words, cwd=app.folder, env=environment, capture_output=True, check=False)
        if killed.returncode != -signal.SIGKILL:
            bad.append(f"{at}: not killed, exit {killed.returncode}")
            continue
        kills += 1
        ended = app.run("resume", "staging", "--yes", *(["--undo"] if undo else []))
        service = _web(app)
        good = ended.returncode in ((0, 1, 4) if undo else (0,)) and len(service["instances"]) == 1
        good = good and (undo or service["release"] != old)
        if not good:
            bad.append(f"{name} killed at {at}: exit {ended.returncode}, {service['instances']} {ended.stderr[-300:]}")
        if undo:
            app.run("resume", "staging", "--yes")
    return row(f"{name}, real processes", kills, bad, began)


def _records(dsn: str, app: SmallApp) -> list[str]:
    """Each record that a deploy over another one writes, as `kind:step`."""
    _write(app, dsn, "# once more")
    assert app.run("deploy", "staging", "--yes").returncode == 0
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT kind, step_id FROM dodai.control_event WHERE plan_id ="
            " (SELECT plan_id FROM dodai.control_event ORDER BY seq DESC LIMIT 1) ORDER BY seq"
        ).fetchall()
    return [f"{kind}:{step}" for kind, step in rows if kind in KINDS]


def _write(app: SmallApp, dsn: str, spoil: str) -> None:
    app.write(spoil=spoil, environment=f"control_url = {json.dumps(dsn)}")


def _web(app: SmallApp) -> dict:
    services = json.loads(app.run("status", "staging", "--json").stdout)["host"]["services"]
    return next(service for service in services if service["name"] == "web")


def _live(app: SmallApp) -> str:
    return _web(app)["release"]


def main() -> int:
    memory = Path("/dev/shm")
    rows: list[tuple[str, ...]] = []
    place = memory if os.access(memory, os.W_OK) else None
    with throw_away(tcp=True) as cluster, tempfile.TemporaryDirectory(dir=place) as root:
        rows += ports(cluster.create_database("ports"), Path(root))
        if "ports" not in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                rows += real(cluster.create_database("real"), Path(folder))
    head = ("Killed", "Kills", "Other end than in peace", "Effects twice", "Took")
    notes = (
        "SIGKILL before and after every journal write, lock operation and change of the Host; journal and lock in a"
        " PostgreSQL of their own. In peace: the same command without a kill. Each in-process point is killed twice:"
        " once alone, once with its resume killed as well."
    )
    record("kill-matrix", "Kill matrix", head, rows, notes)
    return 1 if any(line[2] != "0" or line[3] != "0" for line in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
