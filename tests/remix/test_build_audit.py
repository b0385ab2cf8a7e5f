"""The audit of the quiz's tiers in node with the help of node: the framework's own list, and posts to the built actions."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from tests import node_parts
from tests.quiz.stack import QUIZ
from tests.remix import tiers

from dodai.core.fact import Unknown
from dodai.csrf.check.gather import AUDIT_ORIGIN
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable
from dodai.providers.remix import RemixTier
from dodai.providers.remix.answers import confirmed
from dodai.providers.remix.ask_build import ask_build
from dodai.providers.remix.node_program import NodeProgram
from dodai.wiring.find_project import find_project

MANIFEST = find_project(QUIZ / "dodai.toml").manifest
POLICY = CsrfPolicy.from_manifest(MANIFEST.section("csrf") or {})
BUNDLE = {tiers.ROUTER: "build/server/index.js", tiers.REMIX2: "build/index.cjs"}
ACTIONS = {tiers.ROUTER: 10, tiers.REMIX2: 10}
ASKS = "await csrf.verify(request)"
TIERS = pytest.mark.parametrize("tier", BUNDLE, ids=["react-router", "remix2"])


def node() -> str:
    return str(node_parts.node_folder() / "node")


@cache
def environ() -> dict[str, str]:
    """What `dodai routes` tells a tier: the manifest's own variables, and throw-away keys."""
    keys = f"aud1:{base64.urlsafe_b64encode(os.urandom(32)).rstrip(b'=').decode()}"
    own = {"DODAI_CSRF_KEYS": keys, "DODAI_IDENTITY_KEYS": keys, "DODAI_PUBLIC_ORIGINS": AUDIT_ORIGIN}
    return {**MANIFEST.data["check"]["environment"], **own}


def audited(folder: Path, program: str | None = None, policy: CsrfPolicy = POLICY) -> RouteTable:
    read = RemixTier(node() if program is None else program).routes
    found = read(folder, root=folder.parent, service="web", policy=policy, today="2026-11-29", environ=environ())
    assert isinstance(found, RouteTable), found
    return found


def copy_with_bundle(tier: Path, target: Path, text: str | None = None) -> Path:
    """A copy of a tier, its packages linked, with `text` as its server build; the build is the newest file."""
    folder = Path(shutil.copytree(tier, target / tier.name, ignore=shutil.ignore_patterns("node_modules", "build")))
    (folder / "node_modules").symlink_to(tier / "node_modules")
    bundle = folder / BUNDLE[tier]
    bundle.parent.mkdir(parents=True)
    bundle.write_text((tier / BUNDLE[tier]).read_text("utf-8") if text is None else text, "utf-8")
    return folder


def without_choke_point(text: str) -> str:
    """The build with nothing in front of its actions: no root middleware, no wrapped build."""
    bare = re.sub(r"middleware = \[\s*csrf\.middleware,", "middleware = [", text)
    return bare.replace("csrf.wrapBuild(server_build_exports)", "server_build_exports")


@TIERS
def test_both_counts_are_told(tmp_path: Path, tier: Path):
    """What was read beside what the framework lists, and what the build refuses, each action by itself as well."""
    tiers.built(tier)
    (audit,) = audited(copy_with_bundle(tier, tmp_path)).tiers
    assert (audit.listed, audit.differing, audit.unproven) == (audit.routes, (), ())
    assert (audit.asked, audit.refused, audit.alone) == (ACTIONS[tier],) * 3
    assert audit.actions == ACTIONS[tier] + audit.exempt


@pytest.mark.share(2)
@TIERS
def test_an_action_of_the_build_without_verification_is_found_in_turn_and_alone(tmp_path: Path, tier: Path):
    """The source still asks, so reading it finds nothing: the build is another thing than the source."""
    text = without_choke_point((tiers.built(tier) / BUNDLE[tier]).read_text("utf-8"))
    folder = copy_with_bundle(tier, tmp_path, text)
    rows = {row.path: row for row in audited(folder, "").state_changing}
    app, node_of_it = folder / "app", NodeProgram(node(), folder, environ())
    found = []
    for match in re.finditer(re.escape(ASKS), text):
        changed = text[: match.start()] + "await undefined" + text[match.end() :]
        (folder / BUNDLE[tier]).write_text(changed, "utf-8")
        asked = ask_build(node_of_it, app, POLICY, keys=environ()["DODAI_CSRF_KEYS"], origin=AUDIT_ORIGIN)
        assert isinstance(asked, tuple), asked
        own = {one.path: confirmed(rows[one.path], one) for one in asked if one.served}
        (row,) = [row for row in own.values() if row.verdict != "protected"]
        assert row.evidence.startswith("a missing post got into the action of the build and was answered ")
        assert [one.path for one in asked if one.served and not one.asks_itself] == [row.path]
        found.append(row.path)
    assert sorted(found) == sorted(path for path, row in rows.items() if row.verdict != "exempt")
    assert len(found) == ACTIONS[tier]


def test_a_build_can_write_start_and_connect_to_nothing(tmp_path: Path):
    """An action without a check runs while it is asked; what it tries is stopped, and named."""
    text = without_choke_point((tiers.built(tiers.ROUTER) / BUNDLE[tiers.ROUTER]).read_text("utf-8"))
    file = tmp_path / "written"
    tries = f"""await (async () => {{
      const {{ writeFileSync }} = await import("node:fs");
      const {{ spawnSync }} = await import("node:child_process");
      const stopped = [];
      try {{ writeFileSync({str(file)!r}, "x"); }} catch (error) {{ stopped.push(error.code); }}
      try {{ if (spawnSync("touch", [{str(file)!r}]).error) stopped.push("spawn"); }} catch (error) {{ stopped.push(error.code); }}
      try {{ process.kill({os.getpid()}, "SIGUSR2"); }} catch {{ stopped.push("kill"); }}
      try {{ process.exit(0); }} catch {{ stopped.push("exit"); }}
      await fetch("http://127.0.0.1:8099/pay", {{ method: "POST" }}).catch(() => stopped.push("fetch"));
      throw new Response(null, {{ status: 500 + stopped.length }});
    }})()"""
    table = audited(copy_with_bundle(tiers.ROUTER, tmp_path, text.replace(ASKS, tries, 1)))
    (row,) = [row for row in table.state_changing if row.verdict == "unknown"]
    assert "was answered 505 after it tried to " in row.evidence
    assert "signal process" in row.evidence
    assert not file.exists()


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("process.exit(0);", "the build ended the process before it was asked"),
        ("throw new TypeError('SECRET is not set');", "the build could not be asked: TypeError: SECRET is not set"),
        ("await new Promise(() => setInterval(() => 0, 1000));", "the build could not be asked: no answer within 2 s"),
        ("while (true);", "the build could not be asked: no answer within 2 s"),
        ("export const routes = {", "the build could not be asked: SyntaxError"),
        ("", "the build could not be asked: TypeError"),
    ],
    ids=["exits", "throws", "waits", "hangs", "broken", "empty"],
)
def test_a_build_that_cannot_be_asked_is_told_with_the_reason(tmp_path: Path, text: str, reason: str):
    """The verdicts by the source stand; nothing hangs, nothing is claimed about the build."""
    folder = copy_with_bundle(tiers.ready(tiers.ROUTER), tmp_path, text)
    slow = CsrfPolicy(audit_timeout_s=2.0)
    table = audited(folder, policy=slow)
    (audit,) = table.tiers
    assert isinstance(audit.asked, Unknown)
    assert audit.asked.reason.startswith(reason)
    assert audit.asked.fix
    assert table.summary.unknown == 0


def test_what_is_missing_on_a_machine_is_told_with_the_reason(tmp_path: Path):
    """No packages, no build, an old build, no node: each by its name, with what would help."""
    folder = Path(
        shutil.copytree(tiers.ROUTER, tmp_path / "bare", ignore=shutil.ignore_patterns("node_modules", "build"))
    )

    def reasons(program: str | None = None) -> tuple[str, str]:
        (audit,) = audited(folder, program).tiers
        assert len(audit.fixes) == 2
        return tuple(one.reason for one in (audit.listed, audit.asked))  # type: ignore[union-attr]

    no_packages = "`@react-router/dev` or `@remix-run/dev` is not installed in the folder"
    assert reasons() == (no_packages, "there is no `build/server/index.js`")
    (folder / "build" / "server").mkdir(parents=True)
    (folder / "build" / "server" / "index.js").write_text("export const routes = {};")
    os.utime(folder / "build" / "server" / "index.js", (1, 1))
    assert reasons()[1] == "`build/server/index.js` is older than `app/components/common.tsx`"
    os.utime(folder / "build" / "server" / "index.js")
    assert reasons("/nowhere/node")[1] == "`/nowhere/node` cannot be started: No such file or directory"
    assert reasons("") == ("there is no node", "there is no node")


def test_the_framework_names_what_reading_cannot_know(tmp_path: Path):
    """`react-router routes` runs the configuration: what it adds is judged, what it leaves out is not served."""
    folder = copy_with_bundle(tiers.ready(tiers.ROUTER), tmp_path, "")
    routes = folder / "app" / "routes.ts"
    text = routes.read_text("utf-8").replace('route("next", "routes/next.ts"),', "")
    text = text.replace(
        'route("me", "routes/me.tsx"),', '...["me"].map((name) => route(`${name}/x`, `routes/${name}.tsx`)),'
    )
    routes.write_text(text, "utf-8")
    table = audited(folder)
    (audit,) = table.tiers
    assert "POST /me/x" in {row.id for row in table.state_changing}
    assert audit.differing == ("`client/app/routes/me.tsx` is listed and was not found by reading",)
    assert table.gaps == ()
    (without_node,) = audited(folder, "").gaps
    assert "the routes of" in without_node.reason


def test_the_command_prints_both_counts_and_ends_with_1_when_the_build_is_open(tmp_path: Path):
    """`dodai routes` in a repository whose build is not what its source says."""
    bundle = (tiers.built(tiers.ROUTER) / BUNDLE[tiers.ROUTER]).read_text("utf-8")
    for name, text in (("sound", bundle), ("open", without_choke_point(bundle).replace(ASKS, "await undefined", 1))):
        copy_with_bundle(tiers.ROUTER, tmp_path / name, text)
        manifest = (QUIZ / "dodai.toml").read_text("utf-8")
        kept = re.split(r"(?m)^(?=\[)", manifest)
        wanted = ("[project]", "[check.environment]", "[csrf]", "[[csrf.exemption]]")
        own = '[service.web]\ncommand = ["{node}", "build/server.mjs"]\ncwd = "client"\npublic = true\n'
        parts = [part for part in kept if part.startswith(wanted)]
        (tmp_path / name / "dodai.toml").write_text("".join(parts) + own, "utf-8")
    said = {}
    for name, code in (("sound", 0), ("open", 1)):
        words = [sys.executable, "-m", "dodai", "routes"]
        done = subprocess.run(words, cwd=tmp_path / name, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        said[name] = done.stdout
    counted = "tier web: 21 routes read, 21 listed by the framework; 11 actions read, 1 exempt, 10 asked in the build, "
    assert f"{counted}10 refused every hostile post, 10 by themselves\n" in said["sound"]
    assert f"{counted}9 refused every hostile post, 9 by themselves\n" in said["open"]
    assert "fix: let the check be the first thing in the action" in said["open"]
