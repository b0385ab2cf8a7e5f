"""Fly's checks decide about a release: what Fly tells of them, how long so many answers take, and what is too slow."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.core.errors import DodaiError
from dodai.operations.ports import ServiceSpec
from dodai.providers.fly import fly_compute, rolling
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.fly_examine import examine
from dodai.providers.fly.fly_toml import ToldService, toml_rows
from dodai.providers.fly.machine_checks import Judged, steady_s
from dodai.providers.fly.machines_api import fly
from dodai.standins.fly.machine_process import FlyMachine
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())
QUICK = {"type": "http", "path": "/readyz", "interval": "100ms", "timeout": "100ms"}


@contextmanager
def checked_app(tmp_path, check=QUICK, **options):
    """The app `quiz-web` with two light machines that are asked by `check`, and the operator of a release."""
    with fly_world(boot_s=0.0) as world:
        image = world.image(tmp_path, light=True)
        config = served(check=check)
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, ("nrt", "ams"))
        world.settle("quiz-web")
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as client:
            compute = FlyCompute(
                lambda: client,
                "production",
                {"web": "quiz-web"},
                frozenset(),
                **options,
                proxy_lag_s=world.fly.noticed_s,
            ).under(1)
            yield world, image, compute


async def start(compute, image, name):
    await compute.start(SPEC, name, image, {"DODAI_RELEASE": name}, settings="s")


def answers(monkeypatch, *statuses):
    """Each look at a machine finds the next of `statuses`, over and over; each machine has its own turn.

    A request that is sent again is another look: what a test says has to hold when one answer is left out.
    """
    shown, looks = FlyMachine.shown, Counter()

    def in_turns(machine):
        found, look = shown(machine), looks[machine.id]
        looks[machine.id] += 1
        return {**found, "checks": [{**check, "status": statuses[look % len(statuses)]} for check in found["checks"]]}

    monkeypatch.setattr(FlyMachine, "shown", in_turns)
    monkeypatch.setattr(fly_compute, "LOOK_S", 0.05)


async def test_release_that_stays_well_is_ready_though_fly_tells_no_single_answer(tmp_path):
    """Fly's page on health checks: "Last Updated" is when the status last changed, not when the check last ran."""
    with checked_app(tmp_path) as (world, image, compute):
        await start(compute, image, "r1")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        before = [check["updated_at"] for one in world.fly.machines("quiz-web") for check in one.checks.values()]
        began = time.monotonic()
        assert (await compute.probe("web", "r1", settings="s", wait_s=20, consecutive=3)).ready
        assert time.monotonic() - began >= steady_s([QUICK], 3)
        after = [check["updated_at"] for one in world.fly.machines("quiz-web") for check in one.checks.values()]
        assert after == before, "each was asked several times meanwhile"


@pytest.mark.parametrize("listed", [True, False], ids=["well in a recent list", "no recent list"])
async def test_release_that_is_healthy_only_now_and_then_is_not_ready(tmp_path, monkeypatch, listed):
    """One answer in two through the same proxy (community 28121): three good ones one after another are asked for."""
    with checked_app(tmp_path) as (_, image, compute):
        await start(compute, image, "r1")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        compute.seen.clear()
        if listed:
            await compute.fleet("web").machines()
        answers(monkeypatch, "critical", "critical", "passing", "passing")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready, "one answer is no proof"
        probe = await compute.probe("web", "r1", settings="s", wait_s=1.5, consecutive=12)
        assert probe.state == "not_ready"


async def test_time_that_is_over_while_a_release_is_well_is_told_with_what_was_seen(tmp_path):
    """It is well, and was not for long enough."""
    with checked_app(tmp_path, QUICK | {"interval": "5s"}) as (_, image, compute):
        await start(compute, image, "r1")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        probe = await compute.probe("web", "r1", settings="s", wait_s=0.3, consecutive=3)
        assert probe.state == "not_ready"
        assert probe.detail.endswith("s of the 10.1 s that 3 answers of its checks take, within 0.3 s")


async def test_list_is_asked_for_again_after_a_newer_look_at_its_machines(tmp_path):
    """A look at machines one by one is newer than the list of all: that one may not count as what is seen now."""
    with checked_app(tmp_path) as (world, image, compute):
        await start(compute, image, "r1")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        fleet = compute.fleet("web")
        group = await fleet.machines()
        assert await fleet.machines(recent=True) is group
        world.fly.machines("quiz-web")[0].state = "stopped"
        await fleet.seen_again(group[:1])
        assert (await fleet.machines(recent=True))[0].state == "stopped"


SLOW = {"type": "http", "path": "/readyz", "interval": "15s"}
SAID = "3 answers in a row take its checks 32 s, and `timeout` is 30 s"
FIX = 'give `[service.web.health]` `timeout = "70s"`, or its checks a shorter `interval`'


async def test_checks_that_take_longer_than_the_timeout_are_found_before_anything_is_made(tmp_path):
    """Fly's own default interval, and the defaults of the manifest."""
    with checked_app(tmp_path, SLOW, judged={"web": Judged(3, 30.0)}) as (world, image, compute):
        before = world.calls()
        with pytest.raises(DodaiError, match="`quiz-web`: " + SAID) as caught:
            await start(compute, image, "r1")
        assert (caught.value.code.id, caught.value.fix) == ("DOD732", FIX)
        assert world.calls() == before
        await start(replace(compute, judged={"web": Judged(3, 70.0)}), image, "r1")
        assert len(world.fly.machines("quiz-web")) == 4


def test_doctor_and_the_file_of_fly_say_so_too(tmp_path):
    """The machines as they are, and what the next `fly deploy` would make of them."""
    (tmp_path / "fly.toml").write_text(
        'app = "quiz-web"\n[[http_service.checks]]\npath = "/readyz"\ninterval = "30s"\ntimeout = "5s"\n'
    )
    judged = Judged(3, 30.0)
    with checked_app(tmp_path, SLOW) as (_, _, compute):
        rows = list(examine(compute.connect, {"web": "quiz-web"}, {}, {}, 0.0, {"web": judged}))
        assert [(row.verdict, row.seen, row.fix) for row in rows if row.name == "fly web machines"] == [
            ("missing", SAID, FIX)
        ]
    (row,) = toml_rows(tmp_path, {"web": ToldService("quiz-web", "/readyz", {}, judged)})
    assert "`fly.toml`: 3 answers in a row take its checks 65 s, and `timeout` is 30 s" in row.seen
    (row,) = toml_rows(tmp_path, {"web": ToldService("quiz-web", "/readyz", {}, replace(judged, timeout_s=66.0))})
    assert row.verdict == "ok"


@pytest.mark.parametrize("table", ["checks.web", "[services.http_checks]", "[services.tcp_checks]"])
def test_number_in_an_older_table_of_the_file_of_fly_is_milliseconds(tmp_path, table):
    """flyctl makes durations of them before it sends them to Fly."""
    (tmp_path / "fly.toml").write_text(
        f'app = "quiz-web"\n[[services]]\ninternal_port = 80\n[{table}]\ninterval = 30000\ntimeout = 5000\n'
    )
    (row,) = toml_rows(tmp_path, {"web": ToldService("quiz-web", "", {}, Judged(3, 30.0))})
    assert "3 answers in a row take its checks 65 s" in row.seen


async def test_check_whose_times_are_nanoseconds_is_asked_and_waited_for_as_often(tmp_path):
    """As machines have them that were not made by flyctl."""
    check = QUICK | {"interval": 300_000_000, "timeout": 100_000_000}
    with checked_app(tmp_path, check) as (_, image, compute):
        await start(compute, image, "r1")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        began = time.monotonic()
        assert (await compute.probe("web", "r1", settings="s", wait_s=20, consecutive=3)).ready
        assert 0.7 <= time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({}, 32.0),
        ({"interval": "1m30s", "timeout": "500ms"}, 180.5),
        ({"interval": "0.5h"}, 3602.0),
        ({"interval": 5_000_000_000, "timeout": 500_000_000}, 10.5),
        ({"interval": "often", "timeout": -1}, 32.0),
    ],
)
def test_duration_is_read_as_go_writes_it(check, expected):
    """A number is nanoseconds; what is none counts as Fly's default."""
    assert steady_s([check], 3) == expected
    assert steady_s([check], 1) == 0.0


async def test_later_stage_of_a_rolling_deploy_needs_as_many_answers(tmp_path, monkeypatch):
    """Machines of later stages got traffic after one good look."""
    monkeypatch.setattr(rolling, "POLL_S", 0.05)
    at_a_time = rolling.Rolling(max_unavailable=0.5, wait_s=2.0, drain_s=1.0, consecutive=12)
    with checked_app(tmp_path, rolling={"web": at_a_time}) as (world, image, compute):
        await start(compute, image, "r1")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20, consecutive=12)).ready
        answers(monkeypatch, "critical", "critical", "passing", "passing")
        with pytest.raises(DodaiError, match="does not become healthy on every machine") as caught:
            await compute.switch("web", "r1", settings="s")
        assert caught.value.code.id == "DOD387"
        new = [one for one in world.fly.machines("quiz-web") if one.config["metadata"].get("dodai_release") == "r1"]
        assert all(one.cordoned for one in new)
