"""The commands of an environment on Fly, as a person types them, against the stand-in."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.command import dodai
from tests.support.fly_world import MACHINES_API, TOKEN, FlyWorld, fly_world, served
from tests.support.vendor_spec import specs
from tests.support.wait import until

from dodai.standins import ApiFault

ENVIRONMENT = """compute = "fly"
edge = "fly"
database = "postgres"
database_url = "postgresql://nobody@127.0.0.1:9/none"
public_origins = ["https://small.example.com"]
fly = {{ apps = {{ web = "small-web" }} }}
""".replace("{{", "{").replace("}}", "}")


@dataclass(frozen=True, slots=True)
class FlyApp(SmallApp):
    """The small application with an app at Fly, its images built from its folder."""

    world: FlyWorld

    def run(self, *words, **extra):
        public = {"FLY_PUBLIC_URL": self.world.fly.public_url("small-web")}
        return dodai(*words, cwd=self.folder, **{**self.world.variables, **public, **extra})

    def build(self, text: str, spoil: str = "") -> str:
        """A release of the tree and its image: what CI would push."""
        self.write(spoil=spoil or f"# {text}", environment=ENVIRONMENT)
        there = self.folder.parent / f"image-{text}"
        there.mkdir(exist_ok=True)
        shutil.copy(self.folder / "web.py", there)
        shutil.copy(self.folder / "dodai.toml", there)
        return self.world.image(there, sys.executable, "web.py")

    def deploy(self, image: str, *words, **extra):
        return self.run("deploy", "staging", "--yes", "--image", f"web={image}", *words, **extra)

    def status(self) -> dict:
        return json.loads(self.run("status", "staging", "--json").stdout)

    def live(self) -> list[tuple[str, str]]:
        instances = self.status()["host"]["services"][0]["instances"]
        return sorted((one["release"], one["region"]) for one in instances if one["live"])


def changes(app) -> list[str]:
    """What was asked of Fly, but for the number of the lock, which every machine is told first."""
    return [call for call in app.world.calls() if not call.endswith(("/lease", "/metadata"))]


@pytest.fixture
def app(tmp_path: Path):
    with fly_world() as world:
        folder = tmp_path / "app"
        folder.mkdir()
        app = FlyApp(folder, world)
        config = served()
        config["env"]["DODAI_RELEASE"] = "by-hand"
        world.fly.launch("small-web", app.build("by-hand"), config, ("nrt", "ams"))
        world.settle("small-web")

        yield app
        if specs():
            assert MACHINES_API.judge(world.fly.exchanges).problems == ()


def test_a_release_is_deployed_a_bad_one_undone_and_gone_back_from_through_the_usual_commands(app):
    """Two machines in two regions; the registry is asked before anything changes; the token is nowhere."""
    tag = app.deploy("registry.fly.io/web:latest")
    assert (tag.returncode, app.world.calls()) == (2, [])
    assert "DOD711 image-not-named: the image of `web` is `registry.fly.io/web:latest`" in tag.stderr
    first_image = app.build("first")
    done = app.deploy(first_image)
    assert done.returncode == 0, done.stdout + done.stderr
    (first, _), *_ = app.live()
    assert app.live() == [(first, "ams"), (first, "nrt")]

    done = app.deploy(app.build("bad", "raise SystemExit(3)"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "exit code 3" in done.stdout + done.stderr
    assert app.live() == [(first, "ams"), (first, "nrt")]
    assert len(app.world.fly.machines("small-web")) == 2

    second = app.build("second")
    assert app.deploy(second).returncode == 0
    app.world.registry.prune(first_image)
    calls = changes(app)
    refused = app.run("rollback", "staging", "--yes")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert f"has no image `web@{first_image.partition('@')[2]}`" in refused.stderr
    assert changes(app) == calls
    app.build("first")
    back = app.run("rollback", "staging", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert app.live() == [(first, "ams"), (first, "nrt")]

    said = [done, tag, refused, back, app.run("status", "staging"), app.run("history", "staging")]
    kept = [file.read_bytes() for file in (app.folder / ".dodai").rglob("*") if file.is_file()]
    assert not any(TOKEN in each.stdout + each.stderr for each in said)
    assert not any(TOKEN.encode() in content for content in kept)


def test_checks_that_no_release_can_pass_in_time_end_a_deploy_in_its_preflight(app):
    """Fly's default interval with our default timeout: nothing is changed, no migration has run."""
    image = app.build("first")
    manifest = app.folder / "dodai.toml"
    manifest.write_text(
        manifest.read_text().replace('consecutive = 1, timeout = "3s"', 'consecutive = 3, timeout = "30s"')
    )
    for machine in app.world.fly.machines("small-web"):
        machine.config["services"][0]["checks"][0]["interval"] = "15s"
    before = changes(app)
    refused = app.deploy(image)
    said = refused.stdout + refused.stderr
    assert (refused.returncode, "step `preflight` failed" in said, "DOD732" in said) == (3, True, True), said
    assert "`small-web`: 3 answers in a row take its checks 31 s, and `timeout` is 30 s" in said
    assert "nothing was changed" in said
    assert changes(app) == before


def test_without_a_token_and_without_fly_nothing_is_said_that_was_not_seen(app):
    """DOD700 names the variable; a Fly that does not answer is unknown, which is not `not running`."""
    assert app.run("check", "--fast", FLY_API_TOKEN="").returncode == 0  # nothing of Fly is needed
    (app.folder / "fly.toml").write_text('app = "small-web"\n')
    doctor = app.run("doctor", "staging", "--live")
    assert "fly web fly.toml   `fly.toml`: no health check" in doctor.stdout
    assert "fly token          accepted, of small-web; that it may change them is seen at the first" in doctor.stdout
    assert "on 1 in ams, 1 in nrt" in doctor.stdout
    assert "fly web secrets    `small-web` has no `DODAI_CSRF_KEYS`, `DODAI_IDENTITY_KEYS`" in doctor.stdout
    old = app.run("doctor", "staging", "--live", FLY_API_TOKEN="expired")
    assert (old.returncode, "Fly does not accept `FLY_API_TOKEN`" in old.stdout) == (1, True)
    unset = app.run("status", "staging", FLY_API_TOKEN="")
    assert unset.returncode == 2
    assert "DOD700 vendor-token-missing: `FLY_API_TOKEN` is not set" in unset.stderr
    away = app.run("status", "staging", FLY_API_HOSTNAME="http://127.0.0.1:9")
    assert away.returncode == 4
    assert "unknown whether it runs" in away.stdout
    assert "not running" not in away.stdout
    expired = app.run("deploy", "staging", "--yes", "--image", f"web={app.build('first')}", FLY_API_TOKEN="expired")
    assert expired.returncode != 0
    assert "DOD701" in expired.stderr
    assert app.world.calls() == []


def test_token_that_ends_in_the_middle_leaves_a_plan_that_the_next_one_brings_to_an_end(app):
    """A person is needed, and is told which variable; with a new token `resume` leaves one release on all machines."""
    image = app.build("first")
    app.world.fly.faults.add(ApiFault(kind="status", status=401, where="^(POST|PATCH|DELETE) ", skip=11, times=10_000))
    stopped = app.deploy(image)
    assert stopped.returncode == 4, stopped.stdout + stopped.stderr
    assert "`FLY_API_TOKEN`" in stopped.stdout + stopped.stderr
    assert "DOD701" in stopped.stdout + stopped.stderr
    app.world.fly.faults.clear()
    ended = app.run("resume", "staging", "--yes")
    assert ended.returncode in (0, 3), ended.stdout + ended.stderr
    machines = app.world.fly.machines("small-web")
    assert len(machines) == 2
    assert [(one.state, one.cordoned) for one in machines] == [("started", False)] * 2
    assert len({release for release, _ in app.live()}) == 1


def test_value_of_an_issuer_is_not_made_up_for_an_environment_at_a_vendor(app):
    """Random bytes in place of somebody's client secret would be found by the first person who signs in."""
    image = app.build("first")
    manifest = app.folder / "dodai.toml"
    manifest.write_text(manifest.read_text() + '[secret.CLIENT_SECRET]\nused_by = ["web"]\nrotation = "external"\n')
    refused = app.deploy(image)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "DOD560 secret-missing" in refused.stderr
    assert "`CLIENT_SECRET`" in refused.stderr
    assert len(app.world.fly.machines("small-web")) == 2


def test_production_is_rehearsed_with_its_own_drivers_against_stand_ins(tmp_path):
    """No token, no vendor: the same plan with faults, and every difference to production is said."""
    app = SmallApp(tmp_path).write(environment=ENVIRONMENT)
    drills = "production-bad-release-is-undone,production-vendor-fails"
    done = app.run("rehearse", "--env", "staging", "--only", drills, "--json")
    report = json.loads(done.stdout)
    assert [(row["id"], row["outcome"]) for row in report["drills"]] == [(id_, "ok") for id_ in drills.split(",")], done
    assert (done.returncode, report["outcome"]) == (0, "ok")
    assert "7 of 7 faults met" in report["drills"][1]["observed"]
    assert {"compute", "images", "edge", "API", "control"} <= {row["part"] for row in report["equivalence"]}
    assert app.processes() == []
    refused = app.run("rehearse", "--env", "local")
    assert (refused.returncode, refused.stderr[:19]) == (2, "DOD719 no-stand-in:")


def test_logs_trace_and_watch_read_what_fly_keeps(app):
    """Nothing of it is on this machine before; `watch` collects it, and `trace` finds it there from then on."""
    minted = f"{int(time.time() * 1000):012x}7b969a28243b7e75d12c"
    told = {"ts": round(time.time(), 3), "type": "http", "service": "web", "requestId": minted, "status": 503}
    told |= {"method": "GET", "route": "/pay", "outcome": "server_error", "latencyMs": 3.0, "dependency": "database"}
    machine = app.world.fly.machines("small-web")[0]
    with (machine.folder / f"small-web-{machine.id}.log").open("a") as log:
        log.write(json.dumps(told) + "\n")
    until(lambda: any(minted in one["attributes"]["message"] for _, one in app.world.fly.logs.entries["small-web"]))

    shown = app.run("logs", "staging", "web", "--json")
    rows = [json.loads(row) for row in shown.stdout.splitlines()]
    assert sorted({row["release"] for row in rows}) == sorted(one.id for one in app.world.fly.machines("small-web"))
    assert {"small app starts", json.dumps(told)} <= {row["text"] for row in rows}

    nowhere = app.run("trace", minted)
    assert (nowhere.returncode, "DOD481" in nowhere.stderr) == (1, True)
    asked = app.run("trace", minted, "--env", "staging")
    assert asked.returncode == 0, asked.stderr
    assert "failed: database, seen by web: 503 server_error" in asked.stdout
    watched = app.run("watch", "staging", "--once")
    assert "1 lines counted" in watched.stdout, watched.stdout + watched.stderr
    assert "web GET /pay" in watched.stdout
    here = app.run("trace", minted, FLY_API_TOKEN="")
    assert (here.returncode, "seen by web" in here.stdout) == (0, True)

    refused = app.run("trace", minted, "--env", "staging", FLY_API_TOKEN="expired")
    assert refused.returncode != 0
    assert "`env:staging` cannot be asked" in refused.stderr
    assert "`FLY_API_TOKEN`" in refused.stderr
    unseen = app.run("watch", "staging", "--once", FLY_API_TOKEN="expired")
    assert "lines are not collected since" in unseen.stdout
    scraped = app.run("watch", "staging", "--once", "--platform")
    assert (scraped.returncode, "no counter of dodai was found there" in scraped.stdout) == (1, True)
    unread = app.run("watch", "staging", "--once", "--platform", FLY_API_TOKEN="expired")
    assert "`the platform of staging` cannot be asked" in unread.stderr
    said = (shown, asked, watched, refused, unseen, scraped, unread)
    assert not any(TOKEN in each.stdout + each.stderr for each in said)
