"""The drills of csrf, against a real server on a real socket."""

from __future__ import annotations

import httpx2
import pytest
from tests.csrf.serving import serving

from dodai.csrf.enforce import csrf_field, csrf_headers
from dodai.csrf.form_table import crawl
from dodai.csrf.policy import CsrfPolicy
from dodai.rehearsal.drills.csrf import drills


async def nobody(_stage):
    """No journeys: the crawl is made as nobody in particular."""
    for _ in ():
        yield "", None


async def test_drill_sees_every_forged_post_refused():
    """Missing, tampered and foreign to each target; the genuine one passes."""
    async with serving() as stage:
        drill = drills(CsrfPolicy(), ("/save", "/other"), nobody)[0]
        result = await drill.run(stage)
    assert result.ok, result.observed
    assert all(result.request_ids)


async def test_drill_fails_when_nothing_is_refused():
    """A layer that only reports makes the drill red."""
    async with serving(mode="report") as stage:
        drill = drills(CsrfPolicy(), ("/save",), nobody)[0]
        assert not (await drill.run(stage)).ok
    assert drills(CsrfPolicy(mode="report"), ("/save",), nobody) == ()


PAGES = {
    "/": '<a href="/form">form</a> <a class=x href="/other?a=1#b">other</a> <a href="https://elsewhere.example/">x</a>',
    "/form": "<form method=post action=/save>{field}</form>",
    "/other": "<button hx-post=/save hx-headers='{headers}'></button>",
}


@pytest.mark.parametrize(
    ("change", "ok"),
    [
        ({}, True),
        ({"/form": "<form method=post action=/save></form>"}, False),
        ({"/form": '<form method=post action=/save><input name="csrf_token" value=""></form>'}, False),
        (
            {"/form": '<form method=post action=/save><input type="hidden" name="csrf_token" value="d1.x"></form>'},
            False,
        ),
        ({"/other": "<button hx-post=/save></button>"}, False),
        ({"/form": "no form", "/other": "no form"}, False),
    ],
)
async def test_crawl_looks_at_every_form_that_links_lead_to(change, ok):
    """A field that is missing or empty on any page makes the drill red, and so does finding no form at all."""
    pages = PAGES | change

    async def app(scope, receive, send):
        text = pages[scope["path"]]
        text = text.replace("{field}", csrf_field()).replace("{headers}", csrf_headers())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": text.encode()})

    async with serving(app) as stage:
        drill = next(d for d in drills(CsrfPolicy(), ("/save",), nobody) if d.id == "every-form-carries-a-token")
        result = await drill.run(stage)
    assert result.ok is ok, result


@pytest.mark.parametrize(
    ("said", "ok"),
    [("private", True), ("no-store", True), ("public, max-age=60", False), ("max-age=60", False), ("", False)],
)
async def test_crawl_finds_a_page_whose_token_shared_caches_may_keep(said, ok):
    """What stands between the layer and the visitor can undo `private`."""
    token = "d1.k001.00000000." + "A" * 86
    page = f'<form method=post action=/save><input type=hidden name=csrf_token value="{token}"></form>'

    async def get(_):
        return httpx2.Response(200, html=page, headers={"cache-control": said} if said else {})

    found = await crawl(get, CsrfPolicy())
    assert found.ok is ok
    assert found.wrong == (() if ok else ("/ has a token and may be kept by shared caches",))


async def test_forms_that_only_a_signed_in_person_sees_are_crawled_too():
    """The person of a journey has a client of their own; a bare form on their pages turns the drill red."""

    async def app(scope, receive, send):
        signed_in = b"session=hanako" in dict(scope["headers"]).get(b"cookie", b"")
        page = b"<form method=post action=/save></form>" if signed_in else b"<p>hello</p>"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": page})

    async def people(stage):
        async with httpx2.AsyncClient(base_url=stage.url, cookies={"session": "hanako"}) as client:
            yield "hanako", client.request

    async with serving(app) as stage:
        crawl = "every-form-carries-a-token"
        seen = {
            v.__name__: next(d for d in drills(CsrfPolicy(), ("/save",), v) if d.id == crawl) for v in (nobody, people)
        }
        assert (await seen["nobody"].run(stage)).details["wrong"] == []
        result = await seen["people"].run(stage)
    assert not result.ok
    assert result.details["wrong"][0].startswith("as hanako: ")
