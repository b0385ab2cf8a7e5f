"""An environment behind a Cloudflare zone: a deploy reconciles the zone, a bad release leaves it as it was."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import threading
import time
from contextlib import closing
from copy import deepcopy

import pytest
from tests.end_to_end.small_app import SmallApp

from dodai.providers.cloudflare.zone_state import CACHE, FIREWALL
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.zone_rules import ZoneRequest, ZoneRules
from dodai.standins.zone_visitors import HOP_BY_HOP
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

CANARY = "cf_c4n4ry"


class Visitors(http.server.ThreadingHTTPServer):
    """Where visitors of the zone arrive: what is proxied goes on to the service, anything else to nobody."""

    daemon_threads = True

    def __init__(self, zone, folder):
        self.zone, self.folder, self.rules = zone, folder, ZoneRules(zone.rulesets)
        super().__init__(("127.0.0.1", 0), Visit)

    def origin(self):
        host = environments.open(find_project(self.folder / "dodai.toml"), "staging").host
        return asyncio.run(host.status()).service("web").address


class Visit(http.server.BaseHTTPRequestHandler):
    """Passed on with what the rules of the zone add."""

    def do_GET(self):
        asked = ZoneRequest("127.0.0.1", self.path.partition("?")[0], self.command, "", time.time())
        if self.server.rules.blocked(asked):
            code, headers, body = 403, [], b"error code: 1020"
        elif self.server.rules.over_limit(asked):
            code, headers, body = 429, [], b"error code: 1015"
        elif any(record["proxied"] for record in self.server.zone.records):
            try:
                code, headers, body = self._passed_on(self.server.origin(), asked)
            except OSError as error:
                code, headers, body = 521, [], repr(error).encode()
        else:
            code, headers, body = 530, [], b"error code: 1016"
        self.send_response(code)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that the server looks for

    def _passed_on(self, origin, asked):
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        content = self.rfile.read(int(self.headers.get("content-length", 0))) or None
        with closing(http.client.HTTPConnection(origin, timeout=10)) as connection:
            connection.request(self.command, self.path, content, headers | dict(self.server.rules.headers(asked)))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def log_message(self, *words):
        pass


@pytest.fixture
def zone():
    with CloudflareStandIn({CANARY: frozenset({"*"}), "reader": frozenset()}, name="127.0.0.1") as zone:
        zone.foreign_rule(FIREWALL, "corp_geo", 'ip.geoip.country eq "XX"')
        yield zone


@pytest.fixture
def app(tmp_path, zone):
    with Visitors(zone, tmp_path) as visitors:
        threading.Thread(target=visitors.serve_forever, daemon=True).start()
        small = SmallApp(tmp_path)
        yield small, visitors.server_port
        small.clear()
        visitors.shutdown()


def refs(zone, phase):
    return [rule["ref"] for rule in zone.rulesets[phase]["rules"]]


def test_zone_follows_the_release_and_is_as_before_after_a_bad_one(app, zone):
    """The token is asked for before anything happens; rules of others stay; what a bad release changed is taken back."""
    small, port = app
    said = []
    told = {"CLOUDFLARE_API_URL": zone.url, "CLOUDFLARE_API_TOKEN": CANARY}

    def write(spoil="", static="/static/*"):
        environment = (
            f'edge = "cloudflare"\npublic_origins = ["http://127.0.0.1:{port}"]\n'
            f'cloudflare = {{ zone = "{zone.zone}", origin = "quiz-web.fly.dev" }}'
        )
        small.write(spoil=spoil, environment=environment, more=f'[edge]\nstatic = ["{static}"]')

    def run(*words, code=0, **extra):
        done = small.run(*words, **{**told, **extra})
        said.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        return done

    write()
    for extra, expected in (({"CLOUDFLARE_API_TOKEN": ""}, "DOD700"), ({"CLOUDFLARE_API_TOKEN": "old"}, "DOD701")):
        refused = run("deploy", "staging", "--yes", code=3, **extra)
        assert f"{expected} " in refused.stderr
        assert "step `preflight` failed" in refused.stderr
    assert not [one for one in zone.exchanges if one.method != "GET"]
    lacks = run("deploy", "staging", "--yes", code=3, CLOUDFLARE_API_TOKEN="reader")
    assert "DOD702" in lacks.stderr

    assert "`ssl` is `flexible`, not `strict`" in run("doctor", "staging").stdout
    run("deploy", "staging", "--yes")
    assert (zone.settings["ssl"], len(zone.records)) == ("strict", 1)
    assert refs(zone, FIREWALL) == ["corp_geo", "dodai_reserved"]
    good = deepcopy((zone.settings, zone.records, zone.rulesets[FIREWALL]["rules"]))
    cached = [rule["expression"] for rule in zone.rulesets[CACHE]["rules"]]

    write(spoil="raise SystemExit(3)", static="/build/*")
    bad = run("deploy", "staging", "--yes", code=3)
    assert "the edge is as it was before" in bad.stderr
    assert (zone.settings, zone.records, zone.rulesets[FIREWALL]["rules"]) == good
    assert sorted(rule["expression"] for rule in zone.rulesets[CACHE]["rules"]) == sorted(cached)

    write(static="/build/*")
    run("deploy", "staging", "--yes")
    assert all('"/build/"' in rule["expression"] for rule in zone.rulesets[CACHE]["rules"])
    looked = run("doctor", "staging").stdout
    assert "the zone is as the manifest says" in looked
    assert "authenticated origin pulls are off" in looked
    assert CANARY not in "".join(said)
    for file in (small.folder / ".dodai").rglob("*"):
        if file.is_file() and file.name != "serving.json":
            assert CANARY.encode() not in file.read_bytes(), file


def test_journey_that_a_limit_of_the_zone_holds_back_waits_and_fails_no_deploy(app, zone):
    """Deploys in a row come from one address. A limit that no wait gets past fails the deploy, as any other answer does."""
    small, port = app
    told = {"CLOUDFLARE_API_URL": zone.url, "CLOUDFLARE_API_TOKEN": CANARY}

    def deployed(number, window, code=0):
        environment = (
            f'edge = "cloudflare"\npublic_origins = ["http://127.0.0.1:{port}"]\n'
            f'cloudflare = {{ zone = "{zone.zone}", origin = "quiz-web.fly.dev" }}'
        )
        limit = f'[edge.limit.visits]\npath = "/"\nmethods = ["GET"]\nrequests = 1\nwindow = "{window}"'
        small.write(spoil=f"# {number}", environment=environment, more=limit)
        done = small.run("deploy", "staging", "--yes", **told)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "held back" not in deployed(1, "10s")
    assert "look: held back by a rate limit (429); once more in 10 s" in deployed(2, "10s")
    assert "status 429, expected 200" in deployed(3, "10m", code=3)


def test_what_the_plan_of_the_zone_cannot_say_is_refused_before_a_release_or_a_relief_changes_anything(app, zone):
    """The preflight ends the deploy; a relief that could not end by itself is no plan at all."""
    small, port = app
    told = {"CLOUDFLARE_API_URL": zone.url, "CLOUDFLARE_API_TOKEN": CANARY}
    environment = (
        f'edge = "cloudflare"\npublic_origins = ["http://127.0.0.1:{port}"]\n'
        f'cloudflare = {{ zone = "{zone.zone}", origin = "quiz-web.fly.dev" }}'
    )
    limit = '[edge.limit.visits]\npath = "/"\nmethods = ["GET"]\nrequests = 50\nwindow = "10s"'
    small.write(environment=environment, more=limit)
    for plan in ("free", "pro"):
        zone.plan = plan
        refused = small.run("deploy", "staging", "--yes", **told)
        assert (refused.returncode, "DOD742" in refused.stderr, "step `preflight` failed" in refused.stderr) == (
            3,
            True,
            True,
        )
        assert f"rate limits of the plan `{plan}` cannot speak of" in small.run("doctor", "staging", **told).stdout
    assert not [one for one in zone.exchanges if one.method != "GET"]
    zone.plan = "business"
    assert small.run("deploy", "staging", "--yes", **told).returncode == 0
    rules = deepcopy(zone.rulesets)
    relief = ("relieve", "staging", "visits", "--reason", "a class", "--yes")
    refused = small.run(*relief, **told)
    assert (refused.returncode, "cannot speak of `http.request.timestamp.sec`" in refused.stderr) == (1, True)
    assert zone.rulesets == rules
    assert small.run("deploy", "staging", "--yes", **told).returncode == 0, "no plan and no relief is left behind"
    zone.plan = "enterprise"
    assert small.run(*relief, **told).returncode == 0
