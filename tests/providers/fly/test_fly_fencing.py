"""An operator that was held up in the middle of a change at Fly, while a newer one went on: it changes nothing when it wakes."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fleet import TOKEN as FENCE
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.machines_api import fly
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())
CREDENTIAL = ApiToken("FLY_API_TOKEN", TOKEN)


class HeldUp(Api):
    """Before its first request that matches `before`, `meanwhile` happens; it sends nothing else until that is over."""

    before, meanwhile = "", None

    def __post_init__(self):
        super().__post_init__()
        self.alone = threading.Lock()

    def attempt(self, method, url, **options):
        with self.alone:
            if self.before and re.search(self.before, f"{method} {url}"):
                self.before = ""
                self.meanwhile()
            return super().attempt(method, url, **options)


@contextmanager
def two_operators(tmp_path):
    """The app `quiz-web` with light machines, an operator with token 1 that may be held up, one with token 2."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, light=True)
        config = served(check={"type": "http", "path": "/readyz", "interval": "100ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, ("nrt", "ams"))
        world.settle("quiz-web")
        with (
            closing(HeldUp(quick(fly()), world.fly.url, CREDENTIAL)) as held,
            closing(Api(quick(fly()), world.fly.url, CREDENTIAL)) as free,
        ):
            one = FlyCompute(
                lambda: held,
                "production",
                {"web": "quiz-web"},
                frozenset(),
                holder="one",
                proxy_lag_s=world.fly.noticed_s,
            )
            yield world, image, held, one.under(1), replace(one, connect=lambda: free, holder="two").under(2)


def short(compute):
    """Whose leases end after a second, while it is held up."""
    return replace(compute, lease_s=1)


async def release(compute, image, name):
    await compute.start(SPEC, name, image, {"DODAI_RELEASE": name}, settings="s")
    assert (await compute.probe("web", name, settings="s", wait_s=20)).ready


def seen(world):
    return {
        one.id: (one.state, one.cordoned, one.config["metadata"].get(FENCE)) for one in world.fly.machines("quiz-web")
    }


@pytest.mark.parametrize("before", ["POST .*/lease$", "POST .*/uncordon$"])
async def test_operator_held_up_in_a_switch_moves_no_traffic_once_a_newer_one_did(tmp_path, before):
    """Without the look under the lease it would lead visitors to its own machines again."""
    with two_operators(tmp_path) as (world, image, held, late, newer):
        await release(late, image, "r1")
        left = {}

        def meanwhile():
            async def go_on():
                await newer.address("web")
                await release(newer, image, "r2")
                await newer.switch("web", "r2", settings="s")

            asyncio.run(go_on())
            left.update(seen(world))

        held.before, held.meanwhile = before, meanwhile
        with pytest.raises(DodaiError):
            await short(late).switch("web", "r1", settings="s")
        assert left
        assert seen(world) == left
        assert {one.release for one in (await newer.status()).services[0].instances if one.live} == {"r2"}


@pytest.mark.parametrize("before", ["POST .*/lease$", "POST .*/stop$"])
async def test_operator_held_up_while_it_retires_stops_nothing_that_serves_again(tmp_path, before):
    """The newer one went back to what the late one was about to stop: that would be an outage."""
    with two_operators(tmp_path) as (world, image, held, late, newer):
        old = (await late.status()).services[0].release
        await release(late, image, "r1")
        await late.switch("web", "r1", settings="s")
        left = {}

        def meanwhile():
            async def go_back():
                await newer.address("web")
                await newer.switch("web", old)

            asyncio.run(go_back())
            left.update(seen(world))

        held.before, held.meanwhile = before, meanwhile
        with pytest.raises(DodaiError):
            await short(late).stop("web", old, 1.0)
        assert left
        assert seen(world) == left
        assert {one.state for one in (await newer.status()).services[0].instances if one.live} == {"running"}


async def test_two_places_that_gave_out_the_same_token_do_not_both_go_on(tmp_path):
    """Locks in files of two machines know nothing of each other; at Fly at most one of them gets through."""
    with two_operators(tmp_path) as (_, _, _, one, other):
        first, second = one.under(5), other.under(5)
        ended = await asyncio.gather(first.address("web"), second.address("web"), return_exceptions=True)
        refused = [each for each in ended if isinstance(each, DodaiError)]
        assert len(refused) >= 1
        assert {(each.code.id, each.exit_code) for each in refused} == {("DOD717", 75)}
        assert all("lock 5" in each.message for each in refused)


async def test_machine_under_a_lease_of_somebody_dead_is_announced_to_once_that_has_ended(tmp_path):
    """The newest token stands on every machine before the new operator changes one."""
    with two_operators(tmp_path) as (world, _, _, late, newer):
        (machine, *_) = world.fly.machines("quiz-web")
        fleet = short(late).fleet("web")
        lease = await fleet._lease((await fleet.machines())[0])
        assert lease.nonce
        await newer.address("web")
        assert {one.config["metadata"][FENCE] for one in world.fly.machines("quiz-web")} == {"2"}
        assert machine.lease is None or machine.lease["nonce"] != lease.nonce
