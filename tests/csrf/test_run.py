"""The probe of a deploy and the posts of a hostile page, against a real server on a real socket."""

from __future__ import annotations

import pytest
from tests.csrf.serving import serving

from dodai.core.errors import DodaiError
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.run import attack, probe


async def test_probe_passes_when_edge_and_app_agree_on_the_origin():
    """A token of the page and the origin people use are enough; anything but 204 would raise."""
    async with serving() as stage:
        await probe(stage.request, CsrfPolicy(), stage.url)


async def test_probe_fails_when_the_public_origin_is_another():
    """The proxy problem is a failed deploy with its fix, not a site whose every form is dead."""
    async with serving(origins=["https://other.example.com"]) as stage:
        with pytest.raises(DodaiError) as caught:
            await probe(stage.request, CsrfPolicy(), stage.url)
    assert caught.value.code.id == "DOD185"
    assert "public_origins" in caught.value.fix


async def test_attack_from_outside_tells_each_answer_apart():
    """What `routes --live` shows: hostile posts refused with their ids, the genuine one let through."""
    async with serving() as stage:
        asked = await attack(stage.request, CsrfPolicy(), ("/save",))
    assert [(one.case, one.status) for one in asked if one.path == "/save"] == [
        ("missing", 403),
        ("tampered", 403),
        ("foreign origin", 403),
    ]
    assert (asked[-1].case, asked[-1].status) == ("genuine", 204)
    assert not any(one.problem for one in asked)
    assert all(one.request_id for one in asked[:-1])


async def test_attack_says_what_is_wrong_with_a_system_that_refuses_nothing():
    """Each post that came through is named."""
    async with serving(mode="report") as stage:
        asked = await attack(stage.request, CsrfPolicy(), ("/save",))
    assert {one.problem for one in asked if one.path == "/save"} == {"status 200"}
