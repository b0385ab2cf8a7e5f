"""Rate limits of the edge: the request after the last one of a window is refused, with its id and when to come back."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from dodai.operations.ports import RateLimit
from dodai.providers.local.edge.rate_limit import RateLimiter, client_of

from .test_edge import open_site

PATH = "/questions/*"
TEN = RateLimit(name="answers", path=PATH, methods=("POST",), requests=10, window_s=60.0)
SOMEBODY, SOMEBODY_ELSE = "127.0.0.66", "127.0.0.67"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asked(clock):
    """A function that asks once: the limit that held it back and the whole seconds to wait."""
    limiter = RateLimiter(clock, clock, most_clients=3)

    def ask(*limits, method="POST", target=b"/questions/1/answer", address="198.51.100.7"):
        name, wait_s = limiter.refused(limits or (TEN,), method, target, address)
        return name, round(wait_s)

    return ask


def test_eleventh_is_held_back_until_the_first_is_a_window_old(asked, clock):
    """What was refused does not count, so whoever goes on asking gets in as soon as whoever waited."""
    for _ in range(10):
        assert asked() == ("", 0)
        clock.now += 1
    assert [asked() for _ in range(50)] == [("answers", 50)] * 50
    clock.now += 49.5
    assert asked()[0] == "answers"
    clock.now += 0.5
    assert asked() == ("", 0)
    assert asked()[0] == "answers"


def test_other_clients_methods_and_paths_are_not_held_back(asked):
    """Each address has a count of its own; reading a page, or posting elsewhere, takes nothing of it."""
    for _ in range(11):
        asked()
    assert asked(address="198.51.100.8") == asked(method="GET") == asked(target=b"/sign-in") == ("", 0)
    assert asked(target=b"/questions-and-more") == ("", 0)


@pytest.mark.parametrize(
    "target", [b"/questions/2", b"/%71uestions/1", b"//questions/1", b"/x/../questions/1", b"/questions/1?a=b"]
)
def test_path_counts_however_it_is_spelled(asked, target):
    """Servers decode, collapse and resolve before they route, so every reading of a path counts."""
    for _ in range(10):
        asked()
    assert asked(target=target)[0] == "answers"


def test_exact_path_is_that_path_alone(asked):
    """Without a star nothing below it counts."""
    one = RateLimit(name="sign-in", path="/sign-in", methods=("POST",), requests=1, window_s=60.0)
    assert asked(one, target=b"/sign-in") == ("", 0)
    assert (asked(one, target=b"/sign-in/other"), asked(one, target=b"/sign-in")[0]) == (("", 0), "sign-in")


def test_network_of_one_line_is_one_client(asked):
    """Within a /64 of IPv6 a visitor has as many addresses as they like; IPv4 in IPv6 is that IPv4."""
    for number in range(10):
        assert asked(address=f"2001:db8::{number:x}") == ("", 0)
    assert asked(address="2001:db8::ffff")[0] == "answers"
    assert asked(address="2001:db8:0:1::1") == ("", 0)
    for _ in range(10):
        asked(address="203.0.113.9")
    assert asked(address="::ffff:203.0.113.9")[0] == "answers"


def test_address_that_everybody_of_this_machine_shares_is_never_held_back(asked):
    """dodai's own journeys come from there, and so does whoever asks without a choice."""
    assert {asked(address=shared) for shared in ("127.0.0.1", "::1") for _ in range(50)} == {("", 0)}


def test_relief_ends_by_itself(asked, clock):
    """Until its moment nobody is held back, and what came meanwhile does not count against anybody."""
    relieved = RateLimit(
        name="answers", path=PATH, methods=("POST",), requests=10, window_s=60.0, relieved_until_s=1100.0
    )
    assert {asked(relieved) for _ in range(50)} == {("", 0)}
    clock.now = 1100.0
    assert [asked(relieved)[0] for _ in range(11)] == [""] * 10 + ["answers"]


def test_memory_has_a_bound_however_many_addresses_ask(asked):
    """Of more clients than the bound those who asked the longest ago begin anew."""
    for _ in range(10):
        asked()
    for number in range(3):
        asked(address=f"203.0.113.{number}")
    assert asked() == ("", 0)


@pytest.mark.parametrize(
    ("peer", "header", "said", "client"),
    [
        ("127.0.0.1", "X-Real-IP", ["203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", "X-Forwarded-For", ["6.6.6.6, 203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", "X-Forwarded-For", ["6.6.6.6", "203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", "X-Real-IP", ["somebody"], "127.0.0.1"),
        ("127.0.0.1", "X-Real-IP", [], "127.0.0.1"),
        ("127.0.0.1", "", ["6.6.6.6"], "127.0.0.1"),
        (SOMEBODY, "X-Real-IP", ["6.6.6.6"], SOMEBODY),
    ],
)
def test_header_says_who_asks_only_where_it_is_declared_and_a_proxy_of_this_machine_sent_it(peer, header, said, client):
    """Anybody can write a header; of a list only the proxy's own word, the last, counts."""
    name = (header or "X-Real-IP").encode()
    assert client_of(peer, header, [(name, value.encode()) for value in said]) == client


async def asks(site, address, method="POST", **more):
    transport = httpx2.AsyncHTTPTransport(local_address=address)
    async with httpx2.AsyncClient(transport=transport, timeout=10) as http:
        return await http.request(method, f"{site.url}/questions/1/answer", **more)


async def test_refusal_is_a_page_with_its_id_that_says_when_to_come_back(tmp_path):
    """429 with `Retry-After`, the same id in the line, and not a byte of it reaches the service."""
    site, server = await open_site(tmp_path, limits=(TEN,))
    try:
        passed = [await asks(site, SOMEBODY) for _ in range(10)]
        refused = await asks(
            site, SOMEBODY, headers={"accept": "text/html", "accept-language": "ja"}, content=b"x" * 99
        )
        other = await asks(site, SOMEBODY_ELSE)
        site.edge.serve(site.edge._setting.spec, "another-key", site.edge._setting.upstreams)
        again = await asks(site, SOMEBODY)
    finally:
        await site.edge.close(0)
        server.close()
    assert {one.status_code for one in passed} == {200}
    assert (refused.status_code, other.status_code, again.status_code) == (429, 200, 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    request_id = refused.headers["x-request-id"]
    assert request_id in refused.text
    assert "短時間に送信が多すぎました" in refused.text
    assert len(site.seen) == 11
    line = next(one for one in site.lines() if one["requestId"] == request_id)
    assert (line["status"], line["code"], line["reason"]) == (429, "DOD557", "limit:answers")
    assert line["outcome"] == "client_error"


async def test_many_at_once_get_no_more_than_the_limit(tmp_path):
    """Requests that arrive together are counted one after the other."""
    site, server = await open_site(tmp_path, limits=(TEN,))
    try:
        answers = await asyncio.gather(*(asks(site, SOMEBODY) for _ in range(25)))
    finally:
        await site.edge.close(0)
        server.close()
    assert sorted(one.status_code for one in answers) == [200] * 10 + [429] * 15
