"""One outage tells people once, and a second fault is never hidden behind a first one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.observability.receiver import Receiver
from tests.observability.test_notify import deliver, outbox, webhook
from tests.observability.traffic import Lines, Simulation, beat, both, request, rpc, steady

from dodai.observability.alert.join import Sign, Topology, outage_of
from dodai.observability.notify import Outbox

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Told:
    """A world whose notifier is asked after every step, as `watch` does it."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.world = Simulation(folder)
        self.box: Outbox = outbox(self.world, webhook(receiver))
        self.receiver = receiver

    def live(self, seconds: float, lines: Any, every: float = 10.0) -> None:
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.live(min(every, end - self.world.now), lines, every)
            deliver(self.box, self.world)

    @property
    def said(self) -> list[tuple[str, str, str]]:
        """(status, alert, about) of everything that was told."""
        return [
            (body["status"], body["groupLabels"]["alertname"], alert["labels"]["about"])
            for body in self.receiver.bodies
            for alert in body["alerts"]
        ]

    @property
    def fired(self) -> list[tuple[str, str]]:
        return [(name, about) for status, name, about in self.said if status == "firing"]


def healthy(since: float, until: float) -> Lines:
    return steady(2.0, lambda at: request(at, calls="backend 1 0 3.0"))(since, until)


def database_down(since: float, until: float) -> Lines:
    """The backend cannot reach its database: its RPCs fail, and so do the pages and what the edge passes on."""
    failed = {"outcome": "server_error"}
    return both(
        steady(2.0, lambda at: rpc(at, status="INTERNAL", calls="database 1 1 8.0", **failed)),
        steady(2.0, lambda at: request(at, calls="backend 1 1 9.0", **failed)),
    )(since, until)


def test_one_outage_of_five_tiers_of_alerts_is_told_once_and_ends_once(tmp_path: Path, receiver: Receiver):
    """Database, RPCs, pages and budgets: all fire, one message, which names the dependency that fails."""
    told = Told(tmp_path, receiver)
    told.live(10 * MINUTE, both(healthy, steady(2.0, lambda at: rpc(at, calls="database 1 0 8.0"))))
    told.live(8 * MINUTE, database_down)
    fired = told.world.names
    assert {"dependency-down", "rpc-error-surge", "http-error-surge", "slo-fast-burn", "sustained-errors"} <= fired
    assert len(told.fired) == 1
    assert "backend → database" in receiver.bodies[0]["commonAnnotations"]["also"]
    told.live(2 * HOUR, both(healthy, steady(2.0, rpc)), 60.0)
    assert [status for status, _, _ in told.said] == ["firing", "resolved"]


def test_second_outage_is_told_although_the_memory_of_the_first_one_still_fires(tmp_path: Path, receiver: Receiver):
    """`sustained-errors` looks an hour back."""
    told = Told(tmp_path, receiver)
    told.live(10 * MINUTE, healthy)
    told.live(10 * MINUTE, database_down)
    told.live(20 * MINUTE, both(healthy, steady(2.0, rpc)))
    assert [one.name for one in told.world.watcher.history.open() if one.fired_s and one.name == "sustained-errors"]
    before = len(told.fired)
    told.live(5 * MINUTE, database_down)
    assert len(told.fired) == before + 1


def test_new_fault_is_told_although_a_dependency_is_known_to_be_down_for_hours(tmp_path: Path, receiver: Receiver):
    """A vendor that is down since noon explains nothing that begins at two."""
    told = Told(tmp_path, receiver)
    mailer = steady(1.0, lambda at: request(at, calls="mailer 1 1 9.0"))
    told.live(2 * HOUR, mailer, 60.0)
    assert told.fired == [("dependency-down", "web mailer")]
    told.live(5 * MINUTE, steady(2.0, lambda at: request(at, outcome="server_error", calls="mailer 1 1 9.0")))
    assert ("http-error-surge", "web") in told.fired


def test_fault_of_another_service_at_the_same_time_is_told_by_itself(tmp_path: Path, receiver: Receiver):
    """Two services that do not call each other."""
    told = Told(tmp_path, receiver)
    failing = {"outcome": "server_error"}
    told.live(5 * MINUTE, both(healthy, steady(2.0, lambda at: request(at, "admin"))))
    told.live(
        5 * MINUTE,
        both(steady(2.0, lambda at: request(at, **failing)), steady(2.0, lambda at: request(at, "admin", **failing))),
    )
    assert sorted(told.fired) == [("http-error-surge", "admin"), ("http-error-surge", "web")]


def test_errors_that_outlive_the_outage_that_explained_them_are_told(tmp_path: Path, receiver: Receiver):
    """A surge is over and few requests go on failing: once the windows hold nothing of it, that is another fault."""
    told = Told(tmp_path, receiver)
    told.live(10 * MINUTE, steady(2.0, request))
    told.live(10 * MINUTE, steady(2.0, lambda at: request(at, outcome="server_error")))
    told.live(10 * MINUTE, steady(2.0, request))
    assert told.fired == [("http-error-surge", "web")]
    told.live(2 * HOUR, steady(0.01, lambda at: request(at, outcome="server_error")), 60.0)
    assert told.fired[1:] == [("sustained-errors", "web")]


def test_page_is_never_hidden_behind_a_ticket(tmp_path: Path, receiver: Receiver):
    """A ticket waits for the morning."""
    told = Told(tmp_path, receiver)

    def one_route(at: float) -> dict[str, Any]:
        number = round(at * 8)
        bad = number % 40 == 3 and number // 40 % 10 == 0
        return request(at, route=f"/r{number % 40}", outcome="server_error" if bad else "ok")

    told.live(12 * MINUTE, steady(8.0, one_route))
    assert {name for name, _ in told.fired} == {"route-errors"}
    told.live(2 * MINUTE, steady(8.0, lambda at: request(at, outcome="server_error")))
    assert ("http-error-surge", "web") in told.fired


def test_process_that_hangs_explains_the_pages_that_fail_for_it(tmp_path: Path, receiver: Receiver):
    """One message for both."""
    told = Told(tmp_path, receiver)
    told.live(5 * MINUTE, both(healthy, steady(0.2, beat)))
    hung = both(
        steady(0.2, lambda at: beat(at, loopLagMs=5000.0)),
        steady(2.0, lambda at: request(at, outcome="timeout", calls="backend 1 0 3.0")),
    )
    told.live(3 * MINUTE, hung)
    assert {"process-hung", "http-error-surge"} <= told.world.names
    assert len(told.fired) == 1


CALLS = Topology(frozenset({("edge", "web"), ("web", "backend"), ("backend", "database"), ("web", "mailer")}))


@pytest.mark.parametrize(
    ("known", "new", "joined"),
    [
        (("dependency-down", "backend database"), ("http-error-surge", "web"), True),
        (("http-error-surge", "web"), ("dependency-down", "backend database"), True),
        (("process-silent", "backend"), ("dependency-down", "web backend"), True),
        (("rpc-error-surge", "backend"), ("http-error-surge", "edge"), True),
        (("http-error-surge", "web"), ("http-error-surge", "edge"), True),
        (("dependency-down", "web mailer"), ("dependency-down", "admin mailer"), True),
        (("dependency-down", "web mailer"), ("dependency-down", "web backend"), False),
        (("dependency-down", "web mailer"), ("rpc-error-surge", "backend"), False),
        (("http-error-surge", "web"), ("csrf-refusals", "web"), False),
        (("http-error-surge", "web"), ("disk-filling", "disk"), False),
        (("slo-fast-burn", "web"), ("http-error-surge", "web"), True),
    ],
)
def test_what_belongs_together_follows_from_who_calls_whom(known: tuple[str, str], new: tuple[str, str], joined: bool):
    """At the same time; and hours apart only the memories of one signal."""
    first = Sign(1, 1, *known, "page", 1000.0)
    assert (outage_of(Sign(2, 0, *new, "page", 1010.0), [first], CALLS) == 1) is joined
    assert outage_of(Sign(2, 0, *new, "page", 9000.0), [first], CALLS) == 2


def test_circle_of_calls_ends():
    """Services may call each other."""
    assert Topology(frozenset({("a", "b"), ("b", "a")})).below("a") == {"a", "b"}
