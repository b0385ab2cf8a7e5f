"""The server that all stand-ins are: tokens, rates, faults."""

from __future__ import annotations

import httpx2
import pytest

from dodai.standins import ApiFault, Asked, Reply, StandIn, route


@pytest.fixture
def counter():
    """A vendor that counts: reads and writes need different scopes, one write per second."""
    standin = StandIn({"reader": frozenset({"read"}), "owner": frozenset({"*"})})
    state = {"count": 0}

    def increase(asked: Asked) -> Reply:
        state["count"] += (asked.body or {}).get("by", 1)
        return Reply(200, dict(state))

    standin.routes = (
        route("GET", "/count", lambda _: Reply(200, dict(state)), "read", rate=(1.0, 1)),
        route("POST", "/count", increase, "write", rate=(1.0, 1)),
    )
    with standin:
        yield standin


def ask(standin: StandIn, method: str, token: str = "owner", **options) -> httpx2.Response:
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.request(method, f"{standin.url}/count", headers=headers, trust_env=False, **options)


def test_a_token_may_do_what_its_scopes_say(counter):
    """Unknown: 401, without the scope: 403, and nothing is done."""
    assert ask(counter, "GET", "nobody").status_code == 401
    assert ask(counter, "POST", "reader").status_code == 403
    assert ask(counter, "GET", "reader").json() == {"count": 0}


def test_a_lost_reply_has_had_its_effect_and_one_lost_before_has_not(counter):
    """The client sees the same, the state does not."""
    counter.faults.add(ApiFault(kind="lost", where="^POST"))
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(counter, "POST")
    assert ask(counter, "GET").json() == {"count": 1}
    counter.faults.add(ApiFault(kind="lost before", where="^POST"))
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(counter, "POST")
    assert ask(counter, "GET").json() == {"count": 1}


def test_a_read_that_lags_shows_what_was_before_the_last_change(counter):
    """Once; the next read is up to date."""
    ask(counter, "GET")
    ask(counter, "POST")
    counter.faults.add(ApiFault(kind="stale", where="^GET"))
    assert [ask(counter, "GET").json()["count"] for _ in range(2)] == [0, 1]


def test_documented_rates_are_kept_when_they_are_switched_on(counter):
    """The second write within a second is refused and says when to come again; reading has a rate of its own."""
    counter.limited = True
    assert ask(counter, "POST").status_code == 200
    refused = ask(counter, "POST")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert ask(counter, "GET").json() == {"count": 1}


def test_a_token_is_not_among_what_is_remembered(counter):
    """What was asked is kept for validation, without the credential."""
    ask(counter, "POST", json={"by": 2})
    (exchange,) = counter.exchanges
    assert (exchange.content, exchange.status, exchange.reply) == (b'{"by":2}', 200, b'{"count": 2}')
    assert "authorization" not in exchange.headers
