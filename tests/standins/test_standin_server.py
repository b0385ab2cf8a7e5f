"""The server that all stand-ins are: tokens, rates, faults."""

from __future__ import annotations

import os
import sys

import httpx2
import pytest
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.wait import until

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


def test_machine_that_is_updated_while_it_boots_runs_once_and_ends_with_the_stand_in(tmp_path):
    """A boot that was overtaken by another one starts nothing: its process would be nobody's."""
    pids = tmp_path / "pids"
    pids.touch()
    (tmp_path / "web.py").write_text(
        f"import os, time\nwith open({str(pids)!r}, 'a') as file: file.write(f'{{os.getpid()}} ')\ntime.sleep(600)\n"
    )
    with fly_world(boot_s=0.1) as world:
        world.fly.launch("quiz-web", world.image(tmp_path, sys.executable, "web.py"), served(), ("nrt",))
        (machine,) = world.fly.machines("quiz-web")
        for _ in range(4):
            address = f"{world.fly.url}/v1/apps/quiz-web/machines/{machine.id}"
            answer = httpx2.post(address, json={"config": machine.config}, headers={"authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 200, answer.text
        until(lambda: machine.process is not None and str(machine.process.pid) in pids.read_text().split())
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
