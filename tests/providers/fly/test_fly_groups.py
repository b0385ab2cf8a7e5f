"""Machines of an app that are none of its service: made for one command, or of another process group."""

from __future__ import annotations

from contextlib import closing, contextmanager

import pytest
from tests.support.fly_world import MACHINES_API, TOKEN, fly_world, served
from tests.support.quick_vendor import quick
from tests.support.vendor_spec import specs

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.fly_examine import examine
from dodai.providers.fly.machines_api import fly
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())


@contextmanager
def app_beside(tmp_path, **metadata):
    """The app `quiz-web` with two machines that serve and one of `metadata` without services, and its operator."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, light=True)
        beside = {**served(), "services": [], "metadata": {"fly_platform_version": "v2", **metadata}}
        world.fly.launch("quiz-web", image, beside, ("nrt",))
        world.fly.launch("quiz-web", image, served(), ("nrt", "ams"))
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            yield (
                world,
                image,
                FlyCompute(
                    lambda: api, "production", {"web": "quiz-web"}, frozenset(), proxy_lag_s=world.fly.noticed_s
                ).under(1),
            )
        if specs():
            assert MACHINES_API.judge(world.fly.exchanges).problems == ()


def seen_by_doctor(compute):
    return [row.seen for row in examine(compute.connect, {"web": "quiz-web"}, {}, {}, 0.0, {})]


@pytest.mark.parametrize(
    "made_for",
    [
        {"fly_process_group": "fly_app_release_command"},
        {"fly_process_group": "fly_app_console"},
        {"fly_process_group": "fly_app_test_machine_command"},
        {"process_group": "release_command"},
    ],
    ids=lambda each: next(iter(each.values())),
)
async def test_machine_that_flyctl_made_for_one_command_is_left_out_and_left_alone(tmp_path, made_for):
    """It has no check and serves nobody: a release is made of the others, and it stays as it is."""
    with app_beside(tmp_path, **made_for) as (world, image, compute):
        (first, *_) = world.fly.machines("quiz-web")
        before = (await compute.status()).services[0]
        assert [one.region for one in before.instances] == ["nrt", "ams"]
        assert not any("health check" in said for said in seen_by_doctor(compute))
        await compute.address("web")
        await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1"}, settings="s")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        await compute.switch("web", "r1", settings="s")
        await compute.stop("web", before.release, 0.0)
        left = world.fly.machines("quiz-web")
        assert [one.config["metadata"].get("dodai_release") for one in left] == [None, "r1", "r1"]
        assert left[0] is first
        assert (first.cordoned, first.state) == (False, "started")
        assert not any(first.id in call for call in world.calls())


async def test_app_with_another_process_group_is_refused_with_both_names_before_anything_is_made(tmp_path):
    """To deploy one of them and leave the other at the old release would be half a deploy."""
    said = "has machines of several process groups: `app`, `worker`"
    with app_beside(tmp_path, fly_process_group="worker") as (world, image, compute):
        assert said in seen_by_doctor(compute)
        with pytest.raises(DodaiError) as caught:
            await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1"}, settings="s")
        assert caught.value.code.id == "DOD713"
        assert caught.value.message == f"the Fly app `quiz-web` of `web` {said}"
        assert "an app of its own" in caught.value.fix
        assert world.calls() == []
