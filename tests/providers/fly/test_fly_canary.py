"""One machine of a new release on Fly with traffic beside the old ones: which one, and what every end leaves."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from tests.providers.fly.test_fly_rolling import (  # noqa: F401 - `often` is a fixture
    Killed,
    all_serve,
    of_release,
    often,
    rolled_app,
    start,
)

REGIONS = ("nrt", "ams", "iad")


def serving(world, name):
    return [one.id for one in world.fly.machines("quiz-web") if of(one) == name and not one.cordoned]


def of(machine):
    return machine.config["metadata"].get("dodai_release", "by-hand")


@pytest.mark.parametrize("rolling", [True, False], ids=["some at a time", "all at once"])
async def test_one_machine_gets_traffic_and_the_release_that_serves_stays_the_old_one(tmp_path, rolling):
    """Asked twice it is the same one; taken back, none has traffic; the switch goes on from it."""
    with rolled_app(tmp_path, REGIONS) as (world, image, _, rolled):
        compute = rolled if rolling else replace(rolled, rolling={})
        before = (await compute.status()).services[0].release
        assert (await start(compute, image, "r1")).ready
        assert serving(world, "r1") == []
        assert not await compute.is_in("web", "r1", settings="s")
        where = await compute.let_in("web", "r1", settings="s")
        (chosen,) = serving(world, "r1")
        assert chosen in where
        assert await compute.is_in("web", "r1", settings="s")
        assert await compute.let_in("web", "r1", settings="s") == where
        assert serving(world, "r1") == [chosen]
        assert {one.release for one in (await compute.status()).services[0].instances if one.live} == {before}
        await compute.hold_back("web", "r1", settings="s")
        assert serving(world, "r1") == []
        assert len(serving(world, "by-hand")) == 3
        await compute.let_in("web", "r1", settings="s")
        await compute.switch("web", "r1", settings="s")
        await compute.stop("web", before, 1.0)
        assert of_release(world) == all_serve("r1", REGIONS)


async def test_operator_killed_after_any_change_leaves_at_most_one_and_the_next_comes_to_the_same_end(tmp_path):
    """Whoever resumes lets the same machine in; whoever takes back leaves none of it with traffic."""
    with rolled_app(tmp_path, REGIONS) as (world, image, api, compute):
        assert (await start(compute, image, "r1")).ready
        for left in (1, 2, 3):
            api.left = left
            with contextlib.suppress(Killed):
                await compute.let_in("web", "r1", settings="s")
            api.left = None
            assert len(serving(world, "r1")) <= 1
            assert len(serving(world, "by-hand")) == 3
            await compute.let_in("web", "r1", settings="s")
            assert len(serving(world, "r1")) == 1
            await compute.hold_back("web", "r1", settings="s")
            assert serving(world, "r1") == []
