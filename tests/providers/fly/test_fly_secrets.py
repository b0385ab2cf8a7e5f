"""What a process really has of a secret: told by the process itself, not by what was sent (yc-software/qm #20)."""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.operations.ports import ServiceSpec
from dodai.providers.fly.fly_compute import FlyCompute
from dodai.providers.fly.fly_examine import examine
from dodai.providers.fly.machines_api import fly
from dodai.providers.fly.rolling import Rolling
from dodai.vendor_api import Api, ApiToken

SPEC = ServiceSpec(name="web", command=())
PROGRAM = """
import hashlib, http.server, json, os
SEEN = hashlib.sha256(os.environ.get("SESSION_SECRET", "").encode()).hexdigest()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = json.dumps({"ready": True, "version": os.environ["DODAI_RELEASE"]})
        body = (ready if self.path == "/readyz" else SEEN).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


@contextmanager
def app(tmp_path: Path, *, rolling: bool, restart_applies: bool):
    """The app `quiz-web` in two regions, and how an operator gives it a secret."""
    (tmp_path / "web.py").write_text(PROGRAM)
    with fly_world() as world:
        world.fly.restart_applies_secrets = restart_applies
        config = served()
        config["env"]["DODAI_RELEASE"] = "by-hand"
        image = world.image(tmp_path, sys.executable, "web.py")
        world.fly.launch("quiz-web", image, config, ("nrt", "ams"))
        world.settle("quiz-web")
        with closing(Api(quick(fly()), world.fly.url, ApiToken("FLY_API_TOKEN", TOKEN))) as api:
            some = {"web": Rolling(0.5, 20.0, 1.0)} if rolling else {}
            apps, secret = {"web": "quiz-web"}, frozenset({"SESSION_SECRET"})
            compute = FlyCompute(
                lambda: api, "production", apps, secret, rolling=some, proxy_lag_s=world.fly.noticed_s
            ).under(1)

            async def give(value: str, settings: str) -> None:
                before = (await compute.status()).services[0].instances
                await compute.start(SPEC, "r1", image, {"SESSION_SECRET": value}, settings=settings)
                assert (await compute.probe("web", "r1", settings=settings, wait_s=20)).ready
                await compute.switch("web", "r1", settings=settings)
                assert before
                for old in {(one.release, one.settings) for one in before if one.live}:
                    await compute.stop("web", old[0], 1.0, settings=old[1])

            yield world, compute, give


def seen_by_processes(world) -> set[str]:
    """Which secret each machine that serves has, as its process says."""
    found = set()
    for machine in world.fly.machines("quiz-web"):
        if not machine.cordoned:
            with urllib.request.urlopen(f"http://127.0.0.1:{machine.port}/", timeout=5) as answer:
                found.add(answer.read().decode())
    return found


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@pytest.mark.parametrize("restart_applies", [True, False], ids=["a restart applies secrets", "a restart does not"])
@pytest.mark.parametrize("rolling", [False, True], ids=["all at once", "some at a time"])
async def test_changed_secret_is_what_every_serving_process_has_whatever_a_restart_does(
    tmp_path, rolling, restart_applies
):
    """Reports of whether a restart applies staged secrets conflict: nothing here depends on it, the machines are new."""
    with app(tmp_path, rolling=rolling, restart_applies=restart_applies) as (world, _, give):
        await give("first", "s1")
        assert seen_by_processes(world) == {digest("first")}
        await give("second", "s2")
        assert seen_by_processes(world) == {digest("second")}


async def test_machines_that_were_kept_stopped_come_back_with_the_secret_of_now(tmp_path):
    """A restore stops everything; the same release with another secret is an update of what was kept, not a start."""
    with app(tmp_path, rolling=False, restart_applies=False) as (world, compute, give):
        await give("first", "s1")
        await compute.stop("web", "r1", 1.0, settings="s1")
        await give_again(compute, world, "second")
        assert seen_by_processes(world) == {digest("second")}


async def give_again(compute: FlyCompute, world, value: str) -> None:
    """What a plan does after a restore: start, healthy, switch."""
    image = next(iter(world.registry.images))
    reference = f"{world.registry.host}/web@{image}"
    await compute.start(SPEC, "r1", reference, {"SESSION_SECRET": value}, settings="s1")
    assert (await compute.probe("web", "r1", settings="s1", wait_s=20)).ready
    await compute.switch("web", "r1", settings="s1")


async def test_secret_that_was_staged_and_not_deployed_is_told_while_processes_have_the_old_one(tmp_path):
    """qm #20 as it happened: staged by hand, machines restarted, and the operator believed that it was done."""
    with app(tmp_path, rolling=False, restart_applies=False) as (world, compute, give):
        await give("first", "s1")

        def secrets_row() -> str:
            rows = examine(compute.connect, {"web": "quiz-web"}, {"web": ["SESSION_SECRET"]}, {}, 0.0, {})
            (row,) = (row for row in rows if row.name == "fly web secrets")
            return f"{row.verdict}: {row.seen}"

        assert secrets_row() == "ok: 1 set, 1 as they were deployed"
        world.fly.apps["quiz-web"].secrets["SESSION_SECRET"] = "staged by hand"
        for machine in world.fly.machines("quiz-web"):
            machine.kill()
            world.fly.restart(machine)
        world.settle("quiz-web")
        assert seen_by_processes(world) == {digest("first")}
        told = "`SESSION_SECRET` of `quiz-web` was set since the release that serves: a machine that starts gets it"
        assert secrets_row() == f"warning: {told}"
