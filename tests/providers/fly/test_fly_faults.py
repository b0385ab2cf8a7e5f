"""What users of Fly's tools report to have gone wrong, as it goes here: each against the stand-in."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.core.errors import DodaiError
from dodai.engine.plan import PlanRequest
from dodai.operations.policy import Service
from dodai.operations.ports import ServiceSpec
from dodai.operations.run.service_steps import Given, ServiceSteps
from dodai.providers.fly.fleet import AT_ONCE
from dodai.providers.fly.fleet import TOKEN as FENCE
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.machines_api import fly
from dodai.standins import ApiFault
from dodai.standins.fly.machine_process import FlyMachine
from dodai.vendor_api import Api, ApiToken, api

SPEC = ServiceSpec(name="web", command=())
SECRET = {"SESSION_SECRET": "hunter2"}


@contextmanager
def light_app(tmp_path, machines=2):
    """The app `quiz-web` with light machines in two regions, and the operator of a release."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, light=True)
        config = served(check={"type": "http", "path": "/readyz", "interval": "100ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, ("nrt", "ams") * (machines // 2))
        world.settle("quiz-web")
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as client:
            compute = FlyCompute(
                lambda: client, "production", {"web": "quiz-web"}, frozenset(SECRET), proxy_lag_s=world.fly.noticed_s
            ).under(1)
            yield world, image, compute


async def release(compute, image, name, **env):
    await compute.start(SPEC, name, image, {"DODAI_RELEASE": name, **SECRET, **env}, settings="s")
    return await compute.probe("web", name, settings="s", wait_s=20)


async def test_every_clone_waits_for_the_secrets_and_what_serves_is_not_restarted_by_them(tmp_path):
    """An own deployer forgot `min_secrets_version` (anarlog #7116); `secrets set` restarted what served (tldraw #8601)."""
    with light_app(tmp_path) as (world, image, compute):
        serving = {one.id: (one.version, len(one.events)) for one in world.fly.machines("quiz-web")}
        assert (await release(compute, image, "r1")).ready
        asked = [one for one in world.fly.exchanges if one.method == "POST" and one.path.endswith("/machines")]
        told = world.fly.apps["quiz-web"].version
        assert told
        assert [json.loads(one.content)["min_secrets_version"] for one in asked] == [told, told]
        left = {one.id: (one.version, len(one.events)) for one in world.fly.machines("quiz-web") if one.id in serving}
        assert left == serving


async def test_other_version_or_another_image_than_deployed_is_not_called_ready(tmp_path):
    """A healthy answer of something else is no success: the release says what it is, Fly says which image runs."""
    with light_app(tmp_path) as (world, image, compute):
        probe = await release(compute, image, "r1", DODAI_RELEASE="another")
        assert (probe.ready, probe.version) == (True, "another")  # the step compares it with the release
        for machine in world.fly.machines("quiz-web"):
            if machine.cordoned:
                machine.digest = "sha256:" + "0" * 64
        compute.seen.clear()  # what was seen within a second is not asked for again
        probe = await compute.probe("web", "r1", settings="s")
        assert probe.state == "not_served"
        assert "runs the image sha256:000" in probe.detail


async def test_answer_that_never_comes_is_given_up_and_looked_for(tmp_path, monkeypatch):
    """flyctl #460 and kamal #1587 hang after a success: here a try ends, and the name of the machine is looked up."""
    monkeypatch.setattr(api, "ATTEMPT_S", 0.4)
    with light_app(tmp_path) as (world, image, compute):
        world.fly.faults.add(ApiFault(kind="slow", where="POST .*/machines$", times=2, seconds=1.5))
        assert (await release(compute, image, "r1")).ready
        assert world.fly.faults.left == ()
        assert len(world.fly.machines("quiz-web")) == 4


@pytest.mark.parametrize("last", ["by hand", "r1"])
async def test_last_machines_of_an_app_are_kept_stopped_so_that_there_is_something_to_clone(tmp_path, last):
    """A restore stops everything first: what it starts then, the same release or another, is made of what is kept."""
    with light_app(tmp_path) as (world, image, compute):
        before = (await compute.status()).services[0].release
        if last == "r1":
            await release(compute, image, "r1")
            await compute.switch("web", "r1", settings="s")
            await compute.stop("web", before, 1.0)
        for _ in range(2):
            await compute.stop("web", before if last == "by hand" else "r1", 1.0)
        kept = world.fly.machines("quiz-web")
        assert [(one.state, one.cordoned) for one in kept] == [("stopped", True)] * 2
        assert {one.state for one in (await compute.status()).services[0].instances} == {"exited"}
        assert (await release(compute, image, "r1")).ready
        await compute.switch("web", "r1", settings="s")
        machines = world.fly.machines("quiz-web")
        assert [(one.state, one.cordoned, one.region) for one in sorted(machines, key=lambda one: one.region)] == [
            ("started", False, "ams"),
            ("started", False, "nrt"),
        ]
        assert world.fly.apps["quiz-web"].secrets == SECRET


async def test_update_whose_reply_is_lost_is_made_once(tmp_path):
    """A second one would be refused for its `current_version`, as if somebody else had changed the machine."""
    with light_app(tmp_path) as (world, image, compute):
        before = (await compute.status()).services[0].release
        await release(compute, image, "r1")
        await compute.switch("web", "r1", settings="s")
        await compute.stop("web", before, 1.0)
        await compute.stop("web", "r1", 1.0)
        world.fly.faults.add(ApiFault(kind="lost", where=r"POST .*/machines/\w+$", times=2))
        assert (await release(compute, image, "r1")).ready
        assert world.fly.faults.left == ()


async def test_lease_that_ended_before_its_change_arrived_is_taken_once_more(tmp_path):
    """A pause of the command is no failure of the release, as long as nobody else went on meanwhile."""
    with light_app(tmp_path) as (world, image, compute):
        assert (await release(compute, image, "r1")).ready
        for machine in world.fly.machines("quiz-web"):
            if machine.cordoned:  # once for each: one that is refused twice is given up
                where = f"POST .*/{machine.id}/uncordon$"
                world.fly.faults.add(ApiFault(kind="status", status=409, where=where))
        await compute.switch("web", "r1", settings="s")
        assert world.fly.faults.left == ()
        assert {one.release for one in (await compute.status()).services[0].instances if one.live} == {"r1"}


async def test_many_machines_are_not_leased_all_at_once(tmp_path):
    """A lease taken long before its change would have ended: 100 machines on a busy computer showed it."""
    with light_app(tmp_path, machines=24) as (world, _, compute):
        await compute.address("web")
        held, most = 0, 0
        for one in world.fly.exchanges:
            if one.path.endswith("/lease"):
                held += 1 if one.method == "POST" else -1
                most = max(most, held)
        assert 0 < most <= AT_ONCE
        assert {one.config["metadata"][FENCE] for one in world.fly.machines("quiz-web")} == {"1"}


async def test_machine_that_was_changed_since_it_was_looked_at_is_not_overwritten(tmp_path):
    """Somebody's `fly machine update` in between: `current_version` is another one."""
    with light_app(tmp_path) as (world, _, compute):
        fleet = compute.fleet("web")
        machine, *_ = await fleet.machines()
        world.fly.apps["quiz-web"].machines[machine.id].version = "01SOMEBODYELSE"
        with pytest.raises(DodaiError, match="current_version"):
            await fleet.replace(machine, machine.config, 0)


@pytest.mark.parametrize("headers", [{}, {"retry-after": "1"}], ids=["no word when", "Retry-After"])
async def test_deploy_that_is_throttled_again_and_again_serves_in_the_end_and_says_so(tmp_path, headers):
    """`flyctl deploy` exited 1 while the app was healthy, and nothing after it was verified (adcp #4780)."""
    with light_app(tmp_path) as (world, image, compute):
        before = (await compute.status()).services[0].release
        for where in ("POST .*/machines$", "POST .*/uncordon$", "POST .*/stop$", "GET .*/machines"):
            world.fly.faults.add(ApiFault(kind="status", status=429, headers=headers, where=where, times=2))
        assert (await release(compute, image, "r1")).ready
        await compute.switch("web", "r1", settings="s")
        await compute.stop("web", before, 1.0)
        assert world.fly.faults.left == ()
        seen = (await compute.status()).services[0].instances
        assert [(one.release, one.live) for one in seen] == [("r1", True)] * 2


async def test_release_that_is_not_healthy_says_what_its_check_was_answered(tmp_path, monkeypatch):
    """`target failed to become healthy` and no word why (kamal #1041, #1139, kamal-proxy #71)."""
    answered = ("critical", '503 Output: "no connection to the database"')
    with light_app(tmp_path) as (world, image, compute):
        monkeypatch.setattr(FlyMachine, "_asked", lambda one, _: answered if one.cordoned else ("passing", "200 OK"))
        await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1", **SECRET}, settings="s")
        deadline = time.monotonic() + 20
        while not all(one.checks for one in world.fly.machines("quiz-web")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        probe = await compute.probe("web", "r1", settings="s")
        assert (probe.state, probe.detail[:34]) == ("not_ready", "0 of 2 machines pass their checks;")
        assert sum('503 Output: "no connection to the database"' in line for line in probe.output) == 2


class GivenSteps(ServiceSteps):
    """The steps of a service; what it is started with is no matter of these tests."""

    async def given(self, *_):
        return Given(SPEC, self.request.release, "", {}, "s")


async def test_traffic_between_two_releases_is_neither_there_nor_absent(tmp_path):
    """A deploy that is killed between two machines leaves one of the old ones without traffic: undo has to find that."""
    with light_app(tmp_path) as (world, image, compute):
        steps = GivenSteps(PlanRequest("deploy", "production", "r1"), SimpleNamespace(compute=compute))

        async def look(*with_traffic):
            for machine in world.fly.machines("quiz-web"):
                machine.cordoned = machine not in with_traffic
            compute.seen.clear()  # what was seen within a second is not asked for again
            seen = await steps.switched(Service(command=(), name="web"), None)
            return seen.state, seen.partial

        old = world.fly.machines("quiz-web")
        assert (await release(compute, image, "r1")).ready
        new = [one for one in world.fly.machines("quiz-web") if one not in old]
        assert await look(*old) == ("needed", False)
        assert await look(*old, new[0]) == ("needed", True)
        assert await look(old[0], *new) == ("needed", True)
        assert await look(*new) == ("done", False)
