"""The step of a canary: what it lets pass, what it takes back, and what it cannot tell; deadlines where traffic moves."""

# ruff: noqa: ARG002 - doubles of ports take what the ports take
from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from dodai.core.errors import DodaiError
from dodai.engine.plan import Observed, PlanRequest
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.policy import Health, Service
from dodai.operations.ports import ServiceProbe
from dodai.operations.run.canary import Canary, canary_step
from dodai.operations.run.deploy import _serve
from dodai.operations.run.restore import restore_steps
from dodai.operations.run.schema_steps import retire_gone
from dodai.operations.run.service_steps import ServiceSteps
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.rolling import Rolling

WEB = Service(name="web", command=("web",), public=True, health=Health(timeout_s=30.0))
WINDOW_S, LEAST = 0.2, 10


def line(version, *, failed):
    outcome = "server_error" if failed else "ok"
    said = {"ts": time.time(), "type": "http", "service": "web", "version": version, "method": "GET", "route": "/"}
    return json.dumps({**said, "status": 500 if failed else 200, "outcome": outcome, "latencyMs": 9.0}).encode()


class Compute:
    """What a canary asks of compute, written down."""

    def __init__(self, state="ready"):
        self.did, self.state = [], state

    def under(self, token):
        return self

    async def let_in(self, service, release, /, *, settings=""):
        self.did.append("let in")
        return "machine m1 in nrt"

    async def is_in(self, service, release, /, *, settings=""):
        return self.did[-1:] == ["let in"]

    async def hold_back(self, service, release, /, *, settings=""):
        self.did.append("hold back")

    async def probe(self, service, release, /, *, settings="", wait_s=0.0, consecutive=1):
        return ServiceProbe(state=self.state, detail="exit code 3")


class Lines:
    """A log with what was there before, and what came afterwards; or one that does not answer."""

    def __init__(self, came=(), before=(), away=False):
        self.came, self.before, self.away = list(came), list(before), away

    def after(self, part, place, /):
        if place == "":
            return self.before, "begun"
        if self.away:
            raise OSError("Fly answered 503")
        taken, self.came = self.came, []
        return taken, place


class Steps:
    """`ServiceSteps` of a release that does not serve yet."""

    def __init__(self, compute, kind="deploy"):
        self.request, self.ports = PlanRequest(kind, "production", "new"), SimpleNamespace(compute=compute)

    async def switched(self, service, context):
        return Observed("needed", "serves old")

    async def given(self, service):
        return SimpleNamespace(release="new", settings="s")


def step_of(lines, compute=None):
    compute = compute or Compute()
    canary = Canary(compute, frozenset({"web"}), WINDOW_S, LEAST, lines, ObservabilityPolicy.from_manifest({}))
    return canary_step(Steps(compute), canary, WEB), compute


def context():
    notes = []
    return SimpleNamespace(fencing_token=4, note=notes.append, notes=notes, remaining_s=lambda: 60.0)


async def test_canary_as_good_as_the_rest_passes_with_the_figures_that_were_seen():
    """One request is not enough to pass; how many there were stands in the result and in the journal."""
    step, compute = step_of(Lines([line("new", failed=False)] * 12 + [line("old", failed=False)] * 30))
    here = context()
    await step.apply(here)
    assert compute.did == ["let in"]
    found = await step.verify(here)
    assert (found.state, found.detail) == ("done", "12 requests, no worse than the rest")
    let_in, seen = here.notes
    assert let_in == "machine m1 in nrt gets its share of the traffic"
    assert seen.startswith("canary of web: error-ratio 0 % of 12 requests, the rest 0 % of 30; p95-ms ")


NOT_PASSED = {
    "worse": (
        lambda: Lines([line("new", failed=True)] * 12 + [line("old", failed=False)] * 30),
        "DOD730",
        "error-ratio 100 % of 12 requests, the rest 0 % of 30: above 2 %",
    ),
    "no traffic": (Lines, "DOD731", "0 requests reached it in 0.2 s, and it takes 10 requests"),
    "too little traffic": (lambda: Lines([line("new", failed=False)] * 9), "DOD731", "9 requests reached it"),
    "traffic of before only": (
        lambda: Lines(before=[line("new", failed=False)] * 90),
        "DOD731",
        "0 requests reached it",
    ),
    "traffic of others only": (lambda: Lines([line("old", failed=False)] * 90), "DOD731", "0 requests reached it"),
    "log away": (lambda: Lines(away=True), "DOD731", "its lines cannot be read: Fly answered 503"),
}


@pytest.mark.parametrize("case", NOT_PASSED.values(), ids=NOT_PASSED)
async def test_canary_that_is_worse_or_was_not_seen_does_not_pass_and_is_taken_back(case):
    """The words say what was seen; what was not seen is no reason to go on."""
    lines, code, said = case
    step, compute = step_of(lines())
    await step.apply(context())
    with pytest.raises(DodaiError) as caught:
        await step.verify(context())
    assert caught.value.code.id == code
    assert said in caught.value.message
    assert caught.value.reply == "rejected", "asking again would only be another window"
    assert (await step.observe(context())).partial, "whoever takes this back has something to do"
    await step.undo(context())
    assert compute.did == ["let in", "hold back"]
    assert (await step.observe(context())).absent


async def test_canary_that_ends_is_told_although_its_requests_were_well():
    """A machine that is gone answers nothing, and so fails nothing."""
    step, _ = step_of(Lines([line("new", failed=False)] * 12), Compute(state="exited"))
    with pytest.raises(DodaiError) as caught:
        await step.verify(context())
    assert caught.value.code.id == "DOD387"
    assert "was healthy and is not any more: exit code 3" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "before", "there"),
    [("deploy", "old", True), ("deploy", "", False), ("deploy", "new", False), ("rollback", "old", False)],
)
def test_only_a_release_that_is_new_beside_another_has_a_canary(kind, before, there):
    """With nobody beside it there is nothing to compare, and who goes back in an incident does not wait."""
    compute = FlyCompute(lambda: None, "production", {"web": "quiz-web"}, frozenset())
    canary = Canary(compute, frozenset({"web"}), 60.0, 10, Lines(), ObservabilityPolicy.from_manifest({}))
    request = PlanRequest(kind, "production", "new", arguments={"previous:web": before})
    steps = [one.id for one in _serve(request, ServiceSteps(request, SimpleNamespace(compute=compute)), [WEB], canary)]
    assert steps == ["start-web", *(["canary-web"] if there else []), "switch-web"]


def test_every_step_that_may_move_traffic_in_stages_has_the_time_for_it():
    """Retiring, keeping and reopening move it as well where a process came back as the old one."""
    rolling = {"web": Rolling(max_unavailable=0.1, wait_s=30.0, drain_s=10.0)}
    compute = FlyCompute(lambda: None, "production", {"web": "quiz-web"}, frozenset(), rolling=rolling)
    request = PlanRequest("restore", "production", "new", arguments={"previous:web": "old", "restore": "point"})
    steps = ServiceSteps(request, SimpleNamespace(compute=compute))
    moving_s = 20.0 + 20 * (30.0 + WEB.drain_s + 10.0 + 20.0)
    assert steps.moving_s(WEB) == moving_s
    close, _ = restore_steps(request, compute, SimpleNamespace(), [WEB], steps.reopen, steps.moving_s)
    for step in (steps.switch(WEB, "old"), steps.retire(WEB), steps.keep((WEB,)), close):
        assert step.timeout_s > moving_s, step.id


def test_every_step_that_stops_or_moves_has_the_time_until_proxies_know():
    """Also where traffic moves at once: it is waited for before the old ones are taken out, and before any are stopped."""
    compute = FlyCompute(lambda: None, "production", {"web": "quiz-web"}, frozenset())
    at_once = SimpleNamespace(under=None)
    request = PlanRequest("restore", "production", "new", arguments={"previous:web": "old", "restore": "point"})

    def times(of):
        steps = ServiceSteps(request, SimpleNamespace(compute=of))
        close, _ = restore_steps(request, of, SimpleNamespace(), [WEB], steps.reopen, steps.moving_s)
        others = (steps.start(WEB), steps.switch(WEB, "old"), steps.retire(WEB), steps.keep((WEB,)), close)
        found = {one.id: one.timeout_s for one in others} | {"gone": retire_gone(of, "web", "old").timeout_s}
        return found, steps.switch(WEB, "old").title

    (slow, title), (quick, same) = times(compute), times(at_once)
    assert title == same
    assert {name: slow[name] - quick[name] for name in slow} == {
        "start-web": 10.0,
        "switch-web": 20.0,
        "retire-web": 20.0,
        "gone": 10.0,
        "keep": 20.0,
        "close": 20.0,
    }
