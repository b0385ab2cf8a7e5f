"""A Host that dies in the middle of a deploy and comes back with what it kept: the release before."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from tests.operations.kill_world import Killed

from dodai.engine.execute import execute
from dodai.engine.journal import SqliteJournal
from dodai.engine.lease import FileLease


class Returning:
    """Who is told of each step; behind that named `after` the Host is another one, in which the old release serves."""

    def __init__(self, host, after):
        self.host, self.after = host, after

    def step_started(self, step, number, total, *, undoing):
        """Nothing happens then."""

    def noted(self, step, text):
        """Nobody reads it."""

    def step_finished(self, step, _record):
        if step.id == self.after:
            self.after = ""
            state = self.host.state()
            state["live"] = dict.fromkeys(state["live"], "old")
            state["instances"] = {f"{name} old": "running" for name in state["live"]}
            (self.host.folder / "host.json").write_text(json.dumps(state))


@pytest.fixture
def deploy(tmp_path):
    killed = Killed(tmp_path, "", "staging")
    killed.host.preset("old")

    async def run(after):
        plan = killed.build(await killed.request("deploy", "new"))
        plan = replace(plan, steps=plan.steps[:-1])  # the record, which needs a control database
        with SqliteJournal(tmp_path / "journal.sqlite") as journal:
            told = await execute(
                plan, journal, FileLease(tmp_path / "lock", "hana"), sink=Returning(killed.host, after)
            )
        return told, killed.host

    return lambda after: asyncio.run(run(after))


def test_journeys_that_met_the_old_release_prove_nothing_of_the_new_one(deploy):
    """The edge answered, and what answered was not what is deployed: it is taken back, and nothing of the old was stopped."""
    outcome, host = deploy("switch-web")
    assert outcome.cause.step_id == "smoke"
    assert "serves old, not `new`" in outcome.cause.message
    assert host.state()["live"] == {"backend": "old", "web": "old"}
    assert not [line for line in host.log() if line.startswith(("stop web old", "stop backend old"))]


@pytest.mark.parametrize("after", ["smoke", "retire-web", "retire-backend"])
def test_what_was_proven_serves_again_before_the_old_is_stopped(deploy, after):
    """Behind the journeys the plan goes on to its end; at no moment is what serves stopped."""
    outcome, host = deploy(after)
    assert (outcome.state, outcome.exit_code) == ("ok", 0)
    state = host.state()
    assert state["live"] == state["kept"] == {"backend": "new", "web": "new"}
    live = {}
    for verb, service, release in (line.split()[:3] for line in host.log()):
        assert (verb, live.get(service)) != ("stop", release)
        live[service] = release if verb == "switch" else live.get(service)
