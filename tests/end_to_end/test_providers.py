"""Another provider through the same commands, and providers that cannot be used."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.command import dodai

DRIVER = Path(__file__).parents[1] / "providers" / "toy" / "dodai_with_toy.py"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class ToyApp(SmallApp):
    """The small application on the toy cloud."""

    def run(self, *words, **extra):
        return dodai(*words, cwd=self.folder, driver=DRIVER, PYTHONPATH=str(ROOT), **extra)

    def release(self, text: str, environment: str = 'provider = "toy"') -> None:
        self.write(spoil=f"# {text}", environment=environment)

    def status(self) -> dict:
        return json.loads(self.run("status", "staging", "--json").stdout)

    def deploy(self, **extra: str):
        return self.run("deploy", "staging", "--yes", **extra)

    def live(self) -> list[tuple[str, str]]:
        """The release and region of every instance that people reach."""
        services = self.status()["host"]["services"]
        return [(one["release"], one["region"]) for service in services for one in service["instances"] if one["live"]]


@pytest.fixture
def app(tmp_path: Path):
    app = ToyApp(tmp_path)
    app.release("first")
    yield app
    for pid in app.processes():
        os.kill(pid, signal.SIGKILL)


def test_another_provider_deploys_goes_back_and_resumes_through_the_same_commands(app):
    """Two machines in two regions: a deploy, a release that is bad, one that is killed at the switch, a rollback."""
    assert app.deploy().returncode == 0
    (first, _), *_ = app.live()
    assert app.live() == [(first, "ams"), (first, "nrt")]

    app.write(spoil="raise SystemExit(3)", environment='provider = "toy"')
    bad = app.deploy()
    assert bad.returncode == 3, bad.stderr
    assert app.live() == [(first, "ams"), (first, "nrt")]

    app.release("second")
    assert app.deploy(TOY_DIES_AT="switch").returncode == -signal.SIGKILL
    assert app.live() == [(first, "ams"), (first, "nrt")]
    status = app.status()
    assert status["next"] == "dodai resume staging"
    resumed = app.run("resume", "staging", "--yes")
    assert resumed.returncode == 0, resumed.stderr
    (second, _), *_ = app.live()
    assert second != first
    assert app.live() == [(second, "ams"), (second, "nrt")]

    back = app.run("rollback", "staging", "--yes")
    assert back.returncode == 0, back.stderr
    assert app.live() == [(first, "ams"), (first, "nrt")]
    assert app.status()["next"] is None


def test_down_is_refused_where_nothing_runs_on_this_machine(app):
    """`down` stops processes of this machine; what a vendor runs it does not touch, and it says so."""
    assert app.deploy().returncode == 0
    before = app.live()
    refused = app.run("down", "staging", "--yes")
    assert refused.returncode == 2
    assert refused.stderr.startswith("DOD364 not-on-this-machine: `staging` runs at `toy`")
    assert app.live() == before


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ('provider = "tay"', ("DOD009", "dodai.toml:4:", "`tay`", "did you mean `toy`?")),
        (
            'compute = "tay"\ndatabase = "toy"',
            ("DOD009", "dodai.toml:4:", "`env.staging.compute`", "did you mean `toy`?"),
        ),
        ('provider = "toy"\nedge = "local"', ("DOD010", "dodai.toml:5:", "the edge of `local`", '`edge = "toy"`')),
        ('compute = "toy"', ("DOD010", "dodai.toml:3:", "the database of `local`", '`database = "toy"`')),
        ('provider = "toy"\nport = 8080', ("DOD011", "dodai.toml:5:", "`port`", "`local`")),
    ],
)
@pytest.mark.parametrize("command", [("deploy", "staging", "--yes"), ("status", "staging"), ("check", "--fast")])
def test_providers_that_cannot_be_used_are_refused_at_their_line(app, environment, said, command):
    """Code, file, line, the value and what to write instead; nothing is started and no state is made."""
    app.release("first", environment)
    refused = app.run(*command)
    assert refused.returncode == (1 if command[0] == "check" else 2), refused.stdout + refused.stderr
    told = refused.stdout + refused.stderr
    assert [word for word in said if word not in told] == [], told
    assert not app.processes()
    assert not (app.folder / ".dodai" / "env" / "staging").exists()
