"""Another web tier in the place of a service: what is chosen stands in the manifest, and so in every release."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests import node_parts
from tests.quiz.stack import QUIZ

from dodai.core.errors import DodaiError
from dodai.core.manifest import read
from dodai.operations.programs import Programs, find_programs
from dodai.operations.project import with_client
from dodai.operations.setting import peer_settings
from dodai.runtime.manifest_location import reference
from dodai.wiring.find_project import load_project

MANIFEST = """
[project]
name = "shop"

[service.web]  # the first one
command = ["{python}", "-m", "web"]
public = true
needs = ["backend"]
env = { A = "1", B = "1" }

[service.backend]
command = ["{python}", "-m", "backend"]
protocol = "grpc"

[client.node]
service = "web"
folder = "client"
command = ["{node}", "build/server.mjs"]
include = ["build"]
env = { B = "2" }

[client.other]
service = "web"
folder = "other"
command = ["{node}", "server.js"]
"""


def project(text: str = MANIFEST):
    return load_project(text.encode(), Path("/nowhere"))


def test_the_chosen_tier_runs_with_the_name_and_the_needs_of_its_service():
    """Its program, folder, build and variables; everything else is the service's."""
    web = with_client(project(), "node").policy.services["web"]
    assert (web.command, web.cwd, web.include) == (("{node}", "build/server.mjs"), "client", ("build",))
    assert (web.name, web.public, web.needs) == ("web", True, ("backend",))
    assert (web.client, web.app, dict(web.env)) == ("node", "", {"A": "1", "B": "2"})
    assert with_client(project(), "node").policy.services["backend"].command[0] == "{python}"


def test_the_choice_stands_in_the_manifest_and_nothing_else_changes():
    """One line more, so that what goes back to such a release runs the same tier again."""
    before, after = project(), with_client(project(), "node")
    assert set(after.manifest.text.splitlines()) - set(before.manifest.text.splitlines()) == {b'client = "node"'}
    assert after.manifest.hash != before.manifest.hash
    assert with_client(before, "").manifest.text == before.manifest.text


def test_a_choice_of_the_manifest_is_replaced():
    """`--client` wins over what the file says."""
    chosen = project(MANIFEST.replace("public = true", 'public = true\nclient = "other"'))
    assert chosen.policy.services["web"].cwd == "other"
    assert with_client(chosen, "node").policy.services["web"].cwd == "client"


def test_a_client_that_is_not_there_is_refused_with_the_nearest_name():
    """DOD051, before anything is started."""
    with pytest.raises(DodaiError) as caught:
        with_client(project(), "nod")
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD051", 2)
    assert "`[client.nod]`" in str(caught.value)
    assert "node" in caught.value.fix


def test_a_service_that_is_no_table_of_its_own_is_refused_and_not_left_as_it_is():
    """A dotted key cannot be added to: what runs would be the service's own program."""
    written = 'service.web = { command = ["web"], public = true }\n[project]\nname = "shop"\n'
    client = '[client.node]\nservice = "web"\nfolder = "client"\ncommand = ["node"]\n'
    with pytest.raises(DodaiError, match=r"`\[service.web\]` is not a table of its own"):
        with_client(project(written + client), "node")


def test_npm_is_the_one_of_the_node_that_runs_the_tier():
    """The npm of the wheel is a script that only its node can start; what it starts finds the same node."""
    programs = Programs("/p/python", "/n/bin/node", ("/n/bin/node", "/n/npm-cli.js"))
    assert programs.fill(["{npm}", "ci"]) == ("/n/bin/node", "/n/npm-cli.js", "ci")
    assert programs.fill(["{node}", "{python}", "x"]) == ("/n/bin/node", "/p/python", "x")
    told = {"PATH": "/usr/bin", "A": "1"}
    assert programs.environment("{npm} ci", told) == {"PATH": f"/n/bin{os.pathsep}/usr/bin", "A": "1"}
    assert programs.environment("npm ci", told) == told
    assert Path(find_programs("python").node).parent == node_parts.node_folder()


def test_the_quiz_names_both_of_its_other_tiers():
    """Each can be chosen, builds itself, and starts from what a release holds."""
    quiz = load_project((QUIZ / "dodai.toml").read_bytes(), QUIZ)
    for name in ("react-router", "remix2"):
        web = with_client(quiz, name).policy.services["web"]
        assert web.build
        assert web.command[1].partition("/")[0] in web.include


def test_tier_of_another_language_is_told_the_exemptions_of_its_own_service_alone():
    """It knows nothing of the others, and of one that is nobody's it is told nothing."""
    text = '[project]\nname = "shop"\n[service.web]\ncommand = ["a"]\n[service.admin]\ncommand = ["b"]\n'
    for route, named in (("/hook", 'service = "web"\n'), ("/staff", 'service = "admin"\n'), ("/nobodys", "")):
        text += f'[[csrf.exemption]]\nroute = "POST {route}"\nreason = "r"\n{named}'
    sections = read(text.encode(), reference()).data
    for service, routes in (("web", ["POST /hook"]), ("admin", ["POST /staff"]), ("other", [])):
        told = json.loads(peer_settings(sections, service))["csrf"]
        assert [row["route"] for row in told["exemption"]] == routes
    del sections["service"]["admin"]
    told = json.loads(peer_settings(sections, "web"))["csrf"]
    assert [row["route"] for row in told["exemption"]] == ["POST /hook", "POST /nobodys"]
