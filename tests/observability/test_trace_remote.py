"""`dodai trace` over lines that were sent away: it asks as VictoriaLogs v1.52.1 answers (seen with the real one)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.observability.traffic import request, rpc
from tests.support.command import dodai

from dodai.observability.line_format import dump


class Logs:
    """The part of VictoriaLogs' query API that is asked for: phrases, a time range, one JSON object a line."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.status = 200
        self.wanted, self.leads_to, self.heard = "", "", list[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(target.query).items()}
                assert target.path == "/select/logsql/query"
                outer.heard.append(self.headers.get("authorization", ""))
                status = outer.status if outer.heard[-1] == outer.wanted or not outer.wanted else 401
                self.send_response(307 if outer.leads_to else status)
                if outer.leads_to:
                    self.send_header("Location", outer.leads_to + self.path)
                self.end_headers()
                if status != 200 or outer.leads_to:
                    return
                for message in outer.messages:
                    at = float(json.loads(message).get("ts", time.time()))
                    within = float(asked["start"]) <= at <= float(asked.get("end", at))
                    if within and any(one.strip('"') in message for one in asked["query"].split(" or ")):
                        self.wfile.write(json.dumps({"_msg": message, "_time": "x"}).encode() + b"\n")

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def logs() -> Iterator[Logs]:
    made = Logs()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_request_is_followed_through_lines_that_were_sent_away(logs: Logs):
    """All tiers, also by the id of a client; what only mentions the id is not a line of it."""
    now = time.time()
    line = request(now, outcome="server_error", clientRequestId="ticket-4711")
    calls = rpc(now, requestId=line["requestId"], outcome="server_error", status="UNAVAILABLE")
    other = request(now + 1, error=f"not about {line['requestId']}")
    logs.messages = [dump(one).decode() for one in (line, calls, other)]
    for asked in (line["requestId"], "ticket-4711"):
        seen = dodai("trace", asked, "--state", logs.url, "--json")
        assert seen.returncode == 0, seen.stderr
        assert [one["service"] for one in json.loads(seen.stdout)["lines"]] == ["web", "backend"]
    assert "backend" in dodai("trace", line["requestId"], "--state", logs.url).stdout


def test_server_that_does_not_answer_is_told_and_no_trace_is_called_whole(logs: Logs):
    """Exit 1, whatever else was found."""
    logs.status = 503
    seen = dodai("trace", "01a20a288b427b969a28243b7e75d12c", "--state", logs.url)
    assert seen.returncode == 1
    assert f"`{logs.url}` cannot be asked: answered 503" in seen.stderr
    logs.status = 200
    nothing = dodai("trace", "01a20a288b427b969a28243b7e75d12c", "--state", logs.url)
    assert nothing.returncode == 1
    assert f"no line has the id `01a20a288b427b969a28243b7e75d12c`, looked in `{logs.url}`" in nothing.stderr


def test_authorization_is_sent_and_never_followed_to_somebody_else(logs: Logs):
    """Without it the refusal names the variable; a redirect is told and not gone after."""
    line = request(time.time())
    logs.messages, logs.wanted = [dump(line).decode()], "Bearer abc"
    without = dodai("trace", line["requestId"], "--state", logs.url)
    assert "cannot be asked: answered 401, set DODAI_TELEMETRY_AUTHORIZATION" in without.stderr
    known = {"DODAI_TELEMETRY_AUTHORIZATION": "Bearer abc"}
    assert dodai("trace", line["requestId"], "--state", logs.url, **known).returncode == 0
    elsewhere = Logs()
    logs.leads_to = elsewhere.url
    sent_on = dodai("trace", line["requestId"], "--state", logs.url, **known)
    elsewhere.server.shutdown()
    elsewhere.server.server_close()
    assert "cannot be asked: answered 307" in sent_on.stderr
    assert elsewhere.heard == []


def test_authorization_is_not_sent_in_the_clear():
    """Plain http to another machine is refused before anything is sent."""
    known = {"DODAI_TELEMETRY_AUTHORIZATION": "Bearer abc"}
    seen = dodai("trace", "01a20a288b427b969a28243b7e75d12c", "--state", "http://192.0.2.1:9428", **known)
    assert "DODAI_TELEMETRY_AUTHORIZATION is set and would be readable on the way: use https" in seen.stderr
