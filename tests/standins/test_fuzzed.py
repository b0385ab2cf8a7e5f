"""Stand-ins take what the vendors' specifications allow, refuse the rest, and never fail: schemathesis asks them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.fly_world import fly_world, served
from tests.support.vendor_spec import specs

from dodai.standins import StandIn
from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.neon_standin import NeonStandIn

pytestmark = pytest.mark.optional_part("vendor-specs")
TOKEN = "fuzz"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EVERYTHING = {TOKEN: frozenset({"*"})}
CHECKS = "not_a_server_error,content_type_conformance"
ANSWERS = ",response_schema_conformance"
"""Where a stand-in shows nothing of what it was sent. Fly and Cloudflare keep a config as it came, so after a broken
request the broken part is shown; what the drivers ask of them is held against the specification in their own tests."""


@contextmanager
def fly(folder: Path) -> Iterator[tuple[StandIn, dict[str, list[str]]]]:
    """An app with a machine that serves, and one that ended."""
    (folder / "web.py").write_text("import time; time.sleep(3600)")
    with fly_world() as world:
        world.fly.tokens = dict(EVERYTHING)
        world.fly.launch("quiz-web", world.image(folder, sys.executable, "web.py"), served(), ("nrt", "ams"))
        machines = [machine.id for machine in world.fly.machines("quiz-web")]
        yield world.fly, {"app_name": ["quiz-web"], "machine_id": machines}


@contextmanager
def neon(_: Path) -> Iterator[tuple[StandIn, dict[str, list[str]]]]:
    """The branch `main` with its data."""
    with NeonStandIn(EVERYTHING) as standin:
        yield standin, {"project_id": [standin.project], "branch_id": list(standin.branches)}


@contextmanager
def cloudflare(_: Path) -> Iterator[tuple[StandIn, dict[str, list[str]]]]:
    """A zone."""
    with CloudflareStandIn(EVERYTHING) as standin:
        yield standin, {"zone_id": [standin.zone], "setting_id": list(standin.settings)}


@contextmanager
def authentik(_: Path) -> Iterator[tuple[StandIn, dict[str, list[str]]]]:
    """One application."""
    with AuthentikStandIn(EVERYTHING) as standin:
        yield standin, {"slug": [standin.slug]}


VENDORS = {
    "fly-machines-2026.json": (fly, "", ""),
    "neon-v2.json": (neon, "/api/v2", ANSWERS),
    "cloudflare-v4-trimmed.json": (cloudflare, "/client/v4", ""),
    "authentik-v3-trimmed.json": (authentik, "/api/v3", ANSWERS),
}


def offered(spec: dict[str, Any], standin: StandIn, prefix: str, known: dict[str, list[str]]) -> dict[str, Any]:
    """The part of a specification that a stand-in has, with the ids of what is there beside one that is not."""
    # A wait lasts as long as it is asked to.
    bare = {
        (each.method, re.sub(r"{\w+}", "{}", each.path)) for each in standin.routes if not each.path.endswith("/wait")
    }
    paths: dict[str, Any] = {}
    for path, item in spec["paths"].items():
        here = prefix + re.sub(r"{[^}]+}", "{}", path)
        kept = {name: each for name, each in item.items() if name == "parameters" or (name.upper(), here) in bare}
        if set(kept) - {"parameters"}:
            paths[path] = kept
    _name(paths, known)
    if records := spec["components"]["schemas"].get("dns-records_dns-record"):
        # Two of the twenty kinds of records that Cloudflare has: each is some hundred requests more.
        records["oneOf"] = [each for each in records["oneOf"] if each["$ref"].endswith(("_ARecord", "_CNAMERecord"))]
    return {**spec, "paths": paths, "servers": [{"url": "/"}]}


def _name(part: Any, known: dict[str, list[str]]) -> None:
    if isinstance(part, dict):
        if part.get("in") == "path" and part.get("name") in known:
            part["schema"] = {"type": "string", "enum": [*known[part["name"]], "nobody"]}
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _name(each, known)


@pytest.mark.parametrize("file", VENDORS)
def test_no_request_makes_a_stand_in_fail(file, tmp_path):
    """Valid requests and broken ones, hundreds for each vendor."""
    world, prefix, more = VENDORS[file]
    folder = specs()
    assert folder
    with world(tmp_path) as (standin, known):
        spec = offered(json.loads((folder / file).read_text("utf-8")), standin, prefix, known)
        assert len(spec["paths"]) >= 4
        (tmp_path / "spec.json").write_text(json.dumps(spec), "utf-8")
        token, checks = f"Authorization: Bearer {TOKEN}", CHECKS + more
        # Not the phase `fuzzing`: nothing can be generated for a record of Cloudflare, whose schema contradicts itself.
        words = ["--header", token, "--checks", checks, "--phases", "coverage", "--generation-deterministic"]
        done = subprocess.run(
            [SCHEMATHESIS, "run", "spec.json", "--url", standin.url.removesuffix(prefix) + prefix, *words],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        statuses = {exchange.status for exchange in standin.exchanges}
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        assert {200, 404} <= statuses
        assert not any(status >= 500 for status in statuses)
