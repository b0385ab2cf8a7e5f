"""Fly's proxies know of a cordon, and of its end, only after a while: nobody is to be without a machine meanwhile."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from tests.end_to_end.small_app import SERVER
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.operations.ports import ServiceSpec
from dodai.providers.fly import rolling
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.machines_api import fly
from dodai.providers.fly.rolling import Rolling
from dodai.vendor_api import Api, ApiToken
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

SPEC = ServiceSpec(name="web", command=())
LAG_S = 0.4


class Judged(Api):
    """Judges each request before it is sent: `too_early` are those that some proxy is not ready for."""

    def __post_init__(self):
        super().__post_init__()
        self.machines, self.too_early, self.judged = list, [], 0

    def attempt(self, method, url, **options):
        name, _, verb = url.partition("/machines/")[2].partition("/")
        if verb in ("cordon", "stop"):
            self.judged += 1
            there, now = {one.id: one for one in self.machines()}, time.monotonic()
            known = now >= there[name].noticed_at
            others = any(not one.cordoned and now >= one.noticed_at for one in there.values() if one.id != name)
            if not (others and (known or verb == "cordon")):
                self.too_early.append(verb)
        return super().attempt(method, url, **options)


@contextmanager
def lagging_app(tmp_path, *, command=(), rolled=False):
    """The app `quiz-web` with a machine in two regions behind proxies that lag, and its operator."""
    with fly_world(boot_s=0.0, proxy_lag_s=LAG_S) as world:
        image = world.image(tmp_path, *command, light=not command)
        config = served(check={"type": "http", "path": "/readyz", "interval": "100ms"})
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("quiz-web", image, config, ("nrt", "ams"))
        world.settle("quiz-web")
        some = {"web": Rolling(max_unavailable=0.5, wait_s=20.0, drain_s=1.0)} if rolled else {}
        with closing(Judged(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            api.machines = lambda: world.fly.machines("quiz-web")
            apps, lag_s = {"web": "quiz-web"}, world.fly.noticed_s
            compute = FlyCompute(lambda: api, "production", apps, frozenset(), rolling=some, proxy_lag_s=lag_s)
            yield world, image, api, compute.under(1)


async def deploy(compute, image):
    before = (await compute.status()).services[0].release
    await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1"}, settings="s")
    assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
    await compute.switch("web", "r1", settings="s")
    await compute.stop("web", before, 1.0)


@pytest.mark.parametrize("rolled", [False, True], ids=["all at once", "some at a time"])
async def test_old_machine_is_taken_out_and_stopped_once_every_proxy_knows(tmp_path, monkeypatch, rolled):
    """flyctl waits before it cordons the old ones and before it stops them; so does every stage of a rolling deploy."""
    monkeypatch.setattr(rolling, "POLL_S", 0.05)
    with lagging_app(tmp_path, rolled=rolled) as (_, image, api, compute):
        await deploy(compute, image)
        assert api.too_early == []
        assert api.judged >= 4


async def test_operator_who_resumes_waits_although_another_one_let_the_new_machines_in(tmp_path):
    """It was killed right after: nobody knows for how long the new ones have had traffic."""
    with lagging_app(tmp_path) as (world, image, api, compute):
        await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1"}, settings="s")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        for machine in world.fly.machines("quiz-web")[2:]:
            machine.cordon(False, LAG_S)
        await replace(compute, seen={}).switch("web", "r1", settings="s")
        assert (api.too_early, api.judged) == ([], 2)


async def test_no_visitor_is_turned_away_while_proxies_learn_of_the_new_machines(tmp_path):
    """Real processes, and people who ask all the time, from before the deploy until after it."""
    (tmp_path / "web.py").write_text(SERVER)
    command = (sys.executable, "web.py")
    with lagging_app(tmp_path, command=command) as (world, image, _, compute):
        with visitors(world.fly.public_url("quiz-web")) as seen:
            await deploy(compute, image)
        assert seen["failed"] == []
        assert seen["answered"] > 20


@pytest.mark.parametrize("rolled", [False, True], ids=["all at once", "some at a time"])
async def test_nobody_is_answered_by_the_old_ones_after_a_switch(tmp_path, monkeypatch, rolled):
    """The journeys that come next would be those of the release before."""
    monkeypatch.setattr(rolling, "POLL_S", 0.05)
    with lagging_app(tmp_path, rolled=rolled) as (world, image, _, compute):
        await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1"}, settings="s")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        await compute.switch("web", "r1", settings="s")
        now = time.monotonic()
        assert all(now >= one.noticed_at for one in world.fly.machines("quiz-web"))


@pytest.mark.parametrize("rolled", [False, True], ids=["all at once", "some at a time"])
async def test_traffic_that_nobody_had_is_given_once_every_proxy_knows(tmp_path, monkeypatch, rolled):
    """As when a restore starts the services again: whoever asks right after the switch is answered."""
    monkeypatch.setattr(rolling, "POLL_S", 0.05)
    with lagging_app(tmp_path, rolled=rolled) as (world, image, _, compute):
        before = (await compute.status()).services[0].release
        await compute.start(SPEC, "r1", image, {"DODAI_RELEASE": "r1"}, settings="s")
        assert (await compute.probe("web", "r1", settings="s", wait_s=20)).ready
        await compute.stop("web", before, 1.0)
        await replace(compute, seen={}).switch("web", "r1", settings="s")
        now = time.monotonic()
        new = [one for one in world.fly.machines("quiz-web") if one.config["metadata"].get("dodai_release") == "r1"]
        assert [(one.cordoned, now >= one.noticed_at) for one in new] == [(False, True)] * 2


@contextmanager
def visitors(url):
    """Somebody who asks for the front page, over and over, until the block ends."""
    ended, parts, seen = threading.Event(), urlsplit(url), {"answered": 0, "failed": []}

    def ask():
        while not ended.wait(0.01):
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
            with closing(connection):
                try:
                    connection.request("GET", "/")
                    connection.getresponse().read()
                    seen["answered"] += 1
                except (OSError, http.client.HTTPException) as error:
                    seen["failed"].append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(("told", "expected"), [("", 10.0), ("0.25", 0.25), ("soon", 10.0)])
def test_how_long_proxies_take_is_what_flyctl_waits_unless_a_stand_in_says_otherwise(
    tmp_path, monkeypatch, told, expected
):
    """What is no number does not shorten it."""
    manifest = '[project]\nname = "quiz"\n[env.production]\ncompute = "fly"\nedge = "fly"\ndatabase = "postgres"\n'
    manifest += 'database_url = "postgresql://nobody@127.0.0.1:9/none"\nfly = { apps = { web = "quiz-web" } }\n'
    manifest += '[service.web]\ncommand = ["web"]\npublic = true\n'
    (tmp_path / "dodai.toml").write_text(manifest)
    monkeypatch.setenv("FLY_PROXY_LAG_S", told)
    project = find_project(tmp_path / "dodai.toml")
    assert environments.open(project, "production").compute.notice_s() == expected
