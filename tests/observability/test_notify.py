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
from tests.observability.traffic import Simulation, request, steady

from dodai.observability.alert.history import Silence
from dodai.observability.notify import Facing, Outbox
from dodai.observability.policy import NotifierSection
from dodai.observability.ports import Message
from dodai.providers.notify import channel


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
            box.failed(str(error), world.now)
            break
        box.delivered(ids, message.status)
        told += 1
    return told


def outage(world: Simulation, seconds: float = 120.0) -> None:
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
    assert deliver(box, world) == len(world.names)
    assert deliver(box, world) == 0
    body = next(one for one in receiver.bodies if one["groupLabels"]["alertname"] == "http-error-surge")
    alert = body["alerts"][0]
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "team")
    assert alert["annotations"]["runbook_url"] == "docs/o.md#http-error-surge"
    assert alert["annotations"]["trace"] == f"dodai trace {alert['annotations']['requestIds'].split()[0]}"
    recovery(world)
    assert deliver(box, world) == len(world.names)
    assert {one["status"] for one in receiver.bodies[-len(world.names) :]} == {"resolved"}
    assert {a["fingerprint"] for b in receiver.bodies for a in b["alerts"]} == {a["fingerprint"] for b in receiver.bodies[: len(world.names)] for a in b["alerts"]}  # fmt: skip


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
    assert deliver(box, world) == len(world.names)
    assert {a["status"] for b in receiver.bodies for a in b["alerts"]} == {"resolved"}
    problems = world.watcher.store.database.execute("SELECT problem FROM notifier").fetchall()
    assert problems == [("",)]
    assert deliver(box, world) == 0


def test_restart_repeats_nothing_and_forgets_nothing(tmp_path: Path, receiver: Receiver):
    """What was told is in the store."""
    world = Simulation(tmp_path)
    outage(world)
    fresh = outbox(world, webhook(receiver))
    assert deliver(fresh, world) == len(world.names)
    assert deliver(outbox(world, webhook(receiver)), world) == 0
    recovery(world)
    assert deliver(outbox(world, webhook(receiver)), world) == len(world.names)


def test_silenced_alert_is_told_when_the_silence_ends_and_it_still_fires(tmp_path: Path, receiver: Receiver):
    """A silence hides, it does not lose."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver))
    world.watcher.history.silence(Silence("*", "silence", "known", "me", world.now, world.now + 300))
    outage(world)
    assert deliver(box, world) == 0
    outage(world, 300)
    assert deliver(box, world) == len(world.names)


def test_second_notifier_hears_only_of_what_nobody_is_on(tmp_path: Path, receiver: Receiver):
    """After its time, unless somebody acknowledged."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver, after_s=100.0))
    outage(world, 60.0)
    assert deliver(box, world) == 0
    name = next(iter(sorted(world.names)))
    world.watcher.history.silence(Silence(name, "ack", "mine", "me", world.now, world.now + 3600))
    outage(world, 120.0)
    assert deliver(box, world) == len(world.names) - 1
    assert name not in {body["groupLabels"]["alertname"] for body in receiver.bodies}


def test_severity_chooses_who_hears(tmp_path: Path, receiver: Receiver):
    """Tickets wake nobody up."""
    world = Simulation(tmp_path)
    box = outbox(world, webhook(receiver, severity="ticket"))
    outage(world)
    deliver(box, world)
    assert {body["commonLabels"]["severity"] for body in receiver.bodies} == {"ticket"}


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
