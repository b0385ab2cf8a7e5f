"""Behind a Cloudflare zone the origin refuses whoever comes past it, and the key by which it knows the zone changes in service."""

from __future__ import annotations

import asyncio
import json
import signal
import threading

import pytest
from tests.end_to_end.hosted_app import COMMAND_KILLER, HostedApp
from tests.end_to_end.test_cloudflare_environment import Visitors
from tests.end_to_end.test_edge_key_and_login import Visitors as Person
from tests.end_to_end.test_edge_key_and_login import get, serving
from tests.support.command import dodai

from dodai.providers.cloudflare.zone_state import FIREWALL, HEADERS
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

TOKEN, KEY = "cf_t0k3n", "DODAI_EDGE_KEY"
WEB = """
import os

import dodai.asgi
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

VERSION = os.environ.get("DODAI_RELEASE", "")


async def page(request):
    return PlainTextResponse(f"hello from {VERSION}")


async def ready(request):
    return JSONResponse({"ready": True, "version": VERSION})


app = dodai.asgi.wrap(Starlette(routes=[Route("/", page), Route("/readyz", ready)]))
if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
"""
POINTS = (("applied:recognise", True), ("applying:sign", False), ("applied:sign", True), ("applying:sign", True))


class BehindZone(HostedApp):
    """The application on this machine, its public name in a zone; `port` is where visitors of the zone arrive."""

    def __init__(self, folder, zone, port):
        super().__init__(folder)
        object.__setattr__(self, "zone", zone)
        object.__setattr__(self, "port", port)

    def write_app(self, more=""):
        environment = (
            f'edge = "cloudflare"\npublic_origins = ["http://127.0.0.1:{self.port}"]\n{more}\n'
            f'cloudflare = {{ zone = "{self.zone.zone}", origin = "quiz-web.fly.dev" }}'
        )
        self.write(environment=environment, more='app = "web:app"')
        (self.folder / "web.py").write_text(WEB)

    @property
    def told(self):
        return {"CLOUDFLARE_API_URL": self.zone.url, "CLOUDFLARE_API_TOKEN": TOKEN}

    def run(self, *words, **extra):
        return super().run(*words, **self.told, **extra)

    def cut(self, at, *words):
        """The command, killed at one of its own records."""
        done = dodai(*words, cwd=self.folder, driver=COMMAND_KILLER, KILL_AT=at, **self.told)
        assert done.returncode == -signal.SIGKILL, done.stderr

    def done(self, *words, code=0):
        done = self.run(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def stored(self):
        return json.loads((self.state / "secrets.json").read_text())[KEY].split(",")

    def sent(self):
        """The key that the zone sends."""
        rules = {rule["ref"]: rule for rule in self.zone.rulesets[HEADERS]["rules"]}
        return rules["dodai_origin_key"]["action_parameters"]["headers"]["x-edge-key"]["value"]

    def around(self, **headers):
        """The status for somebody who knows where the service listens."""
        return get(f"http://{serving(self).address}", **headers)[0]


def instances(env):
    """How many processes of the service run."""
    status = asyncio.run(environments.open(find_project(env.folder / "dodai.toml"), "staging").host.status())
    return len([one for one in status.service("web").instances if one.state not in ("stopped", "gone")])


class ByPublicName(Person):
    """Somebody who asks by the public name all the time."""

    def ask(self):
        return get(f"http://127.0.0.1:{self.env.port}")


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    folder = tmp_path_factory.mktemp("behind")
    with CloudflareStandIn({TOKEN: frozenset({"*"})}, name="127.0.0.1") as zone, Visitors(zone, folder) as visitors:
        threading.Thread(target=visitors.serve_forever, daemon=True).start()
        made = BehindZone(folder, zone, visitors.server_port)
        made.write_app()
        made.done("deploy", "staging", "--yes")
        yield made
        made.clear()
        visitors.shutdown()


def test_only_who_comes_by_the_zone_is_served_and_doctor_tries_the_way_around(env):
    """Health and liveness need no key; a forged one opens nothing. What was not reached is not called refused."""
    (key,) = env.stored()
    assert (get(f"http://127.0.0.1:{env.port}")[0], env.sent()) == (200, key)
    assert [env.around(), env.around(**{"x-edge-key": "forged"}), env.around(**{"x-edge-key": key})] == [403, 403, 200]
    assert get(f"http://{serving(env).address}", "/readyz")[0] == 200
    address = f"http://{serving(env).address}"
    env.write_app(more=f'direct_origins = ["{address}"]')
    looked = env.done("doctor", "staging", "--live")
    assert f"`{address}` refuses: without a key and with a forged one" in looked
    assert "not judged: `https://quiz-web.fly.dev` cannot be resolved" in looked
    env.write_app(more=f'direct_origins = ["{env.zone.url}"]')
    assert f"`{env.zone.url}` answers 404 without the edge's key" in env.done("doctor", "staging", "--live")
    env.write_app()
    assert key not in looked


def test_key_changes_and_nobody_is_refused(env):
    """Both are accepted until `--finish`; then the old one opens nothing. At once would shut visitors out: DOD561."""
    (old,) = env.stored()
    with ByPublicName(env) as person:
        at_once = env.done("secrets", "rotate", "staging", KEY, "--now", "--yes", code=1)
        assert f"`dodai secrets rotate staging {KEY}`, then the same with `--finish --now`" in at_once
        assert ("DOD561" in at_once, env.stored(), env.sent()) == (True, [old], old)
        env.done("secrets", "rotate", "staging", KEY, "--yes")
        person.go_on()
        new, behind = env.stored()
        assert (behind, env.sent()) == (old, new)
        assert [env.around(**{"x-edge-key": key}) for key in (old, new)] == [200, 200]
        told = env.done("secrets", "rotate", "staging", KEY, "--finish", "--now", "--yes")
        person.go_on()
    assert (env.stored(), env.sent(), person.refused) == ([new], new, [])
    assert [env.around(**{"x-edge-key": key}) for key in (old, new)] == [403, 200]
    assert [key for key in (old, new) if key in at_once + told] == []


@pytest.mark.share(2)
@pytest.mark.parametrize(("at", "undo"), POINTS)
def test_rotation_that_is_killed_is_finished_or_taken_back_and_nobody_is_refused(env, at, undo):
    """Wherever it ends, the zone sends a key that what serves accepts."""
    (old,) = env.stored()
    with ByPublicName(env) as person:
        env.cut(at, "secrets", "rotate", "staging", KEY, "--yes")
        person.go_on()
        env.done("resume", "staging", *(["--undo"] if undo else []), "--yes")
        person.go_on()
        if len(env.stored()) > 1:
            env.done("secrets", "rotate", "staging", KEY, "--finish", "--now", "--yes")
        person.go_on()
    (kept,) = env.stored()
    assert (env.sent(), person.refused) == (kept, [])
    assert undo or kept != old


@pytest.mark.share(2)
@pytest.mark.parametrize("change", [(), ("--finish", "--now")], ids=["new", "finish"])
def test_rotation_whose_journeys_fail_is_taken_back_and_leaves_nothing_running(env, change):
    """What was started for it has ended. The key of before is sent; both are accepted until `--finish`."""
    if change:
        env.done("secrets", "rotate", "staging", KEY, "--yes")
    before, ran = env.stored(), instances(env)
    closed = env.zone.foreign_rule(FIREWALL, "theirs", 'http.request.uri.path eq "/"')
    failed = env.done("secrets", "rotate", "staging", KEY, *change, "--yes", code=3)
    env.zone.rulesets[FIREWALL]["rules"].remove(closed)
    assert "status 403, expected 200" in failed
    assert (instances(env), env.stored()[0], env.sent(), len(env.stored())) == (ran, before[0], before[0], 2)
    assert [env.around(**{"x-edge-key": key}) for key in env.stored()] == [200, 200]
    env.done("secrets", "rotate", "staging", KEY, "--finish", "--now", "--yes")
    assert (env.stored(), env.sent(), get(f"http://127.0.0.1:{env.port}")[0]) == ([before[0]], before[0], 200)
