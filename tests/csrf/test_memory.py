"""What an upload costs: memory stays flat, hostile requests are not read."""

from __future__ import annotations

import tracemalloc

import pytest
from tests.csrf.driver import FORM, Browser, call, guarded, multipart

MIB = 1024 * 1024


class Discarding:
    """An application that reads its body and keeps nothing."""

    seen = 0

    async def __call__(self, scope, receive, send):
        from dodai.csrf.enforce import csrf_token

        text = csrf_token() if scope["method"] == "GET" else ""
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            self.seen += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})


def chunks(body: bytes, size: int = 65536) -> list[bytes]:
    """Views, so that the parts of the test do not count as memory of the layer."""
    return [memoryview(body)[i : i + size] for i in range(0, len(body), size)]


async def grown(app, headers, body) -> tuple[int, object]:
    """(bytes that Python's heap grew by at its peak, answer) for one request."""
    pieces = chunks(body)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer = await call(app, headers=headers, chunks=pieces)
        return tracemalloc.get_traced_memory()[1] - before, answer
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("first", [True, False])
async def test_upload_of_ten_megabytes_grows_the_heap_by_less_than_one(first):
    """With the token in front it passes, behind the file it is given up; neither is kept in memory."""
    browser = Browser(guarded(Discarding(), body_limit=20 * MIB))
    await browser.get()
    parts = [("csrf_token", browser.token.encode()), ("f", b"x" * (10 * MIB), "f.bin")]
    kind, body = multipart(*(parts if first else reversed(parts)))
    sent = browser.headers(("content-type", kind), ("sec-fetch-site", "same-origin"))
    growth, answer = await grown(browser.app, sent, body)
    assert growth < MIB
    assert answer.status == (200 if first else 403)
    assert browser.app.app.seen == (len(body) if first else 0)


async def test_cross_site_upload_is_not_read():
    """0 bytes, whatever it carries."""
    browser = Browser(guarded(Discarding(), body_limit=20 * MIB))
    await browser.get()
    kind, body = multipart(("csrf_token", browser.token.encode()), ("f", b"x" * (10 * MIB), "f.bin"))
    sent = browser.headers(("content-type", kind), ("sec-fetch-site", "cross-site"))
    growth, answer = await grown(browser.app, sent, body)
    assert (answer.status, answer.bytes_read) == (403, 0)
    assert growth < MIB


async def test_form_in_messages_of_one_byte_costs_little():
    """A client that sends byte by byte cannot make each byte an object that is kept."""
    browser = Browser(guarded(Discarding()))
    await browser.get()
    sent = browser.headers(("content-type", FORM), ("sec-fetch-site", "same-origin"))
    body = b"a=" + b"x" * 60_000
    pieces = chunks(body, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer = await call(browser.app, headers=sent, chunks=pieces)
        growth = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert answer.status == 403
    # The list of waiting messages is copied once by the driver: 8 bytes for each of them.
    assert growth < MIB + 8 * len(pieces)
