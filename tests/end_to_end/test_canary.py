"""Nothing of a person and no secret in anything the quiz leaves behind: lines, logs, journal, reports, screens."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from tests.quiz.browser import HTML, Visitor
from tests.quiz.copies import copy_quiz
from tests.support.command import commit, dodai, start_dodai
from tests.support.wait import until

CANARY = "zq7canary"
"""Part of everything sent, and of nothing else in the tree."""
MAIL = f"{CANARY}mail@people.example.org"
TOKEN = f"{CANARY}token.eyJhbGciOiJIUzI1NiJ9.c2lnbmF0dXJl"
COOKIE = f"{CANARY}cookie0123456789abcdef"
TEXT = f"{CANARY}text 個人的な文章 {MAIL}"
ENVIRONMENT = {
    "DATABASE_URL": f"postgresql://{CANARY}user:{CANARY}password@db.example.org:5432/{CANARY}name?sslmode=require",
    "SENTRY_DSN": f"https://{CANARY}key@errors.example.org/1",
    "API_TOKEN": f"{CANARY}apitoken",
}
MEANT_TO_HOLD_THEM = {
    "postgres",
    "releases",
    "restore-points",
    "secrets.json",
    "database.json",
    "edge.key",
    "digest.key",
}
"""The database has what people wrote; the files of secrets have the secrets, for their owner alone."""


@dataclass(slots=True)
class Place:
    """The quiz in a folder of its own under `dodai up`; `said` is everything a command printed."""

    folder: Path
    url: str = ""
    said: list[bytes] = field(default_factory=list)

    @property
    def screen(self) -> Path:
        """What `dodai up` says."""
        return self.folder.parent / "up.log"

    def run(self, *words: str, timeout_s: float = 60) -> None:
        """A command that an operator types; whatever it says is looked through later."""
        answer = dodai(*words, cwd=self.folder, timeout_s=timeout_s, **ENVIRONMENT)
        assert answer.returncode in (0, 1), answer.stderr
        self.said += [answer.stdout.encode(), answer.stderr.encode()]

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Everything that stays on the disk, and everything that was on a screen."""
        for path in (self.folder / ".dodai").rglob("*"):
            parts = path.relative_to(self.folder).parts
            if path.is_file() and not MEANT_TO_HOLD_THEM & set(parts):
                yield str(path.relative_to(self.folder)), path.read_bytes()
        if self.screen.exists():
            yield "screen of up", self.screen.read_bytes()
        for number, said in enumerate(self.said):
            yield f"screen {number}", said


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The quiz in a folder of its own."""
    return copy_quiz(tmp_path / "quiz")


@pytest.fixture
def place(copied: Path) -> Iterator[Place]:
    commit(copied)
    found = Place(copied)
    log = found.screen
    with log.open("wb") as output:
        up = start_dodai("up", cwd=copied, output=output, **ENVIRONMENT)
    try:
        until(lambda: "serves quiz" in log.read_text(), lambda: f"the quiz is served:\n{log.read_text()}", up)
        found.url = re.findall(r"(http://\S+)  serves quiz", log.read_text())[0]
        yield found
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
        up.wait(30)


def stop(place: Place) -> None:
    """End `up` as a person does, so that what is written at the end is written."""
    place.run("down", "local")


def live(client: httpx2.Client) -> list[str]:
    """The life of a reader with canaries in every place where people put things; the request ids."""
    ids: list[str] = []
    client.event_hooks["response"] = [lambda answer: ids.append(answer.headers.get("x-request-id", ""))]
    somebody = Visitor(client)
    odd = {
        "authorization": f"Bearer {TOKEN}",
        "referer": f"https://elsewhere.example/?q={CANARY}referer",
        "user-agent": f"{CANARY}agent {MAIL}",
        "x-custom": TOKEN,
        "x-forwarded-for": f"{CANARY}address",
    }
    client.cookies.set("tracking", COOKIE)
    somebody.go(f"/?email={MAIL}&token={TOKEN}", **odd)
    somebody.go(f"/people/{MAIL}/{TOKEN}", **odd)
    somebody.go(f"/questions/{MAIL}", **odd)
    somebody.send("/questions/1/answer", on="/questions/1", headers=odd, choice=TEXT, attempt=str(uuid4()))
    somebody.send("/questions/1/answer", on="/questions/1", headers=odd, choice="1", attempt=MAIL)
    for origin in ("", "https://evil.example", f"https://evil.example/{CANARY}", f"https://{CANARY}@evil.example"):
        headers = {"origin": origin, "x-csrf-token": TOKEN} if origin else {}
        client.post("/me", data={"name": TEXT, "csrf_token": TOKEN}, headers={**HTML, **odd, **headers})
        client.post("/me", json={"name": TEXT}, headers={**HTML, **odd, **headers})
        client.post("/me", files={"file": (MAIL, TEXT.encode())}, headers={**HTML, **odd, **headers})
    client.post("/webhooks/review", json={"text": TEXT}, headers={**odd, "x-signature": TOKEN})
    client.get("/sign-in/done", params={"code": TOKEN, "state": COOKIE}, headers=odd)
    there = somebody.send("/sign-in", on="/", headers=odd, login_hint=MAIL)
    back = httpx2.post(there.headers["location"], data={"sub": MAIL})
    somebody.go(back.headers["location"])
    somebody.send("/me", on="/me", headers=odd, intent="name", name=TEXT[:20])
    somebody.go(f"/me?{COOKIE}", **odd)
    return [request_id for request_id in ids if request_id]


def secrets_of(place: Place) -> set[str]:
    """The values that dodai made for this environment, and each key inside a ring."""
    values: set[str] = set()
    for file in (place.folder / ".dodai").rglob("secrets.json"):
        for value in json.loads(file.read_text()).values():
            values |= {value, *(part.partition(":")[2] for part in value.split(","))}
    for file in (place.folder / ".dodai").rglob("edge.key"):
        values |= set(file.read_text().split())
    return {value for value in values if len(value) >= 16}


def test_no_canary_is_left_in_anything_but_the_database(place: Place):
    """E-mail, token, cookie, form text, DSN and secrets: zero occurrences in what was written and said."""
    with httpx2.Client(base_url=place.url, timeout=15, follow_redirects=False) as client:
        ids = live(client)
    for words in (("status", "local"), ("status", "local", "--json"), ("history",), ("check", "--fast")):
        place.run(*words)
    for request_id in ids:
        place.run("trace", request_id, "--json")
    secrets = secrets_of(place)
    stop(place)
    left = dict(place.left())
    found = [name for name, data in left.items() if CANARY.encode() in data.lower()]
    assert found == []
    told = [name for name, data in left.items() for secret in secrets if secret.encode() in data]
    assert told == []
    assert len(secrets) >= 4  # what was looked for was there
    lines = b"".join(data for name, data in left.items() if "/lines/" in name and name.endswith(".jsonl"))
    missing = [request_id for request_id in ids if request_id.encode() not in lines]
    assert missing == []
    assert b'"path":"[email]"' in lines  # redacted, not left out because nobody came by
    assert any("/logs/" in name for name in left)
    assert any("journal" in name for name in left)


IN_EVERY_FORM = (
    f'<input type="hidden" name="note" value="{TEXT}"><input type="hidden" name="login_hint" value="{MAIL}">'
)
IN_EVERY_PAGE = f'<i hidden data-mail="{MAIL}" data-token="{TOKEN}"></i>'
TRACKING = f"""
class Tracking:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def tracked(message):
            if message["type"] == "http.response.start":
                cookie = (b"set-cookie", b"tracking={COOKIE}; Path=/")
                message = {{**message, "headers": [*message["headers"], cookie]}}
            await send(message)

        await self.app(scope, receive, tracked)


def build("""
JOURNEY = """
[[journey]]
name = "watched"
title = "Put personal data in every place where people put things"
title_ja = "人が個人情報を入れうる場所すべてに入れる"
user = "hanako"

[[journey.step]]
name = "home"
path = "/"
save = { mail = 'data-mail="([^"]+)"', token = 'data-token="([^"]+)"' }

[[journey.step]]
name = "query"
path = "/?email={mail}&token={token}"

[[journey.step]]
name = "path"
path = "/people/{mail}/{token}"
status = 404

[[journey.step]]
name = "home-again"
path = "/"

[[journey.step]]
name = "sign-in"
method = "POST"
path = "/sign-in"
effect = "write"
status = 302
save = { there = "(http.+)" }

[[journey.step]]
name = "provider"
path = "{there}"
status = 302
save = { back = "(http.+)" }

[[journey.step]]
name = "signed-in"
path = "{back}"
status = 303

[[journey.step]]
name = "my-page"
path = "/me"
contains = 'action="/sign-out"'
"""


def plant(folder: Path) -> None:
    """Make every page of the quiz put canaries in forms, cookies, paths and queries, and a journey follow them.

    They stand in templates and code, not in the manifest: that is journalled word by word, as it must be.
    """
    for template in (folder / "web" / "templates").glob("*.html"):
        text = re.sub(r"(<form\b[^>]*>)", lambda form: form[1] + IN_EVERY_FORM, template.read_text("utf-8"))
        template.write_text(text.replace("</body>", IN_EVERY_PAGE + "</body>"), "utf-8")
    app = folder / "web" / "app.py"
    text = app.read_text("utf-8").replace("def build(", TRACKING.lstrip(), 1)
    app.write_text(text.replace("Middleware(Known),", "Middleware(Known), Middleware(Tracking),"), "utf-8")
    manifest = folder / "dodai.toml"
    manifest.write_text(manifest.read_text("utf-8") + JOURNEY, "utf-8")


def test_no_canary_is_left_by_a_rehearsal(copied: Path):
    """Report, lines, logs, journal and both screens; `DODAI_TEST_CANARY_REHEARSAL=--all` does it for every drill."""
    plant(copied)
    commit(copied)
    place = Place(copied)
    words = os.environ.get("DODAI_TEST_CANARY_REHEARSAL", "").split()
    place.run("rehearse", *words, timeout_s=1200)
    left = dict(place.left())
    report = json.loads((copied / ".dodai/rehearsals/latest/report.json").read_text())
    assert [name for name, data in left.items() if CANARY.encode() in data.lower()] == []
    assert [(row["id"], row["observed"]) for row in report["drills"] if row["outcome"] != "ok"] == []
    assert report["outcome"] == "ok", place.said[0].decode()[-3000:]
    lines = b"".join(data for name, data in left.items() if "/lines/" in name)
    assert b'"path":"[email]"' in lines  # somebody went there, and it was redacted
    assert b'"userId":' in lines
    assert any("/logs/" in name for name in left)
    assert any("journal" in name for name in left)
    assert any(name.endswith("report.md") for name in left)
