"""Incidents through the command line: the timeline that is written, the question it asks, and who is asked later."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.engine.world import Spec, World, make_plan
from tests.observability.traffic import request
from tests.support.command import dodai

from dodai.observability.check import IncidentFiles, gather_incidents
from dodai.observability.check.incidents import incidents_are_answered, incidents_can_be_read
from dodai.observability.incident import Header, Unreadable, file_name, parse
from dodai.observability.line_format import dump
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

MANIFEST = '[project]\nname = "quiz"\nlangs = ["en"]\n\n[env.staging]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    return tmp_path


def lines(project: Path, *found: dict[str, Any]) -> None:
    folder = project / ".dodai" / "env" / "staging" / "lines"
    folder.mkdir(parents=True)
    (folder / "web.jsonl").write_bytes(b"".join(dump(one) for one in found))


def outage(now: float) -> list[dict[str, Any]]:
    """Healthy requests, and from 30 seconds ago on failing ones."""
    healthy = [request(now - 120 + n, version="r1") for n in range(90)]
    return [*healthy, *(request(now - 30 + n, version="r2", outcome="server_error") for n in range(30))]


def deployed(project: Path, at_s: float) -> None:
    """A deploy on record that began at `at_s` and was carried out five seconds later."""
    plan = make_plan([Spec("a")], World(project / "world"), release="r2")

    async def record() -> None:
        environment = environments.open(find_project(project / "dodai.toml"), "staging")
        with environment.journal() as journal:
            await journal.begin("p1", plan, token=1, at=datetime.fromtimestamp(at_s, UTC).isoformat())
            ended = datetime.fromtimestamp(at_s + 5, UTC).isoformat()
            await journal.append("p1", "closed", data={"state": "succeeded", "exit_code": 0}, token=1, at=ended)

    asyncio.run(record())


def test_incident_has_trace_deploy_alert_and_response_on_one_timeline_in_their_order(project: Path):
    """And says what each alert measured, and which one fired."""
    now = time.time()
    found = outage(now)
    lines(project, *found)
    deployed(project, now - 60)
    words = ("--env", "staging")
    dodai("watch", "staging", "--once", cwd=project)
    dodai("alerts", "ack", "http-error-surge", *words, "--reason", "rolling back", cwd=project)
    sample = found[-1]["requestId"]
    made = dodai("incident", "new", sample, *words, cwd=project)
    assert made.returncode == 0, made.stderr
    path = re.search(r"wrote `(docs/incidents/\S+\.md)`", made.stdout)
    assert path is not None, made.stdout
    text = (project / path[1]).read_text()
    order = [
        "deploy r2 begins, by hana (p1)",
        "deploy r2 ends: succeeded",
        "`web` fails `GET /`: 500 server_error",
        "http-error-surge fires: web at 25 %",
        "is on http-error-surge: rolling back",
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, [part for part in order if part not in text]
    assert places == sorted(places)
    assert f"request {sample}" in text
    assert re.search(r"These fired: .*`http-error-surge`", text)
    assert re.search(
        r"\| http-error-surge \| http error-ratio > 2 % over 5m \| 25 % \(web\) \| 30 / 120 \| yes \|", text
    )
    assert re.search(r"\| http-latency \|.*\| no \|", text)
    header = parse(text)
    assert isinstance(header, Header)
    assert (header.env, header.answered) == ("staging", False)


def test_incident_of_an_alert_begins_with_its_last_firing(project: Path):
    """An alert that has no request, such as a full disk, is an incident as well."""
    lines(project, *outage(time.time()))
    dodai("watch", "staging", "--once", cwd=project)
    made = dodai("incident", "new", "http-error-surge", "--env", "staging", "--json", cwd=project)
    body = json.loads(made.stdout)
    assert body["schema"] == "dodai.incident/1"
    assert "http-error-surge" in body["fired"]
    assert body["created"]
    assert {"request", "alert"} <= {one["seenIn"] for one in body["moments"]}


def test_second_time_nothing_is_overwritten(project: Path):
    """What people have written into the file stays."""
    now = time.time()
    found = outage(now)
    lines(project, *found)
    words = ("incident", "new", found[-1]["requestId"], "--env", "staging")
    dodai(*words, cwd=project)
    (file,) = (project / "docs" / "incidents").iterdir()
    file.write_text("mine")
    again = dodai(*words, cwd=project)
    assert again.returncode == 0
    assert "is there already" in again.stdout
    assert file.read_text() == "mine"


def test_incident_of_a_failure_that_no_alert_saw_says_so_and_how_near_each_came(project: Path):
    """One failed request of two hundred; without rollups nothing is judged, and the file says that."""
    now = time.time()
    found = [request(now - 100 + n / 2, outcome="server_error" if n == 150 else "ok") for n in range(200)]
    lines(project, *found)
    words = ("incident", "new", found[150]["requestId"], "--env", "staging")
    made = dodai(*words, cwd=project)
    assert "alerts are not on it, the rollups cannot be read" in made.stdout
    (file,) = (project / "docs" / "incidents").iterdir()
    assert "no alert can be judged afterwards" in file.read_text()
    file.unlink()
    dodai("watch", "staging", "--once", cwd=project)
    dodai(*words, cwd=project)
    text = file.read_text()
    assert "No alert fired." in text
    assert re.search(r"\| http-error-surge \|.*\| 1 / 1\d\d \| no \|", text)


def test_id_of_which_nothing_is_known_gets_no_file(project: Path):
    """Exit 1 and DOD483."""
    made = dodai("incident", "new", "01a20a154cc271afb17c548fca6d98ca", "--env", "staging", cwd=project)
    assert made.returncode == 1
    assert "DOD483 incident-not-seen" in made.stderr
    assert not (project / "docs").exists()


def header(**fields: str) -> str:
    values = {"id": '"a"', "env": '"staging"', "began": "2026-11-01T10:00:00Z", "detected_by": '""', **fields}
    return "+++\n" + "".join(f"{name} = {value}\n" for name, value in values.items()) + "+++\n# Incident\n"


@pytest.mark.parametrize(
    ("today", "fields", "found"),
    [
        (date(2026, 11, 15), {}, 0),
        (date(2026, 11, 16), {}, 1),
        (date(2026, 11, 16), {"detected_by": '"route-errors"'}, 0),
        (date(2026, 11, 16), {"metric_added": '"queue length"'}, 0),
        (date(2026, 11, 16), {"metric_added": '"  "'}, 1),
    ],
)
def test_incident_is_found_when_it_is_older_than_14_days_without_an_answer(
    tmp_path: Path, today: date, fields: dict[str, str], found: int
):
    """Either answer is enough, an empty one is none."""
    (tmp_path / "a.md").write_text(header(**fields))
    incidents = gather_incidents(tmp_path, ".", today)
    assert isinstance(incidents, IncidentFiles)
    assert len(list(incidents_are_answered.test(incidents))) == found
    assert list(incidents_can_be_read.test(incidents)) == []


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("# Incident\n", "the first line is not `+++`", 1),
        ("+++\nid = 'a'\n", "no second `+++`", 1),
        ("+++\nid = a\n+++\n", "not TOML", 2),
        (header(began='"yesterday"'), "`began` is not an instant", 1),
        (header(began="2026-11-01T10:00:00"), "`began` is not an instant", 1),
        (header(detected_by="7"), "are strings", 1),
        (header(detectedby='"x"'), "a key `detectedby` that nothing reads", 1),
        ("", "the first line is not `+++`", 1),
    ],
)
def test_file_that_cannot_be_judged_is_a_finding_and_no_pass(tmp_path: Path, text: str, said: str, line: int):
    """With the line that is at fault."""
    (tmp_path / "a.md").write_text(text)
    (tmp_path / "b.md").write_bytes(b"\xff\xfe")
    (tmp_path / "README.md").write_text("how we write these")
    incidents = gather_incidents(tmp_path, ".", date(2026, 11, 2))
    assert isinstance(incidents, IncidentFiles)
    first, second = incidents_can_be_read.test(incidents)
    assert said in first.message
    assert first.place is not None
    assert first.place.line == line
    assert "`b.md`: it cannot be read" in second.message


def test_incident_that_names_no_alert_is_told_the_nearest(tmp_path: Path):
    """A misspelt name would count as an answer."""
    (tmp_path / "a.md").write_text(header(detected_by='"http-errors-surge"'))
    incidents = gather_incidents(tmp_path, ".", date(2026, 11, 2))
    assert isinstance(incidents, IncidentFiles)
    (found,) = incidents_can_be_read.test(incidents)
    assert "did you mean `http-error-surge`?" in (found.fix or "")


def test_list_shows_answers_and_what_cannot_be_read(project: Path):
    """The list of a meeting."""
    assert "there are no incidents" in dodai("incident", "list", cwd=project).stdout
    folder = project / "docs" / "incidents"
    folder.mkdir(parents=True)
    (folder / "a.md").write_text(header(detected_by='"route-errors"'))
    (folder / "b.md").write_text(header())
    (folder / "c.md").write_text("# nothing\n")
    seen = dodai("incident", "list", cwd=project).stdout.splitlines()
    assert re.search(r"2026-11-01T10:00:00Z +staging +detected by route-errors +docs/incidents/a\.md", seen[0])
    assert "not answered" in seen[1]
    assert "docs/incidents/c.md: the first line is not `+++`" in seen[2]
    body = json.loads(dodai("incident", "list", "--json", cwd=project).stdout)
    assert body["incidents"][0]["detectedBy"] == "route-errors"


def test_file_names_sort_by_time_and_hold_nothing_of_an_id_that_a_path_could_mean():
    """A client may choose its own id."""
    assert file_name("01a20a154cc271afb17c548fca6d98ca", 0.0) == "1970-01-01-548fca6d98ca.md"
    assert file_name("../../etc:x", 0.0) == "1970-01-01--etc-x.md"
    assert isinstance(parse("+++\n+++\n"), Unreadable)
