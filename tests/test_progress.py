"""What is shown while something goes on: elapsed time on a terminal, and what services write while `up` runs."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest
from tests.support.wait import until_async

from dodai.cli import progress
from dodai.cli.output import Output
from dodai.cli.progress import Elapsed
from dodai.cli.service_lines import ServiceLines, in_words
from dodai.operations.ports.logs import LogLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch, shown: io.StringIO | None = None) -> io.StringIO:
    """What is shown from now on; set inside a test, because pytest has streams of its own for each of its phases."""
    shown = Terminal() if shown is None else shown
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("DODAI_NO_PROGRESS", raising=False)
    monkeypatch.setattr(progress, "TICK_S", 0.01)
    return shown


async def test_a_terminal_shows_what_goes_on_and_for_how_long(monkeypatch):
    """Written over by the next line, and gone when it has ended."""
    seen = terminal(monkeypatch)
    elapsed = Elapsed(Output())
    elapsed.begin("1/2  start-web")
    await until_async(lambda: seen.getvalue().count("\r\x1b[K1/2  start-web  0 s") == 1)
    elapsed.end()
    shown = seen.getvalue()
    assert shown.endswith("\r\x1b[K")
    await asyncio.sleep(0)
    assert seen.getvalue() == shown


@pytest.mark.parametrize("quiet", [True, False])
async def test_a_pipe_and_a_quiet_command_see_no_elapsed_time(monkeypatch, quiet):
    """Nothing that only a terminal understands."""
    seen = terminal(monkeypatch, None if quiet else io.StringIO())
    elapsed = Elapsed(Output(quiet=quiet))
    elapsed.begin("1/2  start-web")
    elapsed._tick()
    elapsed.end()
    assert seen.getvalue() == ""


def request(**fields: object) -> str:
    line = {
        "ts": 1.0,
        "v": 1,
        "type": "http",
        "method": "GET",
        "route": "/orders/{id}",
        "status": 200,
        "latencyMs": 3.14,
    }
    return json.dumps({**line, "outcome": "ok", "requestId": "01ab", **fields}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (request(), "GET /orders/{id} 200 3.1 ms 01ab"),
        (
            request(status=403, outcome="client_error", code="DOD151", reason="token_missing"),
            "GET /orders/{id} 403 3.1 ms client_error DOD151 token_missing 01ab",
        ),
        (request(route="<unmatched>", path="/wp-login", status=404), "GET /wp-login 404 3.1 ms 01ab"),
        (request(type="rpc", rpc="shop.Orders/Place", status="OK"), "shop.Orders/Place OK 3.1 ms 01ab"),
        (request(type="event", name="heartbeat", inFlight=0), ""),
        (request(type="event", name="breaker_open"), request(type="event", name="breaker_open")),
        ('{"ts": 1, "torn', '{"ts": 1, "torn'),
        ('"\x1b[35m\x1b[1mPOST /orders\x1b[0m" 204', '"POST /orders" 204'),
        ("listening\x1b[2J on 8080", "listening?[2J on 8080"),
    ],
)
def test_a_line_of_a_service_is_shown_as_a_person_reads_it(text, told):
    """Requests in words, everything else as it is, and nothing that moves a cursor."""
    assert in_words(text) == told


class Written:
    """Logs that grow while they are followed."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def parts(self) -> tuple[str, ...]:
        return ("web",)

    def read(self, part: str = "", /, since_s: float = 0.0):
        del part, since_s
        return iter(self.lines)

    def follow(self, part: str = "", /, since_s: float = 0.0):
        del part, since_s
        while True:
            while self.lines:
                yield self.lines.pop(0)
            yield None


async def test_up_shows_what_its_services_write_from_now_on(monkeypatch):
    """Behind the name of the service; not what another run or another part wrote."""
    seen = terminal(monkeypatch)
    logs = Written()
    logs.lines = [LogLine(5.0, "web", "r", "of another run"), LogLine(9.0, "postgres", "", "not a service")]
    shown = ServiceLines(Output(), logs, ("web", "backend"), 9.7)
    logs.lines += [LogLine(9.0, "web", "r", "started"), LogLine(12.0, "backend", "r", request())]
    await shown.show()
    logs.lines.append(LogLine(13.0, "web", "r", "`dodai up` is what it says itself"))
    await shown.show()
    plain = seen.getvalue().replace("\x1b[36m", "").replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert plain.splitlines() == [
        "web     | started",
        "backend | GET /orders/{id} 200 3.1 ms 01ab",
        "web     | `dodai up` is what it says itself",
    ]
