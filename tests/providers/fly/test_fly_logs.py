"""The log that Fly keeps, read as the lines of an environment: pages, what is collected of them, what cannot be asked."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.fly_world import fly_world, served
from tests.support.quick_vendor import quick
from tests.support.wait import until

from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run import Watched
from dodai.observability.run.collect import Collection
from dodai.observability.trace.find import find, line_folders, read_back
from dodai.providers.fly import fly_logs as fly_log_pages
from dodai.providers.fly.fly_logs import FlyLogEntry, FlyLogNext, FlyLogPage, FlyLogRow, FlyLogs, fly_logs
from dodai.providers.fly.machines_api import fly_token
from dodai.standins import ApiFault
from dodai.vendor_api import Api

ID = f"{int(time.time() * 1000):012x}7b969a28243b7e75d12c"
PROGRAM = """
import http.server, os, sys
for line in open("said.txt"):
    print(line, end="", flush=True)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


def line(number: int, **more) -> str:
    told = {"ts": round(time.time(), 3), "type": "http", "service": "web", "requestId": f"{number:032x}", "status": 200}
    return json.dumps({**told, **more})


@pytest.fixture
def world(tmp_path: Path):
    """The app `quiz-web` on one machine, which has written a line that is looked for, 250 more, and other output."""
    with fly_world() as world:
        folder = tmp_path / "app"
        folder.mkdir()
        (folder / "web.py").write_text(PROGRAM)
        lines = ["starts", line(250, requestId=ID, status=503), *(line(number) for number in range(250))]
        (folder / "said.txt").write_text("\n".join(lines) + "\n")
        world.fly.launch("quiz-web", world.image(folder, sys.executable, "web.py"), served(), ("nrt",))
        world.settle("quiz-web")
        until(lambda: len(world.fly.logs.entries.get("quiz-web", ())) == len(lines))
        yield world


@pytest.fixture
def logs(world):
    with closing(Api(quick(fly_logs()), world.fly.url, fly_token(world.variables))) as api:
        yield FlyLogs(lambda: api, {"web": "quiz-web"})


def collection(folder: Path, logs: FlyLogs) -> Collection:
    return Collection(Watched("quiz", "production", folder, ObservabilityPolicy()), logs)


def collected(folder: Path) -> list[str]:
    return [text for file in sorted((folder / "lines").glob("*.jsonl")) for text in file.read_text().splitlines()]


def test_output_is_read_page_by_page_and_each_line_once(world, logs):
    """Three pages of a hundred; where a line was written, and when, stands beside it."""
    found = list(logs.read("web", since_s=time.time() - 600))
    assert [each.text for each in found[:1]] == ["starts"]
    assert len({each.text for each in found}) == len(found) == 252
    (machine,) = world.fly.machines("quiz-web")
    assert {(each.part, each.release) for each in found} == {("web", machine.id)}
    assert all(abs(each.at - time.time()) < 600 for each in found)
    asked = [one for one in world.fly.exchanges if one.path.endswith("/logs")]
    assert len(asked) == 4  # the last one says that there is no more


def test_a_service_that_writes_all_the_time_is_read_up_to_when_it_was_asked(logs, monkeypatch):
    """Each page of such a log has something new: who waited for an empty one would never come back."""
    asked = []

    def page(_, service, place):
        asked.append(place)
        at = datetime.fromtimestamp(time.time() + 1, UTC).isoformat()
        entry = FlyLogEntry(at, line(len(asked)))
        return FlyLogPage((FlyLogRow(entry),), FlyLogNext(str(len(asked))))

    monkeypatch.setattr(FlyLogs, "_page", page)
    lines, place = logs.after("web", "")
    assert (len(lines), place) == (1, "1")
    assert logs.after("web", place)[1] == "2"
    assert asked == ["", "1"]


def test_who_names_no_time_gets_the_most_recent_lines(logs, tmp_path):
    """As Fly's page says: a hundred of them; a `watch` goes on from there."""
    recent = [line(number)[-40:] for number in range(150, 250)]
    assert [each.text[-40:] for each in logs.read("web")] == recent
    copied = collection(tmp_path / "state", logs)
    assert (copied.once(), copied.once()) == (100, 0)
    copied.close()


@pytest.mark.parametrize("days", [0.1, 3])
def test_request_of_long_ago_is_found_behind_all_that_was_written_since(world, logs, days):
    """Fly keeps lines for about seven days; the most recent hundred may be those of a few seconds."""
    kept = world.fly.logs.entries["quiz-web"]
    at_s = time.time() - days * 86400
    minted = f"{int(at_s * 1000):012x}7b969a28243b7e75d12c"
    entry = {"attributes": {"timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(), "instance": "x", "region": "x"}}
    entry["attributes"]["message"] = line(0, requestId=minted, ts=at_s, status=418)
    kept.insert(0, (int(at_s * 1e9), entry))
    assert [each["status"] for each in read_back(logs, minted).lines] == [418]
    asked = [one for one in world.fly.exchanges if one.path.endswith("/logs")]
    assert len(asked) == 1, "what was written long after it is not read"
    assert any("418" in each.text for each in logs.read("web", since_s=at_s - 1))
    assert any("418" in each.text for each in next_lines(logs.follow("web", since_s=at_s - 1)))


def next_lines(followed):
    """What there is before the first pause."""
    return list(iter(lambda: next(followed), None))


def test_more_than_is_read_at_once_is_said_and_not_taken_for_nothing(logs, monkeypatch):
    """The line that is looked for may be among those that were not read."""
    monkeypatch.setattr(fly_log_pages, "PAGES", 2)
    with pytest.raises(OSError, match="more than 200 lines of `web` were written in that time"):
        read_back(logs, "f" * 32)


def test_a_request_is_found_where_the_platform_keeps_its_line(logs):
    """What `dodai trace ID --env ENV` asks: the line itself, and nothing for an id that nobody has."""
    (found,) = read_back(logs, ID).lines
    assert (found["service"], found["status"]) == ("web", 503)
    assert read_back(logs, "f" * 32).lines == []


def test_lines_are_collected_once_and_found_by_the_next_lookup(world, logs, tmp_path):
    """Output that is not a line of a request stays at Fly; a second look copies what is new and nothing else."""
    copied = collection(tmp_path / "state", logs)
    assert copied.once() == 100
    assert copied.once() == 0
    (machine,) = world.fly.machines("quiz-web")
    with (machine.folder / f"quiz-web-{machine.id}.log").open("a") as log:
        log.write(line(999) + "\nTraceback\n")
    until(lambda: copied.once() == 1)
    copied.close()
    assert len(collected(tmp_path / "state")) == 101
    assert [each["status"] for each in find(f"{999:032x}", line_folders([str(tmp_path / "state")])).lines] == [200]


def test_who_goes_on_after_a_crash_copies_no_line_twice(logs, tmp_path):
    """Killed after the lines were written and before their place was kept."""
    state = tmp_path / "state"
    first = collection(state, logs)
    assert first.once() == 100
    first.close()
    first.path.unlink()
    again = collection(state, logs)
    assert again.once() == 0
    again.close()
    assert len(collected(state)) == 100


def test_what_cannot_be_asked_is_a_problem_with_its_time_and_nothing_is_lost(world, logs, tmp_path):
    """Fly answers 403: `watch` says that what it shows may be old, and has everything once it is answered again."""
    copied = collection(tmp_path / "state", logs)
    world.fly.faults.add(ApiFault(kind="status", status=403, where="/logs"))
    assert copied.once() == 0
    assert copied.problem is not None
    assert copied.problem.en.startswith("lines are not collected since 2")
    assert "web: " in copied.problem.en
    assert copied.once() == 100
    assert copied.problem is None
    copied.close()
