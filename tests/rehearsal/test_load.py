"""The visitors of a drill: which journeys they walk, how slowly they type, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from dodai.operations.policy import Journey, JourneyStep
from dodai.providers.local.browser import HttpBrowser
from dodai.rehearsal.load import Person, SlowHand, load, people


def step(method: str = "GET", path: str = "/", status: int = 200) -> JourneyStep:
    effect: Any = "read" if method == "GET" else "write"
    form = {"note": "x" * 40} if method == "POST" else {}
    return JourneyStep(f"{method} {path}", path, method, effect, form, status)


def journey(name: str, *steps: JourneyStep, user: str = "anonymous") -> Journey:
    return Journey(name, "", user, steps)


ENOUGH = 12
FORM = b"<form method='post' action='/save'><input name='note'></form>"


class App:
    """Gives a form, takes it, and remembers in how many pieces it came; every `bad`th one fails."""

    def __init__(self, bad: int = 0) -> None:
        self.bad = bad
        self.pieces: list[int] = []
        self.enough = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pieces = 0
        while scope["method"] == "POST":
            message = await receive()
            pieces += bool(message["body"])
            if not message["more_body"]:
                self.pieces.append(pieces)
                if len(self.pieces) >= ENOUGH:
                    self.enough.set()
                break
        failed = pieces and self.bad and len(self.pieces) % self.bad == 0
        await send({"type": "http.response.start", "status": 500 if failed else 200, "headers": []})
        await send({"type": "http.response.body", "body": FORM})


@contextlib.asynccontextmanager
async def serving(app: App) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def test_strangers_and_users_walk_up_to_their_last_post():
    """Reading goes on for ever, posting is what a release may lose; the provider's part of a sign-in comes before."""
    write = journey("write", step(), step("POST", "/save"), step())
    back = (step(), step("POST", "/sign-in", 302), step(path="{there}"), step(path="{back}"))
    mine = journey("mine", *back, step(path="/me"), step("POST", "/me"), step(), user="hanako")
    reads = journey("reads", *back, step(path="/me"), user="hanako")
    stranger, hanako = people((journey("read", step()), write, mine, reads))
    assert [(one.name, len(one.steps)) for one in stranger.journeys] == [("write", 2)]
    assert (stranger.sign_in, hanako.sign_in.steps) == (None, back)
    assert [(one.name, [step.path for step in one.steps]) for one in hanako.journeys] == [("mine", ["/me", "/me"])]
    assert [one.name for person in people((journey("read", step()),)) for one in person.journeys] == ["read"]


async def test_somebody_who_cannot_sign_in_is_no_load():
    """The block is not entered: a load without its users would prove less than it says."""
    app = App()
    async with serving(app) as url:
        closed = journey("closed", step(path="/door", status=302), user="hanako")
        person = Person((journey("write", step(), step("POST", "/save"), user="hanako"),), closed)
        with pytest.raises(ConnectionError, match="status 200, expected 302"):
            async with load(url, HttpBrowser, [person], quick=1, slow=0, upload_s=0.1, pause_s=0.0):
                pytest.fail("the block was entered")


async def test_slow_hand_sends_a_form_piece_by_piece():
    """The server sees one body of the announced length in several pieces."""
    app = App()
    async with serving(app) as url:
        visitor = HttpBrowser(url)
        answer = await SlowHand(visitor, 0.1).request("POST", "/save", form={"note": "x" * 80})
        await visitor.close()
    assert answer.status == 200
    assert app.pieces[0] > 1


@pytest.mark.parametrize(("bad", "lost"), [(0, False), (3, True)])
async def test_every_request_is_counted_and_failures_are_told(bad: int, lost: bool):
    """Quick and slow visitors walk until the block ends; what they began they finish."""
    app = App(bad)
    async with serving(app) as url:
        write = journey("write", step(), step("POST", "/save"))
        async with load(url, HttpBrowser, [Person((write,))], quick=2, slow=1, upload_s=0.1, pause_s=0.0) as met:
            await app.enough.wait()
    assert met.posts == len(app.pieces) == met.requests / 2
    assert met.slow > 0
    assert bool(met.failed) is bool(met.problems) is lost
    assert met.walks["write"] == met.written["write"] == met.posts - met.failed
