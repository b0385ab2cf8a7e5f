"""Machines of a service on Fly replaced some at a time: how many run and serve meanwhile, and what failures leave."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from tests.end_to_end.small_app import SERVER
from tests.support.fly_world import MACHINES_API, TOKEN, fly_world, served
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import specs

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec, StagedCompute
from dodai.providers.fly import fleet, rolling
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.machines_api import fly
from dodai.providers.fly.rolling import Rolling
from dodai.standins import ApiFault
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())
REGIONS = ("nrt", "ams", "iad", "sin", "syd", "gru")
AT_A_TIME = Rolling(max_unavailable=0.34, wait_s=20.0, drain_s=1.0)


class Killed(BaseException):
    """The operator's process is gone."""


class Watched(Api):
    """Calls `after` with every request that the account has carried out, and is killed after the `left`th change."""

    def __post_init__(self):
        super().__post_init__()
        self.after, self.left, self.one_by_one = None, None, threading.Lock()

    def attempt(self, method, url, **options):
        with self.one_by_one:
            if self.left is not None and self.left <= 0:
                raise Killed
            answer = super().attempt(method, url, **options)
            if self.after:
                self.after()
            if self.left is not None and method != "GET" and not url.endswith("/lease"):
                self.left -= 1
                if self.left == 0:
                    raise Killed
            return answer


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Looks are not a second apart: the stand-in has no rate here."""
    monkeypatch.setattr(rolling, "POLL_S", 0.05)
    monkeypatch.setattr(fleet, "RECENT_S", 0.0)
    monkeypatch.setattr(fleet, "LOOK_S", 0.05)


@contextmanager
def rolled_app(tmp_path, regions=REGIONS, *command):
    """The app `quiz-web`, a machine in each region (a light one without a command), and the operator that rolls it."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, *command, light=not command)
        config = served(check={"type": "http", "path": "/readyz", "interval": "50ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, regions)
        world.settle("quiz-web")
        with closing(Watched(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            compute = FlyCompute(
                lambda: api,
                "production",
                {"web": "quiz-web"},
                frozenset(),
                rolling={"web": AT_A_TIME},
                lease_s=1,
                proxy_lag_s=world.fly.noticed_s,
            )
            yield world, image, api, compute.under(1)
        if specs():
            assert MACHINES_API.judge(world.fly.exchanges).problems == ()


async def start(compute, image, name):
    await compute.start(SPEC, name, image, {"DODAI_RELEASE": name}, settings="s")
    return await compute.probe("web", name, settings="s", wait_s=20)


async def deploy(compute, image, name, before):
    """The steps of a plan, as whoever resumes repeats them."""
    assert (await start(compute, image, name)).ready
    await compute.switch("web", name, settings="s")
    await compute.stop("web", before, 1.0)


def of_release(world):
    return sorted(
        (one.config["metadata"].get("dodai_release", "by-hand"), one.region, one.state, one.cordoned)
        for one in world.fly.machines("quiz-web")
    )


def all_serve(name, regions=REGIONS):
    return sorted((name, region, "started", False) for region in regions)


async def test_at_most_one_machine_more_runs_and_a_third_is_without_traffic_at_a_time(tmp_path):
    """Of six machines two are replaced at once; blue-green would run twelve."""
    with rolled_app(tmp_path) as (world, image, api, compute):
        before = (await compute.status()).services[0].release
        running, serving = [], []

        def count():
            machines = world.fly.machines("quiz-web")
            running.append(sum(one.state in ("starting", "started", "stopping") for one in machines))
            serving.append(sum(one.state == "started" and not one.cordoned for one in machines))

        api.after = count
        probe = await start(compute, image, "r1")
        assert (probe.ready, probe.detail) == (True, "1 machines pass their checks, 5 are started in their turn")
        assert {one.release for one in (await compute.status()).services[0].instances if one.live} == {before}
        await compute.switch("web", "r1", settings="s")
        assert max(running) == 7
        assert min(serving) == 5  # six and the one that was started first, but for two
        await compute.stop("web", before, 1.0)
        assert of_release(world) == all_serve("r1")
        assert isinstance(compute, StagedCompute)
        assert (compute.stages("web"), compute.stages("backend")) == (6, 0)


async def test_the_way_back_starts_the_old_machines_again_and_needs_no_image(tmp_path):
    """They were kept, stopped: nothing is made anew, and the release that is taken back leaves nothing."""
    with rolled_app(tmp_path) as (world, image, _, compute):
        before = (await compute.status()).services[0].release
        ids = {one.id for one in world.fly.machines("quiz-web")}
        assert (await start(compute, image, "r1")).ready
        await compute.switch("web", "r1", settings="s")
        await compute.switch("web", before)
        await compute.stop("web", "r1", 1.0)
        assert of_release(world) == all_serve("by-hand")
        assert {one.id for one in world.fly.machines("quiz-web")} == ids


async def test_a_machine_that_ends_in_its_turn_stops_the_release_and_the_old_ones_serve_again(tmp_path):
    """The first one was healthy; the next, in whatever region, is not. It is begun once, not again and again."""
    (tmp_path / "web.py").write_text(SERVER)
    (tmp_path / "broken.py").write_text(
        "import pathlib, runpy, sys\n"
        f"try: pathlib.Path({str(tmp_path / 'begun')!r}).touch(exist_ok=False)\n"
        "except FileExistsError: sys.exit('no such table')\n"
        "runpy.run_path('web.py', run_name='__main__')\n"
    )
    regions = ("nrt", "ams", "sin")
    with rolled_app(tmp_path, regions, sys.executable, "web.py") as (world, _, _, compute):
        before = (await compute.status()).services[0].release
        broken = world.image(tmp_path, sys.executable, "broken.py")
        assert (await start(compute, broken, "r1")).ready
        with pytest.raises(DodaiError) as refused:
            await compute.switch("web", "r1", settings="s")
        assert refused.value.code.id == "DOD387"
        assert re.search("in (nrt|ams|sin) is stopped, exit code 1", refused.value.message)
        await compute.switch("web", before)
        await compute.stop("web", "r1", 1.0)
        assert of_release(world) == all_serve("by-hand", regions)


async def test_replies_that_are_lost_lead_to_the_same_end(tmp_path):
    """Starting, stopping, moving traffic: each once answered by nothing, after and before its effect."""
    with rolled_app(tmp_path, REGIONS[:3]) as (world, image, _, compute):
        before = (await compute.status()).services[0].release
        for kind in ("lost", "lost before", "status"):
            for where in ("/start$", "/stop$", "/uncordon$", "/cordon$"):
                world.fly.faults.add(ApiFault(kind=kind, where=f"POST .*{where}"))
        await deploy(compute, image, "r1", before)
        assert world.fly.faults.left == (), "a fault was not met"
        assert of_release(world) == all_serve("r1", REGIONS[:3])


async def test_operator_killed_after_any_change_is_followed_by_one_who_comes_to_the_same_end(tmp_path):
    """Four releases one after another, each killed four changes later than the one before; every machine once."""
    with rolled_app(tmp_path, REGIONS[:3]) as (world, image, api, compute):
        before, operator = (await compute.status()).services[0].release, compute
        for number in range(4):
            name = f"r{number}"
            api.left = 2 + 4 * number
            with pytest.raises(Killed):
                await deploy(operator, image, name, before)
            api.left = None
            operator = replace(operator, token=operator.token + 1, holder=f"operator {number}")
            await operator.address("web")
            await deploy(operator, image, name, before)
            assert of_release(world) == all_serve(name, REGIONS[:3])
            before = name
