"""Several `dodai watch` of one environment: one tells people, the others show, and one of them goes on after it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from tests.observability.receiver import Receiver
from tests.observability.test_watch import alerts_in
from tests.observability.traffic import request
from tests.quiz.stack import QUIZ
from tests.support.command import start_dodai
from tests.support.wait import until, until_async

from dodai.observability.line_format import dump
from dodai.observability.policy import NotifierSection, ObservabilityPolicy
from dodai.observability.run import Watched, Watcher
from dodai.operations.run.watched_environment import LeasedTurn
from dodai.providers.notify import channel
from dodai.providers.postgres.control.service import PostgresControl
from dodai.wiring import environments
from dodai.wiring.find_project import find_project


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def visit(state: Path, outcome: str, count: int = 10) -> None:
    """Requests that have just ended."""
    now = time.time()
    (state / "lines").mkdir(parents=True, exist_ok=True)
    with (state / "lines" / "web.jsonl").open("ab") as file:
        file.write(b"".join(dump(request(now + n / 1000, outcome=outcome)) for n in range(count)))


def test_second_watch_shows_what_the_first_counts_and_goes_on_when_that_is_killed(tmp_path: Path, receiver: Receiver):
    """On one machine: no port, no page and no alert is missing after it."""
    state, file = tmp_path / "state", tmp_path / "dodai.toml"
    notifier = f'\n[observability.notifier.team]\nkind = "webhook"\nurl = "{receiver.url}"\n'
    file.write_text((QUIZ / "dodai.toml").read_text("utf-8") + notifier, "utf-8")
    words = ("watch", "--fast", "--state", str(state), "--listen", "127.0.0.1:0", "--manifest", str(file))
    visit(state, "ok")
    watches, pages = [], []
    try:
        for name in ("first", "second"):
            log = tmp_path / f"{name}.log"
            with log.open("wb") as output:
                watches.append(start_dodai(*words, cwd=tmp_path, output=output))
            shown = until(lambda log=log: re.search(r"http://\S+/", log.read_text()), log.read_text, watches[-1])
            pages.append(shown[0])
        assert f"watched by process {watches[0].pid}" in (tmp_path / "second.log").read_text()
        until(lambda: httpx2.get(f"{pages[1]}data.json").json()["counted"]["lines"] == 10, process=watches[1])
        watches[0].kill()
        watches[0].wait()

        def told() -> bool:
            visit(state, "server_error")
            return bool(alerts_in(receiver.bodies, "firing"))

        until(told, (tmp_path / "second.log").read_text, watches[1])
        assert httpx2.get(f"{pages[1]}data.json").json()["firing"]
    finally:
        for one in watches:
            one.terminate()
    assert [one.wait(30) for one in watches] == [-9, 0]


def replica(folder: Path, receiver: Receiver, dsn: str) -> Watcher:
    """A watch of its own machine: own lines, own counts, the control database in common."""
    section = NotifierSection("webhook", "team", url=receiver.url)
    watched = Watched("quiz", "staging", folder, ObservabilityPolicy(notifiers={"team": section}), fast=True)
    lease = PostgresControl(dsn, "staging", folder).watch_lease("hana")
    turn = LeasedTurn(partial(environments.open, find_project(QUIZ / "dodai.toml"), "staging"), lease)
    return Watcher(watched, {"team": channel(section, {})}, turn=turn)


async def test_one_replica_tells_by_the_lease_of_the_control_database_and_the_next_one_after_it(
    tmp_path: Path, database: str, receiver: Receiver
):
    """Both evaluate; whoever has no turn tells nobody and says who does."""
    replicas = [replica(tmp_path / name, receiver, database) for name in ("one", "two")]
    stops = [asyncio.Event() for _ in replicas]
    running = [asyncio.create_task(one.run(stop, lambda *_: None)) for one, stop in zip(replicas, stops, strict=True)]

    async def while_it_fails(condition: Callable[[], object]) -> None:
        def look() -> object:
            for one in replicas:
                visit(one.watched.state, "server_error", 3)
            return condition()

        await until_async(look)

    def both_fire() -> bool:
        return all(any(alert.fired_s for alert in one.history.open()) for one in replicas)

    try:
        await until_async(lambda: sorted(one.tells for one in replicas) == [False, True])
        first, second = sorted(replicas, key=lambda one: not one.tells)
        await while_it_fails(lambda: both_fire() and receiver.bodies)
        (said,) = second.troubles
        assert "hana" in said.en
        assert said.ja.startswith("通知は別の `watch` が担当しています")
        assert [body["status"] for body in receiver.bodies] == ["firing"]
        stops[replicas.index(first)].set()
        await while_it_fails(running[replicas.index(first)].done)
        await while_it_fails(lambda: second.tells)
        assert second.troubles == ()
        await while_it_fails(lambda: len(receiver.bodies) == 2)  # whoever comes after says what fires
    finally:
        for stop in stops:
            stop.set()
        await asyncio.gather(*running)
        for one in replicas:
            one.store.close()


async def test_where_nobody_can_say_whose_turn_it_is_people_are_told(tmp_path: Path, receiver: Receiver):
    """A database that is away is what people have to hear of."""
    one, stop = replica(tmp_path, receiver, "postgresql://app@127.0.0.1:1/app"), asyncio.Event()
    running = asyncio.create_task(one.run(stop, lambda *_: None))

    def told() -> bool:
        visit(one.watched.state, "server_error")
        return bool(receiver.bodies)

    await until_async(told)
    (said,) = one.troubles
    assert "cannot be asked, so this `watch` does" in said.en
    stop.set()
    await running
    one.store.close()
