"""Machines of Fly as the compute of an environment, against the stand-in; every call held against Fly's own specification."""

from __future__ import annotations

import itertools
import sys
import time
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.end_to_end.small_app import SERVER
from tests.support.fly_world import MACHINES_API, TOKEN, fly_world, served
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import specs
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.machines_api import START, fly
from dodai.standins import ApiFault
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())
SECRET = {"SESSION_SECRET": "hunter2"}


@pytest.fixture
def world(tmp_path: Path):
    """The app `quiz-web` in two regions, serving what somebody deployed by hand."""
    (tmp_path / "web.py").write_text(SERVER)
    with fly_world() as world:
        config = served()
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", world.image(tmp_path, sys.executable, "web.py"), config, ("nrt", "ams"))
        world.settle("quiz-web")
        yield world


@pytest.fixture
def compute(world):
    with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
        yield FlyCompute(
            lambda: api,
            "production",
            {"web": "quiz-web"},
            frozenset({"SESSION_SECRET"}),
            proxy_lag_s=world.fly.noticed_s,
        ).under(1)


@pytest.fixture(autouse=True)
def on_contract(world, request):
    """Whatever a test here sends and is answered has to be what Fly's specification describes."""
    yield
    if specs():
        verdict = MACHINES_API.judge(world.fly.exchanges)
        assert verdict.problems == ()
        assert verdict.official


async def release(compute, world, name="r1", settings="s", image="", **env):
    artifact = image or next(iter(world.registry.images))
    reference = artifact if "/" in artifact else f"{world.registry.host}/web@{artifact}"
    await compute.start(SPEC, name, reference, {**SECRET, **env}, settings=settings)
    return await compute.probe("web", name, settings=settings, wait_s=10)


def page(world) -> str:
    with urllib.request.urlopen(world.fly.public_url("quiz-web"), timeout=5) as answer:
        return answer.read().decode()


def live(status) -> list[tuple[str, str]]:
    return sorted((one.release, one.region) for one in status.services[0].instances if one.live)


async def test_a_release_starts_beside_what_serves_and_gets_traffic_at_the_switch_only(world, compute):
    """A clone per machine, in its region, with its size and services; the old ones end with `stop`."""
    before = (await compute.status()).services[0].release
    assert before.startswith("unmanaged-")
    probe = await release(compute, world)
    assert (probe.state, probe.version) == ("ready", "r1")
    assert page(world) == "hello from by-hand"
    assert live(await compute.status()) == [(before, "ams"), (before, "nrt")]

    await compute.switch("web", "r1", settings="s")
    assert live(await compute.status()) == [("r1", "ams"), ("r1", "nrt")]
    until(lambda: {page(world) for _ in range(4)} == {"hello from r1"})

    await compute.stop("web", before, 1.0)
    machines = world.fly.machines("quiz-web")
    assert sorted(one.region for one in machines) == ["ams", "nrt"]
    for one in machines:
        assert one.config["guest"] == {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}
        assert one.config["metadata"]["fly_process_group"] == "app"
        assert one.config["env"]["PRIMARY_REGION"] == "nrt"
        assert "SESSION_SECRET" not in one.config["env"]
        assert one.lease is None
    assert world.fly.apps["quiz-web"].secrets == SECRET


async def test_every_verb_said_twice_changes_nothing_the_second_time(world, compute):
    """What a resumed plan does: the machines, their count and the calls that change something stay."""
    before = (await compute.status()).services[0].release
    for _ in range(2):
        await release(compute, world)
    assert len(world.fly.machines("quiz-web")) == 4
    for _ in range(2):
        await compute.switch("web", "r1", settings="s")
    for _ in range(2):
        await compute.stop("web", before, 1.0)
    calls = world.calls()
    assert await release(compute, world)
    await compute.switch("web", "r1", settings="s")
    await compute.stop("web", before, 1.0)
    assert world.calls() == calls
    assert live(await compute.status()) == [("r1", "ams"), ("r1", "nrt")]


async def test_going_back_to_a_group_that_still_runs_starts_no_machine_beside_it(world, compute):
    """While the group after it serves: as many machines as before, one in each region, get the traffic again."""
    for settings in ("both", "new"):
        await release(compute, world, "r1", settings)
        await compute.switch("web", "r1", settings=settings)
    ran = sorted(one.id for one in world.fly.machines("quiz-web"))
    await release(compute, world, "r1", "both")
    await compute.switch("web", "r1", settings="both")
    assert sorted(one.id for one in world.fly.machines("quiz-web")) == ran
    await compute.stop("web", "r1", 0.0, settings="new")
    status = (await compute.status()).service("web")
    assert sorted((one.settings, one.live) for one in status.instances if one.release == "r1") == [("both", True)] * 2


CHANGES = (
    *("PATCH", "POST .*/machines$", "POST .*/secrets$", "POST .*/uncordon$", "POST .*/cordon$", "POST .*/stop$"),
    *("DELETE .*/machines/[^/]+$", "POST .*/lease$", "DELETE .*/lease$"),
)


@pytest.mark.parametrize("kind", ["lost", "lost before", "status after", "status"])
async def test_replies_that_are_lost_lead_to_the_same_end(world, compute, kind):
    """Each kind of change once answered by nothing, or by 503, before or after its effect: one set of machines serves."""
    before = (await compute.status()).services[0].release
    for where in CHANGES:
        world.fly.faults.add(ApiFault(kind=kind, where=where))
    compute = replace(compute, lease_s=2)
    await compute.address("web")
    assert (await release(compute, world)).ready
    await compute.switch("web", "r1", settings="s")
    await compute.stop("web", before, 1.0)
    assert world.fly.faults.left == (), "a fault was not met"
    assert live(await compute.status()) == [("r1", "ams"), ("r1", "nrt")]
    assert len(world.fly.machines("quiz-web")) == 2


async def test_a_machine_that_was_stopped_and_not_removed_still_has_to_be_retired(world, compute):
    """Its operator was killed in between: whoever resumes sees it among what is left."""
    before = (await compute.status()).services[0].release
    await release(compute, world)
    await compute.switch("web", "r1", settings="s")
    for machine in world.fly.machines("quiz-web"):
        if machine.cordoned:
            machine.halt("SIGKILL", 0.0)
            machine.kill()
    left = [one.state for one in (await compute.status()).services[0].instances if one.release == before]
    assert left == ["draining", "draining"]
    await compute.stop("web", before, 1.0)
    assert len(world.fly.machines("quiz-web")) == 2


async def test_a_machine_that_ends_at_its_start_is_told_at_once_with_its_exit_code(world, compute, tmp_path):
    """Fly restarts it, gives up, and nobody waits for the timeout; what served serves."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "web.py").write_text("raise SystemExit(3)")
    image = world.image(bad, sys.executable, "web.py")
    await compute.start(SPEC, "r1", image, SECRET, settings="s")
    probe = await compute.probe("web", "r1", settings="s", wait_s=60)
    assert (probe.state, probe.exit_code) == ("exited", 3)
    assert "exit code 3" in probe.detail
    assert page(world) == "hello from by-hand"
    await compute.stop("web", "r1", 1.0)
    assert len(world.fly.machines("quiz-web")) == 2


async def test_a_region_without_capacity_is_named_and_nothing_that_serves_is_touched(world, compute):
    """The other region's machine may be there; the undo removes it."""
    world.fly.full.add("ams")
    with pytest.raises(DodaiError) as caught:
        await release(compute, world)
    assert caught.value.code.id == "DOD715"
    assert "`ams`" in caught.value.message
    assert (await compute.probe("web", "r1", settings="s")).detail == "1 of 2 machines exist"
    assert page(world) == "hello from by-hand"
    await compute.stop("web", "r1", 1.0)
    assert len(world.fly.machines("quiz-web")) == 2


@pytest.mark.parametrize(
    "said",
    [
        "insufficient CPUs available to fulfill request on the current host",
        "insufficient memory available to fulfill request",
        "insufficient IPs available to fulfill request",
        "insufficient resources available to fulfill request",
    ],
)
async def test_hosts_without_room_are_no_machine_of_that_name(world, compute, said):
    """409, as for a name that is taken: what the host said is told, at once, for a new machine and one that is kept."""
    world.fly.full_hosts["ams"] = said
    with pytest.raises(DodaiError, match=f"no room in `ams`.*{said}") as caught:
        await release(compute, world)
    assert caught.value.code.id == "DOD715"
    looks = [one for one in world.fly.exchanges if one.method == "GET" and one.path.endswith("/machines")]
    assert len(looks) == 1, "nobody looked for a machine of that name"
    kept = next(one for one in await compute.fleet("web").machines() if one.region == "ams")
    world.fly.machines("quiz-web")[1].state = "stopped"
    leases = world.calls("/v1/apps/quiz-web/machines").count(f"POST /v1/apps/quiz-web/machines/{kept.id}/lease")
    with pytest.raises(DodaiError, match="DOD715"):
        await compute.fleet("web").apply(START, kept)
    calls = world.calls("/v1/apps/quiz-web/machines")
    assert calls.count(f"POST /v1/apps/quiz-web/machines/{kept.id}/lease") == leases + 1, "no lease helps against it"


async def test_half_the_secrets_stop_the_release_before_a_machine_starts(world, compute):
    """Fly answered as if all were set, and lists fewer."""
    world.fly.apps["quiz-web"].half_secrets = True
    with pytest.raises(DodaiError) as caught:
        await release(compute, world)
    assert caught.value.code.id == "DOD716"
    assert "hunter2" not in str(caught.value.as_json())
    assert len(world.fly.machines("quiz-web")) == 2


async def test_an_operator_that_was_held_up_changes_nothing_any_more(world, compute):
    """A newer one announced itself: every verb of the older is refused, whatever it knew before."""
    await release(compute, world)
    await compute.under(2).address("web")
    calls = world.calls()
    late = compute.under(1)
    for verb in (
        late.switch("web", "r1", settings="s"),
        late.stop("web", "r1", 0.0),
        late.start(SPEC, "r2", next(iter(world.registry.images)), SECRET, settings="t"),
    ):
        with pytest.raises(DodaiError) as caught:
            await verb
        assert (caught.value.code.id, caught.value.exit_code) == ("DOD717", 75)
    assert world.calls() == calls
    assert compute.newest_token() == 2


async def test_a_lease_of_somebody_else_is_waited_for_and_never_broken(world, compute):
    """flyctl is at work on a machine: its lease ends, then the switch goes on."""
    await release(compute, world)
    (first, *_) = world.fly.machines("quiz-web")
    first.lease = {"nonce": "theirs", "expires_at": 0, "until": time.time() + 1.5, "owner": "flyctl", "description": ""}
    await compute.switch("web", "r1", settings="s")
    assert live(await compute.status()) == [("r1", "ams"), ("r1", "nrt")]
    refused = [one for one in world.fly.exchanges if one.status == 409]
    assert refused
    assert all(one.path.endswith("/lease") for one in refused)


async def test_machines_without_a_check_or_with_a_volume_are_not_cloned(world, compute):
    """Health that nobody asks is not health; a volume cannot be mounted twice."""
    for machine in world.fly.machines("quiz-web"):
        machine.config["mounts"] = [{"volume": "vol_1", "path": "/data"}]
    with pytest.raises(DodaiError, match="DOD714"):
        await release(compute, world)
    for machine in world.fly.machines("quiz-web"):
        del machine.config["mounts"]
        machine.config["services"][0]["checks"] = []
    compute.seen.clear()  # what was seen within a second is not asked for again
    with pytest.raises(DodaiError, match="DOD713"):
        await release(compute, world)
    assert world.calls() == []


async def test_what_cannot_be_asked_is_unknown_and_not_down(world, compute):
    """Fly is away: the status says so instead of `not running`."""
    with closing(Api(quick(fly()), "http://127.0.0.1:9", ApiToken("FLY_API_TOKEN", TOKEN))) as api:
        api.clock, api.pause = itertools.count().__next__, lambda *_: None
        status = await replace(compute, connect=lambda: api).status()
    assert not status.running
    assert "cannot be reached" in status.unknown
    await compute.status()


async def test_a_token_that_may_only_read_changes_nothing(world, compute):
    """DOD702 with the variable to mend, before anything was changed."""
    api = Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", "read-only"))
    with closing(api), pytest.raises(DodaiError) as caught:
        await release(replace(compute, connect=lambda: api), world)
    assert caught.value.code.id == "DOD702"
    assert "FLY_API_TOKEN" in caught.value.fix
    assert len(world.fly.machines("quiz-web")) == 2
