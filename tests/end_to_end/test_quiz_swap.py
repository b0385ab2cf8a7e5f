"""Releases change both ways under load, through the command line and the edge: nobody's request fails or is lost."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from tests.levels import WHOLE, level
from tests.quiz.copies import copy_quiz
from tests.support.command import argv, clean_environment, commit, dodai, start_dodai
from tests.support.wait import until

from dodai.operations.journey import read_forms

HEADERS = {"accept": "text/html", "accept-language": "en"}
QUESTION = "/questions/1"
READERS = 4
SLOW_S = 2.0
PAUSE_S = 0.05 if level() == WHOLE else 0.25
"""What a reader waits before the next list; without it readers take the processor from the release they wait for."""


@dataclass(slots=True)
class Place:
    """A copy of the quiz in a repository of its own, and the command line there."""

    folder: Path

    async def deploy(self, *release: str) -> str:
        """The release that serves afterwards."""
        process = await asyncio.create_subprocess_exec(
            *argv("deploy", "local", *release, "--yes", "--json"),
            cwd=self.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, progress = await process.communicate()
        assert process.returncode == 0, said.decode() + progress.decode()
        return self.release()

    def release(self) -> str:
        said = dodai("status", "local", "--json", cwd=self.folder).stdout
        services = json.loads(said)["host"]["services"]
        return next(service["release"] for service in services if service["name"] == "web")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Place, str]]:
    """The quiz running as `dodai up` runs it, and the address of its edge."""
    folder = copy_quiz(tmp_path / "quiz")
    commit(folder)
    found = Place(folder)
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = start_dodai("up", cwd=folder, output=output)
    try:
        until(lambda: "serves quiz" in log.read_text(), lambda: f"the quiz is served:\n{log.read_text()}", up)
        yield found, re.findall(r"(http://\S+)  serves quiz", log.read_text())[0]
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)


@dataclass(slots=True)
class Crowd:
    """Readers of the edge. `failed` says what went wrong for whom; `stored` counts verdicts that were given."""

    url: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    statuses: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    stored: int = 0

    async def read(self) -> None:
        """List, question, answer, again and again: a third of the requests are posts."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=20, headers=HEADERS) as client:
            while not self.stop.is_set():
                await asyncio.sleep(PAUSE_S)
                await self.ask(client, "GET", "/")
                page = await self.ask(client, "GET", QUESTION)
                if page is not None:
                    form = fields_of(page)
                    await self.answer(client, form)
                    await self.answer(client, form)

    async def send_slowly(self) -> None:
        """A body that takes two seconds, so that some are always under way when a release is switched."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=20, headers=HEADERS) as client:
            while not self.stop.is_set():
                page = await self.ask(client, "GET", QUESTION)
                if page is not None:
                    await self.answer(client, fields_of(page), slowly=True)

    async def answer(self, client: httpx2.AsyncClient, form: dict[str, str], *, slowly: bool = False) -> None:
        body = str(httpx2.QueryParams({**form, "attempt": str(uuid4()), "choice": "1"})).encode()
        content = trickle(body) if slowly else body
        origin = {"origin": self.url, "sec-fetch-site": "same-origin"}
        headers = {**origin, "content-type": "application/x-www-form-urlencoded"}
        answer = await self.ask(client, "POST", f"{QUESTION}/answer", content=content, headers=headers)
        self.stored += answer is not None

    async def ask(self, client: httpx2.AsyncClient, method: str, path: str, **more: object) -> httpx2.Response | None:
        try:
            answer = await client.request(method, path, **more)
        except httpx2.HTTPError as error:
            self.failed.append(f"{method} {path}: {type(error).__name__}: {error}")
            return None
        self.statuses[f"{method} {answer.status_code}"] += 1
        if answer.status_code == 200:
            return answer
        self.failed.append(f"{method} {path}: {answer.status_code} {answer.headers.get('x-request-id')}")
        return None


async def trickle(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), len(body) // 4 + 1):
        yield body[start : start + len(body) // 4 + 1]
        await asyncio.sleep(SLOW_S / 4)


def fields_of(page: httpx2.Response) -> dict[str, str]:
    return next(form for form in read_forms(page.text) if form.action == f"{QUESTION}/answer").fields


async def times_answered(url: str) -> int:
    async with httpx2.AsyncClient(base_url=url, timeout=20, headers=HEADERS) as client:
        page = (await client.get("/?topic=places")).text
    found = re.search(rf'{QUESTION}">.*?Answered (once|\d+)', page, re.DOTALL)
    return 0 if found is None else 1 if found[1] == "once" else int(found[1])


async def test_every_request_is_answered_and_every_answer_stored_while_releases_change(place):
    """Forward to a new release and back to the old one: 0 failed, and one stored row for each verdict given."""
    found, url = place
    old = found.release()
    words = found.folder / "web" / "words.toml"
    words.write_text(words.read_text("utf-8").replace("One thing more than yesterday", "One thing more than then"))
    manifest = found.folder / "dodai.toml"
    manifest.write_text(manifest.read_text("utf-8").replace("One thing more than yesterday", "One thing more than"))
    before = await times_answered(url)
    crowd = Crowd(url)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(READERS):
            tasks.create_task(crowd.read())
        for _ in range(2):
            tasks.create_task(crowd.send_slowly())
        try:
            new = await found.deploy()
            assert new != old
            assert await found.deploy(old) == old
        finally:
            crowd.stop.set()
    posts = sum(count for status, count in crowd.statuses.items() if status.startswith("POST"))
    print(json.dumps({"requests": crowd.statuses.total(), "posts": posts, **crowd.statuses}))
    assert crowd.failed == []
    assert posts >= 0.3 * crowd.statuses.total()
    assert await times_answered(url) - before == crowd.stored
