"""The probe of a deploy and the drills, against a real server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import httpx2
import pytest
import uvicorn
from tests.csrf.driver import Handler, guarded

from dodai.core.errors import DodaiError
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.run import drills, probe, probe_step


class Stage:
    """The part of a rehearsal's stage that the drills use."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url = url
        self.request = client.request


@contextlib.asynccontextmanager
async def serving(origins=None, **policy):
    """The layer behind uvicorn; the public origin is where it listens unless others are given."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = guarded(Handler(), origins=origins or [url], clock=time.time, **policy)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=10) as client:
            yield Stage(url, client)
    finally:
        server.should_exit = True
        await task
        listener.close()


async def test_probe_passes_when_edge_and_app_agree_on_the_origin():
    """204 and the request id of the proof, in the note that the journal keeps."""
    async with serving() as stage:
        step = probe_step(stage.request, CsrfPolicy(), stage.url)
        notes = []
        context = type("Context", (), {"note": lambda _, text: notes.append(text)})()
        assert (await step.observe(context)).state == "needed"
        await step.apply(context)
        assert (await step.verify(context)).state == "done"
        assert stage.url in notes[0]


async def test_probe_fails_when_the_public_origin_is_another():
    """The proxy problem is a failed deploy with its fix, not a site whose every form is dead."""
    async with serving(origins=["https://other.example.com"]) as stage:
        with pytest.raises(DodaiError) as caught:
            await probe(stage.request, CsrfPolicy(), stage.url)
    assert caught.value.code.id == "DOD185"
    assert "public_origins" in caught.value.fix


async def test_drill_sees_every_forged_post_refused():
    """Missing, tampered and foreign to each target; the genuine one passes."""
    async with serving() as stage:
        (drill,) = drills(CsrfPolicy(), ("/save", "/other"))
        result = await drill.run(stage)
    assert result.ok, result.observed
    assert all(result.request_ids)


async def test_drill_fails_when_nothing_is_refused():
    """A layer that only reports makes the drill red."""
    async with serving(mode="report") as stage:
        (drill,) = drills(CsrfPolicy(), ("/save",))
        assert not (await drill.run(stage)).ok
    assert drills(CsrfPolicy(mode="report"), ("/save",)) == ()
