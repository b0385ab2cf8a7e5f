"""Machines on a host that does not answer Fly: what is known of them is not enough to clone or to change them."""

from __future__ import annotations

from contextlib import closing, contextmanager

import pytest
from tests.end_to_end.test_fly import FlyApp
from tests.support.fly_world import MACHINES_API, TOKEN, fly_world, served
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import specs

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.fly_examine import examine
from dodai.providers.fly.machines_api import fly
from dodai.providers.fly.rolling import Rolling
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())
REGIONS = ("nrt", "ams", "sin")
AT_A_TIME = Rolling(max_unavailable=0.5, wait_s=20.0, drain_s=1.0)


@contextmanager
def wide_app(tmp_path, *, rolled=False):
    """The app `quiz-web` with three machines deployed by hand, the oldest on a host that is away, and its operator."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, light=True)
        config = served(check={"type": "http", "path": "/readyz", "interval": "100ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, REGIONS)
        world.settle("quiz-web")
        world.fly.machines("quiz-web")[0].host_status = "unreachable"
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            some = {"web": AT_A_TIME} if rolled else {}
            yield (
                world,
                image,
                FlyCompute(
                    lambda: api,
                    "production",
                    {"web": "quiz-web"},
                    frozenset(),
                    rolling=some,
                    proxy_lag_s=world.fly.noticed_s,
                ).under(1),
            )
        if specs():
            assert MACHINES_API.judge(world.fly.exchanges).problems == ()


async def deploy(compute, image, name, before):
    await compute.address("web")
    await compute.start(SPEC, name, image, {"DODAI_RELEASE": name}, settings="s")
    assert (await compute.probe("web", name, settings="s", wait_s=20)).ready
    await compute.switch("web", name, settings="s")
    await compute.stop("web", before, 0.0)


def serving(world):
    return sorted(
        (one.config["metadata"].get("dodai_release", "by-hand"), one.region)
        for one in world.fly.machines("quiz-web")
        if not one.cordoned
    )


@pytest.mark.parametrize("rolled", [False, True], ids=["all at once", "some at a time"])
async def test_deploy_goes_on_without_the_machine_whose_host_is_away_and_says_so(tmp_path, rolled):
    """It has no configuration to clone and takes no change: the release is made of the others."""
    with wide_app(tmp_path, rolled=rolled) as (world, image, compute):
        (away, *_) = world.fly.machines("quiz-web")
        status = (await compute.status()).services[0]
        assert status.release.startswith("unmanaged-")
        assert [one.region for one in status.instances if one.live] == ["ams", "sin"]
        (told,) = [one for one in status.instances if one.address == away.id]
        assert (told.state, told.trouble) == (
            "unreachable",
            "its host is away: Fly changes nothing there, and it may come back as it was",
        )
        await deploy(compute, image, "r1", status.release)
        assert serving(world) == [("by-hand", "nrt"), ("r1", "ams"), ("r1", "sin")]
        assert not any(away.id in call for call in world.calls())
        assert len(world.fly.machines("quiz-web")) == 3
        (row,) = [row for row in examine(compute.connect, {"web": "quiz-web"}, {}, {}, 0.0, {}) if "serves" in row.seen]
        assert f"the host of {away.id} is away, so no deploy changes or clones it" in row.seen


async def test_machine_that_comes_back_with_an_old_release_is_taken_out_and_not_what_is_cloned(tmp_path):
    """It is the oldest that serves, and one of three: a release made of it alone would serve from one region."""
    with wide_app(tmp_path) as (world, image, compute):
        before = (await compute.status()).services[0].release
        await deploy(compute, image, "r1", before)
        (back, *_) = world.fly.machines("quiz-web")
        back.host_status = "ok"
        compute.seen.clear()
        await deploy(compute, image, "r2", "r1")
        await compute.stop("web", (await compute.status()).services[0].instances[0].release, 0.0)
        assert serving(world) == [("r2", "ams"), ("r2", "sin")]


async def test_release_that_dodai_made_is_known_by_what_is_left_of_its_configuration(tmp_path):
    """`incomplete_config` has the metadata: the machine is of its release, its token counts, and it is not well."""
    with wide_app(tmp_path) as (world, image, compute):
        world.fly.machines("quiz-web")[0].host_status = "ok"
        await deploy(compute, image, "r1", (await compute.status()).services[0].release)
        world.fly.machines("quiz-web")[0].host_status = "unknown"
        compute.seen.clear()
        status = (await compute.status()).services[0]
        assert [(one.release, one.live) for one in status.instances] == [("r1", True)] * 3
        assert compute.newest_token() == 1
        probe = await compute.probe("web", "r1", settings="s")
        assert (probe.state, "its host is away" in probe.detail) == ("not_ready", True)


async def test_app_whose_hosts_are_all_away_keeps_its_last_machines_and_says_why_nothing_is_made(tmp_path):
    """What can be reached is the last there is: it is kept, stopped, and not destroyed."""
    with wide_app(tmp_path) as (world, image, compute):
        first, second, third = world.fly.machines("quiz-web")
        second.host_status = "unreachable"
        await compute.stop("web", (await compute.status()).services[0].release, 0.0)
        assert (third.state, third.cordoned) == ("stopped", True)
        assert world.fly.machines("quiz-web") == [first, second, third]
        third.host_status = "unreachable"
        compute.seen.clear()
        with pytest.raises(DodaiError, match="has only machines whose host is away") as caught:
            await compute.start(SPEC, "r1", image, {}, settings="s")
        assert caught.value.code.id == "DOD713"


def test_command_ends_well_and_names_what_cannot_be_reached(tmp_path):
    """`dodai deploy` from its first to its last step, with a machine that no step can change."""
    folder = tmp_path / "app"
    folder.mkdir()
    with fly_world() as world:
        app = FlyApp(folder, world)
        config = served()
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("small-web", app.build("by-hand"), config, ("nrt", "ams"))
        world.settle("small-web")
        (away, _) = world.fly.machines("small-web")
        away.host_status = "unreachable"
        done = app.deploy(app.build("first"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"cannot be reached, and may come back: unmanaged-{away.id} in nrt" in done.stdout + done.stderr
        assert [region for _, region in app.live()] == ["ams"]
        assert "its host is away" in app.run("status", "staging").stdout
