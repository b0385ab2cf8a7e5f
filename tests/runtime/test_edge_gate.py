"""The gate of the edge behind a real uvicorn and WSGI server: who is let in, and what is believed of them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.test_asgi import APP, serving
from tests.support.wait import until_async
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]
KEY = "edge-key-0123456789abcdef"


@pytest.fixture
def edge_key(tmp_path: Path) -> Path:
    path = tmp_path / "edge.key"
    path.write_text(KEY + "\n")
    return path


async def test_edge_key_opens_the_gate_and_never_reaches_the_app(config: Config, lines: Lines, edge_key: Path):
    """With the key the edge's id, trace, ray and client address count, and the key itself is gone."""
    headers = {
        "x-edge-key": KEY,
        "x-request-id": "edge-id-0123456789",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "x-forwarded-for": "203.0.113.9",
        "cf-ray": "8f00ba-NRT",
    }
    async with serving(dodai.asgi.wrap(APP, config=config(edge_key_file=edge_key))) as client:
        response = await client.get("/hello/taro", headers=headers)
    assert response.text == "hello no key"
    assert response.headers["x-request-id"] == "edge-id-0123456789"
    (line,) = lines()
    assert (line["traceId"], line["parentSpanId"]) == ("a" * 32, "b" * 16)
    assert (line["clientNetwork"], line["cfRay"]) == ("203.0.113.0", "8f00ba-NRT")


TOLD = ("the-new-key", "the-old-key")
BEHIND_CLOUDFLARE = {"env": {"production": {"edge": "cloudflare"}}}


async def test_key_of_a_vendors_edge_opens_the_gate_and_vouches_for_nothing_else(config: Config, lines: Lines):
    """It passes on what clients say: their id, trace, user and forwarded address count for nothing. The ray is its own."""
    told = config(env="production", sections=BEHIND_CLOUDFLARE, edge_keys=TOLD, health_path="/api/users/7")
    headers = {
        "x-request-id": "client-chosen-1",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "x-user-id": "root",
        "x-forwarded-for": "192.0.2.1, 203.0.113.9",
        "cf-connecting-ip": "203.0.113.9",
        "cf-ray": "8f00ba-NRT",
    }
    async with serving(dodai.asgi.wrap(APP, config=told)) as client:
        passed = [await client.get("/hello/taro", headers={**headers, "x-edge-key": key}) for key in TOLD]
        forged = await client.get("/hello/taro", headers={**headers, "x-edge-key": "the-key"})
        without = await client.get("/hello/taro", headers=headers)
        health = await client.get("/api/users/7")
        changing = await client.post("/api/users/7")
    assert [one.text for one in passed] == ["hello no key"] * 2
    assert [one.status_code for one in (forged, without, health, changing)] == [403, 403, 200, 403]
    first, _, refused, *_ = lines("web", "http")
    assert (first["clientRequestId"], first["userClaimed"]) == ("client-chosen-1", "root")
    assert first["requestId"] == first["traceId"] != "a" * 32
    assert (first["clientNetwork"], first["cfRay"]) == ("203.0.113.0", "8f00ba-NRT")
    assert (refused["code"], refused["clientNetwork"]) == ("DOD556", "127.0.0.0")
    assert "cfRay" not in refused


def _answer(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [])
    return [environ.get("HTTP_X_EDGE_KEY", "no key").encode()]


def test_key_of_a_vendors_edge_is_that_of_asgi_also_for_wsgi(config: Config, lines: Lines):
    """The same who-gets-in, and an id that came with the key is a visitor's."""
    client = Client(dodai.wsgi.wrap(_answer, config=config(edge_keys=TOLD, health_path="/readyz")))
    told = {"X-Request-Id": "client-chosen-1"}
    passed = [client.get("/", headers={**told, "X-Edge-Key": key}, buffered=True) for key in TOLD]
    refused = [
        client.get("/", headers=told, buffered=True),
        client.get("/", headers={"X-Edge-Key": "forged"}, buffered=True),
    ]
    checks = [client.open("/readyz", method=method, buffered=True).status_code for method in ("GET", "HEAD", "POST")]
    assert [one.text for one in passed] == ["no key"] * 2
    assert [one.status_code for one in refused] == [403] * 2
    assert checks == [200, 200, 403]
    assert {line.get("clientRequestId") for line in lines("web", "http")[:3]} == {"client-chosen-1"}


async def test_file_of_keys_goes_before_a_variable_and_health_needs_a_key_then(config: Config, edge_key: Path):
    """dodai's own edge asks for health with its key; what a variable says opens nothing beside the file."""
    both = config(edge_key_file=edge_key, edge_keys=TOLD, health_path="/api/users/7")
    async with serving(dodai.asgi.wrap(APP, config=both)) as client:
        keys = [(await client.get("/hello/x", headers={"x-edge-key": key})).status_code for key in (KEY, *TOLD)]
        checks = [(await client.get(path)).status_code for path in ("/api/users/7", "/healthz")]
    assert (keys, checks) == ([200, 403, 403], [403, 200])


@pytest.mark.parametrize("value", ["", " , ", "k", f"{KEY},k", "# a comment of a person"])
def test_variable_that_says_no_key_is_no_open_gate(value: str):
    """A secret that was emptied by hand must not let everybody in, nor one that anybody guesses."""
    with pytest.raises(DodaiError, match="DODAI_EDGE_KEY"):
        RuntimeConfig.from_environment({"DODAI_EDGE_KEY": value})


async def test_line_of_a_key_file_that_is_no_key_opens_nothing(config: Config, edge_key: Path):
    """A comment of a person, or what anybody could guess; a file of these only is none."""
    lines = "#a-comment-in-the-file\nk\n"
    await asyncio.to_thread(edge_key.write_text, lines)
    with pytest.raises(DodaiError, match="has no key"):
        RuntimeConfig.from_environment({"DODAI_EDGE_KEY_FILE": str(edge_key)})
    await asyncio.to_thread(edge_key.write_text, f"{lines}{KEY}\n")
    async with serving(dodai.asgi.wrap(APP, config=config(edge_key_file=edge_key))) as client:
        sent = [await client.get("/hello/x", headers={"x-edge-key": key}) for key in (*lines.split(), KEY)]
    assert [answer.status_code for answer in sent] == [403, 403, 200]


@pytest.mark.parametrize(
    "headers",
    [[], [("x-edge-key", "wrong")], [("x-edge-key", "")], [("x-edge-key", KEY), ("x-edge-key", KEY)]],
    ids=["missing", "wrong", "empty", "twice"],
)
async def test_without_the_edge_key_only_liveness_answers(
    config: Config, lines: Lines, edge_key: Path, headers: list[tuple[str, str]]
):
    """403 with our code, request id and one line, for every path but /healthz."""
    async with serving(dodai.asgi.wrap(APP, config=config(edge_key_file=edge_key))) as client:
        refused = [await client.get(path, headers=headers) for path in ("/hello/taro", "/readyz", "/-/dodai/probe")]
        alive = await client.get("/healthz", headers=headers)
    assert [response.status_code for response in refused] == [403, 403, 403]
    assert {response.json()["error"]["code"] for response in refused} == {"DOD556"}
    assert alive.status_code == 200
    found = lines()
    assert [line["requestId"] for line in found] == [r.headers["x-request-id"] for r in [*refused, alive]]
    assert (found[0]["code"], found[0]["reason"], found[0]["outcome"]) == (
        "DOD556",
        "edge_key_missing",
        "client_error",
    )


async def test_edge_key_rotates_without_restart(config: Config, edge_key: Path):
    """A second key is accepted at once, also while somebody tries forged ones; the first one until it is removed."""
    async with serving(dodai.asgi.wrap(APP, config=config(edge_key_file=edge_key))) as client:

        async def status(key: str) -> int:
            return (await client.get("/hello/x", headers={"x-edge-key": key})).status_code

        async def refused(key: str) -> bool:
            return await status(key) == 403

        new = "next-key-0123456789"
        assert (await status(KEY), await status("forged")) == (200, 403)
        await asyncio.to_thread(edge_key.write_text, f"{KEY}\n{new}\n")
        assert [await status(key) for key in (new, KEY)] == [200, 200]
        await asyncio.to_thread(edge_key.write_text, f"{new}\n")
        await until_async(lambda: refused(KEY))
        assert await status(new) == 200


@pytest.mark.parametrize("lost", ["emptied", "removed", "a folder"])
async def test_key_file_that_lost_its_keys_closes_the_gate_and_says_so(
    config: Config, lines: Lines, edge_key: Path, capfd: pytest.CaptureFixture[str], lost: str
):
    """The key of before counts no more; the file is whole again: so is the service, without a restart."""

    def lose() -> None:
        if lost == "emptied":
            edge_key.write_text("\n")
            return
        edge_key.unlink()
        if lost == "a folder":
            edge_key.mkdir()

    def give_back() -> None:
        if lost == "a folder":
            edge_key.rmdir()
        edge_key.write_text(f"{KEY}\n")

    async with serving(dodai.asgi.wrap(APP, config=config(edge_key_file=edge_key))) as client:

        async def served() -> bool:
            return (await client.get("/hello/x", headers={"x-edge-key": KEY})).status_code == 200

        async def refused() -> bool:
            return not await served()

        assert await served()
        await asyncio.to_thread(lose)
        await until_async(refused)
        assert (await client.get("/healthz")).status_code == 200
        await asyncio.to_thread(give_back)
        assert await served()
    said = [
        line for line in capfd.readouterr().err.splitlines() if line.startswith("dodai: the file of the edge's key")
    ]
    assert ["no key any more" in line for line in said] == [True, False]
    assert {line["reason"] for line in lines() if line.get("code") == "DOD556"} == {"edge_keys_lost"}


async def test_key_file_that_a_machine_in_need_cannot_read_does_not_close_the_gate(
    config: Config, edge_key: Path, monkeypatch: pytest.MonkeyPatch
):
    """Descriptors that ran out say nothing about keys: those that were read go on counting."""

    def no_more_files(_: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    async with serving(dodai.asgi.wrap(APP, config=config(edge_key_file=edge_key))) as client:
        monkeypatch.setattr(Path, "read_bytes", no_more_files)
        await asyncio.to_thread(edge_key.write_text, "another-key-0123456789\n")
        statuses = [(await client.get("/hello/x", headers={"x-edge-key": key})).status_code for key in (KEY, "forged")]
    assert statuses == [200, 403]
