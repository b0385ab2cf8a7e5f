"""A rate limit of the manifest from outside: who is held back, and a relief that is a plan and ends by itself."""

from __future__ import annotations

import http.client

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.wait import until

LIMIT = '[edge.limit.visits]\npath = "/"\nmethods = ["GET"]\nrequests = 3\nwindow = "1h"\n'
OFTEN, OTHER = "127.0.0.66", "127.0.0.67"


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


def deploys(env, spoil=""):
    """A release whose manifest has the limit."""
    done = env.write(spoil=spoil, more=LIMIT).run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr


def visit(env, address=OFTEN):
    """The status of a visit from an address of this machine, and how long the visitor is told to wait."""
    edge = http.client.HTTPConnection("127.0.0.1", env.known()["ports"]["edge"], 30, source_address=(address, 0))
    try:
        edge.request("GET", "/")
        answer = edge.getresponse()
        answer.read()
        return answer.status, int(answer.getheader("retry-after") or 0)
    finally:
        edge.close()


def test_relief_lets_people_past_a_limit_until_its_time_and_no_longer(env):
    """By a plan with its reason on record; releases until then keep it, and nothing has to run for its end."""
    deploys(env)
    assert [visit(env)[0] for _ in range(3)] == [200, 200, 200]
    status, wait_s = visit(env)
    assert (status, 0 < wait_s <= 3600) == (429, True)
    assert (visit(env, OTHER)[0], visit(env, "127.0.0.1")[0]) == (200, 200)
    for words, said in (
        (("visit", "--reason", "a class"), "did you mean `visits`?"),
        (("visits",), "--reason"),
        (("visits", "--reason", " "), "say why"),
        (("visits", "--reason", "a class", "--for", "2d"), "`2d` is no time between 1s and 1d"),
    ):
        refused = env.run("relieve", "staging", *words, "--yes")
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    shown = env.run("relieve", "staging", "visits", "--reason", "a class", "--dry-run")
    assert (shown.returncode, "`visits` holds nobody back" in shown.stdout, visit(env)[0]) == (0, True, 429)

    done = env.run("relieve", "staging", "visits", "--reason", "a class of forty", "--yes")
    assert done.returncode == 0, done.stderr
    assert {visit(env)[0] for _ in range(5)} == {200}
    assert "limit `visits` holds nobody back until 20" in env.run("status", "staging").stdout
    deploys(env, spoil="# another release")
    assert visit(env)[0] == 200
    assert "limit `visits` until 20" in (said := env.run("history", "staging").stdout)
    assert "Z: a class of forty" in said

    shorter = env.run("relieve", "staging", "visits", "--for", "1s", "--reason", "it is over", "--yes")
    assert shorter.returncode == 0, shorter.stderr
    until(lambda: visit(env)[0] == 429)
    assert "limit `visits`" not in env.run("status", "staging").stdout
