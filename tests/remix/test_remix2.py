"""Remix 2 as the plan has it: `client/app/services/csrf.server.ts`, hidden fields, Vitest, the stock server."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests import node_parts
from tests.quiz.browser import Visitor
from tests.quiz.stack import Stack, running_quiz
from tests.remix import tiers

from dodai.observability.trace import main as trace
from dodai.wiring.watch import lines_at

ROUTES = tiers.REMIX2 / "app" / "routes"
EXEMPT = "webhooks.review.ts"
ACTIONS = sorted(
    path.name for path in ROUTES.iterdir() if "function action" in path.read_text("utf-8") and path.name != EXEMPT
)


@pytest.fixture(scope="module")
def served(postgres, migrated, tmp_path_factory) -> Iterator[Stack]:
    """The quiz with Remix 2 in front."""
    folder = tiers.built(tiers.REMIX2)
    with (
        postgres.fresh_database("quiz", template=migrated) as dsn,
        running_quiz(dsn, tmp_path_factory.mktemp("remix2"), "backend", "identity") as stack,
    ):
        tiers.serve(stack, folder)
        yield stack


@pytest.fixture(scope="module")
def careless(postgres, migrated, tmp_path_factory) -> Iterator[Stack]:
    """The same, with an action that never asks: every call of `verify` is taken out before the build."""
    folder = tiers.copy_of(tiers.REMIX2, tmp_path_factory.mktemp("careless") / "quiz")
    tiers.without_verification(folder, ACTIONS)
    node_parts.npm(folder, "run", "build")
    with (
        postgres.fresh_database("quiz", template=migrated) as dsn,
        running_quiz(dsn, tmp_path_factory.mktemp("careless-state"), "backend", "identity") as stack,
    ):
        tiers.serve(stack, folder)
        yield stack


def test_every_action_verifies_and_there_are_at_least_four():
    """The call stands once in each of them, as its first statement."""
    assert len(ACTIONS) >= 4
    for name in ACTIONS:
        text = (ROUTES / name).read_text("utf-8")
        assert re.search(r"function action\([^)]*\) \{\n  await csrf\.verify\(request\);\n", text), name


def test_its_own_suite_is_green():
    """`npm test`: types, and for each action the right token, none, and an altered one, with the real CSRF service."""
    told = node_parts.npm(tiers.ready(tiers.REMIX2), "test")
    assert re.search(rf"Tests\s+{6 * len(ACTIONS) + 2} passed", told), told


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_without_verification_turns_its_suite_red_for_that_route_alone(tmp_path: Path, name: str):
    """The CSRF service is not mocked, so nothing else stops the request."""
    folder = tiers.copy_of(tiers.REMIX2, tmp_path / "quiz")
    tiers.without_verification(folder, [name])
    red = tiers.red_cases(folder)
    assert {file for file, _ in red} == {name}
    assert any(case.startswith("without a token") for _, case in red)
    assert any(case.startswith("an altered token") for _, case in red)


def _post(stack: Stack, path: str, **headers: str) -> httpx2.Response:
    own = {"origin": stack.url, "sec-fetch-site": "same-origin", "accept": "application/json"}
    return httpx2.post(stack.url + path, data={"lang": "ja", "choice": "1"}, headers={**own, **headers})


@pytest.mark.parametrize("tier", ["served", "careless"])
@pytest.mark.parametrize(
    "path",
    [
        "/questions/1/answer",
        "/questions/1/answer?_data=routes%2F_frame.questions_.%24question_.answer",
        "/questions/1/report",
        "/api/questions/1/star",
        "/language",
        "/me",
        "/questions",
        "/sign-in",
        "/sign-out",
    ],
)
def test_a_post_without_token_is_refused_with_the_id_in_header_and_body(request, tier: str, path: str):
    """Documents, data requests and resource routes alike, and also where the action itself does not ask."""
    answer = _post(request.getfixturevalue(tier), path)
    assert answer.status_code == 403, answer.text
    body = answer.json()
    assert body["error"]["code"] == "DOD151"
    assert body["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, "DOD150"),
        ({"content-type": "text/plain"}, "DOD151"),
        ({"origin": "null", "sec-fetch-site": "cross-site"}, "DOD150"),
    ],
)
def test_a_hostile_post_to_a_resource_route_is_refused(careless: Stack, headers: dict[str, str], code: str):
    """Remix's own check does not look at resource routes at all."""
    answer = _post(careless, "/language", **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)


@pytest.mark.parametrize("tier", ["served", "careless"])
@pytest.mark.parametrize("path", ["/me", "/questions/1/answer", "/questions/1", "/questions/preview"])
def test_what_the_framework_refuses_before_any_action_is_our_refusal_with_a_line(request, tier: str, path: str):
    """Its own origin check answers 500 without a body; a page of another site is told what it is told everywhere."""
    stack = request.getfixturevalue(tier)
    answer = _post(stack, path, origin="https://evil.example", **{"sec-fetch-site": "cross-site"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "DOD150")
    assert answer.json()["requestId"] == answer.headers["x-request-id"]
    line = tiers.line_of(stack, answer.headers["x-request-id"])
    assert '"code":"DOD150"' in line
    assert '"error":' not in line


def test_what_the_framework_refuses_itself_carries_the_id_and_has_a_line(served: Stack):
    """Where we would let it pass: the origin is ours, and `Host` is not what the browser asked for."""
    answer = _post(served, "/me", host="10.0.0.5:3000")
    assert answer.status_code >= 400
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert f'"status":{answer.status_code}' in tiers.line_of(served, answer.headers["x-request-id"])


def test_a_person_answers_signs_in_writes_and_signs_out(served: Stack, visit):
    """The journeys of the quiz, form by form, with the token of the page at hand."""
    visitor: Visitor = visit(served)
    assert "One thing more than yesterday" in visitor.go("/").text
    path = visitor.go("/next").headers["location"]
    visitor.go(path)
    assert 'id="verdict"' in visitor.send(f"{path}/answer", choice="1").text
    assert visitor.go("/me").status_code == 401
    visitor.sign_in("hanako")
    assert 'action="/sign-out"' in visitor.go("/me").text
    assert visitor.send("/me", intent="name", name="はなこ").headers["location"] == "/me"
    assert "はなこ" in visitor.go("/me").text
    question = visitor.send("/questions", on="/questions/new", **QUESTION).headers["location"]
    assert QUESTION["prompt"] in visitor.go(question).text
    assert visitor.send("/sign-out", on="/me").status_code == 303
    assert visitor.go("/me").status_code == 401


QUESTION = {
    "prompt": "Which of these did a rehearsal write?",
    "choice1": "this question",
    "choice2": "the second",
    "choice3": "the third",
    "choice4": "the fourth",
    "correct": "1",
    "explanation": "It is gone soon.",
    "topic": "words",
    "lang": "en",
}


def test_a_star_is_kept_a_report_is_taken_and_the_review_desk_is_believed_for_its_signature(served: Stack, visit):
    """JSON by PUT with the token in the header, a form, and the one exemption of the manifest."""
    visitor: Visitor = visit(served)
    visitor.sign_in("taro")
    path = visitor.go("/next").headers["location"]
    visitor.go(path)
    star = visitor.client.put(f"/api{path}/star", json={"starred": True}, headers=visitor.token())
    assert (star.status_code, star.json()) == (200, {"starred": True})
    assert 'aria-pressed="true"' in visitor.go(path).text
    assert visitor.send(f"{path}/report", on=path, reason="unclear").headers["location"] == path
    body = json.dumps({"report": 1, "decision": "keep"}).encode()
    key, at = served.secrets["REVIEW_WEBHOOK_SECRET"].encode(), str(int(time.time()))
    signature = hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    desk = f"{served.url}/webhooks/review"
    signed = httpx2.post(desk, content=body, headers={"x-signature": f"t={at},v1={signature}"})
    assert signed.status_code == 200, signed.text
    assert httpx2.post(desk, content=body, headers={"x-signature": f"t={at},v1={'0' * 64}"}).status_code == 401


def test_what_goes_wrong_is_told_on_a_page_with_the_id(served: Stack, visit):
    """Of a page, of a form, and where the identity provider cannot be reached when somebody signs in."""
    visitor: Visitor = visit(served)
    for answer, status in ((visitor.go("/questions/999999"), 404), (visitor.go("/me"), 401)):
        assert answer.status_code == status
        assert answer.headers["x-request-id"] in answer.text
    served.end("identity")
    try:
        answer = visitor.send("/sign-in", on="/")
        assert answer.status_code == 503
        assert answer.headers["x-request-id"] in answer.text
        assert ">error-title" not in answer.text, "a key in the place of its words"
        assert '"dependency":"identity"' in tiers.line_of(served, answer.headers["x-request-id"])
    finally:
        served.start("identity")


def test_every_journey_of_the_manifest_is_walked(served: Stack):
    """The same definitions that the other tiers are smoke-tested, rehearsed and loaded by."""
    assert tiers.walked(served) == []


def test_a_page_from_before_signing_in_is_refused_after_it(served: Stack, visit):
    """`login()` renews the visitor's cookie, so tokens from before are those of another session."""
    visitor: Visitor = visit(served)
    visitor.go("/")
    before = visitor.page
    visitor.sign_in("taro")
    visitor.page = before
    answer = visitor.send("/language", lang="ja", headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "DOD154")


def test_one_id_leads_from_the_browser_through_node_and_the_backend_to_its_sql(served: Stack, visit, capsys):
    """The tier of each hop is named, and the signed-in user is proved to the backend."""
    visitor: Visitor = visit(served)
    visitor.sign_in("hanako")
    request_id = visitor.go("/me").headers["x-request-id"]
    tiers.line_of(served, request_id)
    assert trace([request_id, "--state", str(served.folder)], lines_at) == 0
    told = capsys.readouterr().out
    assert "web" in told
    assert "quiz.v1.Quiz/GetMyPage" in told
    assert re.search(r"\d+ × ", told), told
    assert len({re.search(r'"userId":"(\w+)"', line)[1] for line in tiers.hops_of(served, request_id)}) == 1


@pytest.mark.parametrize("path", ["/", "/next", "/questions/1"])
def test_the_backend_is_told_who_asks_on_every_page(served: Stack, visit, path: str):
    """Loaders run beside each other in Remix 2: what the root's learns, another cannot count on."""
    visitor: Visitor = visit(served)
    visitor.sign_in("taro")
    request_id = visitor.go(path).headers["x-request-id"]
    tiers.line_of(served, request_id)
    hops = tiers.hops_of(served, request_id)
    assert len(hops) >= 2
    assert {bool(re.search(r'"userId":"\w+"', line)) for line in hops} == {True}, hops


def test_every_line_is_sound(served: Stack, visit):
    """Those of node beside those of Python, by the checker of the specification."""
    visitor: Visitor = visit(served)
    tiers.line_of(served, visitor.go("/").headers["x-request-id"])
    files = [str(path) for path in (served.folder / "lines").glob("*.jsonl")]
    checker = node_parts.ROOT / "spec" / "check_line.py"
    done = subprocess.run(["python3", str(checker), *files], capture_output=True, text=True, check=False)
    assert any(name.endswith(".node.jsonl") for name in files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_node_is_there():
    """The wheel brings it, so nobody has to install node to run this."""
    assert shutil.which("node", path=str(node_parts.node_folder()))
