"""`dodai watch` over the real quiz: what it prints, and a fault that arrives at a webhook while it happens."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.observability.receiver import Receiver
from tests.observability.traffic import request
from tests.quiz.stack import QUIZ, Stack, running_quiz
from tests.support.command import dodai, start_dodai
from tests.support.proposed import carry_out
from tests.support.wait import until

from dodai.core import proposal
from dodai.engine.moment import utc
from dodai.observability.alert import History
from dodai.observability.line_format import dump
from dodai.observability.rollup import Store


@contextlib.contextmanager
def visitors(url: str) -> Iterator[None]:
    """Somebody asks for the front page, again and again, until the block ends."""
    done = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=url, timeout=10) as client:
            while not done.wait(0.03):
                with contextlib.suppress(httpx2.HTTPError):
                    client.get("/")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def stack(quiz_database: str, tmp_path: Path) -> Iterator[Stack]:
    folder = tmp_path / "state"
    folder.mkdir()
    with running_quiz(quiz_database, folder) as running:
        yield running


def manifest(folder: Path, more: str = "") -> Path:
    file = folder / "dodai.toml"
    file.write_text((QUIZ / "dodai.toml").read_text("utf-8") + more, "utf-8")
    return file


def firing(stack: Stack) -> set[str]:
    """What fires now, told or not."""
    store = Store(stack.folder / "watch" / "rollups-fast.sqlite", cell_s=1, writable=False)
    try:
        return {one.name for one in History(store).open() if one.fired_s}
    finally:
        store.close()


def alerts_in(bodies: list[dict[str, Any]], status: str) -> set[str]:
    return {body["groupLabels"]["alertname"] for body in list(bodies) if body["status"] == status}


def test_fault_of_the_quiz_arrives_at_a_webhook_with_a_request_to_trace_and_so_does_its_end(
    stack: Stack, tmp_path: Path
):
    """The backend ends under load; the example that is told leads to the tier that failed. Then it comes back."""
    receiver = Receiver()
    notifier = f'\n[observability.notifier.team]\nkind = "webhook"\nurl = "{receiver.url}"\n'
    notifier += f'\n[observability.notifier.outside]\nkind = "deadman"\nurl = "{receiver.url}/alive"\nevery = "1s"\n'
    file = manifest(tmp_path, notifier)
    words = ("watch", "--fast", "--state", str(stack.folder), "--listen", "127.0.0.1:0", "--manifest", str(file))
    with (tmp_path / "watch.log").open("wb") as output:
        watch = start_dodai(*words, cwd=tmp_path, output=output)
    try:
        with visitors(stack.url):
            until((stack.folder / "watch" / "rollups-fast.sqlite").exists, process=watch)
            time.sleep(3.0)  # healthy load that must tell nobody
            assert receiver.bodies == []
            stack.end("backend")
            began = time.monotonic()
            until(lambda: receiver.bodies, process=watch)
            print(f"fault to webhook: {time.monotonic() - began:.1f} s")
            until(lambda: {"http-error-surge", "dependency-down"} <= firing(stack), process=watch)
            stack.start("backend")
            until(lambda: alerts_in(receiver.bodies, "resolved"), process=watch)
    finally:
        watch.terminate()
        assert watch.wait(30) == 0
        receiver.server.shutdown()
        receiver.server.server_close()
    assert len(receiver.asked) > 3
    assert [body["status"] for body in receiver.bodies] == ["firing", "resolved"]  # one outage, told once
    example = receiver.bodies[0]["alerts"][0]["annotations"]["requestIds"].split()[0]
    assert "backend" in dodai("trace", example, "--state", str(stack.folder)).stdout


def lines_below(state: Path, count: int, **fields: Any) -> None:
    folder = state / "lines"
    folder.mkdir(parents=True)
    now = time.time()
    (folder / "web.jsonl").write_bytes(b"".join(dump(request(now - 30 + n / 10, **fields)) for n in range(count)))


def test_once_prints_journeys_routes_and_alerts_and_ends_with_one_while_something_fires(tmp_path: Path):
    """For a terminal, a script and a CI: without any process that runs."""
    file, state = manifest(tmp_path), tmp_path / "state"
    lines_below(state, 60, route="/next", outcome="server_error")
    words = ("watch", "--once", "--state", str(state), "--manifest", str(file))
    seen = dodai(*words)
    assert seen.returncode == 1
    assert "web GET /next" in seen.stdout
    assert re.search(r"(?m)^Take a question from the list and see the ve +60 +100\.0%", seen.stdout)
    assert seen.stdout.count("FIRING ") == 1
    assert "FIRING http-error-surge: web at 100 %" in seen.stdout
    assert "part of the same outage: " in seen.stdout
    assert "dodai trace 0" in seen.stdout
    assert "docs/Phase2/observability.md#http-error-surge" in seen.stdout
    body = json.loads(dodai(*words, "--json").stdout)
    assert body["schema"] == "dodai.watch/1"
    assert body["routes"][0]["errors"] == 60
    assert not body["stale"]


def test_once_without_a_line_says_that_nothing_was_measured(tmp_path: Path):
    """And does not say that nothing fires."""
    seen = dodai("watch", "--once", "--state", str(tmp_path / "none"), "--manifest", str(manifest(tmp_path)))
    assert seen.returncode == 1
    assert "nothing was measured" in seen.stdout
    assert "none fires" not in seen.stdout


def test_alerts_are_listed_with_their_detection_time_and_muted_on_record(tmp_path: Path):
    """Every command of the incident works without a `watch` that runs."""
    file = manifest(tmp_path)
    listed = dodai("alerts", "list", "--manifest", str(file))
    assert listed.returncode == 0
    assert "http-error-surge   http error-ratio > 2 % over 5m" in listed.stdout
    said = dodai("alerts", "silence", "http-latency", "--for", "2h", "--reason", "move", "--manifest", str(file))
    assert said.returncode == 0
    assert "nobody is told of `http-latency` until" in said.stdout
    seen = dodai("watch", "--once", "--manifest", str(file))
    assert "silence http-latency: move" in seen.stdout
    unknown = dodai("alerts", "ack", "http-latencies", "--reason", "x", "--manifest", str(file))
    assert unknown.returncode == 2
    assert "did you mean `http-latency`?" in unknown.stderr
    long = dodai("alerts", "ack", "http-latency", "--for", "30d", "--reason", "x", "--manifest", str(file))
    assert long.returncode == 2


def test_alerts_are_tested_on_past_traffic_and_without_any_nothing_is_said_to_be_well(tmp_path: Path):
    """Exit 1 and DOD482 where nothing was counted."""
    file = manifest(tmp_path)
    nothing = dodai("alerts", "test", "--manifest", str(file))
    assert nothing.returncode == 1
    assert "DOD482 rollups-unavailable" in nothing.stderr
    lines_below(tmp_path / ".dodai" / "env" / "local", 60, outcome="server_error")
    dodai("watch", "--once", "--manifest", str(file))
    seen = dodai("alerts", "test", "--last", "10m", "--manifest", str(file))
    assert seen.returncode == 0
    assert "http-error-surge: web at 100 %, fires still" in seen.stdout
    assert "not judged" in seen.stdout
    now = time.time()
    then = f"{utc(now - 600)}..{utc(now + 600)}"
    assert "http-error-surge: web" in dodai("alerts", "test", "--replay", then, "--manifest", str(file)).stdout
    before = dodai("alerts", "test", "--replay", f"{utc(now - 9000)}..{utc(now - 8000)}", "--manifest", str(file))
    assert before.returncode == 1
    assert f"no rollups from {utc(now - 9000)} to {utc(now - 8000)} of `local`" in before.stderr
    for wrong in ("yesterday", f"{utc(now)}..{utc(now - 60)}", "2026-11-29T03:00..2026-11-29T04:00"):
        refused = dodai("alerts", "test", "--replay", wrong, "--manifest", str(file))
        assert refused.returncode == 2
        assert f"`{wrong}` is not FROM..TO in the past" in refused.stderr


def test_status_says_what_fires_and_gives_no_all_clear_from_a_watch_that_ended(tmp_path: Path):
    """Where nothing ever watched it says nothing of alerts."""
    file = manifest(tmp_path)
    assert "alerts:" not in dodai("status", "--manifest", str(file)).stdout
    assert json.loads(dodai("status", "--json", "--manifest", str(file)).stdout)["alerts"] is None
    lines_below(tmp_path / ".dodai" / "env" / "local", 60, outcome="server_error")
    dodai("watch", "--once", "--manifest", str(file))
    seen = dodai("status", "--manifest", str(file)).stdout
    named = re.search(r"firing:     http-error-surge: web, `dodai trace ([0-9a-f]{32}) --manifest ", seen)
    assert named, seen
    carry_out(seen, proposal.TRACE, cwd=file.parent, request=named[1])
    assert "nobody is told of alerts" in seen
    told = json.loads(dodai("status", "--json", "--manifest", str(file)).stdout)["alerts"]
    assert told["firing"][0]["name"] == "http-error-surge"
    assert not told["stale"]
    store = tmp_path / ".dodai" / "env" / "local" / "watch" / "rollups.sqlite"
    with contextlib.closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE fact SET value = value - 3600 WHERE name = 'judged_s'")
        database.execute("DELETE FROM alert")
    old = dodai("status", "--manifest", str(file)).stdout
    assert "alerts:     not evaluated since" in old
    carry_out(old, proposal.WATCH, cwd=file.parent, env="local")
    assert "none fires" not in old
    store.write_bytes(b"broken" * 1000)
    assert "alerts:     unknown, the rollups cannot be read" in dodai("status", "--manifest", str(file)).stdout
