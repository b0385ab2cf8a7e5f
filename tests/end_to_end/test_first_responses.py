"""What the runbook says to type when an alert fires is typed, and does what it is there for."""

from __future__ import annotations

import re
import shlex
import urllib.request

import pytest
from tests.end_to_end.hosted_app import HostedApp

from dodai.observability.document import observability
from dodai.observability.policy import ObservabilityPolicy

EXAMPLE = re.compile(r"\b[0-9a-f]{32}\b")
MINUTES = "dodai rehearse --record staging --all"
"""tests/end_to_end/test_protected.py records one, tests/end_to_end/test_drills.py carries out every drill."""
CHANGES = ("restart", "rollback", "resume")


@pytest.fixture
def app(tmp_path):
    small = HostedApp(tmp_path).write()
    yield small
    small.clear()


def commands():
    """Each distinct command of the first responses, in the order of the page; what changes something comes last."""
    page = observability(ObservabilityPolicy(), "staging").render("en")
    part = page.partition('<a id="first-response">')[2].partition('<a id="trace">')[0]
    blocks = re.findall(r"```console\n(.*?)\n```", part, flags=re.DOTALL)
    typed = dict.fromkeys(line for block in blocks for line in block.split("\n"))
    return sorted(typed, key=lambda line: CHANGES.index(word) + 1 if (word := line.split()[1]) in CHANGES else 0)


def test_every_command_of_a_first_response_can_be_typed_and_does_what_it_says(app):
    """Over an environment with two releases, somebody who was answered, and nothing that is left half done."""
    old, new = app.deployed(), app.deployed("# next")
    with urllib.request.urlopen(f"http://127.0.0.1:{app.known()['ports']['edge']}/", timeout=20) as answer:
        request = answer.headers["x-request-id"]
    known = {
        "watch staging --once": (0, "lines counted"),
        f"trace {request}": (0, "edge"),
        "status staging": (0, new),
        "routes": (1, "DOD103"),  # this one is in no framework, and is told so
        "releases staging": (0, old),
        "check observability": (0, ""),
        "history staging --limit 5": (0, "deploy"),
        "secrets list staging": (0, "DODAI_"),
        "alerts test --env staging --last 6h": (0, "not judged"),
        "alerts list --env staging": (0, "http-error-surge"),
        "restart staging": (0, ""),
        "rollback staging": (0, old),
        "resume staging": (1, "nothing"),  # there is nothing: tests/end_to_end/test_next_commands.py has what is left
    }
    typed = [line for line in commands() if line != MINUTES]
    assert len(typed) == len(commands()) - 1
    for line in typed:
        words = shlex.split(EXAMPLE.sub(request, line))[1:]
        code, says = known.pop(" ".join(words))
        done = app.run(*words, *(("--yes",) if words[0] in CHANGES else ()))
        assert (done.returncode, says in done.stdout + done.stderr) == (code, True), (line, done.stdout, done.stderr)
    assert known == {}, "what no first response says any more"
    assert app.serves() == old
