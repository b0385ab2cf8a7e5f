"""The plan's own application in shape, which knows nothing of dodai: a Remix 2 client with its build, a gRPC backend
without a health service, plain SQL, variables under its own names. `dodai up` serves it with a short manifest and no
change.

What its build costs is paid once; tests of builds alone have a client that is built in no time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import httpx2
import pytest
from tests.node_parts import NO_REGISTRY, environment, npm_cli
from tests.support.command import argv, commit
from tests.test_guides import running

APP = Path(__file__).with_name("ordinary_app")
BUILT_WITHIN_S = 900.0
"""Ends a build that hangs: some hundred packages come from a registry, and a machine may be slow at that."""
ORDER = """
[[journey]]
name = "order"
[[journey.step]]
name = "home"
path = "/"
contains = "0 orders, 0 of them yours"
[[journey.step]]
name = "order"
method = "POST"
path = "/orders"
effect = "write"
status = 302
location = "/"
[[journey.step]]
name = "ordered"
path = "/"
contains = "1 orders, 1 of them yours"
"""


def application(tmp_path, monkeypatch, *npm_options: str) -> Path:
    """The application in a repository of its own, with `node` and `npm` on the PATH."""
    folder, programs = tmp_path / "shop", tmp_path / "programs"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("node_modules", "build", "__pycache__", "small_client"))
    (folder / ".gitignore").write_text("node_modules\nbuild\n.dodai\n")
    programs.mkdir()
    (programs / "npm").write_text(f'#!/bin/sh\nexec {shlex.join([*npm_cli(), *npm_options])} "$@"\n')
    (programs / "npm").chmod(0o755)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{programs}:{environment()['PATH']}")
    return folder


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """The application with a client whose build only copies a file."""
    folder = application(tmp_path, monkeypatch, "--offline")
    shutil.rmtree(folder / "client")
    shutil.copytree(APP / "small_client", folder / "client")
    commit(folder)
    return folder


def dodai(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv(*words), cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_application_of_the_plan_is_served_with_a_short_manifest_and_no_change(tmp_path, monkeypatch):
    """Twenty lines; its build, its addresses, its migrations and its signed `Secure` cookie work as they are."""
    shop = application(tmp_path, monkeypatch, "--prefer-offline")
    assert len((shop / "dodai.toml").read_text().splitlines()) <= 20
    sources = [path for path in shop.rglob("*") if path.suffix in (".py", ".ts", ".tsx", ".json", ".proto", ".sql")]
    assert [path for path in sources if "dodai" in path.read_text()] == []
    (shop / "dodai.toml").write_text((shop / "dodai.toml").read_text() + ORDER)
    commit(shop)
    output = tmp_path / "up.txt"
    try:
        with running(argv("up"), shop, output, BUILT_WITHIN_S):
            edge = re.findall(r"(http://\S+)  serves", output.read_text())[0]
            page = httpx2.get(edge)
            assert "1 orders, 0 of them yours" in page.text, "the journey ordered once, and this is somebody else"
            assert httpx2.post(f"{edge}/orders").status_code == 401
            status = json.loads(dodai(shop, "status", "--json").stdout)
            assert {one["name"]: one["release"] != "" for one in status["host"]["services"]} == {
                "web": True,
                "backend": True,
            }
    except AssertionError:
        if os.environ.get("DODAI_TEST_REQUIRE_ALL") != "1" and any(w in output.read_text() for w in NO_REGISTRY):
            pytest.skip("the npm registry cannot be reached")
        raise
    assert "web: npm ci" in output.read_text()
    assert "web: npm run build" in output.read_text()


def test_what_is_built_is_built_again_only_when_its_inputs_changed(shop):
    """The installation when the lock file changed, the rest when a source did; nothing when nothing did."""

    def built() -> list[str]:
        done = dodai(shop, "deploy", "local", "--dry-run")
        assert done.returncode == 0, done.stderr
        return re.findall(r"^web: ([a-z ]+)$", done.stderr, re.MULTILINE)

    assert built() == ["npm ci", "npm run build"]
    assert built() == []
    source = shop / "client" / "app" / "server.mjs"
    source.write_text(source.read_text().replace("shop", "store"))
    assert built() == ["npm run build"]
    lock = shop / "client" / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    assert built() == ["npm ci", "npm run build"]
    shutil.rmtree(shop / "client" / "build")
    assert built() == ["npm ci", "npm run build"]


def test_a_build_that_fails_is_told_with_its_last_lines_and_tried_again(shop):
    """Nothing is published, and what was under way counts for nothing afterwards."""
    good = (shop / "client" / "build.mjs").read_text()
    (shop / "client" / "build.mjs").write_text("console.error('cannot bundle'); process.exit(3);\n")
    done = dodai(shop, "up")
    assert done.returncode == 3
    assert "DOD378 build-failed: `npm run build` ended with 3 in `" in done.stderr
    assert "web | cannot bundle" in done.stderr
    assert not list((shop / ".dodai").glob("env/*/releases/*/tree"))
    (shop / "client" / "build.mjs").write_text(good)
    assert "web: npm run build" in dodai(shop, "deploy", "local", "--dry-run").stderr


def test_a_program_that_is_not_there_is_named(shop):
    """A machine without npm."""
    text = (shop / "dodai.toml").read_text().replace('"npm ci"', '"npmm ci"')
    (shop / "dodai.toml").write_text(text)
    done = dodai(shop, "up")
    assert "DOD378 build-failed: `npmm ci` cannot be started: `npmm`: No such file or directory" in done.stderr


def test_what_belongs_to_a_release_and_is_not_there_is_named(shop):
    """A typo in `include` is no release without it."""
    (shop / "dodai.toml").write_text((shop / "dodai.toml").read_text().replace('["build", ', '["dist", '))
    done = dodai(shop, "up")
    assert done.returncode == 2
    assert (
        "DOD379 include-missing: `include` of `[service.web]` names `dist`, which is not in `client`; "
        "its `build` did not make it" in done.stderr
    )


def test_an_address_of_no_service_is_found_and_refused(shop):
    """`check` finds it, and `up` does not start the service with it."""
    text = (shop / "dodai.toml").read_text().replace("{backend.address}", "{backnd.address}")
    (shop / "dodai.toml").write_text(text)
    said = "`BACKEND_GRPC_ADDRESS` in `[service.web.env]` refers to `backnd`, and there is no `[service.backnd]`"
    found = json.loads(dodai(shop, "check", "operations", "--output-format", "json").stdout)["findings"]
    assert [(one["message"], one["fix"]) for one in found if one["code"] == "DOD311"] == [
        (said, "did you mean `backend`?")
    ]
    done = dodai(shop, "up")
    assert done.returncode == 2
    assert f"DOD311 reference-to-no-service: {said}" in done.stderr


def test_the_manifest_of_the_test_is_what_it_says():
    """Its own names, no readiness path, plain SQL."""
    manifest = tomllib.loads((APP / "dodai.toml").read_text())
    assert manifest["database"]["variable"] == "DB_DSN"
    assert manifest["migrations"]["format"] == "plain"
    assert manifest["service"]["backend"]["health"] == {"kind": "tcp"}
