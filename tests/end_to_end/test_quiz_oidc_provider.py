"""Signing in with a strict, certified OpenID provider (npm oidc-provider) instead of the stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from tests.end_to_end.npm_package import installed
from tests.quiz.browser import HTML, Visitor
from tests.quiz.stack import Stack, free_ports, listens, running_quiz
from tests.support.wait import until

from dodai.operations.journey import read_forms

pytestmark = pytest.mark.optional_part("npm")

SCRIPT = Path(__file__).parent / "oidc_provider.mjs"
VERSION = "9.13.3"


@pytest.fixture
def strict(quiz_database, tmp_path) -> Iterator[Stack]:
    """The quiz with node's provider in the place of its own."""
    entry = installed("oidc-provider", VERSION) / "lib" / "index.js"
    node = shutil.which("node")
    assert node
    with running_quiz(quiz_database, tmp_path, "backend") as stack:
        (port,) = free_ports(1)
        log = tmp_path / "provider.log"
        with log.open("wb") as output:
            provider = subprocess.Popen(
                [node, str(SCRIPT), str(entry), str(port), "quiz", f"{stack.url}/sign-in/done"],
                env={"PATH": os.environ["PATH"], "OIDC_CLIENT_SECRET": stack.secrets["OIDC_CLIENT_SECRET"]},
                stdout=output,
                stderr=output,
            )
        try:
            until(lambda: listens("127.0.0.1", port), lambda: f"node listens:\n{log.read_text()}", provider)
            stack.start("web", OIDC_ISSUER=f"http://127.0.0.1:{port}/application/o/quiz/")
            yield stack
        finally:
            provider.kill()
            provider.wait()


def walk_through(there: str, home: str) -> str:
    """Where the provider sends the visitor back to, after its own forms are filled in."""
    with httpx2.Client(timeout=15) as client:
        answer = client.get(there)
        for _ in range(12):
            if "location" in answer.headers:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.startswith(home):
                    return target
                answer = client.get(target)
            else:
                (form, *_) = read_forms(answer.text)
                fields = {**form.fields, **({"login": "hanako", "password": "x"} if "login" in answer.text else {})}
                answer = client.post(urljoin(str(answer.url), form.action), data=fields)
    raise AssertionError(f"the provider leads nowhere: {answer.status_code} {answer.text[:500]}")


def start(visitor: Visitor) -> str:
    answer = visitor.send("/sign-in", on="/")
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def test_reader_signs_in_with_code_and_pkce(strict, visit):
    """State, code, verifier, client secret and signature all have to be right for a provider that checks them."""
    somebody = visit(strict)
    there = start(somebody)
    asked = parse_qs(urlsplit(there).query)
    assert asked["code_challenge_method"] == ["S256"]
    back = somebody.client.get(walk_through(there, strict.url), headers=HTML)
    assert back.status_code == 303, back.text
    assert "hanako of node" in somebody.go("/me").text


def test_code_is_worth_nothing_to_anybody_else(strict, visit):
    """The redirect, overheard and opened by somebody else, signs nobody in; its owner can still use it."""
    owner, thief = visit(strict), visit(strict)
    overheard = walk_through(start(owner), strict.url)
    start(thief)
    assert thief.client.get(overheard, headers=HTML).status_code == 400
    assert thief.go("/me").status_code == 401
    assert owner.client.get(overheard, headers=HTML).status_code == 303


def test_refusal_of_the_provider_is_told_with_the_number_of_the_request(strict, visit):
    """Cancelling there leads to a page of ours, not to an accident."""
    somebody = visit(strict)
    there = start(somebody)
    state = parse_qs(urlsplit(there).query)["state"][0]
    answer = somebody.go(f"/sign-in/done?error=access_denied&state={state}")
    assert answer.status_code == 400
    assert answer.headers["x-request-id"] in answer.text
