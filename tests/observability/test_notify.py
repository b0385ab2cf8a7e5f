"""Notifiers against real receivers that answer, refuse, hang up and come back: nothing lost, nothing told twice."""

from __future__ import annotations

import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.observability.receiver import Receiver
from tests.observability.traffic import Simulation, both, request, steady

from dodai.observability.alert.history import Silence
from dodai.observability.notify import Facing, Outbox, Pulse
from dodai.observability.policy import NotifierSection, ObservabilityPolicy
from dodai.observability.ports import Message
from dodai.observability.run import overview
from dodai.providers.notify import DeadMan, channel


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def outbox(world: Simulation, section: NotifierSection) -> Outbox:
    alerts = {alert.name: alert for alert in world.watcher.alerts}
    box = Outbox(section, world.watcher.store, Facing("quiz", "test", "docs/o.md"), alerts)
    box.begin(world.now)
    return box


def deliver(box: Outbox, world: Simulation, environ: dict[str, str] | None = None) -> int:
    """How many messages were delivered, as `Watcher` does it."""
    told = 0
    for message, ids in box.due(world.now):
        try:
            channel(box.section, environ or {}).send(message)
        except (OSError, ValueError) as error:
            box.failed(error, world.now)
            break
        box.delivered(ids, message.status)
        told += 1
    return told


def outage(world: Simulation, seconds: float = 120.0) -> None:
    if not world.fired:
        world.live(60.0, steady(2.0, request))
    world.live(seconds, steady(2.0, lambda at: request(at, outcome="server_error")))


def recovery(world: Simulation) -> None:
    world.live(3 * 3600.0, steady(0.2, request), 300.0)


def webhook(receiver: Receiver, **more: Any) -> NotifierSection:
    return NotifierSection("webhook", "team", url=receiver.url, **more)


def test_webhook_hears_of_an_alert_once_and_of_its_end(tmp_path: Path, receiver: Receiver):
    """In the form of Alertmanager, with request ids, the command and the runbook's section."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver))
    outage(world)
    assert deliver(box, world) == 1
    assert deliver(box, world) == 0
    (body,) = receiver.bodies
    alert = body["alerts"][0]
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "team")
    assert alert["annotations"]["runbook_url"] == "docs/o.md#http-error-surge"
    assert alert["annotations"]["trace"] == f"dodai trace {alert['annotations']['requestIds'].split()[0]}"
    assert "slo-fast-burn: web" in alert["annotations"]["also"]
    recovery(world)
    assert deliver(box, world) == 1
    assert receiver.bodies[1]["status"] == "resolved"
    assert receiver.bodies[1]["alerts"][0]["fingerprint"] == alert["fingerprint"]


@pytest.mark.parametrize("status", [429, 500, 302])
def test_receiver_that_refuses_for_an_hour_hears_of_everything_when_it_is_back(
    tmp_path: Path, receiver: Receiver, status: int
):
    """Also of what began and ended in that hour; the problem is kept until then."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver))
    receiver.status = status
    outage(world)
    assert deliver(box, world) == 0
    assert box.problem == f"answered {status}"
    assert box.due(world.now) == []  # not again at once
    recovery(world)
    receiver.status = 200
    box.next_try_s = 0.0
    assert deliver(box, world) == 1
    assert {a["status"] for b in receiver.bodies for a in b["alerts"]} == {"resolved"}
    problems = world.watcher.store.database.execute("SELECT problem FROM notifier").fetchall()
    assert problems == [("",)]
    assert deliver(box, world) == 0


def test_receiver_that_says_when_to_come_back_is_left_alone_until_then(tmp_path: Path, receiver: Receiver):
    """Slack's 429 has `Retry-After`; more patience than ten minutes is not had."""
    world = Simulation(tmp_path)
    box = outbox(world, NotifierSection("slack", "team", url=receiver.url))
    receiver.status, receiver.headers = 429, {"retry-after": "90"}
    outage(world)
    assert deliver(box, world) == 0
    assert box.next_try_s == world.now + 90
    receiver.headers = {"retry-after": "99999"}
    world.now += 91
    assert deliver(box, world) == 0
    assert box.next_try_s == world.now + 600
    assert box.problem == "answered 429, come back in 99999 s"


def test_restart_repeats_nothing_and_forgets_nothing(tmp_path: Path, receiver: Receiver):
    """What was told is in the store."""
    world = Simulation(tmp_path)
    outage(world)
    fresh = outbox(world, webhook(receiver))
    assert deliver(fresh, world) == 1
    assert deliver(outbox(world, webhook(receiver)), world) == 0
    recovery(world)
    assert deliver(outbox(world, webhook(receiver)), world) == 1


def test_silenced_alert_is_told_when_the_silence_ends_and_it_still_fires(tmp_path: Path, receiver: Receiver):
    """A silence hides, it does not lose."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver))
    world.watcher.history.silence(Silence("*", "silence", "known", "me", world.now, world.now + 300))
    outage(world)
    assert deliver(box, world) == 0
    outage(world, 300)
    assert deliver(box, world) == 1


def test_second_notifier_hears_only_of_what_nobody_is_on(tmp_path: Path, receiver: Receiver):
    """After its time, unless somebody acknowledged."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver, after_s=100.0))
    outage(world, 60.0)
    assert deliver(box, world) == 0
    world.watcher.history.silence(Silence("http-error-surge", "ack", "mine", "me", world.now, world.now + 90))
    outage(world, 80.0)
    assert deliver(box, world) == 0
    outage(world, 20.0)
    assert deliver(box, world) == 1


def test_severity_chooses_who_hears(tmp_path: Path, receiver: Receiver):
    """Tickets wake nobody up."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver, severity="ticket"))
    refused = steady(2.0, lambda at: request(at, code="DOD150", status=403, outcome="client_error"))
    world.live(120.0, both(refused, steady(2.0, lambda at: request(at, "api", outcome="server_error"))))
    deliver(box, world)
    assert {body["commonLabels"]["alertname"] for body in receiver.bodies} == {"csrf-refusals"}


MESSAGE = Message(
    "http-error-surge",
    "DOD450",
    "firing",
    "page",
    "quiz",
    "test",
    "Errors <!channel>",
    "docs/o.md#http-error-surge",
    (),
)


def test_slack_gets_text_that_mentions_nobody(receiver: Receiver):
    """Routes and names are other people's text."""
    section = NotifierSection("slack", "team", variable="SLACK_URL")
    channel(section, {"SLACK_URL": receiver.url}).send(MESSAGE)
    assert "Errors &lt;!channel&gt;" in receiver.bodies[0]["text"]


def test_address_is_in_no_problem(receiver: Receiver):
    """Whoever has it can write to the channel; and a variable that is not set is said."""
    receiver.status = 403
    section = NotifierSection("slack", "team", variable="SLACK_URL")
    with pytest.raises(OSError, match="answered 403") as refused:
        channel(section, {"SLACK_URL": receiver.url}).send(MESSAGE)
    with pytest.raises(OSError, match=r"no answer \(ConnectError\)") as dead:
        channel(section, {"SLACK_URL": "http://127.0.0.1:9/secret-part"}).send(MESSAGE)
    with pytest.raises(ValueError, match="`SLACK_URL` is not set"):
        channel(section, {}).send(MESSAGE)
    assert "secret-part" not in str(dead.value)
    assert receiver.url not in str(refused.value)


def test_pagerduty_gets_an_event_for_each_thing_and_the_same_key_ends_it(tmp_path: Path, receiver: Receiver):
    """By the Events API v2: critical wakes somebody up, and a repetition does not."""
    world = Simulation(tmp_path)
    box = outbox(world, NotifierSection("pagerduty", "duty", url=receiver.url, variable="ROUTING_KEY"))
    key = {"ROUTING_KEY": "r0uting"}
    outage(world)
    assert deliver(box, world) == 0
    assert box.problem == "`ROUTING_KEY` is not set to a routing key"
    box.next_try_s = 0.0
    assert deliver(box, world, key) == 1
    (event,) = receiver.bodies
    assert (event["event_action"], event["routing_key"]) == ("trigger", "r0uting")
    assert (event["payload"]["severity"], event["payload"]["source"]) == ("critical", "quiz/test")
    assert event["payload"]["summary"].startswith("quiz/test http-error-surge: web")
    assert event["payload"]["custom_details"]["trace"][0].startswith("dodai trace ")
    recovery(world)
    assert deliver(box, world, key) == 1
    ended = receiver.bodies[1]
    assert (ended["event_action"], ended["dedup_key"]) == ("resolve", event["dedup_key"])


def test_dead_mans_switch_is_asked_for_only_while_alerts_are_evaluated(tmp_path: Path, receiver: Receiver):
    """A watch that cannot read any more must not look alive; a switch that does not answer is shown."""
    world = Simulation(tmp_path, ObservabilityPolicy(notifiers={"outside": NotifierSection("deadman", "outside")}))
    pulse = Pulse(NotifierSection("deadman", "outside", url=receiver.url), world.watcher.store)
    switch = DeadMan(receiver.url, "", {})
    assert not pulse.due(world.now, 5.0)
    world.live(10.0, steady(1.0, request))
    assert pulse.due(world.now, 5.0)
    switch.ping()
    pulse.answered(world.now)
    assert receiver.asked == ["/hook"]
    assert not pulse.due(world.now + 59, 5.0)
    world.live(60.0, steady(1.0, request))
    assert pulse.due(world.now, 5.0)
    assert not pulse.due(world.now + 31, 5.0)
    receiver.status = 503
    with pytest.raises(OSError, match="answered 503") as refused:
        switch.ping()
    pulse.answered(world.now, str(refused.value))
    said = [problem.en for problem in overview(world.watched, world.watcher.store, world.now).problems]
    assert any("notifier `outside` was not reached" in one and "answered 503" in one for one in said)
    assert any("nobody is told of alerts" in one for one in said)


def test_command_gets_the_message_and_its_failure_is_told(tmp_path: Path):
    """Text on standard input, the rest in the environment."""
    out = tmp_path / "out"
    program = f"import os,sys; open({str(out)!r}, 'w').write(os.environ['DODAI_ALERT'] + sys.stdin.read())"
    channel(NotifierSection("command", "c", command=(sys.executable, "-c", program)), {}).send(MESSAGE)
    assert out.read_text().startswith("http-error-surge[FIRING] quiz/test http-error-surge")
    failing_ = (sys.executable, "-c", "import sys; sys.exit('no pager')")
    with pytest.raises(OSError, match="ended with 1: no pager"):
        channel(NotifierSection("command", "c", command=failing_), {}).send(MESSAGE)


@contextmanager
def mail_server(refuse: bool = False) -> Iterator[tuple[str, list[str]]]:
    """A mail server that keeps what it gets."""
    got: list[str] = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().strip():
                word = line.upper()[:4]
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    while (part := self.rfile.readline()) != b".\r\n":
                        got.append(part.decode().rstrip())
                refused = refuse and word == b"RCPT"
                self.wfile.write(b"550 no\r\n" if refused else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", got
        server.shutdown()


def test_mail_is_delivered_and_a_refused_one_is_told():
    """Over SMTP, subject and text."""
    section = {"kind": "email", "name": "m", "sender": "dodai@example.com", "to": ("a@example.com",)}
    with mail_server() as (address, got):
        channel(NotifierSection(smtp=address, **section), {}).send(MESSAGE)
        assert any(line.startswith("Subject: [FIRING] quiz/test") for line in got)
    with mail_server(refuse=True) as (address, _), pytest.raises(OSError, match="refused"):
        channel(NotifierSection(smtp=address, **section), {}).send(MESSAGE)


def test_route_with_control_characters_cannot_break_a_subject():
    """A header ends at a line break."""
    from dodai.observability.ports import Told

    thing = Told("web GET /\r\nBcc: x", 1.0, 0.0, "1", "2", 1, 1, (), "f")
    message = Message("a", "DOD450", "firing", "page", "q", "t", "s", "r", (thing,))
    assert message.title.isprintable()
